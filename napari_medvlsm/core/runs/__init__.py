"""Training runs and evaluations as data: starting one, what it reports, what it leaves behind. Imports no torch.

`events`        what a run reports while it goes on
`log`           the same in the folder of the run, for whoever looks into it
`start`         a run as a process: typed events, stopping, exit codes in words
`epochs`        how many epochs a number of images gets
`folder`        what lies in the folder of a run
`prompt_kinds`  what a prompt of an evaluation knows of the true mask
`scores`        the metrics of one case, prompt and size, and all of them as a table
`summary`       means with intervals by data set, target and kind of prompt
`results`       the folder of `medvlsm evaluate`, written and read
`comparison`    two results on the same cases
"""
