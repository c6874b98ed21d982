"""Two models on the same cases: case by case, so that hard and easy cases cancel out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import read_results
from napari_medvlsm.core.runs.scores import METRICS, Score, read_scores
from napari_medvlsm.core.statistics import Paired, paired

Key = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class ScorePair:
    """One case, prompt and size in both results."""

    first: Score
    second: Score


@dataclass(frozen=True)
class Comparison:
    """What the second gains over the first in one set, with one kind and level of prompt, at one size."""

    set: str
    kind: str
    level: str
    size: str
    metric: str
    found: Paired


def pair_up(first: Path, second: Path, kind: str = "") -> list[ScorePair]:
    """The cases of two result folders, side by side.

    Parameters
    ----------
    first, second : Path
    kind : str
        Only this kind of prompt, of which one may have more than the other.

    Raises
    ------
    ValueError
        If they are not of the same data, cases, prompt kinds and levels.
    """
    one, other = read_results(first), read_results(second)
    for name in sorted(one.sets.keys() | other.sets.keys()):
        hashes = [r.sets[name].sha256 if name in r.sets else None for r in (one, other)]
        if None in hashes:
            lacking = first if hashes[0] is None else second
            raise ValueError(f"{lacking} holds no results on {name}; only the same cases can be compared.")
        if hashes[0] != hashes[1]:
            raise ValueError(f"The images or masks of {name} differ between {first} and {second}: other data.")
    if one.about.tolerance != other.about.tolerance:
        raise ValueError(f"The tolerances of NSD differ: {one.about.tolerance} and {other.about.tolerance}.")
    mine, theirs = ({_key(s): s for s in read_scores(folder) if kind in ("", s.kind)} for folder in (first, second))
    if odd := mine.keys() ^ theirs.keys():
        name, case, kind, level, size, _ = min(odd)
        raise ValueError(
            f"{len(odd)} cases are in one of {first} and {second} only, for example {case} of {name}, {kind} {level}, "
            f"{size} size; only the same cases can be compared."
        )
    return [ScorePair(score, theirs[key]) for key, score in mine.items()]


def compare(pairs: Sequence[ScorePair], metric: str = "dice", seed: int = 0) -> list[Comparison]:
    """The differences by set, kind, level and size.

    Raises
    ------
    ValueError
        If there is no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f"The metrics are {', '.join(METRICS)}, but not {metric!r}.")
    groups: dict[tuple[str, str, str, str], list[ScorePair]] = {}
    for pair in pairs:
        score = pair.first
        groups.setdefault((score.set, score.kind, score.level, score.size), []).append(pair)
    made = []
    for key, found in groups.items():
        first, second = ([getattr(s, metric) for s in side] for side in _sides(found))
        made.append(Comparison(*key, metric, paired(first, second, [p.first.group for p in found], seed)))
    return made


def write_pairs(path: Path, pairs: Sequence[ScorePair]) -> None:
    """One row a case: every metric of both, and the difference; "nan" where a metric is not defined."""
    columns = ["set", "case", "target", "kind", "level", "size", "prompt_first", "prompt_second"]
    values = [f"{name}_{what}" for name in METRICS for what in ("first", "second", "difference")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *values])
        writer.writeheader()
        for pair in pairs:
            a, b = pair.first, pair.second
            row: dict[str, object] = {name: getattr(a, name) for name in columns[:6]}
            row |= {"prompt_first": a.prompt, "prompt_second": b.prompt}
            for name in METRICS:
                one, other = getattr(a, name), getattr(b, name)
                row |= {f"{name}_first": one, f"{name}_second": other, f"{name}_difference": other - one}
            writer.writerow(row)


def _sides(pairs: Sequence[ScorePair]) -> tuple[list[Score], list[Score]]:
    return [p.first for p in pairs], [p.second for p in pairs]


def _key(score: Score) -> Key:
    text = score.prompt if PromptKind(score.kind).several else ""
    return score.set, score.case, score.kind, score.level, score.size, text
