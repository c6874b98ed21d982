"""Candidate beside present model, case by case on the hold-out: numbers that a person decides by."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.improve.cases import FEW, FEW_GROUPS, TrainingCase, too_few
from napari_medvlsm.core.improve.plan import DATA_FOLDER
from napari_medvlsm.core.runs.comparison import ScorePair, pair_up
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION, ORIGINAL, Score
from napari_medvlsm.core.runs.summary import with_right
from napari_medvlsm.core.statistics import Paired, paired

_CLASS, _ORACLE, _ABSENT = PromptKind.CLASS.value, PromptKind.ORACLE.value, PromptKind.ABSENT.value
_WRONG = (PromptKind.WRONG_SIDE.value, PromptKind.WRONG_SIZE.value)
# Of the hash of a scan's pixels, in the name of an exported file.
_DIGITS = 16


class Advice(enum.Enum):
    """What the numbers speak for; a person decides.

    Attributes
    ----------
    PROMOTE
        Better on the hold-out, and worse in nothing that was measured.
    MIXED
        Better on the hold-out, but worse in something else.
    KEEP
        Worse on the hold-out.
    UNCLEAR
        Neither is clear.
    TOO_FEW
        Fewer hold-out scans, or patients, than tell anything.
    """

    PROMOTE = "promote"
    MIXED = "mixed"
    KEEP = "keep"
    UNCLEAR = "unclear"
    TOO_FEW = "too few"


@dataclass(frozen=True)
class CasePair:
    """One hold-out case that shows its target, asked by name, with both models; Dice from 0 to 1.

    Attributes
    ----------
    case : TrainingCase
    first, second : float
        Of the present model and of the candidate.
    """

    case: TrainingCase
    first: float
    second: float

    @property
    def gain(self) -> float:
        """Candidate minus present model."""
        return self.second - self.first


@dataclass(frozen=True)
class Rates:
    """False positives: of `cases` without the target, those on which more than 1 % of the image was outlined."""

    cases: int
    first: int
    second: int

    @property
    def worse(self) -> bool:
        """Whether the candidate has more of them."""
        return self.second > self.first


@dataclass(frozen=True)
class Verdict:
    """What the hold-out says; all comparisons are candidate minus present model, in Dice, on the same cases.

    Whole patients or sequences are resampled for the intervals. Sizes are those of the scans.

    Attributes
    ----------
    scans : int
        Hold-out scans that were measured.
    overall : Paired
        Asked by name, cases that show the target.
    blind, assisted : Paired
        The same, of outlines that were drawn from nothing, and of those that began from a prediction, which favours
        the model that made it.
    by_target : mapping of str to Paired
        Asked by name.
    by_kind : mapping of str to Paired
        By kind of prompt: "class" (the name), "oracle" (name and attributes, made from the true outline).
    margin : Paired
        How much better the right words do than the wrong side or size, on the same case: does the model still listen?
        Its `first` and `second` are the margins of both models.
    absent : Rates
        Hold-out cases that a person marked absent.
    impossible : Rates
        Names of what such a scan cannot show.
    older : mapping of str to Paired
        On older data, by target: what was forgotten. Empty where none were measured.
    older_absent : Rates
    pairs : tuple of CasePair
        Of `overall`, the greatest loss first.
    """

    scans: int
    overall: Paired
    blind: Paired
    assisted: Paired
    by_target: Mapping[str, Paired]
    by_kind: Mapping[str, Paired]
    margin: Paired
    absent: Rates
    impossible: Rates
    older: Mapping[str, Paired]
    older_absent: Rates
    pairs: tuple[CasePair, ...]

    @property
    def worst(self) -> CasePair | None:
        """The case that lost most, or gained least."""
        return self.pairs[0] if self.pairs else None

    @property
    def decisive(self) -> Paired:
        """What the advice rests on: blind outlines where there are enough of them, else all."""
        blind = self.blind.difference
        return self.blind if blind.cases >= FEW and blind.groups >= FEW_GROUPS else self.overall

    @property
    def too_few(self) -> str:
        """Why the hold-out tells nothing, see `cases.too_few`; "" where it does."""
        return too_few(self.scans, len({pair.case.case_id for pair in self.pairs}), self.overall.difference.groups)

    @property
    def losses(self) -> tuple[str, ...]:
        """What got worse beside the outlines: "margin", "absent", "impossible", "older absent", or an older target."""
        rates = {"absent": self.absent, "impossible": self.impossible, "older absent": self.older_absent}
        found = ["margin"] if is_worse(self.margin) else []
        found += [name for name, rate in rates.items() if rate.worse]
        return (*found, *(target for target, pair in self.older.items() if is_worse(pair)))

    @property
    def advice(self) -> Advice:
        """What the numbers speak for."""
        if self.too_few:
            return Advice.TOO_FEW
        if is_worse(self.decisive):
            return Advice.KEEP
        if not is_better(self.decisive):
            return Advice.UNCLEAR
        return Advice.MIXED if self.losses else Advice.PROMOTE


def is_better(pair: Paired) -> bool:
    """Whether the whole interval lies above 0."""
    return pair.difference.low > 0


def is_worse(pair: Paired) -> bool:
    """Whether the whole interval lies below 0."""
    return pair.difference.high < 0


def judge(before: Path, after: Path, cases: Sequence[TrainingCase], data: str = DATA_FOLDER) -> Verdict:
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
    pairs = [pair for pair in pair_up(before, after) if pair.first.size == ORIGINAL]
    own, older = [p for p in pairs if p.first.set == data], [p for p in pairs if p.first.set != data]
    case_of = {(case.pixels_hash[:_DIGITS], case.target): case for case in cases}
    named = [p for p in own if p.first.kind == _CLASS]
    shown = [(p, _case(p, case_of)) for p in named if p.first.present]
    asked = [p for p in older if p.first.kind == _CLASS]
    by_case = [CasePair(case, p.first.dice, p.second.dice) for p, case in shown]
    return Verdict(
        scans=len({p.first.image for p in named}),
        overall=_paired(p for p, _ in shown),
        blind=_paired(p for p, case in shown if not case.assisted),
        assisted=_paired(p for p, case in shown if case.assisted),
        by_target=_grouped((p for p, _ in shown), lambda score: score.target),
        by_kind=_grouped(
            (p for p in own if p.first.present and p.first.kind in (_CLASS, _ORACLE)), lambda score: score.kind
        ),
        margin=_margin(own),
        absent=_rates(p for p in named if not p.first.present),
        impossible=_rates(p for p in own if p.first.kind == _ABSENT),
        older=_grouped((p for p in asked if p.first.present), lambda score: score.target),
        older_absent=_rates(p for p in older if not p.first.present),
        pairs=tuple(sorted(by_case, key=lambda pair: (pair.gain, pair.second))),
    )


def _case(pair: ScorePair, case_of: Mapping[tuple[str, str], TrainingCase]) -> TrainingCase:
    key = Path(pair.first.image).stem, pair.first.target
    if key not in case_of:
        raise ValueError(f"The results hold the case {pair.first.case}, which is none of this round; measure it again.")
    return case_of[key]


def _paired(pairs: Iterable[ScorePair]) -> Paired:
    rows = list(pairs)
    return paired([p.first.dice for p in rows], [p.second.dice for p in rows], [p.first.group for p in rows])


def _grouped(pairs: Iterable[ScorePair], key: Callable[[Score], str]) -> dict[str, Paired]:
    groups: dict[str, list[ScorePair]] = {}
    for pair in pairs:
        groups.setdefault(key(pair.first), []).append(pair)
    return {name: _paired(found) for name, found in sorted(groups.items())}


def _margin(own: Sequence[ScorePair]) -> Paired:
    """Right words minus wrong ones of the same case, for both models."""
    sides = []
    for scores in ([p.first for p in own], [p.second for p in own]):
        wrong = [(right, score) for right, score in with_right(scores) if score.kind in _WRONG and right.present]
        sides.append({(score.case, score.kind): (right.dice - score.dice, score.group) for right, score in wrong})
    first, second = sides
    keys = [key for key in first if key in second and not math.isnan(first[key][0])]
    return paired([first[k][0] for k in keys], [second[k][0] for k in keys], [first[k][1] for k in keys])


def _rates(pairs: Iterable[ScorePair]) -> Rates:
    rows = list(pairs)
    outlined = [[score.predicted_fraction > FALSE_POSITIVE_FRACTION for score in (p.first, p.second)] for p in rows]
    return Rates(len(rows), sum(one for one, _ in outlined), sum(other for _, other in outlined))
