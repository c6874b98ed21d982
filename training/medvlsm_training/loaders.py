"""Batches in an order that depends on seed and epoch alone, also in several processes and after a resume."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, DistributedSampler

from medvlsm_training.config import Recipe
from medvlsm_training.data import PromptedImages, collate
from medvlsm_training.room import workers_that_fit

# Seconds that a batch may take; longer than any disk needs, shorter than a person waits.
_LONGEST_WAIT = 600
# Of training and of validation.
Loaders = tuple[DataLoader[object], DataLoader[object]]


def make_loaders(
    recipe: Recipe, train_set: PromptedImages, val_set: PromptedImages, trainer: Trainer, first_epoch: int
) -> Loaders:
    """The loaders of this process, for a run that begins at an epoch."""
    config = recipe.trainer
    # Unlike a shuffling loader's, this sampler's order depends on seed and epoch alone, also after a resume; and two
    # processes together see the batch that one of twice the size sees.
    sampler: DistributedSampler[object] = DistributedSampler(
        train_set, trainer.world_size, trainer.global_rank, shuffle=True, seed=recipe.seed, drop_last=config.drop_last
    )
    # Workers prefetch before Lightning sets the epoch of a run that is resumed.
    train_set.epoch = first_epoch
    sampler.set_epoch(first_epoch)
    # Repeats images at its end so that all processes have as many; `SegmentationModule` counts them once.
    val_sampler: DistributedSampler[object] = DistributedSampler(
        val_set, trainer.world_size, trainer.global_rank, shuffle=False
    )
    workers = workers_that_fit(recipe, train_set[0]) if config.workers else 0
    shared: dict[str, Any] = {
        "batch_size": config.batch_size,
        "collate_fn": collate,
        # Samples depend on seed, epoch and place alone, whoever reads them.
        "num_workers": workers,
        # A worker that was stopped by the system, or waits for a disk that is gone, is noticed.
        "timeout": _LONGEST_WAIT if workers else 0,
        # Else every start of a loader would use the generator of dropout, and a run that is resumed starts one less.
        "generator": torch.Generator(),
    }
    train_loader: DataLoader[object] = DataLoader(train_set, sampler=sampler, drop_last=config.drop_last, **shared)
    val_loader: DataLoader[object] = DataLoader(val_set, sampler=val_sampler, **shared)
    return train_loader, val_loader
