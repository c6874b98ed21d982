"""A folder of results: `cases.csv`, a row for each case, prompt and size, and `summary.json`, what follows from it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from medvlsm_training.evaluation.data import DataSet
from medvlsm_training.evaluation.measure import FALSE_POSITIVE_FRACTION, Measured, Score
from medvlsm_training.evaluation.prompts import PromptKind
from napari_medvlsm.core.statistics import LEVEL, RESAMPLES, Estimate, estimate, paired

CASES_FILE, SUMMARY_FILE = "cases.csv", "summary.json"
METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
ALL_TARGETS = "all targets"
# In a card's facts of the training: the sets that its base had been trained on.
BASE_TRAINED_ON = "base_trained_on"
CONVENTIONS = (
    "Dice, IoU and NSD are 1 where both masks are empty and 0 where only one is; 'dice' is the mean over all cases, as "
    "in the reference, 'dice_present' that over the cases whose true mask holds something. Precision is left out where "
    "nothing is drawn, recall where nothing is there, HD95 where either mask is empty: each estimate tells its cases, "
    "'missed' counts the present cases on which nothing was drawn. 'false_positive_rate', 'any_false_positive_rate': "
    f"share of absent cases with more than {FALSE_POSITIVE_FRACTION:.0%} of the image outlined, and with any pixel. "
    "HD95 is the larger of both "
    "directions' 95th percentiles; NSD the part of both edges within the tolerance; both in mm where the file gives "
    "the spacing, else in pixels of the compared size. Size 'model': the true mask resized to the model's square by "
    "nearest neighbour, as in the reference; 'original': the answer brought to the image's own size. "
    f"Intervals: {LEVEL:.0%}, percentile bootstrap, {RESAMPLES} draws of whole groups (patient, sequence or image)."
)


@dataclass(frozen=True)
class About:
    """What every number of a folder depends on.

    Attributes
    ----------
    model, title, family : str
    weights : str
        SHA-256 of the weights (of an adapter: with the identity of its base).
    trained_on : tuple of str, or None
        Folders of the data sets in the model's recipe and in its base's, none for one that was never finetuned; None
        where nobody tells.
    threshold : float
    threshold_from : str
        "the model's card", "the command", "the validation split" or "the recipe". It is never chosen on the cases that
        are measured.
    tolerance : float
        Of NSD, in mm or pixels.
    wording : str
        Whose prompts: "interface" or "upstream".
    seed : int
        Of the intervals and of lists of sentences.
    software, torch, device, precision : str
    """

    model: str
    title: str
    family: str
    weights: str
    trained_on: tuple[str, ...] | None
    threshold: float
    threshold_from: str
    tolerance: float
    wording: str
    seed: int
    software: str
    torch: str
    device: str
    precision: str

    @property
    def line(self) -> str:
        """One line under a table."""
        return (
            f"{self.title} ({self.model}), weights {self.weights[:12]}, threshold {self.threshold:g} from "
            f"{self.threshold_from}, prompts in the wording of the {self.wording}, medvlsm {self.software}, "
            f"{self.device} {self.precision}, seed {self.seed}"
        )


@dataclass(frozen=True, eq=False)
class Results:
    """A folder of results.

    Attributes
    ----------
    folder : Path
    about : About
    sets : mapping
        By name: "split", "sha256", "cases", "missing", "grouped_by".
    rows : tuple of mapping
        One for each set, target, kind, level and size; an estimate is a mapping as `core.statistics.Estimate`,
        with None for not-a-number.
    calibration : tuple of mapping
        Expected error with its reliability table.
    contrasts : tuple of mapping
        What other words change in Dice; see `contrasts`.
    """

    folder: Path
    about: About
    sets: Mapping[str, Mapping[str, Any]]
    rows: tuple[Mapping[str, Any], ...]
    calibration: tuple[Mapping[str, Any], ...] = ()
    contrasts: tuple[Mapping[str, Any], ...] = ()


def trained_on(training: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The data set folders in a card's recipe, but for those that are only tested, and those that its base saw.

    None where it has none.
    """
    recipe, before = training.get("recipe", {}), tuple(training.get(BASE_TRAINED_ON, ()))
    if recipe.get("trainer", {}).get("max_epochs") == 0:
        return before
    own = (str(s["folder"]) for s in recipe.get("sources", ()) if "folder" in s and not s.get("tested_only"))
    return tuple(dict.fromkeys((*own, *before))) or None


def write_results(folder: Path, about: About, sets: Sequence[DataSet], measured: Measured) -> Results:
    """Sum up and write both files into an existing folder."""
    rows = summarise(measured.scores, about.seed)
    calibrated = [
        dict(zip(("set", "kind", "level", "size"), key, strict=True))
        | {"expected_error": counted.expected_error(), "bins": [asdict(b) for b in counted.bins()]}
        for key, counted in measured.calibration.items()
    ]
    contrasted = contrasts(measured.scores, about.seed)
    facts = {
        data.name: {
            "split": data.split,
            "sha256": data.sha256,
            "cases": len(data.cases),
            "missing": data.missing,
            "grouped_by": data.grouped_by,
        }
        for data in sets
    }
    content = {
        "about": asdict(about),
        "conventions": CONVENTIONS,
        "kinds": {
            kind.value: kind.attributes_from
            for kind in PromptKind
            if any(s.kind == kind.value for s in measured.scores)
        },
        "sets": facts,
        "rows": rows,
        "contrasts": contrasted,
        "calibration": calibrated,
    }
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY_FILE).write_text(text + "\n", "utf-8")
    _write_cases(folder / CASES_FILE, about, facts, measured.scores)
    return Results(folder, about, facts, tuple(rows), tuple(calibrated), tuple(contrasted))


def read_results(folder: Path) -> Results:
    """Read a folder of results.

    Raises
    ------
    ValueError
        If it is none.
    """
    path = folder / SUMMARY_FILE
    try:
        raw = json.loads(path.read_text("utf-8"))
        seen = raw["about"]["trained_on"]
        about = raw["about"] | {"trained_on": None if seen is None else tuple(seen)}
        more = tuple(raw["calibration"]), tuple(raw["contrasts"])
        return Results(folder, About(**about), raw["sets"], tuple(raw["rows"]), *more)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder} holds no results of `medvlsm evaluate` ({error}).") from error


def read_scores(folder: Path) -> list[Score]:
    """The rows of `cases.csv`.

    Raises
    ------
    ValueError
        If it is missing or damaged.
    """
    try:
        with (folder / CASES_FILE).open(encoding="utf-8", newline="") as file:
            return [_score(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder / CASES_FILE} cannot be read as results ({error}).") from error


def find_results(folders: Iterable[Path]) -> list[Path]:
    """Folders of results among these and directly in them.

    Raises
    ------
    ValueError
        If there are none.
    """
    found = []
    for folder in folders:
        inside = sorted(path.parent for path in folder.glob(f"*/{SUMMARY_FILE}"))
        found += [folder] if (folder / SUMMARY_FILE).is_file() else inside
    if not found:
        raise ValueError(f"There are no results ({SUMMARY_FILE}) in {', '.join(map(str, folders))}.")
    return found


def summarise(scores: Sequence[Score], seed: int = 0) -> list[dict[str, Any]]:
    """One row for each set, target, kind, level and size; where a set has several targets, one for all of them too."""
    return [_plain(_row(key, found, seed)) for key, found in _grouped(scores)]


# What each kind is held against: the right words of the same case.
_RIGHT = {
    PromptKind.WRONG_SIDE.value: PromptKind.ORACLE.value,
    PromptKind.WRONG_SIZE.value: PromptKind.ORACLE.value,
    PromptKind.PARAPHRASE.value: PromptKind.CLASS.value,
    PromptKind.OTHER.value: PromptKind.CLASS.value,
}


def contrasts(scores: Sequence[Score], seed: int = 0) -> list[dict[str, Any]]:
    """What wrong attributes, paraphrases and other targets change in Dice against the right words of the same cases.

    One row for each set, target, kind, level and size, where a set has several targets also for all of them.
    """
    groups: dict[tuple[str, ...], list[tuple[Score, Score]]] = {}
    pairs = with_right(scores)
    targets = _targets(score for _, score in pairs)
    for right, score in pairs:
        for target in _counted_in(score, targets):
            key = (score.set, target, score.kind, score.level, score.size)
            groups.setdefault(key, []).append((right, score))
    rows = []
    for group, found in groups.items():
        gain = paired([a.dice for a, _ in found], [b.dice for _, b in found], [a.group for a, _ in found], seed)
        row = dict(zip(("set", "target", "kind", "level", "size"), group, strict=True)) | {"against": _RIGHT[group[2]]}
        rows.append(row | _plain(asdict(gain)))
    return rows


def with_right(scores: Sequence[Score]) -> list[tuple[Score, Score]]:
    """(score of the right words, score) of all answers to other words about the same case, where both were asked."""
    right = {(s.set, s.case, s.kind, s.level, s.size): s for s in scores if s.kind in _RIGHT.values()}
    pairs = []
    for score in scores:
        same = right.get((score.set, score.case, _RIGHT.get(score.kind, ""), score.level, score.size))
        if same is not None:
            pairs.append((same, score))
    return pairs


def _targets(scores: Iterable[Score]) -> dict[tuple[str, str], set[str]]:
    """The targets of each set and kind."""
    targets: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        targets.setdefault((score.set, score.kind), set()).add(score.target)
    return targets


def _counted_in(score: Score, targets: Mapping[tuple[str, str], set[str]]) -> tuple[str, ...]:
    several = len(targets[score.set, score.kind]) > 1
    return (ALL_TARGETS, score.target) if several else (score.target,)


def _grouped(scores: Sequence[Score]) -> Iterator[tuple[tuple[str, ...], list[Score]]]:
    targets = _targets(scores)
    groups: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        for target in _counted_in(score, targets):
            groups.setdefault((score.set, target, score.kind, score.level, score.wording, score.size), []).append(score)
    yield from sorted(groups.items(), key=lambda entry: (entry[0][0], entry[0][1] != ALL_TARGETS, entry[0]))


def _row(key: tuple[str, ...], found: Sequence[Score], seed: int) -> dict[str, Any]:
    present, absent = [s for s in found if s.present], [s for s in found if not s.present]
    row: dict[str, Any] = dict(zip(("set", "target", "kind", "level", "wording", "size"), key, strict=True))
    row |= {"cases": len(found), "present": len(present), "absent": len(absent)}
    row["missed"] = sum(s.predicted_fraction == 0 for s in present)
    for name in METRICS:
        if name in ("hd95", "nsd"):
            # Millimetres and pixels are never averaged together.
            for unit in sorted({s.unit for s in found}):
                row[f"{name}_{unit}"] = _estimate(name, [s for s in found if s.unit == unit], seed)
        else:
            row[name] = _estimate(name, found, seed)
    if absent:
        row["dice_present"] = _estimate("dice", present, seed)
        row["false_positive_rate"] = sum(s.predicted_fraction > FALSE_POSITIVE_FRACTION for s in absent) / len(absent)
        row["any_false_positive_rate"] = sum(s.predicted_fraction > 0 for s in absent) / len(absent)
    return row


def _estimate(name: str, found: Sequence[Score], seed: int) -> dict[str, Any]:
    made: Estimate = estimate([getattr(s, name) for s in found], [s.group for s in found], seed)
    return asdict(made)


def _write_cases(path: Path, about: About, sets: Mapping[str, Mapping[str, Any]], scores: Sequence[Score]) -> None:
    """One row a score, with what it depends on: a row that is copied elsewhere still says where it comes from."""
    same = {"model": about.model, "weights": about.weights, "threshold": about.threshold, "software": about.software}
    columns = [f.name for f in fields(Score)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "data", *same])
        writer.writeheader()
        for score in scores:
            values = {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(score).items()}
            writer.writerow(values | same | {"data": sets[score.set]["sha256"]})


def _score(row: Mapping[str, str]) -> Score:
    values: dict[str, Any] = {f.name: row[f.name] for f in fields(Score)}
    for name in (*METRICS, "predicted_fraction"):
        values[name] = float(values[name]) if values[name] else math.nan
    values["present"] = values["present"] == "True"
    return Score(**values)


def _plain(value: Any) -> Any:
    """JSON has no not-a-number: null."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
