"""Training and evaluation of vision-language segmentation models, without a window.

A recipe (`config`, `recipes`) names data sets, which `sources` reads into items and `data` into batches; `train` fits
the `module` with Lightning's `trainer` and `callbacks`, and `package` makes the model folder, the results and the
report of its best checkpoint. What a run reports and leaves behind is described in `napari_medvlsm.core.runs`.
"""
