"""Everything a script or a test can use: no Qt, no napari.

`images`     one 2D scan plane and the one normalisation shared with training
`prompts`    attributes, templates and vocabulary of the prompts
`describe`   number, size and location read back from a mask
`masks`      probability to mask: threshold and clean-up
`metrics`    Dice and IoU
`inference`  `Segmenter`: encode the image once, prompt many times (imports torch)
`models`     model folders, their cards, and the model families
`engine`     the `Segmenter` in a process of its own, behind a pipe
`io`         readers and writers of scans, masks and data sets
"""
