"""Callbacks of Lightning's Trainer, one a module.

`averaging`       the moving average of the weights that train
`cache_progress`  reports how much of the activation cache is filled
`checkpoints`     the best and the last checkpoint
`divergence`      ends training at a loss or gradient that is NaN or infinite
`early_stopping`  Lightning's, made to resume
`epoch_seed`      seeds every epoch by its number
`progress`        reports steps and epochs, and writes the curves
`stop_request`    ends training where it was asked to
`time_limit`      ends a session at the end of an epoch
"""
