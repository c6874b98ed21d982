"""Stop training on a request."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from medvlsm_training.stopping import Interrupted, StopRequests


class StopOnRequest(Callback):
    """Raises `Interrupted` after the step in progress, in all processes together: no validation, no checkpoint.

    Parameters
    ----------
    requests : StopRequests
    """

    def __init__(self, requests: StopRequests) -> None:
        self.requests = requests

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check for a request that came while processes were started."""
        self.requests.take_signals()
        self._check(trainer)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Check for a request."""
        self._check(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Check for a request."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(bool(self.requests.signal), all=False):
            raise Interrupted
