"""Candidate beside present model, case by case on the hold-out: numbers that a person decides by."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.improve.cases import TrainingCase
from napari_medvlsm.core.statistics import Paired


class Advice(enum.Enum):
    """What the numbers speak for. A person decides."""

    PROMOTE = "promote"
    KEEP = "keep the present model"
    UNCLEAR = "no clear difference"
    TOO_FEW = "too few to tell"


@dataclass(frozen=True)
class CasePair:
    """One hold-out case, asked by name, with both models.

    Attributes
    ----------
    case : TrainingCase
    first, second : float
        Dice of the present model and of the candidate, 0 to 1; of an absent target 1 where nothing is outlined.
    """

    case: TrainingCase
    first: float
    second: float


@dataclass(frozen=True)
class Rates:
    """False positives: cases without the target on which more than 1 % of the image was outlined."""

    cases: int
    first: int
    second: int


@dataclass(frozen=True)
class Verdict:
    """What the hold-out says; all comparisons are candidate minus present model, in Dice, on the same cases.

    Attributes
    ----------
    scans : int
        Hold-out scans that count.
    overall : Paired
        Asked by name, cases that show the target.
    blind, assisted : Paired
        The same, of outlines made before any prediction was seen, and of those that began from one.
    by_target : mapping of str to Paired
        Asked by name.
    by_kind : mapping of str to Paired
        By kind of prompt: "class" (the name), "oracle" (name and attributes).
    margin : Paired or None
        How much better the right words do than the wrong side or size, on the same case: does the model still listen?
        None where no case has such words.
    absent : Rates
        Hold-out cases that a person marked absent.
    impossible : Rates
        Names of what such a scan cannot show.
    older : mapping of str to Paired
        On replayed older targets, by target: what was forgotten.
    older_absent : Rates
    worst : CasePair or None
        The case that lost most; of equal ones the one with the lower candidate.
    pairs : tuple of CasePair
    advice : Advice
    reasons : tuple of str
        Sentences for people, the recommendation first.
    """

    scans: int
    overall: Paired
    blind: Paired
    assisted: Paired
    by_target: Mapping[str, Paired]
    by_kind: Mapping[str, Paired]
    margin: Paired | None
    absent: Rates
    impossible: Rates
    older: Mapping[str, Paired]
    older_absent: Rates
    worst: CasePair | None
    pairs: tuple[CasePair, ...]
    advice: Advice
    reasons: tuple[str, ...]


def judge(before: Path, after: Path, cases: Sequence[TrainingCase], data: str = "data") -> Verdict:
    """Compare two folders of results on the hold-out of a round.

    Parameters
    ----------
    before, after : Path
        Of the present model and of the candidate, as `medvlsm evaluate` writes them, with file names.
    cases : sequence of TrainingCase
        Of the round's plan.
    data : str
        The set that is the hold-out; all others are older data.

    Raises
    ------
    ValueError
        If the results are missing, damaged, or not of the same cases.
    """
    raise NotImplementedError
