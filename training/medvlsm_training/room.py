"""Room on the disk and in shared memory, looked at before a training starts."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from torch import Tensor

from medvlsm_training.config import Recipe
from medvlsm_training.data import Sample
from napari_medvlsm.core.io.atomic import megabytes, require_space
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.runs.folder import BEST_FILE, LAST_FILE

_log = logging.getLogger(__name__)
# AdamW keeps two numbers for each that it trains.
_OPTIMIZER = 2
# Two checkpoints, and the next one before it replaces the last.
_CHECKPOINTS = 3
# Tables, report and tokenizer.
_BESIDE = 10_000_000
# Where Linux keeps what a worker hands over; other systems do without.
SHARED_MEMORY = Path("/dev/shm")
# Batches that a worker prepares ahead (torch's `prefetch_factor`), and the one that is in use.
_BATCHES = 3
# Numbers of prompts and masks vary from image to image.
_VARIES = 2


def require_room(run: Path, model: VLSM, recipe: Recipe) -> None:
    """Check that the disk has room for a run's checkpoints and its model.

    Raises
    ------
    ValueError
        If it has not; the sentence names both sizes.
    """
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    checkpoint = weights * (2 if recipe.optimizer.ema else 1) + _OPTIMIZER * trained
    there = sum(path.stat().st_size for path in (run / BEST_FILE, run / LAST_FILE) if path.is_file())
    models = 2 if recipe.model.keep_base else 1
    require_space(run, _CHECKPOINTS * checkpoint + models * weights + _BESIDE - there)


def workers_that_fit(recipe: Recipe, sample: Sample, shared: Path = SHARED_MEMORY) -> int:
    """How many workers read the data: as the recipe says, but none where shared memory is too small for their batches.

    A worker that finds no room there dies in silence, and the training would wait for it for ever: a container has
    64 MB unless it is given more.

    Parameters
    ----------
    recipe : Recipe
    sample : Sample
        One of the data set, for the size of a batch.
    shared : Path
        Where the system keeps shared memory; where there is no such folder, nothing is known of it.
    """
    workers = min(recipe.trainer.workers, os.cpu_count() or 1)
    if not workers or not shared.is_dir():
        return workers
    tensors = [part for part in (sample.pixels, sample.masks, *(sample.kept or ())) if isinstance(part, Tensor)]
    image = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    # The loaders of training and of validation run one after the other, but the first keeps its workers meanwhile.
    needed = 2 * workers * _BATCHES * recipe.trainer.batch_size * _VARIES * image
    free = shutil.disk_usage(shared).free
    if needed <= free:
        return workers
    _log.warning(
        "%d workers need up to %s of shared memory, but %s has %s free: the data are read without workers. Give the "
        "container more (docker run --shm-size), or set trainer.workers=0.",
        workers,
        megabytes(needed),
        shared,
        megabytes(free),
    )
    return 0
