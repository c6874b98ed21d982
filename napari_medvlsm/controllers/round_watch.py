"""A round of training as it is followed: its files are read bit by bit, whoever writes them. No Qt, no napari."""

from __future__ import annotations

import time
from dataclasses import dataclass

from napari_medvlsm.core.improve.rounds import Progress, Round, RoundState
from napari_medvlsm.core.runs.events import Epoch, Started, Step, sentence_of
from napari_medvlsm.core.runs.log import EventLog

# A curve has no more points than a chart has pixels: beyond that, neighbours are averaged.
_MOST_POINTS = 400


@dataclass(frozen=True)
class RoundView:
    """What the files of a round say at one moment.

    Attributes
    ----------
    round : Round
    state : RoundState
    progress : Progress
    failure : str
        Why it failed; "".
    losses : tuple of (float, float)
        Epochs passed (with fractions, from 0), and the loss of training then.
    epochs : tuple of Epoch
        Complete ones.
    log : tuple of str
        Lines for people, the oldest first.
    """

    round: Round
    state: RoundState
    progress: Progress
    failure: str
    losses: tuple[tuple[float, float], ...] = ()
    epochs: tuple[Epoch, ...] = ()
    log: tuple[str, ...] = ()


class RoundWatch:
    """Looks at a round again and again.

    Parameters
    ----------
    round_ : Round
    """

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self._events = EventLog(round_.run.folder)
        self._steps_per_epoch = 1
        self._losses: dict[int, float] = {}
        self._epochs: dict[int, Epoch] = {}
        self._log: list[str] = []

    def look(self) -> RoundView:
        """Read what is new; takes some milliseconds, so it is called beside the window."""
        for logged in self._events.new():
            event = logged.event
            if isinstance(event, Started):
                self._steps_per_epoch = max(1, event.steps_per_epoch)
                # What came after the last complete epoch of a killed run is made again.
                first = event.first_epoch
                self._losses = {s: v for s, v in self._losses.items() if s <= first * self._steps_per_epoch}
                self._epochs = {n: e for n, e in self._epochs.items() if n < first}
            elif isinstance(event, Step):
                self._losses[event.step] = event.loss
            elif isinstance(event, Epoch):
                self._epochs[event.epoch] = event
            if line := sentence_of(event):
                self._log.append(f"{time.strftime('%H:%M:%S', time.localtime(logged.time))}  {line}")
        return RoundView(
            self.round,
            self.round.state,
            self.round.progress,
            self.round.failure,
            self._curve(),
            tuple(self._epochs[number] for number in sorted(self._epochs)),
            tuple(self._log),
        )

    def _curve(self) -> tuple[tuple[float, float], ...]:
        steps = [step for step in sorted(self._losses) if self._losses[step] is not None]
        together = -(-len(steps) // _MOST_POINTS) or 1
        points = []
        for i in range(0, len(steps), together):
            some = steps[i : i + together]
            points.append((some[-1] / self._steps_per_epoch, sum(self._losses[s] for s in some) / len(some)))
        return tuple(points)
