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
`torch_files`    tensors out of files of `torch.save`, without running the pickle in them
`checkpoints`    checkpoints that people have: what is in them, and of which model
`importing`      model folders out of checkpoints, `transformers` folders and fetched files
`sources`        the public weights: where they are, and under which terms (imports nothing)
`naming`         what models may be called, and which names are taken (no torch)
`hub`            public weights from the hub into a folder (no torch)
`fetched`        the manifest of such a folder, and the hashes of all that was ever fetched (no torch)
`obtaining`      public weights to a model, from the plan on (no torch)
`import_process` an import in a process of its own (no torch)
`clip_tokenizer` CLIP's tokenizer, from the vocabulary that `open_clip` ships
`parity`         agreement with the reference implementations on weights and inputs from a formula
"""
