"""Reports steps and epochs as events, and writes the epochs as a table."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.renamed_keys import with_current_keys
from napari_medvlsm.core.runs.events import Epoch, EventSink, Step
from napari_medvlsm.core.runs.folder import CURVES_FILE

# Seconds between two events of steps.
_INTERVAL = 1.0


class EventReporter(Callback):
    """Reports steps and epochs, and keeps the epochs as a table, `curves.csv`.

    Parameters
    ----------
    report : callable
    run : Path
        Where the table is written.
    steps : int
        Of an epoch.
    """

    def __init__(self, report: EventSink, run: Path, steps: int) -> None:
        self.report = report
        self.run = run
        self.steps = steps
        self._epoch_start = self._reported = 0.0
        self._images = 0
        self._first = True
        self._history: list[dict[str, Any]] = []
        # Not from the table, whose numbers are rounded.
        self._best = -1.0

    @property
    def state_key(self) -> str:
        """Of its state in a checkpoint."""
        return "progress"

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far: a resumed run goes on with their table."""
        return {"history": self._history, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `state_dict` gave it, also in an earlier version."""
        self._history = with_current_keys(list(state_dict["history"]))
        self._best = float(state_dict["best"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_start = self._reported = time.monotonic()
        self._images = 0
        self._first = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report a step: the first of an epoch, and then at most one a second."""
        self._images += len(batch) * trainer.world_size
        passed = max(1e-6, time.monotonic() - self._reported)
        if (passed < _INTERVAL and not self._first) or not trainer.is_global_zero:
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
        self._reported, self._images = time.monotonic(), 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch."""
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


def write_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """The epochs as a table with the fields of `events.Epoch`, which `core.runs.folder.Run` reads."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Epoch) if f.name != "eta"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(history)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), "utf-8")
