"""Everything a script or a test can use: no Qt, no napari.

What imports torch says so; everything else does without.

`images`           one 2D scan plane, and the one normalisation shared with training
`prompts`          attributes, templates and vocabulary of the prompts
`describe`         number, size, shape, colour and place read back from a mask
`annotation`       an outline of one target, with everything that a person said and decided about it
`masks`            probability to mask: threshold and clean-up
`presence`         whether a scan shows what was asked for
`inference`        `Segmenter`: encode the image once, prompt it many times (imports torch)
`options`          where in the scan to look, and on what to compute
`tiles`            overlapping tiles, and their answers blended
`upsampling`       from the model's resolution to the scan's (imports torch)
`devices`          what there is to compute on (imports torch)
`effect`           how much the words of a prompt change the outline
`models`           model folders, their cards, and the model families
`engine`           the `Segmenter` in a process of its own, behind a pipe
`bulk`             one target in many scans
`io`               readers and writers of scans, masks and prompts
`datasets`         data sets on disk: layouts, export, check
`process`          child processes: started, read and ended in one way
`exit_codes`       what the exit codes of all commands mean
`renamed_keys`     keys of files that earlier versions wrote
`runs`             what a training run reports and leaves behind
`metrics`          overlap of two masks
`surface_metrics`  distances between their outlines (imports torch)
`calibration`      whether probabilities mean what they say
`statistics`       means with intervals, and paired differences
"""
