"""Early stopping of a run that may be resumed."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class ResumableEarlyStopping(EarlyStopping):
    """Lightning's early stopping, which stops nothing before an epoch and, resumed, knows that it had stopped.

    Parameters
    ----------
    patience : int
        Epochs without a better validation Dice.
    min_delta : float
    min_epochs : int
        Lightning's own `min_epochs` would remember a request to stop from before, also after a better epoch.
    """

    def __init__(self, patience: int, min_delta: float, min_epochs: int) -> None:
        super().__init__("val/dice", mode="max", patience=patience, min_delta=min_delta)
        self.min_epochs = min_epochs

    @property
    def state_key(self) -> str:
        """Of its state in a checkpoint."""
        return "early_stopping"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make no epoch more than the session before."""
        if self.wait_count >= self.patience and trainer.current_epoch >= self.min_epochs:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        asked_elsewhere = trainer.should_stop
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.current_epoch + 1 < self.min_epochs:
            trainer.should_stop = asked_elsewhere
