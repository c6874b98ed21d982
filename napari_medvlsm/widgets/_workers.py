"""The only place where threads are started: the engine's pipe, and small jobs beside the window."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.engine.protocol import Array, Message


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
            except EOFError:
                break
            self._emit(self._received, generation, message, arrays)
        process.kill()
        log = process.log_tail()
        process.close()
        self._emit(self._ended, generation, log)

    @staticmethod
    def _emit(signal: Any, *values: object) -> None:
        try:
            signal.emit(*values)
        except RuntimeError:
            pass  # the window, and this object with it, is gone

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
        except OSError:
            return  # the reader sees the end of the process and reports it


class Background(QObject):
    """Runs plain functions one after the other beside the window.

    `done` and `failed` are called in the window's thread; `failed` gets any exception, RuntimeError too.
    """

    _finished = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="medvlsm-background")
        self._finished.connect(lambda call, value: call(value) if call is not None else None)

    def run(
        self,
        function: Callable[[], Any],
        done: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Queue a job."""

        def work() -> None:
            call: Any
            try:
                call, value = done, function()
            except Exception as error:  # handed on: the caller turns it into a sentence
                call, value = failed, error
            try:
                self._finished.emit(call, value)
            except RuntimeError:
                pass  # the window is gone

        self._pool.submit(work)

    def close(self, wait: bool = True) -> None:
        """Finish what is queued, so that an autosave that was asked for is written; or drop it and wait for nothing."""
        self._pool.shutdown(wait=wait, cancel_futures=not wait)


def call_later(parent: QObject) -> Callable[[float, Callable[[], None]], None]:
    """A ``call_later(seconds, function)`` that dies with `parent`."""

    def later(seconds: float, function: Callable[[], None]) -> None:
        timer = QTimer(parent)
        timer.setSingleShot(True)
        timer.timeout.connect(function)
        timer.timeout.connect(timer.deleteLater)
        timer.start(int(seconds * 1000))

    return later
