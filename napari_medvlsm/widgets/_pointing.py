"""Clicks and strokes on the scan that are no painting: napari's mouse events to pixels of the slice in view."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from psygnal import Signal

from napari_medvlsm.core.refine import Point

# The mode of a labels layer in which a click changes nothing and the scan stays where it is; the space bar held down
# lends the mouse to the camera and gives it back, as with the brush.
_MODE = "pick"


class Pointer:
    """Reports what a person points at on a labels layer, while it is in hand.

    Parameters
    ----------
    viewer : ViewerModel
    """

    moved = Signal(list)  # world coordinates of the places that the mouse has passed since it was pressed
    pointed = Signal(list)  # (row, col) of each pixel that the mouse passed, the first at least
    put_down = Signal()  # another tool was taken on the layer

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None
        viewer.mouse_drag_callbacks.append(self._on_drag)

    def take(self, layer: Labels) -> None:
        """Point on a layer from now on."""
        self.drop()
        self._viewer.layers.selection.active = layer
        layer.mode = _MODE
        self._layer = layer
        layer.events.mode.connect(self._on_mode)

    def drop(self) -> None:
        """Point no more."""
        if self._layer is not None:
            layer, self._layer = self._layer, None
            layer.events.mode.disconnect(self._on_mode)
            layer.selected_label = 1
            if layer.mode == _MODE:
                layer.mode = "pan_zoom"

    def close(self) -> None:
        """Report nothing any more."""
        self.drop()
        self._viewer.mouse_drag_callbacks.remove(self._on_drag)

    def _on_mode(self, event: Any = None) -> None:
        assert self._layer is not None, "it is listened to while it is in hand"
        if self._layer.mode not in (_MODE, "pan_zoom"):
            layer, self._layer = self._layer, None
            layer.events.mode.disconnect(self._on_mode)
            layer.selected_label = 1
            self.put_down.emit()

    def _on_drag(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        layer = self._layer
        if layer is None or layer is not viewer.layers.selection.active or layer.mode != _MODE or event.button != 1:
            return
        passed = [tuple(event.position)]
        self.moved.emit(passed)
        yield
        while event.type == "mouse_move":
            passed.append(tuple(event.position))
            self.moved.emit(passed)
            yield
        # The pick tool took the label under the mouse; a brush taken later is to paint.
        layer.selected_label = 1
        self.pointed.emit(_line([_pixel(layer, position) for position in passed]))


def _pixel(layer: Labels, position: Any) -> Point:
    row, col = np.rint(layer.world_to_data(position)[-2:]).astype(int)
    return int(row), int(col)


def _line(corners: list[Point]) -> list[Point]:
    """All pixels of a polygonal line, each once, in their order."""
    found = {corners[0]: None}
    for (row0, col0), (row1, col1) in pairwise(corners):
        steps = max(abs(row1 - row0), abs(col1 - col0), 1)
        for row, col in np.rint(np.linspace((row0, col0), (row1, col1), steps + 1)).astype(int):
            found[int(row), int(col)] = None
    return list(found)
