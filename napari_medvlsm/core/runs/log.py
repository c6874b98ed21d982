"""The events of a run in its folder, one a line: what reports them writes them, whoever looks into the folder reads.

So a run can be followed by a program that did not start it, on another computer, or after a restart.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from napari_medvlsm.core.runs.events import Event, EventSink, read_line
from napari_medvlsm.core.runs.folder import EVENTS_FILE


class EventRecorder:
    """Hands events on and, once it knows the run's folder, appends them to `events.jsonl` there.

    A disk that is full does not end a run on this account: the line is left out. What is written there names no folder
    above the run's: paths in it are relative, and of others the last name is left. Only the sentence of a failure
    may name a file.

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
                file.write(f"{_without_folders(event, self._path.parent).line()}\n".encode())
        self._report(event)


def _without_folders(event: Event, run: Path) -> Event:
    texts = {name: _relative(value, run) for name, value in asdict(event).items() if isinstance(value, str)}
    paths = {name: Path(text) for name, text in texts.items() if name != "sentence"}
    return replace(event, **texts | {name: path.name for name, path in paths.items() if path.is_absolute()})


def _relative(text: str, run: Path) -> str:
    """A path, or a sentence with paths: "." for the run's folder, and what is in it as seen from there."""
    if text == str(run):
        return "."
    inside = re.sub(rf"(?<![\w./\\-]){re.escape(str(run) + os.sep)}", "", text)
    return inside.replace(str(run), "the folder of the run") if run.is_absolute() else inside


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
