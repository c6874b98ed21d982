"""The project that is open: its scans one after the other, and what is outlined on them. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from psygnal import Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.drafts import Drafts
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.worklist import Entry, Worklist
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.projects.adding import AddReport, NewScan, add_scans, grouped, scans_in
from napari_medvlsm.core.projects.errors import ProjectError, ProjectInUse
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.grouping import GroupRule
from napari_medvlsm.core.projects.states import ACCEPTED, State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import EVERYTHING, Case, CaseQuery
from napari_medvlsm.core.prompts import parse, target_name

# Scans that were left stay in the viewer with their undo steps, so many of them; the others go once they are stored.
LEFT_OPEN = 2
# What the project remembers: the scan that was worked on last.
_LAST = "window case"
_TO_DO = (State.UNSEEN, State.DRAFT)

T = TypeVar("T")
Later = Callable[[float, Callable[[], None]], None]


@dataclass(frozen=True)
class _Kept:
    """What the project has of the targets of a scan: outlines of a person, and predictions that may be shown."""

    outlines: Sequence[Annotation]
    predictions: Sequence[Annotation]


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
    ) -> None:
        self._session, self._corrections, self._worklist = session, corrections, worklist
        self._settings, self._write, self._run, self._call_later = settings, write, run, call_later
        self.store: ProjectStore | None = None
        self.case: Case | None = None
        self.query: CaseQuery = EVERYTHING
        self._drafts: Drafts | None = None
        # The scan that was asked for and is not in view yet, with its place in the list.
        self._wanted: tuple[int, Entry] | None = None
        # The scan that was asked for last, whether or not it can be shown: from there one goes on.
        self._place: int | None = None
        # What is to be looked at in which scan, once that comes into view.
        self._target_wanted: tuple[int, str] | None = None
        self._entry: Entry | None = None
        self._unreadable: list[Entry] = []
        self._left: list[_Left] = []
        # Hold-out outlines (number of the scan, and target) whose prediction was in sight before, and its outline.
        self._in_sight: dict[tuple[int, str], Annotation] = {}
        session.view.changed.connect(self._on_view)
        session.segmented.connect(self._on_segmented)
        corrections.settled.connect(self._on_settled)
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
        try:
            store = ProjectStore(folder, self._settings.author, read_only)
        except ProjectError as error:
            self.message.emit(str(error), True)
            if isinstance(error, ProjectInUse):
                self.occupied.emit(folder, str(error))
            return False
        self.close()
        self.store = store
        self._drafts = Drafts(store, self._write, self._call_later)
        self._drafts.saved.connect(self._on_saved)
        # psygnal tries a slot without a signature by calling it, and somebody listens already.
        self._drafts.message.connect(lambda text, problem: self.message.emit(text, problem))
        self.changed.emit()
        notices = " ".join(store.notices)
        self.message.emit(notices or f"Opened the project {store.title}.", bool(notices))
        last = self._ask(lambda s: s.meta(_LAST), "")
        self._session.view.settle()
        self._on_view()
        if self.case is None:
            self.open_case(int(last)) if last.isdecimal() and self._has(int(last)) else self.step(1)
        return True

    def close(self) -> None:
        """Close the project; what is in view stays there."""
        store, drafts = self.store, self._drafts
        if store is None or drafts is None:
            return
        self.closing.emit()
        self._corrections.flush()
        drafts.close()
        self.store = self._drafts = self.case = self._wanted = self._place = None
        self.query, self._left, self._in_sight = EVERYTHING, [], {}
        self._write(store.close)
        self.changed.emit()
        self.case_changed.emit()

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

        self._run(added, self._on_added, self._fail)

    # One scan after the other ---------------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """What is outlined: the target of the prompt, if the scan in view is asked for it, or else the first one."""
        asked = self.targets
        here = self._asked(self._session.target_in_view.phrase)
        return here if here in asked else next(iter(asked), "")

    @property
    def targets(self) -> tuple[str, ...]:
        """What the scan in view is asked for or has an outline of; without one, what every scan is asked for."""
        nothing: tuple[str, ...] = ()
        return tuple(self.case.states) if self.case is not None else self._ask(lambda s: s.targets, nothing)

    @property
    def state(self) -> State | None:
        """Of the target in the scan in view; None without one."""
        return self.case.states.get(self.target, State.UNSEEN) if self.case is not None else None

    def choose_target(self, target: str) -> None:
        """Outline another target from now on."""
        spoken = self._spoken(target)
        if self._session.target_in_view.phrase != spoken or not self._session.prompt.text:
            self._session.look_at(spoken)
        self.case_changed.emit()

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
        entry = self._worklist.open_one(path, case.name)
        if self._wanted is not None:
            self._wanted = case_id, entry
        if entry.image is not None:
            self._on_view()

    def step(self, by: int) -> None:
        """Show the scan that many places further in the list of the query."""
        here = self._place
        found = self._ask(lambda s: s.neighbour(here, by, self.query), None)
        if found is not None:
            self.open_case(found)
        elif self.store is not None:
            end = "last" if by > 0 else "first"
            self.message.emit(f"This is the {end} scan of the list." if here else "The list has no scan.", False)

    def go_on(self) -> None:
        """Show the next scan of the list that waits for an answer, from the start of the list after its end."""
        to_do = tuple(s for s in (self.query.states or _TO_DO) if s in _TO_DO) or _TO_DO
        query = replace(self.query, states=to_do)
        here = self.case.id if self.case is not None else None
        found = self._ask(lambda s: s.neighbour(here, 1, query) or s.neighbour(None, 1, query), None)
        if found is not None and found != here:
            self.open_case(found)
        elif found is None and self.store is not None:
            self.message.emit("All scans of this list are answered.", False)

    # Answers --------------------------------------------------------------------------------------------------------

    def submit(self) -> None:
        """Hand the outline in view over to a second person, then show what is next."""
        if (case := self._case_in_view()) is None:
            return
        target = self.target
        spoken = self._spoken(target)
        found = self._corrections.completed(spoken) or self._confirmed(spoken)
        if found is None:
            self.message.emit(
                f"Nothing is outlined as {target_name(target)}: draw it, segment it, or answer that there is none.",
                True,
            )
        else:
            self._answer(case, found)

    def declare_absent(self) -> None:
        """Answer that the scan in view does not show the target, then show what is next."""
        if (case := self._case_in_view()) is None:
            return
        if case.states.get(self.target, State.UNSEEN) in ACCEPTED:
            self.message.emit(
                f"{target_name(self.target)} in {case.name} is {self.state} already; reopen it first.", True
            )
            return
        self.choose_target(self.target)
        self._corrections.declare_absent()
        found = self._corrections.completed(self._spoken(self.target))
        if found is not None:
            self._answer(case, found)

    def reopen(self) -> None:
        """Take an answer back: the outline in view can be changed again."""
        if (case := self._case_in_view()) is None or self.store is None:
            return
        target = self.target
        self._write(
            partial(self.store.reopen, case.id, target), lambda _: self._on_reopened(case.id, target), self._fail
        )

    # Review ---------------------------------------------------------------------------------------------------------

    def once_written(self, then: Callable[[], None]) -> None:
        """Call a function when all that was drawn and answered until now is in the project."""
        self._session.view.settle()
        self._corrections.flush()
        self._write(lambda: None, lambda _: then(), self._fail)

    def on_reviewed(self, case_id: int, target: str) -> None:
        """Take over what a review did to an outline: its state and, if it is in view, what it is now."""
        self._refresh()
        case, store = self.case, self.store
        if case is None or store is None or case.id != case_id:
            return
        here = self._corrections.of_scan().get(self._spoken(target))
        if case.states.get(target) is State.UNSEEN and here is not None and here.absent:
            self.choose_target(target)
            self._corrections.retract_absent()
        else:
            self._write(partial(_read_outlines, store, case), partial(self._bring, store, case), self._fail)

    # Within: what comes into view ------------------------------------------------------------------------------------

    def _on_view(self) -> None:
        session = self._session
        found = self._ask(lambda s: s.find_case(session.scan_hash), None) if session.scan_hash else None
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
        self._call_later(0.0, self._put_away)

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
        to_do = [t for t, state in case.states.items() if state in _TO_DO]
        here = self._asked(self._session.target_in_view.phrase) if self._session.prompt.text else ""
        wanted, self._target_wanted = self._target_wanted, None
        if wanted is not None and wanted[0] == case.id and wanted[1] in case.states:
            self.choose_target(wanted[1])
        elif here not in (to_do or case.states):
            self.choose_target(next(iter(to_do or case.states), ""))
        # After what waits to be written of this very scan.
        self._write(partial(_read_kept, store, case), partial(self._bring, store, case), self._fail)
        if not store.read_only:
            self._write(partial(store.remember, _LAST, str(case.id)), None, self._fail)

    def _bring(self, store: ProjectStore, case: Case, kept: _Kept) -> None:
        """Show what the project has of the scan, unless another came into view or it has something newer."""
        if store is not self.store or self.case is None or self.case.id != case.id:
            return
        for annotation in kept.outlines:
            self._corrections.bring(replace(annotation, target=self._spoken(annotation.target)))
        for annotation in kept.predictions:
            self._note_in_sight(annotation)
            self._session.take_up(replace(annotation, target=self._spoken(annotation.target)))
        self.case_changed.emit()

    # Within: what is left --------------------------------------------------------------------------------------------

    def _put_away(self) -> None:
        """Take scans that were left out of the viewer, the longest ago first, once all of them is stored."""
        for left in self._left[: max(0, len(self._left) - LEFT_OPEN)]:
            pending = self._drafts is None or self._drafts.pending(left.case_id)
            stored = not pending and self._corrections.is_stored(left.scan_hash)
            if stored and self._worklist.put_away(left.entry):
                self._corrections.put_away(left.scan_hash)
                self._left.remove(left)

    # Within: what is written -----------------------------------------------------------------------------------------

    def _on_settled(self, annotation: Annotation) -> None:
        """Somebody painted, a moment ago."""
        if self._drafts is None or self.store is None:
            return
        scan_hash = annotation.provenance.scan_hash
        in_view = self.case is not None and self.case.pixels_hash == scan_hash
        case = self.case if in_view else self._ask(lambda s: s.find_case(scan_hash), None)
        if case is not None:
            self._drafts.save(case.id, self._entry_of(case, annotation))

    def _on_saved(self, case_id: int, annotation: Annotation) -> None:
        self._corrections.mark_stored(self._as_open(annotation), _saved_now())
        state = self.case.states.get(annotation.target) if self.case and self.case.id == case_id else None
        if state is not State.DRAFT:
            self._refresh()
        self._put_away()

    def _on_segmented(self) -> None:
        """Keep what the model says, beside what a person drew."""
        case, store = self.case, self.store
        if case is None or store is None:
            return
        for spoken in sorted(self._session.together):
            predicted = self._session.predicted(spoken)
            if predicted is not None and self._asked(spoken) in case.states:
                predicted = replace(predicted, target=self._asked(spoken))
                self._note_in_sight(predicted)
                if not store.read_only:
                    self._write(partial(_keep_prediction, store, case.id, predicted), self._on_written, self._fail)
        if case.split == "test" and case.state in _TO_DO:
            self.message.emit(
                f"{case.name} is held out for judging models; as the model's outline is in sight, yours counts as "
                "model-assisted.",
                False,
            )

    def _answer(self, case: Case, found: Annotation) -> None:
        store, drafts = self.store, self._drafts
        assert store is not None and drafts is not None, "the scan is one of the project"
        self._corrections.flush()
        found = self._entry_of(case, found)
        drafts.drop(case.id, found.target)
        write = store.mark_absent if found.absent else store.submit

        def failed(error: Exception) -> None:
            self._fail(error)
            if store is self.store and case.states.get(found.target, State.UNSEEN) in _TO_DO and found.mask.any():
                drafts.save(case.id, found)

        self._write(partial(write, case.id, found.target, found), lambda _: self._on_answered(case, found), failed)

    def _on_answered(self, case: Case, found: Annotation) -> None:
        spoken = self._spoken(found.target)
        current = self._corrections.of_scan().get(spoken) if self._is_in_view(case) else None
        if current is not None and current.mask is found.mask:
            self._corrections.mark_stored(current, _saved_now())
        self._refresh()
        what = "answered as not there" if found.absent else "submitted"
        self.message.emit(f"{target_name(found.target)} in {case.name}: {what}.", False)
        if not self._is_in_view(case) or self.case is None:
            return
        left = [target for target, state in self.case.states.items() if state in _TO_DO]
        if left:
            self.choose_target(left[0])
        else:
            self.go_on()

    def _on_reopened(self, case_id: int, target: str) -> None:
        self._refresh()
        current = self._corrections.completed(self._spoken(target))
        if self.case is not None and self.case.id == case_id and current is not None and not current.absent:
            self.message.emit(f"{target_name(target)} in {self.case.name} can be changed again.", False)
            if not self._corrections.is_stored(self.case.pixels_hash) and self._drafts is not None:
                self._drafts.save(case_id, self._entry_of(self.case, current))
        elif self.case is not None and self.case.id == case_id and current is not None:
            self.choose_target(target)
            self._corrections.retract_absent()

    def _confirmed(self, target: str) -> Annotation | None:
        """The model's outline, which the person hands over as it is; None where it outlined nothing."""
        predicted = self._session.predicted(target)
        if predicted is None or not predicted.mask.any():
            return None
        made = replace(predicted.provenance, author=self._settings.author)
        return replace(predicted, corrected=True, prediction=predicted.mask, provenance=made)

    # Within: names of targets ----------------------------------------------------------------------------------------

    def _spoken(self, target: str) -> str:
        """How the session names a target of the project: by the vocabulary's phrase, where that knows it."""
        vocabulary = self._session.vocabulary
        return target if target in vocabulary.targets else parse(target, vocabulary).attributes.target or target

    def _asked(self, spoken: str) -> str:
        """How the project names a target of the session."""
        return next((target for target in self.targets if self._spoken(target) == spoken), spoken)

    def _entry_of(self, case: Case, annotation: Annotation) -> Annotation:
        """A correction as the project keeps it."""
        names = {self._spoken(target): target for target in case.states}
        return self._honest(case, replace(annotation, target=names.get(annotation.target, annotation.target)))

    # Within: the hold-out --------------------------------------------------------------------------------------------

    def _note_in_sight(self, predicted: Annotation) -> None:
        if self.case is not None and self.case.split == "test":
            self._in_sight.setdefault((self.case.id, predicted.target), predicted)

    def _honest(self, case: Case, annotation: Annotation) -> Annotation:
        """Of the hold-out: marked as model-assisted where the model's outline was in sight, whatever it began from."""
        seen = self._in_sight.get((case.id, annotation.target)) if case.split == "test" else None
        if seen is None or annotation.prediction is not None or seen.mask.shape != annotation.mask.shape:
            return annotation
        return replace(annotation, prediction=seen.mask)

    # Within: the rest ------------------------------------------------------------------------------------------------

    def _as_open(self, annotation: Annotation) -> Annotation:
        """The correction that is open of what was saved, if it is the same state of it."""
        found = self._corrections.find(annotation.provenance.scan_hash, self._spoken(annotation.target))
        return found if found is not None and found.mask is annotation.mask else annotation

    def _case_in_view(self) -> Case | None:
        self._session.view.settle()
        if self.case is None:
            self.message.emit("Open a scan of the project first." if self.store else "Open a project first.", True)
        return self.case

    def _is_in_view(self, case: Case) -> bool:
        return self.case is not None and self.case.id == case.id

    def _has(self, case_id: int) -> bool:
        return self._ask(lambda s: bool(s.cases([case_id])), False)

    def _refresh(self) -> None:
        """Look again at the states."""
        if self.case is not None:
            case_id = self.case.id
            self.case = self._ask(lambda s: s.case(case_id), self.case)
        self.changed.emit()
        self.case_changed.emit()

    def _on_written(self, written: object) -> None:
        if written is not None:
            self._refresh()

    def _on_added(self, report: AddReport) -> None:
        known = f", {len(report.known)} were there already" if report.known else ""
        failed = f". {len(report.failed)} could not be added: {report.failed[0]}" if report.failed else "."
        self.message.emit(f"{len(report.added)} scans added{known}{failed}", bool(report.failed))
        self.changed.emit()
        self.case = None
        self._on_view()
        if self.case is None:
            self.step(1)

    def _ask(self, question: Callable[[ProjectStore], T], otherwise: T) -> T:
        """The answer of the store; a sentence, and another answer, where the disk does not give it."""
        if self.store is None:
            return otherwise
        try:
            return question(self.store)
        except ProjectError as error:
            self.message.emit(str(error), True)
            return otherwise

    def _fail(self, error: Exception) -> None:
        self.message.emit(str(error), True)


def _saved_now() -> str:
    return f"Saved in the project at {datetime.now():%H:%M:%S}."


def _read_kept(store: ProjectStore, case: Case) -> _Kept:
    """What the project has of a scan; of the hold-out, no prediction before a person's answer is there."""
    predictions = []
    for target, state in case.states.items():
        predicted = store.prediction(case.id, target)
        if predicted is not None and (case.split != "test" or state in ACCEPTED):
            predictions.append(_of_scan(store.load(predicted), case))
    return replace(_read_outlines(store, case), predictions=predictions)


def _read_outlines(store: ProjectStore, case: Case) -> _Kept:
    """What persons outlined of a scan."""
    found = [store.current(case.id, target) for target in case.states]
    return _Kept([_of_scan(store.load(v), case) for v in found if v is not None and not v.lost], ())


def _of_scan(annotation: Annotation, case: Case) -> Annotation:
    """An outline with the hash of the scan in the project: one that was imported may name none."""
    return replace(annotation, provenance=replace(annotation.provenance, scan_hash=case.pixels_hash))


def _keep_prediction(store: ProjectStore, case_id: int, predicted: Annotation) -> object:
    """Store what a model says, unless it said the same before."""
    before = store.prediction(case_id, predicted.target)
    if before is not None and (before.weights_hash, before.foreground) == (
        predicted.provenance.weights_hash,
        int(predicted.mask.sum()),
    ):
        old = store.load(before)
        if old.provenance.prompt == predicted.provenance.prompt and (old.mask == predicted.mask).all():
            return None
    return store.save_prediction(case_id, predicted)
