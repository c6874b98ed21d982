"""Means with intervals by data set, target and kind of prompt, and what other words change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import METRICS, Score, false_positive_rate
from napari_medvlsm.core.statistics import Estimate, estimate, paired

ALL_TARGETS = "all targets"


def summarise(scores: Sequence[Score], seed: int = 0) -> list[dict[str, Any]]:
    """One row for each set, target, kind, level and size; where a set has several targets, one for all of them too."""
    return [json_ready(_row(key, found, seed)) for key, found in _grouped(scores)]


# What each kind is compared with: the right words of the same case.
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
        rows.append(row | json_ready(asdict(gain)))
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
        row["false_positive_rate"] = false_positive_rate(absent)
        row["any_false_positive_rate"] = false_positive_rate(absent, above=0)
    return row


def _estimate(name: str, found: Sequence[Score], seed: int) -> dict[str, Any]:
    made: Estimate = estimate([getattr(s, name) for s in found], [s.group for s in found], seed)
    return asdict(made)


def json_ready(value: Any) -> Any:
    """Values for JSON, which has no NaN: null. Six digits."""
    if isinstance(value, Mapping):
        return {k: json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
