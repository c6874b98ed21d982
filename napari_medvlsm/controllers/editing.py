"""Edits of the correction in view beside brush and eraser: whole-outline edits, and refining by pointing. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from psygnal import Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core import edits
from napari_medvlsm.core.images import window_of
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.options import Region
from napari_medvlsm.core.refine import Hint, Point, refine

# Hints that are remembered for one outline; more would slow each of them down.
_MOST_HINTS = 60


class Editing:
    """Each method changes the correction in view as one undoable step, and begins one where there is none.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem
    started = Signal()  # a correction was begun, and is to be seen instead of the prediction

    def __init__(self, session: Session, corrections: Corrections) -> None:
        self._session, self._corrections = session, corrections
        # What the person pointed at, of the outline in view alone.
        self._hints: list[Hint] = []
        self._whose: tuple[str, str] | None = None

    def begin(self, from_prediction: bool = True) -> bool:
        """Begin a correction, if there is none; False, with a message, without a scan or a target."""
        session = self._session
        session.view.settle()
        if session.view.slice is None:
            self.message.emit(session.view.problem or "Choose or open a scan first.", True)
            return False
        if not session.prompt.text and session.result is None:
            self.message.emit("Choose what to outline, or type it.", True)
            return False
        if self._corrections.current is None:
            self._corrections.begin(from_prediction)
            self.started.emit()
        return True

    # Pointing -------------------------------------------------------------------------------------------------------

    def point(self, points: Sequence[Point], include: bool, box: Region | None = None) -> int:
        """Refine the outline by a click or a stroke.

        Parameters
        ----------
        points : sequence of (row, col)
            Pixels of the scan that were pointed at; those outside of it are passed over.
        include : bool
            Whether they belong to what is outlined, "this too"; else "not this".
        box : (row0, col0, row1, col1), optional
            Nothing outside of it is changed.

        Returns
        -------
        int
            Number of pixels that changed.
        """
        if not self.begin():
            return 0
        session = self._session
        scan, target = session.scan, session.target_in_view.phrase
        assert scan is not None, "a correction was begun"
        inside = tuple((r, c) for r, c in points if 0 <= r < scan.size[0] and 0 <= c < scan.size[1])
        if box is not None:
            inside = tuple((r, c) for r, c in inside if box[0] <= r < box[2] and box[1] <= c < box[3])
        if not inside:
            where = "inside the rectangle" if box is not None else "on the scan"
            self.message.emit(f"Nothing was changed: point {where}.", True)
            return 0
        if self._whose != (session.scan_hash, target):
            self._whose, self._hints = (session.scan_hash, target), []
        result = session.results.get(target)
        probability = result.probability if result is not None else None
        window = window_of(scan.pixels)
        hint = Hint(inside, include)

        def changed(mask: Mask) -> Mask:
            # An undo, or the brush, takes back what was pointed at before.
            self._hints = [h for h in self._hints if h.holds(mask)][-_MOST_HINTS:]
            hints = [*self._hints, hint]
            new = refine(mask, scan.pixels, hints, probability, session.threshold_of(target), box, window)
            self._hints.append(hint)
            return new

        count = self._corrections.apply(changed, pointed=True)
        if not count:
            self.message.emit("It was so already." if include else "That was not part of the outline.", False)
        return count

    # Whole outlines -------------------------------------------------------------------------------------------------

    def smooth(self) -> None:
        """Even out the boundary."""
        self._apply(edits.smooth, "The outline is smooth already.")

    def grow(self) -> None:
        """Move the boundary outwards by one step."""
        self._apply(lambda mask: edits.grow(mask, edits.step_of(_size(mask))), "There is nothing to grow.")

    def shrink(self) -> None:
        """Move the boundary inwards by one step."""
        step = edits.step_of
        self._apply(lambda mask: edits.shrink(mask, step(_size(mask))), "There is nothing to shrink.")

    def keep_part(self, point: Point) -> None:
        """Keep the part of the outline that was clicked, and drop all others."""
        self._on_part(point, lambda mask, part: part, "There is no other part.")

    def drop_part(self, point: Point) -> None:
        """Drop the part of the outline that was clicked."""
        self._on_part(point, lambda mask, part: mask & ~part, "")

    def copy_earlier(self) -> None:
        """Take the outline of the slice before or, without one, of the scan that was worked on before."""
        if self._session.view.slice is None:
            return
        found = self._corrections.earlier()
        if found is None:
            label = self._session.target_in_view.label
            self.message.emit(f"There is no outline of {label} in the slice before or in a scan of this size.", True)
        elif self.begin(from_prediction=False):
            count = self._corrections.apply(lambda mask: found)
            self.message.emit("Copied; Undo takes it back." if count else "They are the same.", False)

    # Within ---------------------------------------------------------------------------------------------------------

    def _apply(self, change: Callable[[Mask], Mask], otherwise: str) -> None:
        if self.begin() and not self._corrections.apply(change):
            self.message.emit(otherwise, False)

    def _on_part(self, point: Point, change: Callable[[Mask, Mask], Mask], otherwise: str) -> None:
        if not self.begin():
            return
        missed = False

        def changed(mask: Mask) -> Mask:
            nonlocal missed
            part = edits.part_at(mask, *point)
            missed = part is None
            return mask if part is None else change(mask, part)

        count = self._corrections.apply(changed)
        if missed:
            self.message.emit("Click on a part of the outline; nothing was changed.", True)
        elif not count:
            self.message.emit(otherwise, False)


def _size(mask: Mask) -> tuple[int, int]:
    rows, cols = np.shape(mask)
    return rows, cols
