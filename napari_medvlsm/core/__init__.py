"""Everything a script or a test can use: no Qt, no napari.

What imports torch says so; everything else does without.

`images`           one 2D scan plane, and the one normalisation shared with training
`prompts`          attributes, templates and vocabulary of the prompts
`describe`         number, size, shape, colour and place read back from a mask
`annotation`       an outline of one target, with everything that a person said and decided about it
`edits`            smooth, grow, shrink, keep or drop parts of a mask
`differences`      how two outlines of one scan differ
`contours`         the edges of masks as lines
`refine`           an outline refined by pointing at what belongs to it and what does not
`measurements`     area and axes of an outline
`contrast`         a colour that stands out against a scan
`synthetic`        a drawn scan for the first minutes
`masks`            probability to mask: threshold and clean-up
`presence`         whether a scan shows what was asked for
`inference`        `Segmenter`: encode the image once, prompt it many times (imports torch)
`kept_base`        a model and the base that its folder keeps: each answers what it knows (imports torch)
`options`          tiles, a rectangle, device and precision of a segmentation
`tiles`            overlapping tiles, and their answers blended
`upsampling`       from the model's resolution to the scan's (imports torch)
`devices`          available devices and their precisions (imports torch)
`effect`           how much the words of a prompt change the mask
`one_of_two`       whether the place in a prompt picks the right one of two lesions
`models`           model folders, their cards, and the model families
`engine`           the `Segmenter` in a process of its own, behind a pipe
`bulk`             one target in many scans
`io`               readers and writers of scans, masks and prompts
`datasets`         data sets on disk: layouts, export, check
`projects`         a folder of scans that is worked through over days, with every version of every outline
`runs`             what a training run reports and leaves behind
`improve`          a project's model trained on its own outlines, compared and promoted
`metrics`          agreement of two masks
`calibration`      reliability of probabilities
`statistics`       means with intervals, and paired differences
`surface_metrics`  Hausdorff distance and surface Dice
`process`          child processes that run a module of ours
`plain_files`      text, JSON, YAML and tables from outside, within limits
`validation_errors`  the first problem of a file's values, as a sentence
`exit_codes`       exit codes of every command
`renamed_keys`     keys of results of earlier versions
"""
