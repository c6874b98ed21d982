"""What is outlined in the scan in view: one entry for each target, the person's outline before the model's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from psygnal import Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Target


@dataclass(frozen=True)
class Outline:
    """One target of the scan in view.

    Attributes
    ----------
    target : Target
    area : float
        Fraction of the scan (0 to 1) that its outline covers: the person's, where there is one, or else the model's.
    corrected : bool
        Whether the outline is the person's.
    absent : bool
        Whether the person answered that the scan does not show it.
    """

    target: Target
    area: float
    corrected: bool = False
    absent: bool = False

    @property
    def state(self) -> str:
        """What there is, in a few words."""
        if self.absent:
            return "not in this scan, you answered"
        if self.area == 0:
            return "empty, yours" if self.corrected else "nothing found"
        return f"{percent(self.area)}, {'yours' if self.corrected else 'the model’s'}"


class Outlines:
    """The targets of the scan in view that were asked for or outlined; a click turns to one.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    """

    changed = Signal()

    def __init__(self, session: Session, corrections: Corrections) -> None:
        self._session, self._corrections = session, corrections
        # Not at each move of the threshold: a mask is cleaned up when it rests, and looked at then.
        for signal in (session.result_changed, session.prompt_changed, corrections.changed):
            signal.connect(lambda: self.changed.emit())
        corrections.outlined.connect(lambda *_: self.changed.emit())

    @property
    def current(self) -> str:
        """The target that is worked on."""
        return self._session.target_in_view.phrase

    def entries(self) -> list[Outline]:
        """One for each target, in the order in which they were asked for or begun."""
        if self._session.view.slice is None:
            return []
        corrected = self._corrections.of_scan()
        return [self._entry(t) for t in dict.fromkeys([*self._session.results, *corrected])]

    def entry(self, target: str) -> Outline | None:
        """What there is of a target; None for nothing."""
        return next((e for e in self.entries() if e.target.phrase == target), None)

    def choose(self, target: str) -> None:
        """Turn to a target, with what was said of it."""
        self._session.look_at(target)

    def _entry(self, phrase: str) -> Outline:
        target, own = self._session.vocabulary.target(phrase), self._corrections.of_scan().get(phrase)
        if own is not None:
            return Outline(target, _area(own.mask), corrected=True, absent=own.absent)
        mask = self._session.mask(target=phrase)
        return Outline(target, _area(mask) if mask is not None else 0.0)


def percent(area: float) -> str:
    """A fraction of the scan for people: "12.3 %"."""
    return f"{'under 0.1' if 0 < area < 0.001 else f'{100 * area:.1f}'} %"


def _area(mask: Mask) -> float:
    return float(np.count_nonzero(mask)) / mask.size if mask.size else 0.0
