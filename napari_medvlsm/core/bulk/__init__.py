"""One thing outlined in many scans: what is done already is left alone, and several processes share the rest.

`manifest`  the table in the folder of the masks: what was asked and answered about each scan
`ahead`     reading the next scans while the model computes
`worker`    one process's part
`trainer`   the processes
`run`       the whole
"""
