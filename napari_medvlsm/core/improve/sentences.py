"""A verdict in plain words: what the numbers speak for, then what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from napari_medvlsm.core.improve.verdict import Advice, Rates, Verdict, is_better, is_worse
from napari_medvlsm.core.models.store.card import KeptBase
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.core.statistics import Paired

_ADVICE: Mapping[Advice, str] = {
    Advice.PROMOTE: "The new model outlines better than the present one, and nothing that was measured got worse: "
    "promote it.",
    Advice.MIXED: "The new model outlines better, but something else got worse; read on before you promote it.",
    Advice.KEEP: "The new model outlines worse than the present one: keep the present one.",
    Advice.UNCLEAR: "The difference is too small to tell from chance: keep the present model, or finish more scans.",
}


def recommendation(verdict: Verdict) -> str:
    """One or two sentences."""
    if verdict.advice is Advice.TOO_FEW:
        return (
            f"Too few to tell: {verdict.too_few}. Look at the cases one by one, or finish more scans of the hold-out "
            "first."
        )
    return _ADVICE[verdict.advice]


def details(verdict: Verdict) -> list[str]:
    """Sentences with the numbers, what matters most first; what was not measured is not spoken of."""
    told = []
    if verdict.overall.difference.cases:
        told.append(f"Hold-out, asked by name: {_change(verdict.overall)}.")
    for name, pair in (("drawn from nothing", verdict.blind), ("begun from a prediction", verdict.assisted)):
        if pair.difference.cases and verdict.blind.difference.cases * verdict.assisted.difference.cases:
            told.append(f"Of these, outlines {name}: {_change(pair)}.")
    if verdict.assisted.difference.cases:
        told.append(
            f"{verdict.assisted.difference.cases} outlines of the hold-out began from a prediction, which favours the "
            "model that made it."
        )
    if worst := verdict.worst:
        what = "greatest loss" if worst.gain < 0 else "least gain"
        told.append(
            f"The {what}: {target_name(worst.case.target)} in {worst.case.name}, from {worst.first:.2f} to "
            f"{worst.second:.2f}."
        )
    if len(verdict.by_target) > 1:
        told += [f"{target_name(target).capitalize()}: {_change(pair)}." for target, pair in verdict.by_target.items()]
    if "oracle" in verdict.by_kind:
        told.append(f"Asked with place, size and look as well: {_change(verdict.by_kind['oracle'])}.")
    told += _listening(verdict)
    for what, rates in (
        ("scans on which a person found nothing to outline", verdict.absent),
        ("questions for what such a scan cannot show", verdict.impossible),
        ("questions about older scans for what they do not show", verdict.older_absent),
    ):
        if rates.cases:
            told.append(_outlined(what, rates))
    for target, pair in verdict.older.items():
        verb = "forgot" if is_worse(pair) else "learned" if is_better(pair) else "kept"
        told.append(f"Of older data, {target_name(target)}: the new model {verb} it: {_change(pair)}.")
    return told


def known_of_hold_out(unlisted: Mapping[str, Sequence[str]]) -> str:
    """Whether the two models may have been trained on scans of the hold-out.

    Parameters
    ----------
    unlisted : mapping of str to sequence of str
        See `versions.unlisted_bases`.
    """
    told = "No model of this project was trained on a scan of the hold-out."
    for model, sets in unlisted.items():
        whose = f"only its data sets are known ({', '.join(sets)})" if sets else "its data are not known"
        told += (
            f" Of {model}, {whose}, not the single scans: if yours are among them, it knows them already, and the "
            "comparison says little."
        )
    return told


def not_measured(verdict: Verdict, known_before: Iterable[str], kept: KeptBase | None = None) -> str:
    """What becomes of the targets that the model before knew and no scan tells of; "" where there are none.

    Without its base a model of a new target loses most of those that it is not shown: `training/loop.md`.

    Parameters
    ----------
    verdict : Verdict
    known_before : iterable of str
        Targets of the model before.
    kept : KeptBase, optional
        Of the new model.
    """
    rest = [t for t in known_before if t not in verdict.older and t not in verdict.by_target]
    answered = [target_name(t) for t in rest if kept is not None and t in kept.targets]
    lost = [target_name(t) for t in rest if kept is None or t not in kept.targets]
    told = []
    if kept is not None and answered:
        told.append(f"For {', '.join(answered)}, the new model keeps {kept.title} and asks that one: nothing is lost.")
    if lost:
        told.append(
            f"Not measured, for want of scans: {', '.join(lost)}. A model that learns something new may lose what it "
            "is not shown; use the model before for these."
        )
    return " ".join(told)


def _listening(verdict: Verdict) -> list[str]:
    margin = verdict.margin
    if not margin.difference.cases:
        return []
    how = "less than" if is_worse(margin) else "more than" if is_better(margin) else "about as much as"
    return [
        f"The new model listens to the words {how} before: right words do better than a wrong side "
        f"or size by {margin.second:+z.2f} Dice, before by {margin.first:+z.2f} ({_interval(margin)})."
    ]


def _outlined(what: str, rates: Rates) -> str:
    how = "more than before" if rates.worse else "fewer than before" if rates.second < rates.first else "as before"
    return (
        f"Of {rates.cases} {what}, the new model outlined something on {rates.second}, before on {rates.first}: {how}."
    )


def _change(pair: Paired) -> str:
    count = pair.difference.cases
    ties = f", alike in {pair.ties}" if pair.ties else ""
    return (
        f"Dice {pair.first:.2f} before, {pair.second:.2f} now, {_interval(pair)}; better in {pair.wins}, worse in "
        f"{pair.losses}{ties} of {count} case{'s' * (count != 1)}"
    )


def _interval(pair: Paired) -> str:
    found = pair.difference
    around = (
        "no interval from one patient" if isnan(found.low) else f"95 % interval {found.low:+z.2f} to {found.high:+z.2f}"
    )
    return f"difference {found.mean:+z.2f}, {around}"
