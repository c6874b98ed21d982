"""Evaluation of a model on data sets, with everything that the numbers depend on.

`data`       data sets on disk to cases, with the patient or video of each
`prompts`    the prompts of a case, by what they are allowed to know
`measure`    a model's answers as scores, case by case
`presence`   what a model outlines of targets that are not there
`threshold`  the decision threshold, chosen on validation cases
`resume`     what was measured before an interruption
`run`        a model on data sets, from folder to folder
`table`      several results in one table, the published ones beside them

Scores, results and their comparison are in `napari_medvlsm.core.runs`, for the window too.
"""
