"""Output of events: lines of JSON for a program, or sentences and a progress bar for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from tqdm import tqdm

from napari_medvlsm.core.runs.events import Encoded, Event, EventSink, Step, Stopped, sentence_of

OnClosed = Callable[[], None]


@contextmanager
def json_on_stdout(on_closed: OnClosed) -> Iterator[EventSink]:
    """Give stdout to events alone: what anything else prints, also compiled code and child processes, goes to stderr.

    Parameters
    ----------
    on_closed : callable
        Called once when the reader has closed the pipe; further events are dropped.
    """
    printed = sys.stdout
    printed.flush()
    own = os.dup(1)
    os.dup2(2, 1)

    def write(event: Event) -> None:
        line = f"{event.line()}\n".encode()
        while line:
            line = line[os.write(own, line) :]

    try:
        with redirect_stdout(sys.stderr):
            yield _EventWriter(write, on_closed)
    finally:
        printed.flush()
        os.dup2(own, 1)
        os.close(own)


@contextmanager
def for_people(on_closed: OnClosed) -> Iterator[EventSink]:
    """Sentences on stdout, and a bar on stderr where that is a terminal; `on_closed` as in `json_on_stdout`."""
    console = _Console(sys.stdout)
    writer = _EventWriter(console.report, on_closed)
    try:
        yield writer
    finally:
        console.end()
        if not writer.open:
            # What is left in the buffer has nowhere to go; Python would fail on it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _EventWriter:
    """Stops writing when the other end is closed, for which Windows has another error than a broken pipe."""

    def __init__(self, write: EventSink, on_closed: OnClosed) -> None:
        self._write = write
        self._on_closed = on_closed
        self.open = True

    def __call__(self, event: Event) -> None:
        if not self.open:
            return
        try:
            self._write(event)
        except OSError:
            self.open = False
            self._on_closed()


class _Console:
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar: tqdm[Any] | None = None
        self._shown = ""

    def report(self, event: Event) -> None:
        if isinstance(event, Step):
            self._show(event.step, event.steps, "training", "step")
            if self._bar is not None:
                self._bar.set_postfix({"epoch": event.epoch + 1, "loss": f"{event.loss:.3f}"})
        elif isinstance(event, Encoded):
            self._show(event.done, event.total, "encoding", "image")
        elif sentence := sentence_of(event):
            if isinstance(event, Stopped):
                self.end()
            with tqdm.external_write_mode(file=self._out):
                print(sentence, file=self._out, flush=True)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, done: int, total: int, what: str, unit: str) -> None:
        if self._bar is None or self._shown != what:
            self.end()
            self._shown = what
            self._bar = tqdm(None, what, total, leave=False, initial=done, unit=unit, disable=None)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
