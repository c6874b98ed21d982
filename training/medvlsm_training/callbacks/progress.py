"""What happens beside the training itself, as callbacks of Lightning's Trainer."""

from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from medvlsm_training.data import PromptedImages
from medvlsm_training.stopping import Interrupted, Stopping
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.runs.events import Epoch, Report, Step

CURVES_FILE = "curves.csv"
# Seconds between two events of steps.
_PAUSE = 1.0


class Epochs(Callback):
    """Makes every epoch depend on seed and number alone, so that a resumed run repeats none; ends a round in time.

    Not Lightning's Timer, which counts the time of earlier rounds too.
    """

    def __init__(self, data: PromptedImages, seed: int, minutes: float | None) -> None:
        self.data = data
        self.seed = seed
        self.time_is_up = False
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the data the epoch, and seed what else is drawn in it (dropout)."""
        self.data.epoch = trainer.current_epoch
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1009 + trainer.global_rank)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop when the time is up, in all processes together: their clocks are not the same."""
        over = trainer.strategy.reduce_boolean_decision(time.monotonic() >= self._end, all=False)
        if over and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self.time_is_up = trainer.should_stop = True


class Diverged(Exception):
    """A loss or gradient is no number any more."""


class Divergence(Callback):
    """Ends training at a gradient or loss that is no number, before it reaches the weights or a checkpoint."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Look at the gradients of the step to be made."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
        # In float16 the scaler passes over such a step itself.
        if trainer.precision != "16-mixed":
            self._look(norm, "gradient", trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the loss of the validation: checkpoints are written after it."""
        if (loss := trainer.callback_metrics.get("val/loss")) is not None:
            self._look(loss, "validation loss", trainer)

    def _look(self, value: Tensor, what: str, trainer: Trainer) -> None:
        if not torch.isfinite(value):
            where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}"
            raise Diverged(f"Training diverged: the {what} is no number any more ({where}); try a lower learning_rate")


class StopWhenAsked(Callback):
    """Ends training after the step in progress, in all processes together: without validation and checkpoint."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether anyone asked while processes were started."""
        self.stopping.take_signals()
        self._look(trainer)

    def on_train_batch_end(self, trainer: Trainer, *more: Any) -> None:
        """Look whether anyone asked."""
        self._look(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *more: Any) -> None:
        """Look whether anyone asked."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(bool(self.stopping.asked), all=False):
            raise Interrupted


class Patience(EarlyStopping):
    """Lightning's early stopping, which stops nothing before an epoch and, resumed, knows that it had stopped.

    Parameters
    ----------
    patience : int
    min_delta : float
    min_epochs : int
        Lightning's own would remember a wish to stop from before, also after a better epoch.
    """

    def __init__(self, patience: int, min_delta: float, min_epochs: int) -> None:
        super().__init__("val/dice", mode="max", patience=patience, min_delta=min_delta)
        self.min_epochs = min_epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make no epoch more than the run before."""
        if self.wait_count >= self.patience and trainer.current_epoch >= self.min_epochs:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        otherwise = trainer.should_stop
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.current_epoch + 1 < self.min_epochs:
            trainer.should_stop = otherwise


class Progress(Callback):
    """Tells steps and epochs, and keeps the epochs as a table, `curves.csv`.

    Parameters
    ----------
    report : callable
    run : Path
        Where the table is written.
    steps : int
        Of an epoch.
    """

    def __init__(self, report: Report, run: Path, steps: int) -> None:
        self.report = report
        self.run = run
        self.steps = steps
        self._epoch_start = self._told = 0.0
        self._images = 0
        self._first = True
        self._history: list[dict[str, Any]] = []
        # Not from the table, whose numbers are rounded.
        self._best = -1.0

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far: a resumed run goes on with their table."""
        return {"history": self._history, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `state_dict` gave it."""
        self._history = list(state_dict["history"])
        self._best = float(state_dict["best"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = self._told = time.monotonic()
        self._images = 0
        self._first = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell a step: the first of an epoch, and then at most one a second."""
        self._images += len(batch) * trainer.world_size
        passed = max(1e-6, time.monotonic() - self._told)
        if (passed < _PAUSE and not self._first) or not trainer.is_global_zero:
            return
        self._first = False
        # Lightning divides it by the batches of a step.
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self.report(
            Step(
                epoch=trainer.current_epoch,
                step=trainer.global_step,
                steps=self.steps * (trainer.max_epochs or 0),
                loss=round(loss, 5),
                images_per_second=round(self._images / passed, 2),
            )
        )
        self._told, self._images = time.monotonic(), 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the epoch."""
        if not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self._epoch_start
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        metrics = {k: round(float(v), 5) for k, v in trainer.callback_metrics.items()}
        exact = trainer.callback_metrics.get("val/dice")
        best = exact is not None and float(exact) > self._best
        if best:
            self._best = float(exact)
        epoch = Epoch(
            epoch=trainer.current_epoch,
            epochs=trainer.max_epochs or 0,
            train_loss=metrics.get("train/loss_epoch"),
            val_loss=metrics.get("val/loss"),
            val_dice=metrics.get("val/dice"),
            val_false_positive_rate=metrics.get("val/false_positive_rate"),
            best=best,
            seconds=round(seconds, 2),
            eta=round(seconds * left, 1),
        )
        self._history.append(asdict(epoch))
        write_curves(self.run / CURVES_FILE, self._history)
        self.report(epoch)


def write_curves(path: Path, history: list[dict[str, Any]]) -> None:
    """The epochs as a table with the fields of `events.Epoch`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Epoch) if f.name != "eta"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(history)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), "utf-8")
