"""The tools of a correction, joined with their buttons, their keys and napari's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.editing import Editing
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.options import Region
from napari_medvlsm.widgets._layers import LayerManager
from napari_medvlsm.widgets._outline_view import OutlineView
from napari_medvlsm.widgets._pointed_mark import PointedMark
from napari_medvlsm.widgets._pointing import Pointer
from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.sections.tools import ToolBox

# Tools that are modes of napari's labels layer, by its name of the mode.
_MODES = tuple(keys.NAPARI_KEYS)


class ToolsPresenter(QObject):
    """Takes tools in hand, and carries out what is done with them on the correction in view.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    corrections : Corrections
    editing : Editing
    layers : LayerManager
    tools : ToolBox
    box : callable
        The rectangle that the model is to see; None for the whole scan.
    parent : QWidget
        Of the shortcuts: they hold in its window.
    """

    def __init__(
        self,
        viewer: Any,
        session: Session,
        corrections: Corrections,
        editing: Editing,
        layers: LayerManager,
        tools: ToolBox,
        box: Callable[[], Region | None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._session, self._corrections = viewer, session, corrections
        self._editing, self._layers, self._tools, self._box = editing, layers, tools, box
        # napari can fill a box behind the circle of the brush, over the pixels that one looks at, and leaves it on the
        # scan where the brush is laid down. Without a box (`box = False`) its canvas crashes in Mesa at closing.
        circle = getattr(viewer.canvas.overlays, "_brush_circle", None)
        if circle is not None:
            circle.box_color = (0.0, 0.0, 0.0, 0.0)
        self.outline = OutlineView(viewer, self)
        self.pointer = Pointer(viewer)
        self.mark = PointedMark(viewer, self)
        # The tool that points, or "".
        self._pointing = ""
        self._layer: Labels | None = None
        self._edits = {
            "smooth": editing.smooth,
            "grow": editing.grow,
            "shrink": editing.shrink,
            "copy": editing.copy_earlier,
        }
        tools.toolChosen.connect(self.take)
        tools.brushSizeChanged.connect(self._set_brush_size)
        tools.editRequested.connect(lambda name: self._edits[name]())
        tools.filledToggled.connect(self.outline.set_filled)
        tools.hiddenToggled.connect(self.outline.set_hidden)
        self.pointer.pointed.connect(self._on_pointed)
        self.pointer.moved.connect(self._on_moved)
        self.pointer.put_down.connect(self._on_put_down)
        for signal in (corrections.changed, session.prompt_changed, session.result_changed):
            signal.connect(self.show)
        self._shortcuts = [self._shortcut(key, tools.tools[name].click) for name, key in keys.POINTING_KEYS.items()]
        self._shortcuts += [self._shortcut(key, tools.edits[name].click) for name, key in keys.EDIT_KEYS.items()]
        self._shortcuts += [
            self._shortcut(keys.FILLED_KEY, tools.filled.click),
            self._shortcut(keys.HIDE_KEY, tools.hidden.click),
        ]
        self.show()

    def take(self, name: str) -> None:
        """Take a tool in hand, on a correction that is begun if there is none; "" lays it down."""
        if not name:
            self._lay_down()
        elif self._editing.begin():
            self.outline.set_hidden(False)
            self._tools.set_hidden(False)
            self._watch()
            layer = self._layer
            assert layer is not None, "a correction was begun"
            self._viewer.layers.selection.active = layer
            if name in _MODES:
                self._pointing = ""
                self.pointer.drop()
                layer.mode = name
            else:
                self._pointing = name
                self.pointer.take(layer)
            self._focus_on_scan()
        self._show_tool()

    def show(self) -> None:
        """Show what can be done, and which tool is in hand."""
        self._tools.set_available(
            self._session.view.image is not None
            and (bool(self._session.prompt.text) or self._session.result is not None)
        )
        self._watch()
        self._show_tool()

    def close(self) -> None:
        """Follow nothing any more."""
        self._unwatch()
        self.pointer.close()
        self.mark.close()
        self.outline.close()

    def _lay_down(self) -> None:
        self._pointing = ""
        self.pointer.drop()
        if self._layer is not None:
            self._layer.mode = "pan_zoom"

    def _on_put_down(self) -> None:
        self._pointing = ""
        self._show_tool()

    def _on_moved(self, positions: list[tuple[float, ...]]) -> None:
        if self._pointing in ("include", "exclude"):
            self.mark.show(positions, self._pointing == "include")

    def _on_pointed(self, points: list[tuple[int, int]]) -> None:
        if self._pointing == "keep":
            self._editing.keep_part(points[0])
        elif self._pointing == "drop":
            self._editing.drop_part(points[0])
        elif self._pointing:
            self._editing.point(points, self._pointing == "include", self._box())

    def _set_brush_size(self, pixels: int) -> None:
        if self._layer is not None:
            self._layer.brush_size = pixels

    def _watch(self) -> None:
        """Follow the layer of the correction in view."""
        view, target = self._session.view.slice, self._session.target_in_view.phrase
        current = self._corrections.current
        layer = self._layers.correction(view.image, target) if view is not None and current is not None else None
        if layer is self._layer:
            return
        self._unwatch()
        if self._pointing:
            # Another outline is in view: nothing is to happen to the one that was pointed at.
            self._pointing = ""
            self.pointer.drop()
        self._layer = layer
        if layer is not None:
            layer.events.mode.connect(self._show_tool)
            layer.events.brush_size.connect(self._show_tool)

    def _unwatch(self) -> None:
        if self._layer is not None:
            self._layer.events.mode.disconnect(self._show_tool)
            self._layer.events.brush_size.disconnect(self._show_tool)
            self._layer = None

    def _show_tool(self, event: Any = None) -> None:
        layer = self._layer
        mode = str(layer.mode) if layer is not None else ""
        self._tools.set_tool(self._pointing or (mode if mode in _MODES else ""))
        if layer is not None:
            self._tools.set_brush_size(layer.brush_size)

    def _focus_on_scan(self) -> None:
        """Let napari's keys reach the scan."""
        for widget in self.parent().window().findChildren(QWidget):
            if widget.metaObject().className() == "CanvasBackendDesktop" and widget.isVisible():
                widget.setFocus(Qt.FocusReason.OtherFocusReason)

    def _shortcut(self, key: str, function: Callable[[], object]) -> QShortcut:
        shortcut = QShortcut(QKeySequence(key), self.parent())
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.activated.connect(function)
        return shortcut
