"""Requests to stop, by signal or by the end of stdin; the only module of the training that handles signals."""

from __future__ import annotations

import _thread
import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Ctrl+C; what `kill`, SLURM and a shutdown send; and Ctrl+Break, which only Windows has.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Interrupted(BaseException):
    """Training was asked to stop. Not an `Exception`, so that no handler on the way takes it for an error."""


class StopRequests:
    """Requests to stop.

    Until `listening`, no signal counts and only `request` asks. A request ends what goes on as Ctrl+C ends any Python
    program, with `Interrupted`; within `deferred` it is only noted, for code that has to come to a good end first.

    Attributes
    ----------
    signal : int
        The first signal that asked, 0 without a request. SIGTERM stands for the means that are no signals.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._deferred = 0
        self._signals: set[int] = set()
        self._stdin_ended = False

    def request(self, by: int = signal.SIGTERM) -> None:
        """Ask to stop; from the main thread.

        Raises
        ------
        Interrupted
            Unless requests are deferred.
        """
        self.signal = self.signal or by
        if not self._deferred:
            raise Interrupted

    @property
    def exit_code(self) -> int:
        """Of a process that was ended by the signal, as shells count: 130 for Ctrl+C, 143 for SIGTERM; 0 without."""
        return 128 + self.signal if self.signal else 0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Requests are only noted; the code inside checks `signal`."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    @contextmanager
    def listening(self, stdin: bool = False) -> Iterator[None]:
        """Listen to signals; a signal that comes a second time ends the process at once.

        Parameters
        ----------
        stdin : bool
            Whether the end of stdin asks as well, where that is a pipe: a program that closes its end, or that dies,
            then stops what it started. On Windows, which has no SIGTERM, this is the means.
        """
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        if stdin and _is_pipe(0):
            threading.Thread(target=self._await_end, name="end-of-stdin", daemon=True).start()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_signals(self) -> None:
        """Take them back from Lightning, which in several processes answers SIGTERM with a broadcast that can hang."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stdin_ended:
            # Does not count: a program that closes the pipe may send a signal as well.
            self._stdin_ended = False
        elif number in self._signals:
            os._exit(128 + number)
        else:
            self._signals.add(number)
        self.request(number)

    def _await_end(self) -> None:
        with suppress(OSError):
            while os.read(0, 65536):
                pass
        if not self.signal:
            # As a signal, because those are answered in the main thread.
            self._stdin_ended = True
            _thread.interrupt_main(signal.SIGTERM)


def _is_pipe(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
