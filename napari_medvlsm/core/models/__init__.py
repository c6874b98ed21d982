"""Models, in three rooms.

`architectures`  the model families and what they share (imports torch)
`store`          model folders, cards, the registry, public weights from a hub (no torch)
`checkpoints`    files of other programs: read, recognised, converted
`families`       which class stands for a card's family (no torch)
`loading`        a model folder to a model: the one place that knows families and adapters
`adapters`       folders of adapted models: written, merged
`parity`         agreement with upstream medvlsm on weights and inputs from a formula
"""
