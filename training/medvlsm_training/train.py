"""A training run, from a recipe and a data folder to checkpoints and curves."""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.utilities import rank_zero_only

from medvlsm_training.cache import ActivationCache
from medvlsm_training.callbacks.cache_progress import CacheProgress
from medvlsm_training.callbacks.checkpoints import model_weights, read_checkpoint
from medvlsm_training.callbacks.divergence import Diverged, DivergenceCheck
from medvlsm_training.callbacks.epoch_seed import EpochSeed
from medvlsm_training.callbacks.progress import EventReporter
from medvlsm_training.callbacks.stop_request import StopOnRequest
from medvlsm_training.callbacks.time_limit import TimeLimit
from medvlsm_training.config import IMAGE_ONLY, Recipe
from medvlsm_training.data import PromptedImages
from medvlsm_training.environment import write_environment
from medvlsm_training.fingerprint import changes_since, fingerprint, read_fingerprint, write_fingerprint
from medvlsm_training.loaders import Loaders, make_loaders
from medvlsm_training.models import image_encoder, starting_model
from medvlsm_training.module import SegmentationModule
from medvlsm_training.pretrained import normalise_as, read_weights_source, start_from
from medvlsm_training.prompting import Prompter, shown_targets, trained_targets
from medvlsm_training.recipes import dumped, load_recipe
from medvlsm_training.replay import REPLAY, read_replay
from medvlsm_training.room import require_room
from medvlsm_training.sources import read_items, recipe_vocabulary, resolved
from medvlsm_training.stopping import Interrupted, StopRequests
from medvlsm_training.trainer import EpochPlan, Machine, make_trainer, recipe_callbacks
from napari_medvlsm.core.datasets.check import check_items
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.splits import require_enough
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.plain_files import shown
from napari_medvlsm.core.prompts import Vocabulary
from napari_medvlsm.core.runs.events import Checked, EventSink, Started, Stopped, ignore_event
from napari_medvlsm.core.runs.folder import BEST_FILE, RECIPE_FILE, Run

_log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    data: Path,
    run: Path,
    minutes: float | None = None,
    machine: Machine | None = None,
    report: EventSink = ignore_event,
    callbacks: tuple[Callback, ...] = (),
    requests: StopRequests | None = None,
) -> Stopped:
    """Train, or resume, a run.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets.
    run : Path
        Folder of the run: recipe, checkpoints and curves. A checkpoint in it is resumed, at the end of the epoch that
        it was written after, as if there had been no interruption.
    minutes : float, optional
        Stop after this time, at the end of an epoch; the same call resumes.
    machine : Machine, optional
        By default one device, a GPU if there is one.
    report : callable
        Gets every event.
    callbacks : tuple of Callback
        Further callbacks of Lightning's Trainer.
    requests : StopRequests, optional
        Requests to stop: before training starts they end the call with `Interrupted`, from then on they end training.

    Returns
    -------
    Stopped
        Why it ended, and the best checkpoint.

    Raises
    ------
    ValueError
        If the data are not as the recipe says or would mislead, the run's folder holds a run of another recipe or with
        other data, or the machine lacks what is asked of it.
    OSError
        If the run's folder cannot be written; after a resumed call it is as if that had not happened.
    """
    # Setup
    machine, requests = machine or Machine(), requests or StopRequests()
    if rank_zero_only.rank:
        report = ignore_event

    # Data
    recipe, vocabulary = resolved(recipe, data), recipe_vocabulary(recipe, data)
    items = read_items(recipe, data, vocabulary)
    if recipe.trainer.max_epochs:
        require_enough(recipe.name, items, foreground=not recipe.trainer.count_empty)
    findings = refuse_misleading(recipe, items)
    replayed = read_replay(recipe, data, items)
    if not rank_zero_only.rank:
        _save_recipe(recipe, run)
        _check_unchanged(run, items | ({REPLAY: replayed} if replayed else {}))
    report(Checked(findings))
    if not recipe.trainer.max_epochs:
        stopped = Stopped("finished", f"Nothing to train: {recipe.model.base} is measured as it is.", "", None)
        report(stopped)
        return stopped

    # Model
    seed_everything(recipe.seed, verbose=False)
    model = starting_model(recipe, items["train"] + items["val"], vocabulary)
    if recipe.model.encoder_weights:
        start_from(model, *image_encoder(model), recipe.model.encoder_weights, run)
    if not rank_zero_only.rank:
        require_room(run, model, recipe)
    cache = ActivationCache(model, recipe.cache.limit_gb) if recipe.cache.views else None
    train_set, val_set = datasets(recipe, items, model, vocabulary, cache, replayed)
    epoch = EpochPlan.of(len(train_set), recipe.trainer, machine)
    # From here on as many epochs as this number of images gets; the run's folder keeps the recipe as it was given.
    recipe = replace(recipe, trainer=recipe.trainer.for_images(len(train_set)))
    module = SegmentationModule(model, recipe, recipe.trainer.max_epochs * epoch.steps, cache)

    # Trainer
    time_limit = TimeLimit(minutes)
    own = [DivergenceCheck(), EpochSeed(train_set, recipe.seed), time_limit, EventReporter(report, run, epoch.steps)]
    own.append(StopOnRequest(requests))
    if cache is not None:
        _log.info(
            "Activations are cached in %s. They are made from scans: delete the folder to delete them.", cache.root
        )
        own.append(CacheProgress(cache, train_set.names(recipe.trainer.max_epochs) | val_set.names(1), report))
    trainer = make_trainer(recipe, machine, run, [*recipe_callbacks(recipe, run), *own, *callbacks], epoch.batches)
    if trainer.is_global_zero:
        write_environment(run, trainer.strategy.root_device, trainer.world_size, epoch.images)
    last = Run(run).last_checkpoint
    first_epoch = 0 if last is None else int(read_checkpoint(last)["epoch"]) + 1
    report(
        Started(
            recipe=recipe.name,
            run=str(run),
            epochs=recipe.trainer.max_epochs,
            first_epoch=first_epoch,
            steps_per_epoch=epoch.steps,
            train_images=len(train_set),
            val_images=len(val_set),
            parameters=model.parameter_count(),
            trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            device=str(trainer.strategy.root_device),
            processes=trainer.world_size,
            computer=platform.node(),
        )
    )

    # Fit
    loaders = make_loaders(recipe, train_set, val_set, trainer, first_epoch)
    with requests.deferred():
        diverged = _fit(trainer, module, loaders, last, requests)
        stopped = _stopped(trainer, recipe, run, diverged, bool(requests.signal), time_limit.reached)
        report(stopped)
    return stopped


def refuse_misleading(recipe: Recipe, items: dict[str, list[Item]]) -> dict[str, int]:
    """Run the data check; returns the number of findings by kind.

    Raises
    ------
    ValueError
        Where training would mislead in a way that the recipe does not accept.
    """
    report = check_items(recipe.name, items)
    for kind, count in report.counts().items():
        _log.info("data check: %d x %s, such as: %s", count, kind, report.of(kind)[0].sentence)
    # Where empty masks count, the validation need not show anything.
    report.refuse([*recipe.accept, *(["no-validation"] if recipe.trainer.count_empty else [])])
    return dict(report.counts())


def datasets(
    recipe: Recipe,
    items: dict[str, list[Item]],
    model: VLSM,
    vocabulary: Vocabulary,
    cache: ActivationCache | None = None,
    replayed: Sequence[Item] = (),
) -> tuple[PromptedImages, PromptedImages]:
    """The images of training, repeated as the recipe says and augmented, with those replayed, and of validation."""
    # What the base knows stays among the targets that are asked for where they are not.
    known = trained_targets([*items["train"], *replayed]) | _base_targets(recipe, vocabulary)
    there = shown_targets([*items["train"], *items["val"], *replayed])
    prompter = Prompter(recipe.prompts, vocabulary, sorted(known), there)
    views, keep = recipe.cache.views, recipe.trainer.keep_scans
    repeats = {source.folder: source.repeat for source in recipe.sources}
    shown = [item for item in items["train"] for _ in range(repeats[item.source])]
    share = recipe.replay.share
    return (
        PromptedImages(shown, prompter, model, recipe.seed, recipe.augmentation, views, cache, keep, replayed, share),
        PromptedImages(items["val"], prompter, model, recipe.seed, None, min(1, views), cache, keep),
    )


def _base_targets(recipe: Recipe, vocabulary: Vocabulary) -> set[str]:
    """Targets of the model that a run starts from, where the vocabulary has them; none of an image-only run's."""
    if not recipe.model.base or recipe.model.family == IMAGE_ONLY:
        return set()
    return {*find_model(recipe.model.base).card.targets} & vocabulary.targets.keys()


def load_trained(checkpoint: Path, recipe: Recipe, items: dict[str, list[Item]], vocabulary: Vocabulary) -> VLSM:
    """The model of a run's checkpoint, or the base of a run that trains nothing, ready for use."""
    model = starting_model(recipe, items["train"] + items["val"], vocabulary)
    if source := read_weights_source(checkpoint.parent):
        normalise_as(model, source["mean"], source["std"])
    if recipe.trainer.max_epochs:
        model.load_state_dict(model_weights(checkpoint))
    return model.eval()


def _fit(
    trainer: Trainer, module: SegmentationModule, loaders: Loaders, last: Path | None, requests: StopRequests
) -> str:
    """Train to the end or a stop; returns the message of a divergence, else ""."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # what Lightning uses of torch
        try:
            trainer.fit(module, *loaders, ckpt_path=last, weights_only=True)
        except Diverged as error:
            return str(error)
        except Interrupted:
            requests.request()  # another process got the request; else this one had it already
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"The memory of {trainer.strategy.root_device} does not suffice; lower trainer.batch_size, and raise "
                "trainer.accumulate by as much."
            ) from error
        except (RuntimeError, ValueError, OSError) as error:
            failure = worker_failure(error)
            if failure is None:
                raise
            raise failure from None
    return ""


def worker_failure(error: Exception) -> ValueError | None:
    """The sentence of a process that read data and failed; None of another error.

    torch hands on what a worker raised as its traceback in words, and what ended one as a RuntimeError.
    """
    text = str(error)
    if text.startswith("Caught ") and " in DataLoader worker process" in text:
        kind, _, said = text.strip().splitlines()[-1].partition(": ")
        return ValueError(said if kind in ("ValueError", "OSError") else f"The data cannot be read: {kind}: {said}")
    if "DataLoader" in text and ("timed out" in text or "exited unexpectedly" in text or "is killed by" in text):
        return ValueError(
            f"A process that reads the data came to an end or no longer answers ({shown(text.splitlines()[0])}), which "
            "often means that memory or shared memory ran out; set trainer.workers=0, or lower trainer.batch_size. The "
            "same command goes on after the last epoch."
        )
    return None


def _save_recipe(recipe: Recipe, run: Path) -> None:
    """Write the recipe into the run's folder, or see that it is the one that is there."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / RECIPE_FILE
    if not path.is_file():
        _write(path, recipe)
        return
    before = load_recipe(path)
    if before != recipe and Run(run).last_checkpoint:
        theirs, ours = dumped(before).splitlines(), dumped(recipe).splitlines()
        changed = next((a.strip(), b.strip()) for a, b in zip_longest(theirs, ours, fillvalue="") if a != b)
        raise ValueError(
            f"{run} holds a run of another recipe ({changed[0]!r} there, {changed[1]!r} now); go on with the same "
            "recipe, or choose another folder."
        )
    _write(path, recipe)


def _check_unchanged(run: Path, items: dict[str, list[Item]]) -> None:
    """Keep hashes of the data in the run's folder, or see that they are those that it began with."""
    if not Run(run).last_checkpoint or read_fingerprint(run) is None:
        write_fingerprint(run, fingerprint(items))
    elif changed := changes_since(run, items):
        raise ValueError(
            f"The data are not those that this run began with ({'; '.join(changed)}). Put them back, or begin another "
            "run with another folder (--run)."
        )


def _write(path: Path, recipe: Recipe) -> None:
    with replacing(path) as temporary:
        temporary.write_text(dumped(recipe), "utf-8")


def _stopped(trainer: Trainer, recipe: Recipe, run: Path, diverged: str, asked: bool, time_is_up: bool) -> Stopped:
    best = run / BEST_FILE
    score = trainer.checkpoint_callbacks[0].best_model_score  # type: ignore[attr-defined]
    kept = f"the best model so far is in {best}" if best.is_file() else "no epoch was completed, nothing was saved"
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
