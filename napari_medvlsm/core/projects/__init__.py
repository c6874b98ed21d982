"""Projects: a folder of scans that is worked through over days, with every version of every outline.

Begin with `store.ProjectStore`; `folder.create_project` makes a project, `adding` and `imports` fill it.

`store`      scans and outlines: look, draw, submit, approve, reopen, bring back
`folder`     the folder: made, opened, looked over after a crash, changed in transactions, closed
`values`     scans, versions, events, queries and counts as plain values
`states`     the states of an outline, and which may follow which
`adding`     scans that enter, each with its split for good
`holdout`    training, validation or hold-out for every group
`grouping`   which scans belong together: a table, a part of the name, a field of the header
`imports`    outlines that exist already: masks beside scans, data sets
`predicting`  predictions of a model for the unseen scans, made in a process of its own
`coco`       annotations in COCO's JSON
`export`     a data set to train on
`ledger`     what outlines cost, and whether another model made that less
`agreement`  predictions of two models on the same scans: which came nearer
`chart`      that as a chart
`effort`     how far an outline is from its prediction
`check`      what is wrong with a folder
`repair`     mends what `check` finds
`recovery`   what a killed program left
`reading`    questions to the database
`outlines`   changes of one outline within a transaction
`database`   the SQLite database: opened safely, transactions, copies
`schema`     its tables, and migrations from older versions
`files`      mask files
`lock`       one program at a time writes
`errors`     what can go wrong, in sentences
"""
