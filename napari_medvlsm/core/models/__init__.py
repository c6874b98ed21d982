"""Model folders and the model families behind them.

`card`           what a model folder says of itself (no torch)
`registry`       which models there are: shipped, and the user's own (no torch)
`families`       which class stands for a card's family (no torch until a model is loaded)
`base`           what every family offers: image, text and decoder as three calls
`clipseg`        CLIPSeg
`cris`           CRIS
`biomedclipseg`  BiomedCLIPSeg and BiomedCLIPSeg-D
`lora`           adapters on the attention of the encoders, and folders that hold only these
`weights`        weights into modules, with sentences where they do not fit; the files of a folder
`parity`         agreement with the reference implementations on weights and inputs from a formula
"""
