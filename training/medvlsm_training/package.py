"""The outputs of a run: the model folder with its card, the results on the test split, and the report.

The numbers are those of `evaluation`, as `medvlsm evaluate --recipe RUN` gives them.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medvlsm_training.config import IMAGE_ONLY, Recipe, as_dict
from medvlsm_training.environment import environment
from medvlsm_training.evaluation.data import recipe_sets
from medvlsm_training.evaluation.presence import choose_presence, presence_answers
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from medvlsm_training.evaluation.run import about_model, measure_sets
from medvlsm_training.evaluation.threshold import choose_threshold, sweep
from medvlsm_training.fingerprint import changes_since
from medvlsm_training.kept_base import keep_base
from medvlsm_training.least_change import least_change
from medvlsm_training.models import load_plain
from medvlsm_training.pretrained import read_weights_source
from medvlsm_training.prompting import every_text, trained_targets
from medvlsm_training.report import write_report
from medvlsm_training.sources import read_items, recipe_vocabulary, resolved
from medvlsm_training.train import load_trained
from napari_medvlsm import __version__
from napari_medvlsm.core.datasets.items import Item, data_hash
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.kept_base import segmenter_of
from napari_medvlsm.core.models.adapters import save_lora
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.weights import store_as_float16
from napari_medvlsm.core.models.store.card import CARD_FILE, DataSource, ModelCard, write_card
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.prompts import Vocabulary, normalise
from napari_medvlsm.core.runs import events
from napari_medvlsm.core.runs.folder import BEST_FILE, REPORT_FILE, TEST_FOLDER, Run
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import BASE_TRAINED_ON, Results, trained_on
from napari_medvlsm.core.runs.scores import ORIGINAL, Score, false_positive_rate, read_scores
from napari_medvlsm.core.statistics import estimate

_log = logging.getLogger(__name__)
_LICENCE_FILE = Path(__file__).parent / "recipes" / "CC-BY-NC-SA-4.0.txt"
_NOTE = (
    "'test': mean Dice over the test scans that show the target, of the sets trained on, at their stored size, with "
    "its 95 % interval (whole patients, sequences or images resampled); prompt: the class name alone, no clean-up. The "
    "threshold comes from {}. 'false_positive_rate': share of scans without the target "
    "on which more than 1 % of the image was outlined. 'rows': by set, kind and level of prompt, where 'dice' counts "
    "every case; oracle prompts were made from the true mask and give part of the answer away."
)
# In the card's facts of the training: see `least_change`.
KEPT_CHANGE = "kept_change"
# Columns of the results that the card holds.
_COLUMNS = (
    *("set", "target", "kind", "level", "wording", "cases", "present", "absent", "missed"),
    *("dice", "dice_present", "iou", "false_positive_rate", "any_false_positive_rate"),
)


def package(
    recipe: Recipe,
    data: Path,
    run: Path,
    out: Path,
    report: events.EventSink = events.ignore_event,
    changed_data: bool = False,
) -> ModelCard:
    """Measure a run's best weights; write the model folder, and results and report into the run's.

    The threshold is chosen on the validation split; the test split is read once, after that. A set that was measured
    before an interruption is not measured again.

    Parameters
    ----------
    recipe : Recipe
        `measure` configures the evaluation.
    data : Path
        Folder of the recipe's data sets.
    run : Path
    out : Path
        Model folder to make; an older model there is replaced.
    report : callable
        Gets a `Measured` for each row of the card, and `Saved`.
    changed_data : bool
        Go on with data that are not those that the run was trained with; the card says so.

    Raises
    ------
    ValueError
        If `out` holds something other than a model, or the data are not as the recipe says, or not those of the run.
    """
    if out.exists() and any(out.iterdir()) and not (out / CARD_FILE).is_file():
        raise ValueError(f"{out} holds something that is no model; choose another folder with --out.")
    recipe, vocabulary = resolved(recipe, data), recipe_vocabulary(recipe, data)
    items = read_items(recipe, data, vocabulary)
    changed = changes_since(run, items)
    if changed and not changed_data:
        raise ValueError(
            f"The data are not those that this run was trained with ({'; '.join(changed)}). Put them back; or write "
            "the model with `medvlsm package --changed-data`, and its card says so."
        )
    model = load_trained(run / BEST_FILE, recipe, items, vocabulary)
    card = _card(recipe, items, vocabulary)
    facts = _training_facts(run, model) | ({"measured_on_changed_data": True} if changed else {})
    card = replace(card, training=card.training | facts)
    if source := read_weights_source(run):
        card = replace(card, base=f"{source['weights']} in the image encoder, random weights elsewhere")
    # In full precision on any machine: reported numbers do not depend on the card they were measured on.
    # What its base keeps answers, too, where nothing was trained and the model is that base.
    base = find_model(recipe.model.base).folder if recipe.model.base else run
    segmenter = segmenter_of(model, card, base, precision="float32")
    with making_folder(out, replace=True) as fresh:
        threshold, kept, chosen_from = _threshold(recipe, data, segmenter, vocabulary)
        card = replace(card, training=card.training | kept)
        if recipe.model.stored == "float16":
            model.half().float()  # so that what is measured is what is stored
        card = replace(card, threshold=threshold, presence=_presence(recipe, data, segmenter, threshold, vocabulary))
        _save(model, recipe, fresh)
        card = keep_base(card, recipe, trained_targets(items["train"]), vocabulary, fresh)
        segmenter = segmenter_of(model, card, fresh, precision="float32")
        prompts = EvaluationPrompts(
            tuple(PromptKind(kind) for kind in recipe.measure.kinds),
            recipe.measured_levels,
            recipe.prompts.wording,
            annotated=True,
        )
        about = about_model(card.name, segmenter, weights_hash(fresh), prompts, threshold, chosen_from)
        sets = recipe_sets(recipe, data, "test", vocabulary)
        results = measure_sets(segmenter, sets, run / TEST_FOLDER, about, prompts, replace=True) if sets else None
        scores = read_scores(results.folder) if results else []
        # A base that is only measured has no sets of its own here: all that was measured counts.
        seen = trained_on(card.training) if recipe.trainer.max_epochs else None
        card = replace(card, metrics=_metrics(results, scores, seen), metrics_note=_NOTE.format(chosen_from))
        write_card(card, fresh)
    for row in card.metrics["rows"]:
        bounds = {name: row["dice"][key] for name, key in (("dice", "mean"), ("low", "low"), ("high", "high"))}
        report(events.Measured(row["set"], row["target"], row["kind"], row["level"], row["cases"], **bounds))
        _log.info("%-20s %-16s %-10s %-3s %s", *(row[k] for k in ("set", "target", "kind", "level")), _line(row))
    write_report(run / REPORT_FILE, card, results, scores, segmenter, sets)
    report(events.Saved(str(out), str(run / REPORT_FILE)))
    return card


def _save(model: VLSM, recipe: Recipe, folder: Path) -> None:
    """Weights, or adapter, and the terms."""
    base = find_model(recipe.model.base).folder if recipe.model.base else None
    if model.adapter is not None and base is not None:
        save_lora(model, folder, base)
    else:
        model.save(folder)
        if recipe.model.stored == "float16":
            store_as_float16(folder)
    if recipe.trainer.max_epochs:  # what did not train keeps the terms of its base
        shutil.copyfile(_LICENCE_FILE, folder / "LICENSE")
    if base is not None and (base / "LICENSE").is_file():
        shutil.copyfile(base / "LICENSE", folder / "LICENSE.base")


def _threshold(
    recipe: Recipe, data: Path, segmenter: Segmenter, vocabulary: Vocabulary
) -> tuple[float, dict[str, float], str]:
    """(threshold, what of the change was kept, where these come from).

    Both are chosen on the validation split where there is one and the recipe wants it; else the threshold is the
    recipe's, and all of the change is kept.
    """
    sets = recipe_sets(recipe, data, "val", vocabulary) if recipe.trainer.tune_threshold else []
    if not sets:
        return recipe.trainer.threshold, {}, "the recipe"
    base = find_model(recipe.model.base) if recipe.model.base else None
    kept, wording = {}, recipe.prompts.wording
    if base is not None and recipe.model.least_change and recipe.trainer.max_epochs:
        weights = load_plain(base.folder).state_dict()
        part, threshold = least_change(segmenter, weights, sets, vocabulary, base.card.threshold, wording)
        kept = {KEPT_CHANGE: part}
        _log.info("Of the change from %s %d %% is kept, which validates as well as more", base.name, 100 * part)
    else:
        swept = sweep(segmenter, sets, vocabulary, wording=wording)
        threshold = choose_threshold(swept, base.card.threshold if base else None)
    _log.info("Threshold %.2f, chosen on %d validation cases", threshold, sum(len(found.cases) for found in sets))
    return threshold, kept, "the validation split"


def _presence(recipe: Recipe, data: Path, segmenter: Segmenter, threshold: float, vocabulary: Vocabulary) -> float:
    """Below which score nothing is there: chosen on the validation split, where negatives were trained; else 0."""
    sets = recipe_sets(recipe, data, "val", vocabulary) if recipe.trainer.max_epochs and recipe.prompts.absent else []
    if not sets:
        return 0.0
    return choose_presence(presence_answers(segmenter, sets, segmenter.card.targets, vocabulary, threshold))


def _metrics(results: Results | None, scores: Sequence[Score], seen: tuple[str, ...] | None) -> dict[str, Any]:
    """The metrics of the card: by target as the panel shows them, and every row at the scans' own size."""
    if results is None:
        return {"test": {}, "sets": {}, "rows": []}
    original = [score for score in scores if score.size == ORIGINAL]
    metrics: dict[str, Any] = {
        "test": by_target([s for s in original if s.kind == PromptKind.CLASS.value and (not seen or s.set in seen)]),
        "sets": {name: asdict(found) for name, found in results.sets.items()},
        "rows": [{k: row[k] for k in _COLUMNS if k in row} for row in results.rows if row["size"] == ORIGINAL],
    }
    if absent := [score for score in original if score.kind == PromptKind.ABSENT.value]:
        metrics["test_absent"] = {"cases": len(absent), "false_positive_rate": round(false_positive_rate(absent), 4)}
    return metrics


def by_target(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Mean Dice and IoU by target over the cases that show it, with the bounds of Dice; those that do not apart."""
    groups: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        groups[score.target].append(score)
    table = {}
    for target, found in sorted(groups.items()):
        present, absent = [s for s in found if s.present], [s for s in found if not s.present]
        row: dict[str, float] = {"cases": len(present)}
        if present:
            # Patients of two sets that have the same number are two patients.
            group = [f"{s.set} {s.group}" for s in present]
            dice, iou = estimate([s.dice for s in present], group), estimate([s.iou for s in present], group)
            row |= {"dice": dice.mean, "iou": iou.mean, "missed": sum(s.predicted_fraction == 0 for s in present)}
            row |= {"dice_low": dice.low, "dice_high": dice.high} if not math.isnan(dice.low) else {}
        if absent:
            row |= {"absent_cases": len(absent), "false_positive_rate": false_positive_rate(absent)}
        table[target] = {name: round(value, 4) for name, value in row.items()}
    return table


def _line(row: dict[str, Any]) -> str:
    mean, low, high = (row["dice"][name] for name in ("mean", "low", "high"))
    around = "" if low is None else f" ({low:.3f} to {high:.3f})"
    return f"Dice {mean:.3f}{around}, {row['cases']} cases"


def _training_facts(run: Path, model: VLSM) -> dict[str, Any]:
    """How long it took, on what, and how much was seen; of a run that trained nothing, what measured it."""
    facts: dict[str, Any] = {"parameters": model.parameter_count()}
    if source := read_weights_source(run):
        facts["encoder_weights"] = source
    trained, epochs = Run(run).environment(), Run(run).epochs()
    facts |= trained or environment(model.device)
    if trained and epochs:
        facts["epochs"] = len(epochs)
        facts["seconds"] = round(sum(epoch.seconds for epoch in epochs), 1)
        facts["images_seen"] = len(epochs) * trained["images_per_epoch"]
    return facts


def _card(recipe: Recipe, items: dict[str, list[Item]], vocabulary: Vocabulary) -> ModelCard:
    seen = items["train"] + items["val"]
    names, texts = every_text(recipe.prompts, seen, vocabulary)
    if recipe.model.family == IMAGE_ONLY:
        texts = names  # it ignores text
    sources = []
    for source in recipe.sources:
        own = [i for i in items["train"] if i.source == source.folder]
        if own:
            count = len({item.image for item in own})
            sources.append(DataSource(source.name, source.licence, source.citation, count, data_hash(own)))
    base = find_model(recipe.model.base).card if recipe.model.base else None
    if base and not recipe.trainer.max_epochs:
        # Nothing was trained: the model is its base, with numbers, and was trained on what that was.
        kept = base.training | {"measured_by": as_dict(recipe)}
        return replace(base, name=recipe.name, title=recipe.title, training=kept)
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
        training={"recipe": as_dict(recipe), "seed": recipe.seed} | _before(base),
        software_version=__version__,
        created=datetime.now(UTC).date().isoformat(),
    )


def _before(base: ModelCard | None) -> dict[str, list[str]]:
    """The sets that a base had seen, as a fact of what is trained from it."""
    seen = trained_on(base.training) if base else None
    return {BASE_TRAINED_ON: list(seen)} if seen else {}
