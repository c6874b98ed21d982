"""The tabs beside "Segment".

`project`    the scans of a project, how far it is, and answers to the scan in view
`case_list`  the list of these scans: ten thousand of them as quick as ten
"""
