"""The tabs beside "Segment".

`project`        the scans of a project, how far it is, and answers to the scan in view
`case_list`      the list of these scans: ten thousand of them as quick as ten
`improve`        what a model would learn from the project, and its training
`improve_boxes`  findings, the round that runs, before and after, and the models of the project
`curve_chart`    the curves of a training as it goes on
"""
