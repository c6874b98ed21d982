"""The moving average of the trained weights."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class TrainedWeightAverage(WeightAveraging):
    """An exponential moving average, in which weights that do not train are those of the model itself.

    Lightning's own averages all of them after every step: frozen encoders would drift by rounding, and at the size of
    CLIPSeg it would take longer than the step of the decoder.

    It starts with short memory, min(decay, (1 + n) / (10 + n)) at step n, as TensorFlow's `ExponentialMovingAverage`
    with `num_updates` does: else a folder of ten scans, with two steps an epoch, would be judged by weights that are
    still nearly those of the base.

    Parameters
    ----------
    decay : float
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
            steps = int(count)
            kept = min(decay, (1 + steps) / (10 + steps))
            for ours, theirs in zip(averaged, current, strict=True):
                if ours.data_ptr() == theirs.data_ptr():
                    continue
                # Counters and constants such as the -inf of an attention mask have no mean.
                if theirs.requires_grad or (ours.is_floating_point() and bool(theirs.isfinite().all())):
                    ours.lerp_(theirs, 1 - kept)
                else:
                    ours.copy_(theirs)

        super().__init__(multi_avg_fn=average)

    @property
    def state_key(self) -> str:
        """Of its state in a checkpoint."""
        return "weight_average"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Share what does not train, now that the model is on its device: the average was made before that."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)
        for ours, theirs in zip(self._average_model.module.parameters(), pl_module.parameters(), strict=True):
            if not theirs.requires_grad:
                ours.data = theirs.data
