"""Dice by target at the scans' stored size, with class names as prompts; and the model folder."""

from __future__ import annotations

import csv
import importlib.metadata
import logging
import platform
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from medvlsm_training.checkpoints import BEST
from medvlsm_training.config import IMAGE_ONLY, Recipe, as_dict
from medvlsm_training.evaluation.measure import DRAWN_FRACTION
from medvlsm_training.prompting import every_text
from medvlsm_training.sources import Item, data_hash
from medvlsm_training.train import load_trained, read_items
from napari_medvlsm import __version__
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.metrics import dice, iou
from napari_medvlsm.core.models.card import CARD_FILE, DataSource, ModelCard, write_card
from napari_medvlsm.core.models.lora import save_lora
from napari_medvlsm.core.models.registry import find_model
from napari_medvlsm.core.prompts import Vocabulary, load_vocabulary, normalise

_log = logging.getLogger(__name__)
THRESHOLDS = tuple(np.round(np.arange(0.2, 0.81, 0.05), 2).tolist())
_NOTE = (
    "Mean Dice over the test scans that show the target, at their stored size (longest side at most 384 pixels), "
    "prompt: the class name alone, no clean-up; threshold {}. 'absent_drawn': share of scans without the target on "
    "which more than 1 % of the image was outlined."
)
_LICENCE_FILE = Path(__file__).parent / "recipes" / "CC-BY-NC-SA-4.0.txt"


@dataclass(frozen=True)
class Case:
    """One scan and prompt at one threshold. `present` tells whether the true mask holds anything."""

    image: str
    source: str
    target: str
    threshold: float
    present: bool
    dice: float
    iou: float
    drawn_fraction: float


def evaluate(segmenter: Segmenter, items: Iterable[Item], thresholds: Sequence[float]) -> list[Case]:
    """Segment every mask's target by its class name and compare at the stored size."""
    cases = []
    for item in items:
        masks = item.load_masks()
        names = sorted(masks)
        segmenter.set_image(item.load_image())
        for name, prediction in zip(names, segmenter.segment(names), strict=True):
            for threshold in thresholds:
                found = prediction.mask(threshold)
                scores = dice(found, masks[name]), iou(found, masks[name])
                present = bool(masks[name].any())
                cases.append(Case(item.image.name, item.source, name, threshold, present, *scores, float(found.mean())))
    return cases


def evaluate_absent(
    segmenter: Segmenter, items: Iterable[Item], vocabulary: Vocabulary, threshold: float
) -> list[Case]:
    """Prompt every scan with things that its modality cannot show; Dice is 1 where nothing is drawn at all."""
    cases = []
    for item in items:
        image = item.load_image()
        segmenter.set_image(image)
        names = list(vocabulary.modalities[item.modality].absent)
        for name, prediction in zip(names, segmenter.segment(names), strict=True):
            found = prediction.mask(threshold)
            empty = float(not found.any())
            cases.append(Case(item.image.name, item.source, name, threshold, False, empty, empty, float(found.mean())))
    return cases


def choose_threshold(cases: Iterable[Case]) -> float:
    """The threshold with the best Dice on validation cases, averaged over targets."""
    scores: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        scores[case.threshold][case.target].append(case.dice)
    return max(scores, key=lambda t: float(np.mean([np.mean(values) for values in scores[t].values()])))


def summarise(cases: Iterable[Case]) -> dict[str, dict[str, float]]:
    """Mean Dice and IoU by target over cases that show it; cases that do not are counted apart."""
    by_target: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_target[case.target].append(case)
    table = {}
    for target, found in sorted(by_target.items()):
        present = [c for c in found if c.present]
        absent = [c for c in found if not c.present]
        row: dict[str, float] = {"cases": len(present)}
        if present:
            row |= {"dice": _mean(c.dice for c in present), "iou": _mean(c.iou for c in present)}
        if absent:
            row |= {"absent_cases": len(absent), "absent_drawn": _mean(_is_drawn(c) for c in absent)}
        table[target] = row
    return table


def package(recipe: Recipe, data: Path, run: Path, out: Path) -> ModelCard:
    """Measure a run's averaged weights and write the model folder with its card.

    The threshold is chosen on the validation split; the test split is read once, after that.
    Per-case results go to `test_cases.csv` in the run folder.
    """
    if out.exists() and any(out.iterdir()) and not (out / CARD_FILE).is_file():
        raise ValueError(f"{out} holds something that is no model; choose another folder with --out.")
    vocabulary = load_vocabulary()
    items = read_items(recipe, data)
    model = load_trained(run / BEST, recipe, items)
    card = _card(recipe, items, vocabulary)
    # In full precision on any machine: reported numbers do not depend on the card they were measured on.
    segmenter = Segmenter(model, card, precision="float32")
    threshold = recipe.trainer.threshold
    if recipe.trainer.tune_threshold:
        threshold = choose_threshold(evaluate(segmenter, items["val"], THRESHOLDS))
        _log.info("Threshold %.2f, chosen on %d validation scans", threshold, len(items["val"]))
    test = evaluate(segmenter, items["test"], [threshold])
    absent = evaluate_absent(segmenter, items["test"], vocabulary, threshold)
    facts = asdict(card) | {
        "threshold": threshold,
        "metrics": {
            "test": summarise(test),
            "test_absent": {"cases": len(absent), "drawn": _mean(_is_drawn(c) for c in absent)},
        },
        "training": card.training | {"parameters": model.parameter_count()},
        "data": card.data,
    }
    card = ModelCard(**facts)
    fresh = out.with_name(f"{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    if model.adapter is None:
        model.save(fresh)
    else:
        save_lora(model, fresh, find_model(recipe.model.base).folder)
    write_card(card, fresh)
    if recipe.trainer.max_epochs:  # what did not train keeps the terms of its base
        shutil.copyfile(_LICENCE_FILE, fresh / "LICENSE")
    if recipe.model.base and (theirs := find_model(recipe.model.base).folder / "LICENSE").is_file():
        shutil.copyfile(theirs, fresh / "LICENSE.base")
    if out.exists():
        shutil.rmtree(out)
    fresh.rename(out)
    write_cases(run / "test_cases.csv", [*test, *absent])
    for target, row in card.metrics["test"].items():
        _log.info("%-14s %s", target, "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    _log.info("absent targets of the same modality drawn: %.3f", card.metrics["test_absent"]["drawn"])
    return card


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """One row a case."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(cases[0])))
        writer.writeheader()
        writer.writerows(asdict(case) for case in cases)


def _card(recipe: Recipe, items: dict[str, list[Item]], vocabulary: Vocabulary) -> ModelCard:
    seen = items["train"] + items["val"]
    names, texts = every_text(recipe.prompts, seen, vocabulary)
    if recipe.model.family == IMAGE_ONLY:
        texts = names  # describing words are nothing to it
    sources = []
    for source in recipe.sources:
        own = [i for i in items["train"] if i.source == source.folder]
        sources.append(DataSource(source.name, source.licence, source.citation, len(own), data_hash(own)))
    packages = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "lightning", "monai")}
    training: dict[str, Any] = {"recipe": as_dict(recipe), "packages": packages, "machine": platform.machine()}
    base = find_model(recipe.model.base).card if recipe.model.base else None
    note = _NOTE.format("chosen on validation scans" if recipe.trainer.tune_threshold else "set by the recipe")
    if base and not recipe.trainer.max_epochs:
        # Nothing was trained: the model is its base, with numbers, and was trained on what that was.
        kept = base.training | {"measured_by": as_dict(recipe)}
        return replace(base, name=recipe.name, title=recipe.title, metrics_note=note, training=kept)
    return ModelCard(
        name=recipe.name,
        title=recipe.title,
        family=recipe.model.family,
        summary=recipe.summary,
        base=f"{base.title} ({base.name})" if base else "random weights",
        citation=base.citation if base else "",
        # What a base was trained on binds what is made of it.
        licence=" and ".join(dict.fromkeys([*([base.licence] if base else []), recipe.licence])),
        targets=tuple(t for t in vocabulary.targets if t in names),
        phrases=tuple(sorted(names)),
        words=tuple(sorted({word for text in texts for word in normalise(text).split()})),
        data=(*(base.data if base else ()), *sources),
        metrics_note=note,
        training=training,
        software_version=__version__,
        created=datetime.now(UTC).date().isoformat(),
    )


def _is_drawn(case: Case) -> float:
    return float(case.drawn_fraction > DRAWN_FRACTION)


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)
