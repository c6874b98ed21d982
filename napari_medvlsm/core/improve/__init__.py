"""Improving a project's model with its own outlines: chosen, trained, compared, promoted by a person. Imports no torch.

A *round* is one attempt: a frozen copy of the outlines, a training run on them, and its model measured beside the
present one on the hold-out. Whatever is known of a round is in its folder, `PROJECT/models/NUMBER`, in files that are
written at once or not at all, so that it survives the end of any program and is found again.

`cases`           which outlines would be used, and what is wrong with them before the start
`plan`            what a round is made of: outlines, base model, recipe; its one file
`making`          a round is made: outlines copied, plan written
`rounds`          the folders of rounds: found again, started, stopped, their states
`work`            the process of a round: trains, measures, goes on where it was interrupted
`order`           which scan comes next: unlike the others, unsure, or by chance
`survey`          what a model sees in the scans that wait, and the order that follows, in the project's folder
`survey_process`  the survey in a process of its own, for the window
`estimate`        how long a training takes, from measured steps
`stopping`        a request to stop, or to cancel, handed on to whatever runs
`verdict`         candidate beside present model on the hold-out, in numbers
`sentences`       the same in plain words, with a recommendation
`history`         who promoted which model when
`versions`        the models of a project: present one, promote, roll back, export, delete
"""
