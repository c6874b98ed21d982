"""Training and evaluation of vision-language segmentation models, without a window.

A recipe (`config`, `recipes`) names data sets, which `sources` reads into items and `data` into batches; `train` runs
Lightning's Trainer on the `module`, and `package` makes the model folder, the results and the report of its best
checkpoint.
"""
