"""The folder of `medvlsm evaluate`: `cases.csv`, a row for each score, and `summary.json`, what follows from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_medvlsm.core.plain_files import read_json, shown
from napari_medvlsm.core.renamed_keys import with_current_keys
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION, Measurements, write_scores
from napari_medvlsm.core.runs.summary import contrasts, json_ready, summarise
from napari_medvlsm.core.statistics import LEVEL, RESAMPLES

SUMMARY_FILE = "summary.json"
# In a card's facts of the training: the sets that its base had been trained on.
BASE_TRAINED_ON = "base_trained_on"
CONVENTIONS = (
    "Dice, IoU and NSD are 1 where both masks are empty and 0 where only one is; 'dice' is the mean over all cases, as "
    "in upstream medvlsm, 'dice_present' that over the cases whose true mask holds something. Precision is left out "
    "where nothing is predicted, recall where nothing is there, HD95 where either mask is empty: each estimate says "
    "how many cases it counts, 'missed' counts the present cases with an empty prediction. 'false_positive_rate', "
    f"'any_false_positive_rate': share of absent cases with more than {FALSE_POSITIVE_FRACTION:.0%} of the image "
    "outlined, and with any pixel. HD95 is the larger of both "
    "directions' 95th percentiles; NSD the part of both edges within the tolerance; both in mm where the file gives "
    "the spacing, else in pixels of the compared size. Size 'model': the true mask resized to the model's square by "
    "nearest neighbour, as in upstream medvlsm; 'original': the answer resized to the image's own size. "
    f"Intervals: {LEVEL:.0%}, percentile bootstrap, {RESAMPLES} resamples of whole groups (patient, sequence or image)."
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
        where it is not known.
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
    trained_levels : tuple of str, or None
        Levels of the prompts that the model was trained with; none where its prompts have no level, None where it is
        not known.
    trained_wording : str
        The wording of these prompts, as `wording`.
    architecture : str
        Of an image-only model: "unet", "unet++" or "deeplabv3+"; "" where it is not known.
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
    trained_levels: tuple[str, ...] | None = None
    trained_wording: str = ""
    architecture: str = ""

    @property
    def line(self) -> str:
        """One line under a table."""
        return (
            f"{self.title} ({self.model}), weights {self.weights[:12]}, threshold {self.threshold:g} from "
            f"{self.threshold_from}, prompts in the wording of the {self.wording}, medvlsm {self.software}, "
            f"{self.device} {self.precision}, seed {self.seed}"
        )


@dataclass(frozen=True)
class MeasuredSet:
    """What is known of a data set that was measured.

    Attributes
    ----------
    split, sha256 : str
        The hash of all its files: another one means other data.
    cases, missing : int
        Measured, and listed but without their files.
    grouped_by : str
        What is resampled for the intervals: "patient", "sequence", ... or "image".
    """

    split: str
    sha256: str
    cases: int
    missing: int
    grouped_by: str


@dataclass(frozen=True, eq=False)
class Results:
    """A folder of results.

    Attributes
    ----------
    folder : Path
    about : About
    sets : mapping of name to MeasuredSet
    rows : tuple of mapping
        One for each set, target, kind, level and size; an estimate is a mapping as `core.statistics.Estimate`,
        with None for NaN.
    calibration : tuple of mapping
        Expected error with its reliability table.
    contrasts : tuple of mapping
        What other words change in Dice; see `summary.contrasts`.
    """

    folder: Path
    about: About
    sets: Mapping[str, MeasuredSet]
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


def trained_prompts(training: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, str]:
    """Levels and wording of the prompts in a card's recipe; (None, "") where it has none."""
    prompts = training.get("recipe", {}).get("prompts")
    if not prompts or "mix" not in prompts:
        return None, ""
    return tuple(kind for kind, weight in prompts["mix"].items() if weight), str(prompts.get("wording", "interface"))


def write_results(folder: Path, about: About, sets: Mapping[str, MeasuredSet], measured: Measurements) -> Results:
    """Summarise and write both files into an existing folder."""
    rows = summarise(measured.scores, about.seed)
    calibrated = [
        dict(zip(("set", "kind", "level", "size"), key, strict=True))
        | {"expected_error": counted.expected_error(), "bins": [asdict(b) for b in counted.bins()]}
        for key, counted in measured.calibration.items()
    ]
    contrasted = contrasts(measured.scores, about.seed)
    asked = {score.kind for score in measured.scores}
    content = {
        "about": asdict(about),
        "conventions": CONVENTIONS,
        "kinds": {kind.value: kind.attributes_from for kind in PromptKind if kind.value in asked},
        "sets": {name: asdict(found) for name, found in sets.items()},
        "rows": rows,
        "contrasts": contrasted,
        "calibration": calibrated,
    }
    text = json.dumps(json_ready(content), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY_FILE).write_text(text + "\n", "utf-8")
    same = {"model": about.model, "weights": about.weights, "threshold": about.threshold, "software": about.software}
    write_scores(folder, measured.scores, same, {name: found.sha256 for name, found in sets.items()})
    return Results(folder, about, sets, tuple(rows), tuple(calibrated), tuple(contrasted))


def read_results(folder: Path) -> Results:
    """Read a folder of results.

    Raises
    ------
    ValueError
        If it is none.
    """
    path = folder / SUMMARY_FILE
    try:
        raw = with_current_keys(read_json(path))
        seen = raw["about"]["trained_on"]
        levels = raw["about"].get("trained_levels")
        lists = {"trained_on": seen, "trained_levels": levels}
        about = About(**raw["about"] | {name: None if some is None else tuple(some) for name, some in lists.items()})
        sets = {name: MeasuredSet(**found) for name, found in raw["sets"].items()}
        rows, calibration, contrasted = (tuple(raw[name]) for name in ("rows", "calibration", "contrasts"))
        return Results(folder, about, sets, rows, calibration, contrasted)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder} holds no results of `medvlsm evaluate` ({shown(error)}).") from error


def find_results(folders: Iterable[Path]) -> list[Path]:
    """Folders of results among these and directly in them.

    Raises
    ------
    ValueError
        If there are none.
    """
    folders = list(folders)
    found = []
    for folder in folders:
        inside = sorted(path.parent for path in folder.glob(f"*/{SUMMARY_FILE}"))
        found += [folder] if (folder / SUMMARY_FILE).is_file() else inside
    if not found:
        raise ValueError(f"There are no results ({SUMMARY_FILE}) in {', '.join(map(str, folders))}.")
    return found
