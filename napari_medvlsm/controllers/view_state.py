"""The scan and slice in view: the one place that knows it; everything else listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psygnal import Signal

from napari_medvlsm.core.images import Scan, content_hash


@dataclass(frozen=True, eq=False)
class SliceInView:
    """One 2D plane of an image as it is shown.

    Attributes
    ----------
    image : Any
        The image that it lies in, compared by identity; the viewer's own object, of which nothing is asked here.
    index : tuple of int
        Where the plane lies in the image's data, without the two displayed axes; () for a 2D image.
    scan : Scan
    pixels_hash : str
        `content_hash` of its pixels, where reading them beside the window has found it already; else "".
    """

    image: Any
    index: tuple[int, ...]
    scan: Scan
    pixels_hash: str = ""


class ViewState:
    """The image that is worked on, and the slice of it that is in view.

    Reading a slice costs its hash, so while a slider moves the view is only marked as moving; `settle` reads the slice
    that is in view then. The window calls it when the slider rests, and every action that needs the slice calls it too.

    Parameters
    ----------
    read : callable
        Reads the slice in view of an image; raises ValueError with a sentence if none can be worked on.
    """

    changed = Signal()  # another slice, other pixels, or none
    image_changed = Signal()  # another image is worked on, or none
    moving_started = Signal()  # the slice has to be read again

    def __init__(self, read: Callable[[Any], SliceInView]) -> None:
        self._read = read
        self.image: Any = None
        self.slice: SliceInView | None = None
        self.scan_hash = ""
        # Why the image that is worked on has no slice in view; "" if it has.
        self.problem = ""
        self._moving = self._other_pixels = False

    @property
    def scan(self) -> Scan | None:
        """The pixels in view; None without a slice."""
        return self.slice.scan if self.slice is not None else None

    @property
    def moving(self) -> bool:
        """Whether `slice` may no longer be what is in view."""
        return self._moving

    def choose(self, image: Any) -> None:
        """Work on another image, or with None on none."""
        if image is not self.image:
            self.image = image
            self.image_changed.emit()
            self.move()

    def move(self, other_pixels: bool = False) -> None:
        """Take note that another slice may be in view, or that the pixels of the image have changed."""
        self._moving = True
        self._other_pixels |= other_pixels
        self.moving_started.emit()

    def settle(self, other_pixels: bool = False) -> None:
        """Read the slice in view, if it may be another one; with `other_pixels`, in any case."""
        if not (self._moving or other_pixels):
            return
        other_pixels |= self._other_pixels
        self._moving = self._other_pixels = False
        found, problem = None, ""
        if self.image is not None:
            try:
                found = self._read(self.image)
            except ValueError as error:
                problem = str(error)
        if found is None and self.slice is None and problem == self.problem:
            return
        same_place = found is not None and self.slice is not None and _place(found) == _place(self.slice)
        if found is not None and same_place and not (other_pixels and _hash(found) != self.scan_hash):
            return
        self.show(found, problem)

    def read_again(self) -> None:
        """Read the slice in view anew: something beside its pixels has changed, such as their size."""
        self._moving = self._other_pixels = False
        if self.image is not None:
            try:
                self.show(self._read(self.image))
            except ValueError as error:
                self.show(None, str(error))

    def show(self, found: SliceInView | None, problem: str = "") -> None:
        """Work on a slice, or on none."""
        self.slice, self.problem = found, problem
        self.scan_hash = _hash(found) if found is not None else ""
        self.changed.emit()


def _hash(found: SliceInView) -> str:
    return found.pixels_hash or content_hash(found.scan.pixels)


def _place(found: SliceInView) -> tuple[int, tuple[int, ...]]:
    return id(found.image), found.index
