"""What is done beside the window before a round runs: check, copy, start, or a trial for its time. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from napari_medvlsm.controllers.outlook import Options, left_out
from napari_medvlsm.core.improve import versions
from napari_medvlsm.core.improve.cases import Finding, check_scans, choose_cases
from napari_medvlsm.core.improve.estimate import TrainingTime, by_trial
from napari_medvlsm.core.improve.making import make_round, trial_round
from napari_medvlsm.core.improve.rounds import Round, delete_round, start_round
from napari_medvlsm.core.improve.stopping import Cancelled, Stop
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.prompts import Vocabulary


@dataclass
class Doing:
    """What is done, and how far it is; written by the thread that does it.

    Attributes
    ----------
    text : str
        For people.
    done : (int, int)
        So many, of all; (0, 0) where that is not known.
    stop : Stop or None
        Cancels it; None where it cannot be cancelled any more.
    """

    text: str
    done: tuple[int, int] = (0, 0)
    stop: Stop | None = None

    def says(self, text: str) -> None:
        """Something else is done now."""
        self.text, self.done = text, (0, 0)

    def note(self, done: int, of: int) -> None:
        """Note how far it is. Raises `Cancelled` where that was asked for."""
        self.done = done, of
        if self.stop is not None:
            self.stop.check()


def begin_round(
    store: ProjectStore, options: Options, vocabulary: Vocabulary, doing: Doing
) -> Round | tuple[Finding, ...]:
    """Check, copy and start; or what stops it. Raises `Cancelled`; nothing is left then."""
    without = left_out(store, options)
    chosen = choose_cases(store, options.states, without=without)
    if stops := tuple(finding for finding in chosen.findings if finding.stops):
        return stops
    base, present = versions.base_of(store.folder, options.base), versions.base_of(store.folder)
    found = check_scans(store, chosen.cases, base.trained | present.trained, doing.note)
    if stops := tuple(finding for finding in found if finding.stops):
        return stops
    doing.says("Copying scans and outlines…")
    round_ = make_round(
        store,
        chosen.cases,
        base,
        vocabulary,
        present=present,
        recipe=options.recipe,
        changes=options.changes,
        minutes=options.minutes or None,
        without=without,
        progress=doing.note,
    )
    stop, doing.stop = doing.stop, None
    if stop is not None and stop.asked:
        delete_round(round_)
        raise Cancelled
    doing.says("Starting…")
    start_behind(round_)
    return round_


def try_round(store: ProjectStore, options: Options, vocabulary: Vocabulary, doing: Doing) -> TrainingTime:
    """Train for half a minute on a copy, for its time. Raises `Cancelled`; nothing is left either way."""
    without = left_out(store, options)
    cases = choose_cases(store, options.states, without=without).cases
    base = versions.base_of(store.folder, options.base)
    recipe, changes = options.recipe, options.changes
    with trial_round(
        store, cases, base, vocabulary, recipe=recipe, changes=changes, without=without, progress=doing.note
    ) as round_:
        doing.says("Training for half a minute, to see how long it takes…")
        return by_trial(round_, stop=doing.stop)


def start_behind(round_: Round, finish: bool = False) -> None:
    """Start its process, behind the window and the engine where all of them want the processor."""
    number = start_round(round_, finish)
    try:
        psutil.Process(number).nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 5))
    except psutil.Error:
        pass  # it has ended already, or the system does not allow it
