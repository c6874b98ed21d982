"""Model folders and the model families behind them.

`card`      what a model folder says of itself (no torch)
`registry`  which models there are: shipped, and the user's own (no torch)
`clipseg`   the CLIPSeg family (imports torch)
"""
