"""What the tab "Improve" says, in plain words: what would be learned, how far a round is, before and after."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from math import isnan

from napari_medvlsm.controllers.round_watch import RoundView
from napari_medvlsm.core.datasets.splits import TEST, TRAIN, VAL
from napari_medvlsm.core.improve.cases import Chosen
from napari_medvlsm.core.improve.estimate import about
from napari_medvlsm.core.improve.rounds import RoundState
from napari_medvlsm.core.improve.verdict import Advice, Rates, Verdict, is_better, is_worse
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.core.statistics import Paired

# Signs of a row: better, worse, not clear.
BETTER, WORSE, ALIKE = "better", "worse", "alike"


@dataclass(frozen=True)
class Row:
    """One line of before and after.

    Attributes
    ----------
    what, before, now : str
    change : str
        With its interval; "".
    mark : str
        `BETTER`, `WORSE`, `ALIKE`, or "" where that cannot be told.
    """

    what: str
    before: str
    now: str
    change: str
    mark: str


def learned_from(chosen: Chosen) -> str:
    """What the next model would learn from, be chosen by and be judged on; "" where there is nothing."""
    if not chosen.cases:
        return ""
    train, held_out = _scans(chosen.scans(TRAIN)), chosen.scans(TEST)
    parts = [f"The next model would learn from {train}{_shown(chosen)}."]
    parts.append(f"{_scans(chosen.scans(VAL)).capitalize()} are watched meanwhile, to stop at the best moment.")
    if held_out:
        aided = sum(case.assisted for case in chosen.cases if case.split == TEST)
        said = f" ({aided} of their outlines began from a prediction)" if aided else ""
        parts.append(f"It is judged on {_scans(held_out)} that no model learns from{said}.")
    submitted = sum(case.state is State.SUBMITTED for case in chosen.cases)
    if submitted:
        parts.append(f"{submitted} of {len(chosen.cases)} outlines were not looked at by a second person yet.")
    return " ".join(parts).replace("1 scan are", "1 scan is")


def by_target(chosen: Chosen) -> list[tuple[str, int, int, int, int]]:
    """For each target: outlines to learn from, to watch, to judge by, and answers that it is not there."""
    return [
        (
            target,
            chosen.count(TRAIN, target, absent=False),
            chosen.count(VAL, target, absent=False),
            chosen.count(TEST, target, absent=False),
            chosen.count("", target, absent=True),
        )
        for target in chosen.targets
    ]


def how_far(view: RoundView) -> str:
    """Where a round stands, in a sentence or two."""
    progress, name = view.progress, view.round.name
    if view.state is RoundState.RUNNING:
        best = f" Best agreement with the watched scans so far: {progress.best_dice:.2f}." if progress.best_dice else ""
        where = f" On the computer {progress.computer}." if _elsewhere(progress.computer) else ""
        told = {
            "training": f"Model {name} is being trained: pass {min(progress.epoch + 1, progress.epochs)} through all "
            f"scans, of at most {progress.epochs}.{best}{where}",
            "writing": f"Model {name} is trained; it is written, and measured for its card.{where}",
            "measuring": f"Model {name} is trained; it and the present model outline the held-out scans.{where}",
        }
        return told.get(progress.stage, f"Model {name}: the program starts and looks through the data.{where}")
    return {
        RoundState.READY: f"Model {name} is prepared; its training has not begun.",
        RoundState.STOPPED: f"The training of model {name} was interrupted; what it learned is kept.{_best(view)}"
        if progress.epoch
        else f"The training of model {name} was interrupted before its first pass was complete; it begins anew.",
        RoundState.FAILED: f"The training of model {name} could not go on. {view.failure}",
        RoundState.TRAINED: f"Model {name} is trained, but was not measured beside the present one yet.",
        RoundState.FINISHED: f"Model {name} is trained and measured.",
    }.get(view.state, "")


def time_left(view: RoundView) -> str:
    """How long the training takes still; "" where nobody knows."""
    left = view.progress.seconds_left
    if view.state is not RoundState.RUNNING or view.progress.stage != "training" or left is None:
        return ""
    return f"{about(left)} left at most".capitalize() if left >= 30 else "Less than half a minute left"


def before_and_after(verdict: Verdict) -> list[Row]:
    """What was measured with both models, what matters most first.

    Of too few scans of the hold-out nothing is called better or alike; what looks worse is said all the same.
    """
    rows = _of_hold_out(verdict)
    if verdict.advice is Advice.TOO_FEW:
        rows = [replace(row, mark=row.mark if row.mark == WORSE else "") for row in rows]
    if verdict.older_absent.cases:
        rows.append(_rates("False alarms in older scans", verdict.older_absent))
    return rows + [_row(f"Older: {target_name(target)}", pair) for target, pair in verdict.older.items()]


def _of_hold_out(verdict: Verdict) -> list[Row]:
    rows = []
    if verdict.overall.difference.cases:
        rows.append(_row("Dice, asked by name", verdict.overall))
    if verdict.blind.difference.cases and verdict.assisted.difference.cases:
        rows.append(_row("drawn from nothing", verdict.blind))
        rows.append(_row("begun from a prediction", verdict.assisted))
    if len(verdict.by_target) > 1:
        rows += [_row(target_name(target).capitalize(), pair) for target, pair in verdict.by_target.items()]
    if "oracle" in verdict.by_kind:
        rows.append(_row("Dice, fully described", verdict.by_kind["oracle"]))
    if verdict.margin.difference.cases:
        rows.append(_row("Listens to the words", verdict.margin))
    for what, rates in (
        ("False alarms, nothing there", verdict.absent),
        ("False alarms, impossible words", verdict.impossible),
    ):
        if rates.cases:
            rows.append(_rates(what, rates))
    return rows


def _shown(chosen: Chosen) -> str:
    """What the scans to learn from show."""
    counted = [(t, chosen.count(TRAIN, t, absent=False)) for t in chosen.targets]
    absent = chosen.count(TRAIN, absent=True)
    if len(counted) == 1 and not absent:
        return f" with {target_name(counted[0][0])}"
    parts = [f"{number} {target_name(target)}" for target, number in counted if number]
    return f" ({', '.join([*parts, *([f'{absent} without'] if absent else [])])})"


def _row(what: str, pair: Paired) -> Row:
    found = pair.difference
    around = "" if isnan(found.low) else f" ({found.low:+z.2f} to {found.high:+z.2f})"
    mark = BETTER if is_better(pair) else WORSE if is_worse(pair) else "" if isnan(found.low) else ALIKE
    return Row(what, f"{pair.first:.2f}", f"{pair.second:.2f}", f"{found.mean:+z.2f}{around}", mark)


def _rates(what: str, rates: Rates) -> Row:
    mark = WORSE if rates.worse else BETTER if rates.second < rates.first else ALIKE
    return Row(what, f"{rates.first} of {rates.cases}", f"{rates.second} of {rates.cases}", "", mark)


def _best(view: RoundView) -> str:
    best = view.progress.best_dice
    return f" Best agreement with the watched scans: {best:.2f}." if best else ""


def _scans(number: int) -> str:
    return f"{number} scan{'s' * (number != 1)}"


def _elsewhere(computer: str) -> bool:
    return computer not in ("", platform.node())
