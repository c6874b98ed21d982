"""A training run, from a recipe and a data folder to checkpoints and curves."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, DistributedSampler

from medvlsm_training.averaging import TrainedAverage
from medvlsm_training.cache import ActivationCache, EncodedProgress
from medvlsm_training.callbacks import Diverged, Divergence, Epochs, Patience, Progress, StopWhenAsked
from medvlsm_training.checkpoints import BEST, LAST, AtomicCheckpointIO, BestCheckpoint, weights_of
from medvlsm_training.config import Recipe
from medvlsm_training.data import PromptedImages, collate, per_mask
from medvlsm_training.environment import write_environment
from medvlsm_training.models import image_encoder, starting_model
from medvlsm_training.module import SegmentationModule
from medvlsm_training.pretrained import normalise_as, read_weights_source, start_from
from medvlsm_training.prompting import Prompter, trained_targets
from medvlsm_training.recipes import dumped, load_recipe
from medvlsm_training.sources import read_source
from medvlsm_training.stopping import Interrupted, Stopping
from napari_medvlsm.core.datasets.check import check_items
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.layouts import SPLITS
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.events import Checked, Report, Started, Stopped, silent

_log = logging.getLogger(__name__)
RECIPE_FILE = "recipe.yaml"
# Of training and of validation.
Loaders = tuple[DataLoader[object], DataLoader[object]]


@dataclass(frozen=True)
class Machine:
    """What a run may use; names as in Lightning's Trainer."""

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1


def read_items(recipe: Recipe, data: Path) -> dict[str, list[Item]]:
    """All items of a recipe by split, training images not yet repeated."""
    vocabulary = load_vocabulary()
    items: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for source in recipe.sources:
        for split, found in read_source(data, source, vocabulary, "missing-file" in recipe.accept).items():
            items[split] += per_mask(found) if recipe.prompts.per_mask else found
    return items


def train(
    recipe: Recipe,
    data: Path,
    run: Path,
    minutes: float | None = None,
    machine: Machine | None = None,
    report: Report = silent,
    more: tuple[Callback, ...] = (),
    stopping: Stopping | None = None,
) -> Stopped:
    """Train, or go on with, a run.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets.
    run : Path
        Folder of the run: recipe, checkpoints and curves. A checkpoint in it is continued, at the end of the epoch
        that it was written after, as if there had been no interruption.
    minutes : float, optional
        Stop after this time, at the end of an epoch; the same call goes on later.
    machine : Machine, optional
        By default one device, a GPU if there is one.
    report : callable
        Told every event.
    more : tuple of Callback
        Further callbacks of Lightning's Trainer.
    stopping : Stopping, optional
        Requests to stop: before training starts they end the call with `Interrupted`, from then on they end training.

    Returns
    -------
    Stopped
        Why it ended, and the best checkpoint.

    Raises
    ------
    ValueError
        If the data are not as the recipe says or would mislead, the run's folder holds a run of another recipe, or the
        machine has not what is asked of it.
    """
    machine, stopping = machine or Machine(), stopping or Stopping()
    if rank_zero_only.rank:
        report = silent
    vocabulary = load_vocabulary()
    items = read_items(recipe, data)
    if not items["val"] and (recipe.trainer.max_epochs or recipe.trainer.tune_threshold):
        raise ValueError(
            f"The data sets of {recipe.name} list no validation images, by which the best model is chosen."
        )
    findings = refuse_misleading(recipe, items)
    if not rank_zero_only.rank:
        _keep_recipe(recipe, run)
    report(Checked(findings))
    if not recipe.trainer.max_epochs:
        stopped = Stopped("finished", f"Nothing to train: {recipe.model.base} is measured as it is.", "", None)
        report(stopped)
        return stopped
    seed_everything(recipe.seed, verbose=False)
    model = starting_model(recipe, items["train"] + items["val"], vocabulary)
    if recipe.model.encoder_weights:
        start_from(model, *image_encoder(model), recipe.model.encoder_weights, run)
    cache = ActivationCache(model, recipe.cache.limit_gb) if recipe.cache.views else None
    train_set, val_set = datasets(recipe, items, model, cache)
    per_step = recipe.trainer.batch_size * machine.devices * machine.nodes
    batches = len(train_set) // per_step if recipe.trainer.drop_last else -(-len(train_set) // per_step)
    if not batches:
        raise ValueError(f"{len(train_set)} training images are fewer than one batch of {per_step}.")
    steps = -(-batches // recipe.trainer.accumulate)
    module = SegmentationModule(model, recipe, recipe.trainer.max_epochs * steps, cache)
    epochs = Epochs(train_set, recipe.seed, minutes)
    beside = [Divergence(), epochs, Progress(report, run, steps), StopWhenAsked(stopping)]
    if cache is not None:
        _log.info("Activations are kept in %s. They are made from scans: delete the folder to delete them.", cache.root)
        beside.append(EncodedProgress(cache, train_set.names(recipe.trainer.max_epochs) | val_set.names(1), report))
    trainer = _trainer(recipe, machine, run, [*_callbacks(recipe, run), *beside, *more], batches)
    if trainer.is_global_zero:
        # The last batch may be smaller than the others.
        images = min(batches * per_step, len(train_set))
        write_environment(run, trainer.strategy.root_device, trainer.world_size, images)
    last = run / LAST if (run / LAST).is_file() else None
    first_epoch = 0 if last is None else int(torch.load(last, "cpu", weights_only=True)["epoch"]) + 1
    report(
        Started(
            recipe=recipe.name,
            run=str(run),
            epochs=recipe.trainer.max_epochs,
            first_epoch=first_epoch,
            steps_per_epoch=steps,
            train_images=len(train_set),
            val_images=len(val_set),
            parameters=model.parameter_count(),
            trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            device=str(trainer.strategy.root_device),
            processes=trainer.world_size,
        )
    )
    loaders = _loaders(recipe, train_set, val_set, trainer, first_epoch)
    with stopping.held():
        diverged = _fit(trainer, module, loaders, last, stopping)
        stopped = _why(trainer, recipe, run, diverged, bool(stopping.asked), epochs.time_is_up)
        report(stopped)
    return stopped


def refuse_misleading(recipe: Recipe, items: dict[str, list[Item]]) -> dict[str, int]:
    """Look at all the data; what was found, by kind.

    Raises
    ------
    ValueError
        Where training would mislead in a way that the recipe does not accept.
    """
    report = check_items(recipe.name, items)
    for kind, count in report.counts().items():
        _log.info("data check: %d x %s, such as: %s", count, kind, report.of(kind)[0].sentence)
    report.refuse(recipe.accept)
    return dict(report.counts())


def datasets(
    recipe: Recipe, items: dict[str, list[Item]], model: VLSM, cache: ActivationCache | None = None
) -> tuple[PromptedImages, PromptedImages]:
    """The images of training, repeated as the recipe says and augmented, and those of validation."""
    prompter = Prompter(recipe.prompts, load_vocabulary(), sorted(trained_targets(items["train"])))
    keep = recipe.trainer.keep_scans
    repeats = {source.folder: source.repeat for source in recipe.sources}
    shown = [item for item in items["train"] for _ in range(repeats[item.source])]
    return (
        PromptedImages(shown, prompter, model, recipe.seed, recipe.augmentation, recipe.cache.views, cache, keep),
        PromptedImages(items["val"], prompter, model, recipe.seed, None, min(1, recipe.cache.views), cache, keep),
    )


def load_trained(checkpoint: Path, recipe: Recipe, items: dict[str, list[Item]]) -> VLSM:
    """The model of a run's checkpoint, or the base of a run that trains nothing, ready for use."""
    model = starting_model(recipe, items["train"] + items["val"], load_vocabulary())
    if source := read_weights_source(checkpoint.parent):
        normalise_as(model, source["mean"], source["std"])
    if recipe.trainer.max_epochs:
        model.load_state_dict(weights_of(checkpoint))
    return model.eval()


def _callbacks(recipe: Recipe, run: Path) -> list[Callback]:
    config = recipe.trainer
    callbacks: list[Callback] = [BestCheckpoint(run, BEST, "val/dice"), BestCheckpoint(run, LAST)]
    if recipe.optimizer.ema:
        callbacks.insert(0, TrainedAverage(recipe.optimizer.ema))
    if config.patience:
        callbacks.append(Patience(config.patience, config.min_delta, config.min_epochs))
    return callbacks


def _trainer(recipe: Recipe, machine: Machine, run: Path, callbacks: list[Callback], batches: int) -> Trainer:
    """Lightning's Trainer for a recipe on a machine, where an epoch has so many `batches`."""
    try:
        return Trainer(
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.nodes,
            # Some weights of CLIP take no part: its projections, and what lies behind the last tap.
            strategy="ddp_find_unused_parameters_true" if machine.devices * machine.nodes > 1 else "auto",
            plugins=[AtomicCheckpointIO()],
            default_root_dir=run,
            callbacks=callbacks,
            max_epochs=recipe.trainer.max_epochs,
            accumulate_grad_batches=recipe.trainer.accumulate,
            logger=False,
            gradient_clip_val=recipe.optimizer.clip or None,
            precision=_precision(recipe, machine),
            log_every_n_steps=max(1, min(20, batches)),
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


def _fit(trainer: Trainer, module: SegmentationModule, loaders: Loaders, last: Path | None, stopping: Stopping) -> str:
    """Train to whatever end; the sentence of the divergence if it was that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # what Lightning uses of torch
        try:
            trainer.fit(module, *loaders, ckpt_path=last, weights_only=True)
        except Diverged as error:
            return str(error)
        except Interrupted:
            stopping.ask()  # where another process was asked; else it was before
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"The memory of {trainer.strategy.root_device} does not suffice; lower trainer.batch_size, and raise "
                "trainer.accumulate by as much."
            ) from error
    return ""


def _loaders(
    recipe: Recipe, train_set: PromptedImages, val_set: PromptedImages, trainer: Trainer, first_epoch: int
) -> Loaders:
    config = recipe.trainer
    # Unlike a shuffling loader's, this sampler's order depends on seed and epoch alone, also after a resume; and two
    # processes together see the batch that one of twice the size sees.
    sampler: DistributedSampler[object] = DistributedSampler(
        train_set, trainer.world_size, trainer.global_rank, shuffle=True, seed=recipe.seed, drop_last=config.drop_last
    )
    # Workers read ahead before Lightning tells the epoch of a run that goes on.
    train_set.epoch = first_epoch
    sampler.set_epoch(first_epoch)
    # Repeats images at its end so that all processes have as many; `SegmentationModule` counts them once.
    val_sampler: DistributedSampler[object] = DistributedSampler(
        val_set, trainer.world_size, trainer.global_rank, shuffle=False
    )
    shared: dict[str, Any] = {
        "batch_size": config.batch_size,
        "collate_fn": collate,
        # Samples depend on seed, epoch and place alone, whoever reads them.
        "num_workers": min(config.workers, os.cpu_count() or 1),
        # Else every start of a loader would draw from the generator of dropout, and a run that goes on starts one less.
        "generator": torch.Generator(),
    }
    train_loader: DataLoader[object] = DataLoader(train_set, sampler=sampler, drop_last=config.drop_last, **shared)
    val_loader: DataLoader[object] = DataLoader(val_set, sampler=val_sampler, **shared)
    return train_loader, val_loader


def _on_cuda(machine: Machine) -> bool:
    return machine.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _precision(recipe: Recipe, machine: Machine) -> str:
    """On a CPU always float32: its bfloat16 products are a hundred times slower. Nor is bfloat16 emulated on a GPU."""
    if not _on_cuda(machine):
        return "32-true"
    if recipe.trainer.precision == "auto":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return recipe.trainer.precision


def _keep_recipe(recipe: Recipe, run: Path) -> None:
    """Write the recipe into the run's folder, or see that it is the one that is there."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / RECIPE_FILE
    if not path.is_file():
        _write(path, recipe)
        return
    before = load_recipe(path)
    if before != recipe and (run / LAST).is_file():
        theirs, ours = dumped(before).splitlines(), dumped(recipe).splitlines()
        changed = next((a.strip(), b.strip()) for a, b in zip_longest(theirs, ours, fillvalue="") if a != b)
        raise ValueError(
            f"{run} holds a run of another recipe ({changed[0]!r} there, {changed[1]!r} now); go on with the same "
            "recipe, or choose another folder."
        )
    _write(path, recipe)


def _write(path: Path, recipe: Recipe) -> None:
    with replacing(path) as temporary:
        temporary.write_text(dumped(recipe), "utf-8")


def _why(trainer: Trainer, recipe: Recipe, run: Path, diverged: str, asked: bool, time_is_up: bool) -> Stopped:
    best = run / BEST
    score = trainer.checkpoint_callbacks[0].best_model_score  # type: ignore[attr-defined]
    kept = f"the best model so far is kept in {best}" if best.is_file() else "no epoch was completed, nothing is kept"
    reason, sentence = "finished", f"All {recipe.trainer.max_epochs} epochs are done."
    if diverged:
        reason, sentence = "diverged", f"{diverged}; {kept}."
    elif asked:
        reason, sentence = "asked to stop", f"Stopped when asked to; {kept}. The same command goes on."
    elif time_is_up:
        reason, sentence = "time is up", f"Stopped after the time given; {kept}. The same command goes on."
    elif trainer.current_epoch < recipe.trainer.max_epochs:
        reason, sentence = (
            "early stopping",
            f"Stopped: no better validation Dice in {recipe.trainer.patience} epochs; {kept}.",
        )
    return Stopped(
        reason, sentence, str(best) if best.is_file() else "", None if score is None else round(float(score), 4)
    )
