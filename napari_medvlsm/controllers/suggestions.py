"""Which scans of the open project to outline next, as its model sees it: made beside the window. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from psygnal import Signal

from napari_medvlsm.controllers.memory import spare_memory
from napari_medvlsm.controllers.project import Later, Project
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.improve.survey import Order, read_order
from napari_medvlsm.core.improve.survey_process import follow_survey, start_survey
from napari_medvlsm.core.process import ChildProcess
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Case
from napari_medvlsm.core.prompts import target_name

# Seconds between two looks at how far it is.
_TELL_SECONDS = 0.2
# What the process takes beside the model, with the libraries and a scan (tests/bench/cycle.py measures it).
PROCESS_BYTES = 2**30
_TO_DO = (State.UNSEEN, State.DRAFT)


class Suggestions:
    """Has the order of the open project, and makes a new one.

    Parameters
    ----------
    project : Project
    session : Session
        Its model looks at the scans.
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window.
    call_later : callable
        ``call_later(seconds, function)``.
    """

    changed = Signal()  # the order, or how far a new one is
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, project: Project, session: Session, run: Callable[..., None], call_later: Later) -> None:
        self._project, self._session, self._run, self._call_later = project, session, run, call_later
        self.order: Order | None = None
        self._far = (0, 0)
        self._store: ProjectStore | None = None
        self._process: ChildProcess | None = None
        project.changed.connect(self._on_project)
        self._on_project()

    @property
    def far(self) -> tuple[int, int] | None:
        """Scans that were looked at for a new order, and all of them; None where none is made."""
        return self._far if self._process is not None else None

    @property
    def ids(self) -> tuple[int, ...]:
        """The suggested scans, the first comes next."""
        return tuple(found.case_id for found in self.order.cases) if self.order is not None else ()

    def reason(self, case: Case) -> str:
        """Why a scan is suggested; "" where it is not, or has its outline by now."""
        if self.order is None or case.states.get(self.order.target) not in _TO_DO:
            return ""
        return next((found.reason for found in self.order.cases if found.case_id == case.id), "")

    @property
    def sentence(self) -> str:
        """What there is, for people."""
        if self.far is not None:
            done, of = self.far
            return f"Looking at scan {min(done + 1, of)} of {of}…" if of else "The model looks at the scans…"
        if self.order is None:
            return "The model can look at the scans that wait, and say which are worth outlining first."
        if not self.order.cases:
            return f"No scan waits for an outline of {target_name(self.order.target)}, but for the hold-out."
        number = len(self.order.cases)
        return f"{number} scan{'s' * (number != 1)} suggested for {target_name(self.order.target)}."

    def make(self) -> None:
        """Look at all scans that wait for an outline of the target, and order them anew."""
        store, model = self._store, self._session.model
        if store is None or self.far is not None:
            return
        if store.read_only:
            self.message.emit("The project is open read-only; no order can be written into it.", True)
        elif model is None or not self._project.target:
            self.message.emit("Choose a model, and what is to be outlined, first.", True)
        else:
            needed = PROCESS_BYTES + 2 * sum(path.stat().st_size for path in model.folder.glob("*.safetensors"))
            if short := spare_memory(self._session.engine, needed, "looking at the scans"):
                self.message.emit(short, True)
            try:
                process = start_survey(store.folder, self._project.target, model.folder)
            except OSError as error:
                self.message.emit(f"The scans could not be looked at: {error}.", True)
                return
            self._process, self._far = process, (0, 0)
            work = partial(_follow, process, partial(self._note, process))
            self._run(work, partial(self._on_made, process), partial(self._fail, process))
            self._tell()

    def cancel(self) -> None:
        """Make no new order; the one that there was stays."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                process.kill()
            self.changed.emit()

    def close(self) -> None:
        """The window closes."""
        self._store = None
        self.cancel()

    def _on_project(self) -> None:
        store = self._project.store
        if store is not self._store:
            self.cancel()
            self._store = store
            self.order = read_order(store.folder) if store is not None else None
            self.changed.emit()

    def _note(self, process: ChildProcess, done: int, of: int) -> None:
        """In the thread that reads from the process."""
        if process is self._process:
            self._far = done, of

    def _tell(self) -> None:
        if self.far is not None:
            self.changed.emit()
            self._call_later(_TELL_SECONDS, self._tell)

    def _on_made(self, process: ChildProcess, _: object) -> None:
        if process is self._process and self._store is not None:
            self._process = None
            self.order = read_order(self._store.folder)
            if self.order is not None and self.order.unread:
                self.message.emit(f"Left out, because it cannot be read: {', '.join(self.order.unread)}.", True)
            self.changed.emit()

    def _fail(self, process: ChildProcess, error: Exception) -> None:
        if process is self._process:
            self._process = None
            self.message.emit(str(error), True)
            self.changed.emit()


def _follow(process: ChildProcess, progress: Callable[[int, int], None]) -> None:
    with process:
        follow_survey(process, progress)
