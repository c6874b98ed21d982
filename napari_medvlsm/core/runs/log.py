"""The events of a run in its folder, one a line: what reports them writes them, whoever looks into the folder reads.

So a run can be followed by a program that did not start it, on another computer, or after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.runs.events import Event, EventSink, read_line
from napari_medvlsm.core.runs.folder import EVENTS_FILE


class EventRecorder:
    """Hands events on and, once it knows the run's folder, appends them to `events.jsonl` there.

    A disk that is full does not end a run on this account: the line is left out.

    Parameters
    ----------
    report : callable
        Gets every event.
    """

    def __init__(self, report: EventSink) -> None:
        self._report = report
        self._path: Path | None = None

    def record_in(self, run: Path) -> None:
        """Append from now on; a line that a killed run left unfinished is ended first."""
        self._path = run / EVENTS_FILE
        with suppress(OSError), self._path.open("a+b") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read() != b"\n":
                    file.write(b"\n")

    def __call__(self, event: Event) -> None:
        """Report an event."""
        if self._path is not None:
            with suppress(OSError), self._path.open("ab") as file:
                file.write(f"{event.line()}\n".encode())
        self._report(event)


@dataclass(frozen=True)
class Logged:
    """An event and when it came, in seconds since 1970 by the clock of the computer that reported it."""

    event: Event
    time: float


class EventLog:
    """The recorded events of a run, read bit by bit: `new` gives those that came since it was asked last.

    Parameters
    ----------
    run : Path
        Folder of the run; it need not exist yet.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / EVENTS_FILE
        self._place = 0

    def new(self) -> list[Logged]:
        """Whole lines only; what this version does not know, and what cannot be read, is passed over."""
        try:
            if self._path.stat().st_size < self._place:  # begun anew
                self._place = 0
            with self._path.open("rb") as file:
                file.seek(self._place)
                content = file.read()
        except OSError:
            return []
        end = content.rfind(b"\n") + 1
        self._place += end
        return list(_events(content[:end]))


def _events(content: bytes) -> Iterator[Logged]:
    for line in content.decode("utf-8", "replace").splitlines():
        event = read_line(line)
        if event is not None:
            at = json.loads(line).get("time")
            yield Logged(event, float(at) if isinstance(at, int | float) else 0.0)
