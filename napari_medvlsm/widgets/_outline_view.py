"""How outlines are shown: as lines about as thick on the screen at every zoom, filled, or not at all."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer

from napari_medvlsm.core.contours import boundaries
from napari_medvlsm.widgets._layers import role

# Width of a line on the screen, in pixels. Where a scan is shown smaller than it is, fewer would break up.
_WIDTH = 2.5
# Lines in planes of more pixels would hold up the zoom.
_MOST_PIXELS = 2**26
# A line hides little of the scan; an area is to let it through.
_LINE_OPACITY, _FILL_OPACITY = 1.0, 0.45
# Wait this long after the last turn of the wheel.
_SETTLE_MS = 150


class OutlineView(QObject):
    """Shows predictions and corrections of a viewer as lines, filled, or hides them.

    Parameters
    ----------
    viewer : ViewerModel
    parent : QObject
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._filled = False
        # Layers that were visible when all were hidden.
        self._hidden: list[Labels] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._draw)
        viewer.scene.camera.events.zoom.connect(self._on_zoom)
        viewer.layers.events.inserted.connect(self._on_inserted)
        self._draw()

    @property
    def hidden(self) -> bool:
        """Whether outlines are hidden by `set_hidden`."""
        return bool(self._hidden)

    def set_filled(self, filled: bool) -> None:
        """Show filled areas instead of lines."""
        self._filled = filled
        self._draw()

    def set_hidden(self, hidden: bool) -> None:
        """Hide what is visible of the outlines, or show it again."""
        if hidden and not self._hidden:
            self._hidden = [layer for layer in self._layers() if layer.visible]
            for layer in self._hidden:
                layer.visible = False
        elif not hidden:
            for layer in self._hidden:
                layer.visible = True
            self._hidden = []

    def close(self) -> None:
        """Follow the viewer no more."""
        self._timer.stop()
        self._viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)

    def _layers(self) -> list[Labels]:
        return [layer for layer in self._viewer.layers if _is_outline(layer)]

    def _on_zoom(self, event: Any = None) -> None:
        self._timer.start()

    def _on_inserted(self, event: Any) -> None:
        if isinstance(event.value, Labels):
            # Our layers get their role before they are added; those that are adopted, later.
            self._timer.start()

    def _draw(self) -> None:
        for layer in self._layers():
            wanted = 0 if self._filled else self._width(layer)
            if bool(layer.contour) != bool(wanted):
                layer.opacity = _LINE_OPACITY if wanted else _FILL_OPACITY
            if layer.contour != wanted:
                # napari's own way takes the longer the thicker a line is: seconds where a large scan is shown small.
                layer._calculate_contour = partial(_lines, layer)
                layer.contour = wanted

    def _width(self, layer: Labels) -> int:
        """Thickness in pixels of the layer; 0 for a filled area."""
        if layer.data.shape[-1] * layer.data.shape[-2] > _MOST_PIXELS:
            return 0
        on_screen = self._viewer.scene.camera.zoom * float(layer.scale[-1])
        return max(1, round(_WIDTH / on_screen)) if on_screen > 0 else 1


def _lines(layer: Labels, labels: Any, part: tuple[slice, slice]) -> Any:
    """What a layer shows of a part of its plane; stands in for a method of napari's labels layer."""
    if not layer.contour or labels.ndim != 2:
        return None
    reach = layer.contour
    around = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in part)
    lines = boundaries(np.asarray(labels[around]), reach, layer.colormap.background_value)
    return lines[tuple(slice(s.start - a.start, s.stop - a.start) for s, a in zip(part, around, strict=True))]


def _is_outline(layer: Any) -> bool:
    return isinstance(layer, Labels) and role(layer).get("kind") in ("prediction", "correction")
