"""The metrics of one case, prompt and size, and all of them as a table, `cases.csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.core.plain_files import parse_rows, read_text, shown
from napari_medvlsm.core.renamed_keys import with_current_keys

if TYPE_CHECKING:
    from napari_medvlsm.core.calibration import Calibration

CASES_FILE = "cases.csv"
METRICS = ("dice", "iou", "precision", "recall", "hd95", "nsd")
# A mask on an absent target is a false positive above this fraction of the image.
FALSE_POSITIVE_FRACTION = 0.01
# Of the normalised surface distance: mm where the spacing is known, else pixels.
TOLERANCE = 2.0
# Sizes at which masks are compared.
MODEL, ORIGINAL = "model", "original"


@dataclass(frozen=True)
class Score:
    """One case, prompt and size.

    Attributes
    ----------
    set, split, case, image, group : str
    kind, level, wording, prompt : str
        See `prompt_kinds.PromptKind`.
    size : str
        "model" (the mask resized to the model's square by nearest neighbour, as upstream medvlsm does) or "original".
    target : str
        Of the case; of an absent one what was asked for.
    present : bool
        Whether the true mask holds anything.
    dice, iou, precision, recall, hd95, nsd : float
        See `core.metrics`; NaN where one is not defined.
    unit : str
        Of `hd95` and of the tolerance of `nsd`: "mm" where the file gives the spacing, else "px".
    predicted_fraction : float
        Of the image, 0 to 1.
    """

    set: str
    split: str
    case: str
    image: str
    group: str
    target: str
    kind: str
    level: str
    wording: str
    prompt: str
    size: str
    present: bool
    dice: float
    iou: float
    precision: float
    recall: float
    hd95: float
    nsd: float
    unit: str
    predicted_fraction: float


@dataclass(eq=False)
class Measurements:
    """Scores of any number of sets, and the calibration by (set, kind, level, size)."""

    scores: list[Score] = field(default_factory=list)
    calibration: dict[tuple[str, str, str, str], Calibration] = field(default_factory=dict)


def false_positive_rate(scores: Sequence[Score], above: float = FALSE_POSITIVE_FRACTION) -> float:
    """The share of these cases, all without the target, of which more than a fraction of the image was outlined."""
    return sum(score.predicted_fraction > above for score in scores) / len(scores)


def write_scores(
    folder: Path, scores: Sequence[Score], constants: Mapping[str, Any], hashes: Mapping[str, str]
) -> None:
    """One row a score, with what it depends on: a row that is copied elsewhere still says where it comes from.

    Parameters
    ----------
    folder : Path
    scores : sequence of Score
    constants : mapping
        Further columns, the same in every row.
    hashes : mapping
        By set; the column "data".
    """
    columns = [f.name for f in fields(Score)]
    with (folder / CASES_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "data", *constants])
        writer.writeheader()
        for score in scores:
            values = {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(score).items()}
            writer.writerow(values | dict(constants) | {"data": hashes[score.set]})


def read_scores(folder: Path) -> list[Score]:
    """The rows of `cases.csv`.

    Raises
    ------
    ValueError
        If it is missing or damaged.
    """
    try:
        path = folder / CASES_FILE
        return [_score(with_current_keys(row)) for row in parse_rows(read_text(path), path)]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{folder / CASES_FILE} cannot be read as results ({shown(error)}).") from error


def _score(row: Mapping[str, str]) -> Score:
    values: dict[str, Any] = {f.name: row[f.name] for f in fields(Score)}
    for name in (*METRICS, "predicted_fraction"):
        values[name] = float(values[name]) if values[name] else math.nan
    values["present"] = values["present"] == "True"
    return Score(**values)
