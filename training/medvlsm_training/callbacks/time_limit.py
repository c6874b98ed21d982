"""A limit on the time of one session."""

from __future__ import annotations

import math
import time

from lightning.pytorch import Callback, LightningModule, Trainer


class TimeLimit(Callback):
    """Ends training at the end of the epoch in which the time is up.

    Lightning's Timer counts the time of earlier sessions too.

    Parameters
    ----------
    minutes : float, optional
        From now on; without, there is no limit.

    Attributes
    ----------
    reached : bool
    """

    def __init__(self, minutes: float | None) -> None:
        self.reached = False
        if minutes is not None and not minutes > 0:
            raise ValueError(f"The minutes of a training must be more than 0, but are {minutes:g}.")
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop when the time is up, in all processes together: their clocks are not the same."""
        over = trainer.strategy.reduce_boolean_decision(time.monotonic() >= self._end, all=False)
        if over and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self.reached = trainer.should_stop = True
