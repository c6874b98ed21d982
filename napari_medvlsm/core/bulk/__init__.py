"""Segment one target in many scans: finished scans are skipped, and several processes share the rest.

`manifest`   the table in the folder of the masks: what was asked and answered about each scan
`prefetch`   reading the next scans while the model computes
`processes`  the processes that share a run
`share`      one process's share
`run`        the whole
`project`    the process that does it for the unseen scans of a project
"""
