"""Predicting the unseen scans of a project beside the window: started, followed, stopped. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from psygnal import Signal

from napari_medvlsm.core.process import ChildProcess
from napari_medvlsm.core.projects.predicting import (
    BatchRequest,
    Predicted,
    lying_there,
    remember_request,
    remembered_request,
    start_process,
    take_in,
    told_by,
)
from napari_medvlsm.core.projects.store import ProjectStore


@dataclass
class _Work:
    """One run of the process."""

    store: ProjectStore
    request: BatchRequest
    child: ChildProcess | None = None
    done: int = 0  # failed ones included
    of: int = 0
    made: int = 0
    stopped: bool = False
    # The project is closed: the work goes on when it is opened again.
    left: bool = False
    problem: str = ""


class Predicting:
    """Predicts what is unseen; results wait in the project as predictions.

    Parameters
    ----------
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window; a run takes all of its time.
    """

    changed = Signal()  # whether it works
    progressed = Signal(int, int)  # outlines done, of how many; in the thread that follows the process
    taken = Signal(int, str)  # scan and target of a prediction that the project has now; in the same thread
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, run: Callable[..., None]) -> None:
        self._run = run
        self._work: _Work | None = None

    @property
    def works(self) -> bool:
        """Whether scans are being predicted."""
        return self._work is not None

    def start(self, store: ProjectStore, request: BatchRequest) -> None:
        """Begin; nothing where it works already."""
        if self._work is None:
            work = self._work = _Work(store, request)
            self._run(partial(self._follow, work, True), partial(self._on_done, work), partial(self._on_failed, work))
            self.changed.emit()

    def go_on(self, store: ProjectStore) -> None:
        """Go on where the project was closed before all was predicted."""
        request = None if store.read_only else remembered_request(store)
        if request is not None and self._work is None:
            self.message.emit("Predicting goes on where it was left.", False)
            work = self._work = _Work(store, request)
            self._run(partial(self._follow, work, False), partial(self._on_done, work), partial(self._on_failed, work))
            self.changed.emit()

    def stop(self) -> None:
        """Stop for good; what was predicted stays."""
        if self._work is not None:
            self._work.stopped = True
            self._end_process(self._work)

    def leave(self) -> None:
        """Stop because the project is closed; it goes on by `go_on`."""
        work, self._work = self._work, None
        if work is not None:
            work.left = True
            self._end_process(work)
            self.changed.emit()

    # Within: in the thread ------------------------------------------------------------------------------------------

    def _follow(self, work: _Work, new: bool) -> str:
        """Take in what the process predicts, until it ends; gives back why it ended early, "" where it did not."""
        if new:
            remember_request(work.store, None)  # what another request left
            remember_request(work.store, work.request)
        for predicted in lying_there(work.store, work.request):
            self._take(work, predicted)
        ended = "" if work.stopped or work.left else self._read_process(work)
        if work.stopped or not work.left:
            remember_request(work.store, None)
        return ended

    def _read_process(self, work: _Work) -> str:
        with start_process(work.store) as child:
            work.child = child
            if work.stopped or work.left:  # said while it was being started
                child.ask_to_end()
            for predicted in told_by(child):
                if predicted.of:
                    work.of = work.done + predicted.of
                else:
                    self._take(work, predicted)
                    work.done += 1
                self.progressed.emit(work.done, work.of)
            code = child.wait()
            last = child.stderr_tail().splitlines()[-1:]
        work.child = None
        return "" if not code or work.stopped or work.left else " ".join(last) or f"exit code {code}"

    def _take(self, work: _Work, predicted: Predicted) -> None:
        if predicted.problem:
            work.problem = work.problem or predicted.problem
            return
        try:
            if take_in(work.store, predicted):
                work.made += 1
                self.taken.emit(predicted.case_id, predicted.target)
        except ValueError as error:  # where the project is closed, the file stays for the next time
            work.problem = work.problem or str(error)

    # Within: in the window's thread ---------------------------------------------------------------------------------

    @staticmethod
    def _end_process(work: _Work) -> None:
        child = work.child
        if child is not None:
            with suppress(OSError, ValueError):
                child.ask_to_end()

    def _on_done(self, work: _Work, ended: str) -> None:
        if work is not self._work:
            return
        self._work = None
        if ended:
            self.message.emit(f"Predicting stopped unexpectedly: {ended}", True)
        elif work.stopped:
            self.message.emit(f"Predicting was stopped; {work.made} outlines are there.", False)
        elif work.problem:
            self.message.emit(f"{work.made} of {work.of} outlines were predicted; of the others: {work.problem}", True)
        else:
            self.message.emit(f"{work.made} outlines were predicted; they wait for your answer.", False)
        self.changed.emit()

    def _on_failed(self, work: _Work, error: Exception) -> None:
        if work is self._work:
            self._work = None
            self.message.emit(f"Predicting stopped: {error}", True)
            self.changed.emit()
