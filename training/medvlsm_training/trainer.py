"""Lightning's Trainer for a recipe on a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from medvlsm_training.callbacks.averaging import TrainedWeightAverage
from medvlsm_training.callbacks.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from medvlsm_training.callbacks.early_stopping import ResumableEarlyStopping
from medvlsm_training.config import Recipe, TrainerConfig

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


@dataclass(frozen=True)
class Machine:
    """The devices of a run; names as in Lightning's Trainer."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f"accelerator must be one of {', '.join(ACCELERATORS)}, but is {self.accelerator!r}.")
        for name in ("devices", "nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}.")

    @property
    def processes(self) -> int:
        """One a device."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class EpochPlan:
    """What an epoch consists of.

    Attributes
    ----------
    images : int
        That all processes see together; the last batch may be smaller than the others.
    batches : int
        Of each process.
    steps : int
        Of the optimizer.
    """

    images: int
    batches: int
    steps: int

    @classmethod
    def of(cls, images: int, config: TrainerConfig, machine: Machine) -> EpochPlan:
        """The plan for a number of training images.

        Raises
        ------
        ValueError
            If they do not fill a batch.
        """
        together = config.batch_size * machine.processes
        batches = images // together if config.drop_last else -(-images // together)
        if not batches:
            raise ValueError(
                f"{images} training images are fewer than one batch of {together}, and trainer.drop_last leaves "
                f"unfinished batches out; set trainer.batch_size={max(1, images // machine.processes)}, or "
                "trainer.drop_last=false."
            )
        return cls(min(batches * together, images), batches, -(-batches // config.accumulate))


def recipe_callbacks(recipe: Recipe, run: Path) -> list[Callback]:
    """The callbacks that a recipe asks for: checkpoints, moving average, early stopping."""
    config = recipe.trainer
    callbacks: list[Callback] = [BestCheckpoint(run), LastCheckpoint(run)]
    if recipe.optimizer.ema:
        callbacks.insert(0, TrainedWeightAverage(recipe.optimizer.ema))
    if config.patience:
        callbacks.append(ResumableEarlyStopping(config.patience, config.min_delta, config.min_epochs))
    return callbacks


def make_trainer(
    recipe: Recipe, machine: Machine, run: Path, callbacks: Sequence[Callback], batches_per_epoch: int
) -> Trainer:
    """Lightning's Trainer.

    Raises
    ------
    ValueError
        If the machine lacks what is asked of it.
    """
    try:
        return Trainer(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.nodes,
            # Some weights of CLIP take no part: its projections, and what lies behind the last tap.
            strategy="ddp_find_unused_parameters_true" if machine.processes > 1 else "auto",
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run,
            callbacks=list(callbacks),
            max_epochs=recipe.trainer.max_epochs,
            accumulate_grad_batches=recipe.trainer.accumulate,
            logger=False,
            gradient_clip_val=recipe.optimizer.clip or None,
            precision=precision(recipe, machine),
            log_every_n_steps=max(1, min(20, batches_per_epoch)),
            num_sanity_val_steps=0,
            # With several processes on GPUs a batch is normalised as a whole, as in one process.
            sync_batchnorm=_on_cuda(machine),
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            deterministic="warn",
        )
    except MisconfigurationException as error:
        raise ValueError(f"This machine has no such devices: {error}") from error


def precision(recipe: Recipe, machine: Machine) -> str:
    """On a CPU always float32: its bfloat16 products are a hundred times slower. Nor is bfloat16 emulated on a GPU."""
    if not _on_cuda(machine):
        return "32-true"
    if recipe.trainer.precision == "auto":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return recipe.trainer.precision


def _on_cuda(machine: Machine) -> bool:
    return machine.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
