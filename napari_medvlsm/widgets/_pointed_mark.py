"""Where a person points, as dots on the scan, for as long as he points and a moment longer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer
from vispy.scene.visuals import Markers

# The answer is there after a tenth of a second; who pointed is to see both together.
_STAYS_MS = 700
_SIZE = 7
_INCLUDE, _EXCLUDE = "#35d07f", "#ff5a4f"
# Above all layers.
_ORDER = 10_000


class PointedMark(QObject):
    """Dots where the mouse passed: green for "this too", red for "not this".

    Parameters
    ----------
    viewer : napari.Viewer
    parent : QObject
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._dots: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_STAYS_MS)
        self._timer.timeout.connect(self.hide)

    @property
    def shown(self) -> bool:
        """Whether anything is marked."""
        return self._dots is not None and self._dots.visible

    def show(self, positions: Sequence[Sequence[float]], include: bool) -> None:
        """Mark where the mouse passed.

        Parameters
        ----------
        positions : sequence of world coordinates, the last two (row, col)
        include : bool
        """
        if self._dots is None:
            scene = self._viewer.window._qt_viewer.canvas.view.scene
            self._dots = Markers(parent=scene, scaling="fixed")
            self._dots.order = _ORDER
            self._dots.set_gl_state("translucent", depth_test=False)
        places = np.asarray(positions, np.float32)[:, -2:][:, ::-1]
        color = _INCLUDE if include else _EXCLUDE
        self._dots.set_data(places, size=_SIZE, face_color=color, edge_width=0, edge_color=color)
        self._dots.visible = True
        self._timer.start()

    def hide(self) -> None:
        """Take the dots away."""
        if self._dots is not None:
            self._dots.visible = False

    def close(self) -> None:
        """Mark nothing any more."""
        self._timer.stop()
        if self._dots is not None:
            self._dots.parent = None
            self._dots = None
