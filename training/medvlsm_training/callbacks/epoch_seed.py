"""Seed every epoch from the seed and its number alone, so that a resumed run repeats none and skips none."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from medvlsm_training.data import PromptedImages


class EpochSeed(Callback):
    """Sets the epoch of the data, and seeds what else is random in it (dropout).

    Parameters
    ----------
    data : PromptedImages
        Of training.
    seed : int
    """

    def __init__(self, data: PromptedImages, seed: int) -> None:
        self.data = data
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the epoch, differently in each process."""
        self.data.epoch = trainer.current_epoch
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1009 + trainer.global_rank)
