"""The edit-effort ledger: what each accepted outline cost a person, and whether another model made that less.

An outline counts once, in its present accepted version (submitted, approved or absent); seconds, strokes and clicks are
those of all the work on it. Dice is between what the model said and what was accepted.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.projects.database import Database
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.values import version_name
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.core.statistics import Difference, Estimate, difference, estimate

# Fewer outlines than this on either side answer nothing.
_FEW = 5
#: To be said beside every comparison.
CAUTION = (
    "Each model had other scans, and people get faster with practice: what is easier or later looks like help. The "
    "interval holds chance alone."
)


@dataclass(frozen=True)
class Effort:
    """What one accepted outline cost.

    Attributes
    ----------
    case_id : int
    case, target, group, split : str
    state : State
    person : str
        Who outlined it.
    at : datetime
        When it got its present form, in UTC.
    model, weights_hash : str
        Of the prediction that it began from; "" without.
    assisted : bool
        Whether it began from a prediction; if not, it was outlined blind.
    seconds : float
        In which the person worked on it.
    strokes, clicks : int
    pixels_changed : int or None
        Of the prediction, or of an empty mask; None where unknown.
    dice : float or None
        Between prediction and outline; None where there was no prediction.
    unchanged : bool or None
        Whether the prediction was accepted as it was; None where there was none.
    versions : int
        Of the outline, predictions included.
    """

    case_id: int
    case: str
    target: str
    group: str
    split: str
    state: State
    person: str
    at: datetime
    model: str
    weights_hash: str
    assisted: bool
    seconds: float
    strokes: int
    clicks: int
    pixels_changed: int | None
    dice: float | None
    unchanged: bool | None
    versions: int

    @property
    def model_version(self) -> str:
        """The model's name with the beginning of its weights' hash; "without a model" where there was none."""
        if not self.assisted:
            return WITHOUT
        return version_name(self.model, self.weights_hash)

    @property
    def unit(self) -> str:
        """What is resampled: its group, or the scan itself."""
        return self.group or f"case {self.case_id}"


WITHOUT = "without a model"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


#: Measures by name, and whether less of it is better. NaN: does not count.
MEASURES: Mapping[str, tuple[Callable[[Effort], float], bool]] = MappingProxyType(
    {
        "seconds": (lambda effort: effort.seconds, True),
        "strokes": (lambda effort: float(effort.strokes), True),
        "clicks": (lambda effort: float(effort.clicks), True),
        "pixels changed": (lambda effort: _number(effort.pixels_changed), True),
        "Dice": (lambda effort: _number(effort.dice), False),
        "accepted unchanged": (lambda effort: _number(effort.unchanged), False),
    }
)


def read_ledger(database: Database) -> list[Effort]:
    """The ledger of a project, the oldest outline first."""
    rows = database.query(
        "SELECT scan.id AS case_id, scan.name AS name, phrase, scan_group.name AS group_name, split, state, version.*, "
        "(SELECT count(*) FROM version AS other WHERE other.task_id = task.id) AS versions "
        "FROM task JOIN version ON version.id = current_id JOIN target ON target.id = target_id "
        "JOIN scan ON scan.id = scan_id JOIN scan_group ON scan_group.id = group_id "
        "WHERE state IN ('submitted', 'approved', 'absent') ORDER BY version.id"
    )
    return [
        Effort(
            case_id=row["case_id"],
            case=row["name"],
            target=row["phrase"],
            group=row["group_name"] or "",
            split=row["split"],
            state=State(row["state"]),
            person=row["author"],
            at=datetime.fromisoformat(row["created"]),
            model=row["model"],
            weights_hash=row["weights_hash"],
            assisted=bool(row["predicted"]),
            seconds=row["seconds"],
            strokes=row["strokes"],
            clicks=row["clicks"],
            pixels_changed=row["pixels_changed"],
            dice=row["dice"],
            unchanged=None if not row["predicted"] else row["pixels_changed"] == 0,
            versions=row["versions"],
        )
        for row in rows
    ]


def write_ledger(ledger: Iterable[Effort], path: Path) -> None:
    """Write a table (CSV) with a line for each outline; an empty field says nothing."""
    names = [field.name for field in fields(Effort)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for effort in ledger:
            row = asdict(effort) | {"at": effort.at.isoformat(), "state": effort.state.value}
            writer.writerow({name: "" if row[name] is None else row[name] for name in names})


#: What a summary can have a line for.
LINES: Mapping[str, Callable[[Effort], str]] = MappingProxyType(
    {
        "version": lambda effort: effort.model_version,
        "target": lambda effort: effort.target,
        "person": lambda effort: effort.person or "no name given",
        "case": lambda effort: effort.case,
    }
)


def summary(ledger: Iterable[Effort], by: str = "version", target: str = "") -> dict[str, dict[str, Estimate]]:
    """Means with intervals by model version, target, person or case (see `LINES`), and by measure.

    Lines are in the order in which the first outline of each came.
    """
    lines: dict[str, list[Effort]] = {}
    for effort in of_target(ledger, target):
        lines.setdefault(LINES[by](effort), []).append(effort)
    return {
        line: {
            name: estimate([measure(effort) for effort in efforts], [effort.unit for effort in efforts])
            for name, (measure, _) in MEASURES.items()
        }
        for line, efforts in lines.items()
    }


def write_summary(found: Mapping[str, Mapping[str, Estimate]], by: str, path: Path) -> None:
    """Write a table (CSV) with a line for each of a summary's; an empty field says nothing."""
    bounds = ("mean", "low", "high")
    names = [by, "outlines", *(f"{measure} {bound}" for measure in MEASURES for bound in bounds)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for line, measures in found.items():
            numbers = [getattr(one, bound) for one in measures.values() for bound in bounds]
            plain = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
            writer.writerow([line, measures["seconds"].cases, *plain])


@dataclass(frozen=True)
class Answer:
    """Whether a second model helped with a target.

    Attributes
    ----------
    target : str
    first, second : str
        Model versions.
    outlines : (int, int)
        Of each.
    differences : mapping of measure to Difference
        Second minus first.
    sentence : str
        For people.
    """

    target: str
    first: str
    second: str
    outlines: tuple[int, int]
    differences: Mapping[str, Difference]
    sentence: str


def did_it_help(ledger: Sequence[Effort], first: str = "", second: str = "") -> list[Answer]:
    """Compare what outlines cost with two models, target by target.

    The scans are different ones: the intervals hold the chance in that, not that those of one model may have been
    easier.

    Parameters
    ----------
    ledger : sequence of Effort
    first, second : str
        Model versions; by default the last two that came, or no model and the only one.

    Raises
    ------
    ValueError
        If there are no two to compare, or one of that name.
    """
    known = list(dict.fromkeys(effort.model_version for effort in ledger))
    models = [version for version in known if version != WITHOUT]
    if not (first and second):
        chosen = models[-2:] if len(models) > 1 else [*(v for v in known if v == WITHOUT), *models]
        if len(chosen) < 2:
            raise ValueError(
                f"Outlines with two models are needed to compare them, but there are {', '.join(known) or 'none'}."
            )
        first, second = first or chosen[0], second or chosen[1]
    for version in (first, second):
        if version not in known:
            raise ValueError(f"There are no outlines of {version!r}; known are {', '.join(known) or 'none'}.")
    answers = []
    for target in dict.fromkeys(effort.target for effort in ledger):
        sides = [[e for e in of_target(ledger, target) if e.model_version == version] for version in (first, second)]
        if all(sides):
            answers.append(_answer(target, first, second, sides))
    return answers


def _answer(target: str, first: str, second: str, sides: Sequence[Sequence[Effort]]) -> Answer:
    found: dict[str, Difference] = {}
    for name, (measure, _) in MEASURES.items():
        before, after = ([(measure(effort), effort.unit) for effort in side] for side in sides)
        found[name] = difference(before, after)
    counts = (len(sides[0]), len(sides[1]))
    return Answer(
        target, first, second, counts, MappingProxyType(found), _sentence(target, first, second, counts, found)
    )


def _sentence(target: str, first: str, second: str, counts: tuple[int, int], found: Mapping[str, Difference]) -> str:
    seconds, dice = found["seconds"], found["Dice"]
    if min(counts) < _FEW or math.isnan(seconds.low):
        return (
            f"{target_name(target)}: too few to tell. There are {counts[0]} outlines with {first} and {counts[1]} with "
            f"{second}; at least {_FEW} with each, of several patients or scans, are needed."
        )
    low, high = sorted((abs(seconds.low), abs(seconds.high)))
    word = "less" if seconds.mean < 0 else "more"
    if seconds.low <= 0 <= seconds.high:
        interval = f"from {-seconds.low:.1f} s less to {seconds.high:.1f} s more"
        verdict = "that may be chance"
    else:
        interval = f"{low:.1f} to {high:.1f} s {word}"
        verdict = "it helped" if seconds.high < 0 else "it did not help"
    text = (
        f"{target_name(target)}: with {second} an outline took {abs(seconds.mean):.1f} s {word} than with {first} "
        f"(95 % interval {interval}; {counts[1]} and {counts[0]} outlines): {verdict}."
    )
    if not math.isnan(dice.low):
        text += (
            f" Its predictions were {'nearer to' if dice.mean > 0 else 'farther from'} what was accepted: Dice "
            f"{dice.mean:+.3f} ({dice.low:+.3f} to {dice.high:+.3f})"
            f"{', which may be chance' if dice.low <= 0 <= dice.high else ''}."
        )
    return text


def of_target(ledger: Iterable[Effort], target: str = "") -> list[Effort]:
    """The outlines of a target, or all of them."""
    return [effort for effort in ledger if not target or effort.target == target]
