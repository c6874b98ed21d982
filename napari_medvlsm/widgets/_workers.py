"""The only place where threads are started: the engine's pipe, and small jobs beside the window."""

from __future__ import annotations

import atexit
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication

from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.engine.protocol import Array, Message

# The window's end waits no longer for what is being written, should the disk not answer.
AUTOSAVE_FINISH_SECONDS = 10.0
# So often it is asked whether a dialog is still open that results wait for.
_DIALOG_MS = 100


class EngineThreads(QObject):
    """A `Transport`: one thread writes to the engine's pipe, one reads from it.

    Frames of an engine that was stopped carry its old generation and are dropped.
    """

    _received = Signal(int, object, object)
    _ended = Signal(int, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._generation = 0
        self._process: EngineProcess | None = None
        self._outgoing: queue.Queue[tuple[Message, Sequence[Array]] | None] = queue.Queue()
        self._on_message: Callable[[Message, list[Array]], None] | None = None
        self._on_exit: Callable[[str], None] | None = None
        self._received.connect(self._deliver)
        self._ended.connect(self._deliver_end)

    @property
    def pid(self) -> int | None:
        """The engine's process number, if one runs."""
        return self._process.pid if self._process is not None else None

    def start(self, on_message: Callable[[Message, list[Array]], None], on_exit: Callable[[str], None]) -> None:
        """Start a process and its two threads."""
        self.stop()
        self._on_message, self._on_exit = on_message, on_exit
        self._process = EngineProcess()
        self._outgoing = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, self._generation), daemon=True).start()
        threading.Thread(target=_write, args=(self._process, self._outgoing), daemon=True).start()

    def send(self, message: Message, arrays: Sequence[Array]) -> None:
        """Queue a frame for the writer."""
        self._outgoing.put((message, arrays))

    def stop(self) -> None:
        """End the process at once; nothing of it is delivered any more."""
        self._generation += 1
        process, self._process = self._process, None
        self._outgoing.put(None)
        if process is not None:
            process.kill()

    def _read(self, process: EngineProcess, generation: int) -> None:
        while True:
            try:
                message, arrays = process.receive()
            except Exception:  # its end, or bytes that are no frame: after them nothing can be told apart
                break
            self._emit("_received", generation, message, arrays)
        process.kill()
        log = process.log_tail()
        process.close()
        self._emit("_ended", generation, log)

    def _emit(self, signal: str, *values: object) -> None:
        # Even to look the signal up fails once the window, and this object with it, is gone.
        with suppress(RuntimeError):
            getattr(self, signal).emit(*values)

    def _deliver(self, generation: int, message: Message, arrays: list[Array]) -> None:
        if generation == self._generation and self._on_message is not None:
            self._on_message(message, arrays)

    def _deliver_end(self, generation: int, log: str) -> None:
        if generation == self._generation and self._on_exit is not None:
            self._process = None
            self._outgoing.put(None)
            self._on_exit(log)


def _write(process: EngineProcess, outgoing: queue.Queue[tuple[Message, Sequence[Array]] | None]) -> None:
    while (frame := outgoing.get()) is not None:
        try:
            process.send(*frame)
        except Exception:  # it is gone, or half a frame was sent
            process.kill()
            return  # the reader sees the end of the process and reports it


class Background(QObject):
    """Runs plain functions one after the other, in a thread of its own.

    `done` and `failed` are called in the window's thread; `failed` gets any exception, RuntimeError too. They wait
    while a dialog asks the person something: where to save the outline in view, for instance, is not to be answered for
    the outline of another scan that came into view behind the dialog. The end of the program never waits for a function
    that hangs, such as one that reads from a disk that does not answer.

    Parameters
    ----------
    parent : QObject, optional
    finish_seconds : float
        How long `close`, or the end of the program without it, waits for what is queued; 0 drops what has not begun.
    """

    _finished = Signal(object, object)

    def __init__(self, parent: QObject | None = None, finish_seconds: float = 0.0) -> None:
        super().__init__(parent)
        self._finish_seconds = finish_seconds
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._results: deque[tuple[Callable[[Any], None] | None, Any]] = deque()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DIALOG_MS)
        self._timer.timeout.connect(self._hand_over)
        self._finished.connect(self._deliver)

    def run(
        self,
        function: Callable[[], Any],
        done: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Queue a job; nothing after `close`."""

        def work() -> None:
            call: Any
            try:
                call, value = done, function()
            except Exception as error:  # handed on: the caller turns it into a sentence
                call, value = failed, error
            except BaseException as error:  # of a library in another language; the next job must still run
                call, value = failed, RuntimeError(f"{type(error).__name__}: {error}")
            try:
                self._finished.emit(call, value)
            except RuntimeError:
                pass  # the window is gone

        if self._closed:
            return
        if self._thread is None:
            # Not one of `concurrent.futures`, for which the end of the program waits as long as they take.
            self._thread = threading.Thread(
                target=_work_off, args=(self._jobs,), name="medvlsm-background", daemon=True
            )
            self._thread.start()
            if self._finish_seconds:
                atexit.register(_finish, self._jobs, self._thread, self._finish_seconds)
        self._jobs.put(work)

    def close(self) -> None:
        """Take no more jobs, and finish those that are queued, or drop them; see `finish_seconds`."""
        self._closed = True
        if self._thread is None:
            return
        if not self._finish_seconds:
            with suppress(queue.Empty):
                while True:
                    self._jobs.get_nowait()
        _finish(self._jobs, self._thread, self._finish_seconds)
        self._thread = None

    def _deliver(self, call: Callable[[Any], None] | None, value: Any) -> None:
        self._results.append((call, value))
        self._hand_over()

    def _hand_over(self) -> None:
        """Call what waits, in its order."""
        while self._results:
            if QApplication.activeModalWidget() is not None:
                self._timer.start()
                return
            call, value = self._results.popleft()
            # What was still running when the window closed would be told to widgets that are gone.
            dropped = self._closed and not self._finish_seconds
            if call is not None and not dropped:
                call(value)


def _work_off(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()


def _finish(jobs: queue.SimpleQueue[Callable[[], None] | None], thread: threading.Thread, seconds: float) -> None:
    jobs.put(None)
    thread.join(seconds)


def call_later(parent: QObject) -> Callable[[float, Callable[[], None]], None]:
    """A ``call_later(seconds, function)`` that dies with `parent`."""

    def later(seconds: float, function: Callable[[], None]) -> None:
        timer = QTimer(parent)
        timer.setSingleShot(True)
        timer.timeout.connect(function)
        timer.timeout.connect(timer.deleteLater)
        timer.start(int(seconds * 1000))

    return later
