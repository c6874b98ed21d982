"""Models, in three rooms.

`architectures`  the model families and what they share (imports torch)
`store`          model folders, cards, the registry, public weights from a hub (no torch)
`checkpoints`    files of other programs: read, recognised, converted
`families`       which class stands for a card's family (no torch until a model is loaded)
`parity`         agreement with the reference implementations on weights and inputs from a formula
"""
