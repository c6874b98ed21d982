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
from torch import Tensor

from medvlsm_training.data import PromptedImages
from medvlsm_training.events import Epoch, Report, Step
from napari_medvlsm.core.io.atomic import replacing

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
        """Stop when the time is up."""
        if time.monotonic() >= self._end and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self.time_is_up = trainer.should_stop = True


class Divergence(Callback):
    """Stops at a loss or gradient that is no number, before it reaches the weights or a checkpoint."""

    def __init__(self) -> None:
        self.sentence = ""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Look at the gradients of the step to be made."""
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if torch.isfinite(norm) or pl_module.trainer.precision == "16-mixed":
            return  # in float16 the scaler passes over such a step itself
        where = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        self.sentence = f"Training diverged: the gradient is no number any more ({where}); try a lower learning_rate"
        for grad in grads:
            grad.zero_()
        trainer.should_stop = True


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
        self._history: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far: a resumed run goes on with their table."""
        return {"history": self._history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `state_dict` gave it."""
        self._history = list(state_dict["history"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = self._told = time.monotonic()
        self._images = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell a step, at most once a second."""
        self._images += len(batch) * trainer.world_size
        passed = time.monotonic() - self._told
        if passed < _PAUSE or not trainer.is_global_zero:
            return
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self.report(
            Step(
                epoch=trainer.current_epoch,
                step=trainer.global_step,
                steps=self.steps * (trainer.max_epochs or 0),
                loss=round(float(loss), 5) if isinstance(loss, Tensor) else math.nan,
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
        dice = metrics.get("val/dice")
        before = [row["val_dice"] for row in self._history if row["val_dice"] is not None]
        epoch = Epoch(
            epoch=trainer.current_epoch,
            epochs=trainer.max_epochs or 0,
            train_loss=metrics.get("train/loss_epoch"),
            val_loss=metrics.get("val/loss"),
            val_dice=dice,
            val_absent_drawn=metrics.get("val/absent_drawn"),
            best=dice is not None and dice > max(before, default=-1.0),
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
