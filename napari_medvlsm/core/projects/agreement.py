"""Predictions of two models on the same scans: which came nearer to what was accepted.

The fair question to a new model, since scan, person and accepted outline are the same for both. A scan counts only
where neither model can have learned from it: in the hold-out, and where both predicted it before anything of its
patient or sequence was outlined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.outlines import PREDICTION
from napari_medvlsm.core.projects.states import ACCEPTED
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Version
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION
from napari_medvlsm.core.statistics import Paired, paired

# Fewer scans than this answer nothing.
_FEW = 5


@dataclass(frozen=True)
class Prediction:
    """What a model version predicted for an outline: the last time, if that was fair, or else the first time.

    Attributes
    ----------
    dice : float
        With what was accepted; NaN where that is "nothing there".
    outlined : bool
        Whether it is more than 1 % of the image.
    fair : bool
        Whether the model cannot have learned from the outline.
    """

    dice: float
    outlined: bool
    fair: bool


@dataclass(frozen=True)
class Agreement:
    """An accepted outline of which several model versions had predictions.

    Attributes
    ----------
    case_id : int
    target : str
    unit : str
        What is resampled: its group, or the scan itself.
    absent : bool
        Whether the answer is that there is nothing.
    began_from : str
        Model version of the prediction that it began from; "" without.
    predictions : mapping of model version to Prediction
        The one that predicted first comes first.
    """

    case_id: int
    target: str
    unit: str
    absent: bool
    began_from: str
    predictions: Mapping[str, Prediction]


def read_agreements(store: ProjectStore, target: str = "") -> list[Agreement]:
    """The accepted outlines (of a target) that several model versions predicted, in the order of their first version.

    Reads the masks; those whose file is lost are left out.
    """
    marks = ", ".join("?" * len(ACCEPTED))
    rows = store.database.query(
        "SELECT scan_id, group_id, phrase FROM task JOIN target ON target.id = target_id "
        "JOIN scan ON scan.id = scan_id WHERE (? = '' OR phrase = ?) AND "
        f"state IN ({marks}) AND (SELECT count(DISTINCT model || ' ' || weights_hash) FROM version "
        "WHERE task_id = task.id AND origin = ? AND NOT lost) > 1 ORDER BY current_id",
        target,
        target,
        *(state.value for state in ACCEPTED),
        PREDICTION,
    )
    outlined = {
        row["group_id"]: row["first"]
        for row in store.database.query(
            "SELECT group_id, min(version.id) AS first FROM version JOIN task ON task.id = task_id "
            "JOIN scan ON scan.id = scan_id WHERE origin <> ? GROUP BY group_id",
            PREDICTION,
        )
    }
    found = []
    for row in rows:
        try:
            found.append(_agreement(store, row["scan_id"], row["phrase"], outlined[row["group_id"]]))
        except ProjectError:
            continue  # `check` names the file
    return found


def _agreement(store: ProjectStore, case_id: int, target: str, outlined: int) -> Agreement:
    """`outlined`: id of the first version that a person made in the scan's group."""
    case, versions = store.case(case_id), store.versions(case_id, target)
    current = next(version for version in versions if version.current)
    accepted = store.load(current).mask
    chosen: dict[str, tuple[Version, bool]] = {}
    for version in versions:
        fair = case.split == "test" or version.id < outlined
        if version.origin == PREDICTION and not version.lost and (fair or version.model_version not in chosen):
            chosen[version.model_version] = version, fair
    return Agreement(
        case_id,
        target,
        case.group or f"case {case_id}",
        current.absent,
        current.model_version if current.predicted else "",
        {
            name: Prediction(
                math.nan if current.absent else dice(store.load(version).mask, accepted),
                version.foreground > FALSE_POSITIVE_FRACTION * accepted.size,
                fair,
            )
            for name, (version, fair) in chosen.items()
        },
    )


@dataclass(frozen=True)
class Comparison:
    """Two model versions on the same scans of a target.

    Attributes
    ----------
    target, first, second : str
    dice : Paired
        Of the scans that show the target.
    absent, absent_first, absent_second : int
        Scans that do not show it, and on how many of them each model outlined more than 1 % of the image.
    left_out : int
        Scans from which a model may have learned.
    favoured : (int, int)
        How many of the outlines that show the target began from a prediction of each.
    sentence : str
        For people.
    """

    target: str
    first: str
    second: str
    dice: Paired
    absent: int
    absent_first: int
    absent_second: int
    left_out: int
    favoured: tuple[int, int]
    sentence: str


def versions_of(agreements: Iterable[Agreement]) -> list[str]:
    """The model versions that predicted, the first one first."""
    return list(dict.fromkeys(name for agreement in agreements for name in agreement.predictions))


def compare(agreements: Sequence[Agreement], first: str = "", second: str = "") -> list[Comparison]:
    """Compare two model versions, target by target where both predicted; by default the last two that came."""
    known = versions_of(agreements)
    if not (first and second):
        if len(known) < 2:
            return []
        first, second = first or known[-2], second or known[-1]
    found = []
    for target in dict.fromkeys(agreement.target for agreement in agreements):
        both = [a for a in agreements if a.target == target and {first, second} <= set(a.predictions)]
        if both and first != second:
            found.append(_comparison(target, first, second, both))
    return found


def _comparison(target: str, first: str, second: str, both: Sequence[Agreement]) -> Comparison:
    fair = [a for a in both if a.predictions[first].fair and a.predictions[second].fair]
    shown, absent = [a for a in fair if not a.absent], [a for a in fair if a.absent]
    sides = [[a.predictions[name].dice for a in shown] for name in (first, second)]
    measured = paired(sides[0], sides[1], [a.unit for a in shown])
    outlined = [sum(a.predictions[name].outlined for a in absent) for name in (first, second)]
    favoured = (sum(a.began_from == first for a in shown), sum(a.began_from == second for a in shown))
    left_out = len(both) - len(fair)
    text = " ".join(
        [
            _verdict(target, first, second, measured),
            *([_false_alarms(first, second, len(absent), outlined)] if absent else []),
            *_head_starts(first, second, favoured),
            *([f"Left out, since a model may have learned from them: {left_out} more."] if left_out else []),
        ]
    )
    return Comparison(target, first, second, measured, len(absent), outlined[0], outlined[1], left_out, favoured, text)


def _verdict(target: str, first: str, second: str, found: Paired) -> str:
    gain, target = found.difference, target_name(target)
    if gain.cases < _FEW or math.isnan(gain.low):
        return (
            f"{target}, on the same scans: too few to tell. Both {first} and {second} predicted {gain.cases} scans "
            f"that count; at least {_FEW}, of several patients or scans, are needed."
        )
    if gain.low <= 0 <= gain.high:
        said = f"no difference between {second} and {first} that could not be chance"
    else:
        said = f"{second} came {'nearer to' if gain.mean > 0 else 'less near to'} what was accepted than {first}"
    return (
        f"{target}, on the same {gain.cases} scans: {said}. Dice {found.second:.3f} against {found.first:.3f}, "
        f"{gain.mean:+.3f} on average (95 % interval {gain.low:+.3f} to {gain.high:+.3f}); better on {found.wins}, "
        f"worse on {found.losses}, the same on {found.ties}."
    )


def _head_starts(first: str, second: str, favoured: tuple[int, int]) -> list[str]:
    named = [f"{name} ({count})" for name, count in zip((first, second), favoured, strict=True) if count]
    return [f"Outlines that began from a prediction favour it: {' and '.join(named)}."] if named else []


def _false_alarms(first: str, second: str, absent: int, outlined: Sequence[int]) -> str:
    return f"Of {absent} scans without it, {second} outlined something on {outlined[1]} and {first} on {outlined[0]}."
