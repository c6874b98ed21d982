"""How good a model is on a data set, said with everything that the numbers depend on.

`data`       data sets on disk to cases, with the patient or video of each
`prompts`    the prompts of a case, by what they are allowed to know
`measure`    a model's answers to numbers, case by case
`results`    a folder of results: written, read and summed up
`threshold`  the decision threshold, chosen on validation cases
`parts`      what was measured before an interruption
`run`        a model on data sets, from folder to folder
`compare`    two models on the same cases
`table`      several results in one table, the published ones beside them
"""
