"""The project that is open: its scans one after the other, and what is outlined on them. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

from psygnal import Signal

from napari_medvlsm.controllers.answers import Answers
from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.kept import Kept, read_kept, read_outlines
from napari_medvlsm.controllers.predicting import Predicting
from napari_medvlsm.controllers.read_ahead import ReadAhead
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.worklist import Entry, Worklist
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.options import AUTO
from napari_medvlsm.core.projects.adding import AddReport, NewScan, add_scans, grouped, scans_in
from napari_medvlsm.core.projects.errors import ProjectError, ProjectInUse
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.grouping import GroupRule
from napari_medvlsm.core.projects.predicting import BatchRequest
from napari_medvlsm.core.projects.states import TO_DO, State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import EVERYTHING, Case, CaseQuery
from napari_medvlsm.core.prompts import parse, target_name

# Scans that were left stay in the viewer with their undo steps, so many of them; the others go once they are stored.
LEFT_OPEN = 2
# So long, opening a project waits for what this window still writes to it.
CLOSING_SECONDS = 20.0
# What the project remembers: the scan that was worked on last.
_LAST = "window case"

T = TypeVar("T")
Later = Callable[[float, Callable[[], None]], None]


@dataclass(frozen=True)
class _Left:
    case_id: int
    scan_hash: str
    entry: Entry


class Project:
    """A project in the window: whatever scan of it comes into view, by whichever way, is worked on in it.

    A scan is told by its pixels. What is painted on it is written to the project a moment after the last stroke, and
    autosaved beside the project until it is.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    worklist : Worklist
        The route by which a scan comes into view.
    settings : Settings
        Holds the name of the person.
    write : callable
        ``write(function, done, failed)``: carries out changes of the project beside the window, one after the other.
    run : callable
        The same for what takes long, such as adding scans.
    call_later : callable
        ``call_later(seconds, function)``.
    predicting : Predicting
        Goes on where the project was closed before all was predicted.
    """

    closing = Signal()  # the project is about to be closed: who reads it beside the window must stop
    changed = Signal()  # another project, other scans in it, other states of them, or another query
    case_changed = Signal()  # another scan of the project is in view, or none, or its states
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem
    occupied = Signal(object, str)  # folder of a project that another program has open, and a sentence
    progressed = Signal(int, int)  # scans that were added, of how many; in the thread that adds them

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        worklist: Worklist,
        settings: Settings,
        write: Callable[..., None],
        run: Callable[..., None],
        call_later: Later,
        predicting: Predicting,
    ) -> None:
        self.predicting = predicting
        self._session, self._corrections, self._worklist = session, corrections, worklist
        self._settings, self._write, self._run, self._call_later = settings, write, run, call_later
        self.store: ProjectStore | None = None
        self.case: Case | None = None
        self.query: CaseQuery = EVERYTHING
        self.answers = Answers(self, session, corrections, settings, write, call_later)
        # The scan that was asked for and is not in view yet, with its place in the list.
        self._wanted: tuple[int, Entry] | None = None
        # The scan that was asked for last, whether or not it can be shown: from there one goes on.
        self._place: int | None = None
        # What is to be looked at in which scan, once that comes into view.
        self._target_wanted: tuple[int, str] | None = None
        self._entry: Entry | None = None
        self._unreadable: list[Entry] = []
        # Projects that are being closed, until another program may have them.
        self._closing: dict[Path, Event] = {}
        self._left: list[_Left] = []
        self._ahead = ReadAhead(session, run)
        session.view.changed.connect(self._on_view)
        worklist.changed.connect(self._on_list)

    # The project ----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a project is open."""
        return self.store is not None

    @property
    def read_only(self) -> bool:
        """Whether the project that is open can only be looked at."""
        return self.store is not None and self.store.read_only

    def create(self, folder: Path, targets: Sequence[str], title: str = "") -> bool:
        """Make a project and open it; False, with a message, where it cannot be opened.

        Raises
        ------
        ProjectError
            If it cannot be made; what is open stays so.
        """
        create_project(folder, targets, title)
        return self.open(folder)

    def open(self, folder: Path, read_only: bool = False) -> bool:
        """Open a project, and go on where it was left.

        False, with a message, where it cannot be opened; what is open stays so.
        """
        if self.store is not None and (self.store.folder, self.read_only) == (folder.resolve(), read_only):
            return True
        closing = self._closing.get(folder.resolve())
        if closing is not None and not read_only:
            closing.wait(CLOSING_SECONDS)
        try:
            store = ProjectStore(folder, self._settings.author, read_only)
        except ProjectError as error:
            self.message.emit(str(error), True)
            if isinstance(error, ProjectInUse):
                self.occupied.emit(folder, str(error))
            return False
        self.close()
        self.store = store
        self.answers.open(store)
        self.changed.emit()
        notices = " ".join(store.notices)
        self.message.emit(notices or f"Opened the project {store.title}.", bool(notices))
        last = self.ask(lambda s: s.meta(_LAST), "")
        self._session.view.settle()
        self._on_view()
        self.predicting.go_on(store)
        if self.case is None:
            self.open_case(int(last)) if last.isdecimal() and self._has(int(last)) else self.step(1)
        return True

    def sign(self) -> None:
        """Another name was entered: what is done from now on is done by that person."""
        if self.store is not None:
            self.store.person = self._settings.author

    def close(self) -> None:
        """Close the project; what is in view stays there."""
        store = self.store
        if store is None:
            return
        self.predicting.leave()
        self.closing.emit()
        self.answers.close()
        self.store = self.case = self._wanted = self._place = None
        self.query, self._left = EVERYTHING, []
        self._ahead.clear()
        self._write(partial(self._shut, store, self._closing.setdefault(store.folder, Event())))
        self.changed.emit()
        self.case_changed.emit()

    def _shut(self, store: ProjectStore, shut: Event) -> None:
        """Close a store beside the window, after all that is written to it."""
        try:
            store.close()
        finally:
            self._closing.pop(store.folder, None)
            shut.set()

    def add(self, folders: Sequence[Path], copy: bool = False, rule: GroupRule | None = None) -> None:
        """Add the scans of folders, in the background; `rule` says which belong together."""
        store = self.store
        if store is None:
            return
        self.message.emit("Looking for scans…", False)

        def added() -> AddReport:
            scans = [
                scan for folder in folders for scan in (scans_in(folder) if folder.is_dir() else [NewScan(folder)])
            ]
            if not scans:
                raise ProjectError(f"There is no scan in {', '.join(str(folder) for folder in folders)}.")
            return add_scans(store, grouped(scans, rule), copy, self.progressed.emit)

        self._run(added, self._on_added, self.fail)

    def predict(self, prompts: Mapping[str, str], model: str, device: str = AUTO, precision: str = AUTO) -> None:
        """Let a model (its folder) outline what is unseen, in the background; a prompt for each target."""
        if self.store is not None:
            try:
                self.predicting.start(self.store, BatchRequest(prompts, model, device, precision))
            except ValueError as error:
                self.message.emit(str(error), True)

    def on_predicted(self, case_id: int, target: str) -> None:
        """A prediction came in: where its scan is in view, it is shown; one of the hold-out is not."""
        store, case = self.store, self.case
        if store is not None and case is not None and case.id == case_id and case.split != "test":
            self._write(partial(read_kept, store, case), partial(self._bring, store, case), self.fail)

    # One scan after the other ---------------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """What is outlined: the target of the prompt, if the scan in view is asked for it, or else the first one."""
        asked = self.targets
        here = self.asked(self._session.target_in_view.phrase)
        return here if here in asked else next(iter(asked), "")

    @property
    def targets(self) -> tuple[str, ...]:
        """What the scan in view is asked for or has an outline of; without one, what every scan is asked for."""
        nothing: tuple[str, ...] = ()
        return tuple(self.case.states) if self.case is not None else self.ask(lambda s: s.targets, nothing)

    @property
    def state(self) -> State | None:
        """Of the target in the scan in view; None without one."""
        return self.case.states.get(self.target, State.UNSEEN) if self.case is not None else None

    def choose_target(self, target: str) -> None:
        """Outline another target from now on."""
        spoken, meant = self.spoken(target), self.asked(self.spoken(target))
        if self._session.target_in_view.phrase != spoken or not self._session.prompt.text:
            self._session.look_at(spoken)
        self.case_changed.emit()
        if meant != target and target in self.targets:
            self.message.emit(
                f"“{target_name(target)}” means the same here as “{target_name(meant)}”, which is outlined now; add "
                f"“{target}” to your own words, and the two can be told apart.",
                True,
            )

    def set_query(self, query: CaseQuery) -> None:
        """Show other scans of the project, or in another order."""
        if query != self.query:
            self.query = query
            self.changed.emit()

    def open_case(self, case_id: int, target: str = "") -> None:
        """Show a scan of the project and work on it: on what is to do there, or on the target given."""
        store = self.store
        if store is None or (self.case is not None and self.case.id == case_id and self._wanted is None):
            if store is not None and target:
                self.choose_target(target)
            return
        self._place, self._target_wanted = case_id, (case_id, target)
        while self._unreadable:
            self._worklist.put_away(self._unreadable.pop())
        try:
            case, path = store.case(case_id), store.scan_path(case_id)
        except ProjectError as error:
            self.message.emit(str(error), True)
            return
        if not path.is_file():
            self.message.emit(
                f"The scan {case.name} is not at {path} any more; put it back, or find it by 'medvlsm project repair "
                f"{store.folder} --find FOLDER'.",
                True,
            )
            return
        # First: a scan that is open already comes into view at once.
        self._wanted = case_id, Entry(case.name, path)
        entry = self._worklist.open_one(path, case.name, self._ahead.take(case_id))
        if self._wanted is not None:
            self._wanted = case_id, entry
        if entry.image is not None:
            self._on_view()

    def step(self, by: int) -> None:
        """Show the scan that many places further in the list of the query."""
        here = self._place
        found = self.ask(lambda s: s.neighbour(here, by, self.query), None)
        if found is not None:
            self.open_case(found)
        elif self.store is not None:
            end = "last" if by > 0 else "first"
            self.message.emit(f"This is the {end} scan of the list." if here else "The list has no scan.", False)

    def go_on(self) -> None:
        """Show the next scan of the list that waits for an answer, from the start of the list after its end."""
        here = self.case.id if self.case is not None else None
        found = self._next_to_do()
        if found is not None and found != here:
            self.open_case(found)
        elif found is None and self.store is not None:
            self.message.emit("All scans of this list are answered.", False)

    def _next_to_do(self) -> int | None:
        to_do = tuple(s for s in (self.query.states or TO_DO) if s in TO_DO) or TO_DO
        query = replace(self.query, states=to_do)
        here = self.case.id if self.case is not None else None
        return self.ask(lambda s: s.neighbour(here, 1, query) or s.neighbour(None, 1, query), None)

    # Review ---------------------------------------------------------------------------------------------------------

    def once_written(self, then: Callable[[], None]) -> None:
        """Call a function when all that was drawn and answered until now is in the project."""
        self._session.view.settle()
        self._corrections.flush()
        self._write(lambda: None, lambda _: then(), self.fail)

    def on_reviewed(self, case_id: int, target: str) -> None:
        """Take over what a review did to an outline: its state and, if it is in view, what it is now."""
        self.refresh()
        case, store = self.case, self.store
        if case is None or store is None or case.id != case_id:
            return
        if self.asked(self.spoken(target)) != target:
            return
        here = self._corrections.of_scan().get(self.spoken(target))
        if case.states.get(target) is State.UNSEEN and here is not None and here.absent:
            self.choose_target(target)
            self._corrections.retract_absent()
        else:
            self._write(partial(read_outlines, store, case), partial(self._bring, store, case), self.fail)

    # For the answers --------------------------------------------------------------------------------------------------

    def spoken(self, target: str) -> str:
        """How the session names a target of the project: by the vocabulary's phrase, where that knows it."""
        vocabulary = self._session.vocabulary
        return target if target in vocabulary.targets else parse(target, vocabulary).attributes.target or target

    def asked(self, spoken: str, case: Case | None = None) -> str:
        """How the project names a target of the session, by default in the scan in view.

        Where the session has one word for several targets of the project, it is one of them, always the same.
        """
        targets = tuple(case.states) if case is not None else self.targets
        alike = [target for target in targets if self.spoken(target) == spoken]
        return spoken if spoken in alike else next(iter(alike), spoken)

    def told_apart(self, case: Case) -> dict[str, State]:
        """The targets of a scan with their states; without those that the session takes for another one."""
        return {t: state for t, state in case.states.items() if self.asked(self.spoken(t), case) == t}

    def refresh(self) -> None:
        """Look again at the states."""
        if self.case is not None:
            case_id = self.case.id
            self.case = self.ask(lambda s: s.case(case_id), self.case)
        self.changed.emit()
        self.case_changed.emit()

    def put_away(self) -> None:
        """Take scans that were left out of the viewer, the longest ago first, once all of them is stored."""
        for left in self._left[: max(0, len(self._left) - LEFT_OPEN)]:
            stored = not self.answers.pending(left.case_id) and self._corrections.is_stored(left.scan_hash)
            if stored and self._worklist.put_away(left.entry):
                self._corrections.put_away(left.scan_hash)
                self._left.remove(left)

    def ask(self, question: Callable[[ProjectStore], T], otherwise: T) -> T:
        """The answer of the store; a sentence, and another answer, where the disk does not give it."""
        if self.store is None:
            return otherwise
        try:
            return question(self.store)
        except ProjectError as error:
            self.message.emit(str(error), True)
            return otherwise

    def fail(self, error: Exception) -> None:
        """Say why something could not be done."""
        self.message.emit(str(error), True)

    # Within: what comes into view ------------------------------------------------------------------------------------

    def _on_view(self) -> None:
        session = self._session
        found = self.ask(lambda s: s.find_case(session.scan_hash), None) if session.scan_hash else None
        if (found and found.id) == (self.case and self.case.id):
            return
        before, self.case = self.case, found
        left, self._entry = self._entry, self._worklist.current
        self._check_wanted()
        if before is not None:
            self._corrections.flush()
            if left is not None:
                self._left.append(_Left(before.id, before.pixels_hash, left))
        if found is not None:
            self._place = found.id
            self._left = [left for left in self._left if left.case_id != found.id]
            self._enter(found)
        self.case_changed.emit()
        # Not now: the viewer is about to show a layer.
        self._call_later(0.0, self.put_away)

    def _check_wanted(self) -> None:
        """Say so where the scan that came is not the one that was asked for."""
        wanted, entry = self._wanted, self._worklist.current
        if wanted is None or entry is None or entry.path is None:
            return
        if self.case is not None and self.case.id == wanted[0]:
            self._wanted = None
        elif entry is wanted[1] or entry.path == wanted[1].path:
            self._wanted = None
            self.message.emit(
                f"{entry.name} is another picture than when it entered the project, so its outlines do not fit; put "
                "the earlier file back, or add this one as a new scan.",
                True,
            )

    def _on_list(self) -> None:
        """A scan that was asked for may turn out to be unreadable; the list says why."""
        if self._wanted is not None and self._wanted[1].problem and self._worklist.opening is not self._wanted[1]:
            self._unreadable.append(self._wanted[1])
            self._wanted = None

    def _enter(self, case: Case) -> None:
        store = self.store
        assert store is not None, "the scan is one of the project"
        targets = self.told_apart(case)
        to_do = [t for t, state in targets.items() if state in TO_DO]
        here = self.asked(self._session.target_in_view.phrase) if self._session.prompt.text else ""
        wanted, self._target_wanted = self._target_wanted, None
        if wanted is not None and wanted[0] == case.id and wanted[1] in case.states:
            self.choose_target(wanted[1])
        elif here not in (to_do or targets):
            self.choose_target(next(iter(to_do or targets), ""))
        # The model may have been asked before the project was opened.
        for spoken in self._session.results:
            if (seen := self._session.predicted(spoken)) is not None:
                self.answers.note_in_sight(replace(seen, target=self.asked(spoken)))
        # After what waits to be written of this very scan.
        self._write(partial(read_kept, store, case), partial(self._bring, store, case), self.fail)
        if not store.read_only:
            self._write(partial(store.remember, _LAST, str(case.id)), None, self.fail)

    def _bring(self, store: ProjectStore, case: Case, kept: Kept) -> None:
        """Show what the project has of the scan, unless another came into view or it has something newer."""
        if store is not self.store or self.case is None or self.case.id != case.id:
            return
        for annotation in kept.outlines:
            spoken = self.spoken(annotation.target)
            if self.asked(spoken) == annotation.target:
                self._corrections.bring(replace(annotation, target=spoken))
        for annotation in kept.predictions:
            spoken = self.spoken(annotation.target)
            if self.asked(spoken) == annotation.target:
                self.answers.note_in_sight(annotation)
                self._session.take_up(replace(annotation, target=spoken))
        self.answers.take_over(case)
        self.case_changed.emit()
        self._look_ahead(store, case)

    def _look_ahead(self, store: ProjectStore, case: Case) -> None:
        """Read what most likely comes next: the next scan to do after this one, or the next where this one is done."""
        found = (
            self._next_to_do() if case.state in TO_DO else self.ask(lambda s: s.neighbour(case.id, 1, self.query), None)
        )
        if found is not None and found != case.id and not any(left.case_id == found for left in self._left):
            self._ahead.start(store, found)

    # Within: the rest ------------------------------------------------------------------------------------------------

    def _has(self, case_id: int) -> bool:
        return self.ask(lambda s: bool(s.cases([case_id])), False)

    def _on_added(self, report: AddReport) -> None:
        known = f", {len(report.known)} were there already" if report.known else ""
        failed = f". {len(report.failed)} could not be added: {report.failed[0]}" if report.failed else "."
        self.message.emit(f"{len(report.added)} scans added{known}{failed}", bool(report.failed))
        self.changed.emit()
        self.case = None
        self._on_view()
        if self.case is None:
            self.step(1)
