"""Reports how much of the activation cache is filled."""

from __future__ import annotations

import time
from collections.abc import Collection

from lightning.pytorch import Callback, LightningModule, Trainer

from medvlsm_training.cache import ActivationCache
from napari_medvlsm.core.runs.events import Encoded, EventSink

# Seconds between two counts of the files.
_INTERVAL = 10.0


class CacheProgress(Callback):
    """Reports how many of a run's activations are cached, until all are.

    Parameters
    ----------
    cache : ActivationCache
    names : collection of str
        Of all that the run will read.
    report : callable
    """

    def __init__(self, cache: ActivationCache, names: Collection[str], report: EventSink) -> None:
        self.cache = cache
        self.names = names
        self.report = report
        self._reported = -1
        self._next = 0.0

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        """Count again from time to time: other processes fill the folder too."""
        if time.monotonic() >= self._next:
            self._update(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count a last time."""
        self._update(trainer)

    def _update(self, trainer: Trainer) -> None:
        if self._reported == len(self.names) or not trainer.is_global_zero:
            return
        cached = self.cache.count_cached(self.names)
        if cached != self._reported:
            self.report(Encoded(done=cached, total=len(self.names)))
        self._reported, self._next = cached, time.monotonic() + _INTERVAL
