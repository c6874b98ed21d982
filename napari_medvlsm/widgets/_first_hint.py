"""A few words on the empty canvas for who opens the panel for the first time; a click or the first scan ends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari.components import ViewerModel

from napari_medvlsm.core.io.settings import Settings

_TEXT = (
    "Drop a scan here, or take File ▸ Open Sample ▸ MedVLSM.\n"
    "Choose what to outline at the right, and press Segment.\n"
    "F1 opens the guide. Click to hide this."
)
# Of the settings.
_SEEN = "first hint seen"


class FirstHint:
    """Shows the hint until it was seen once on this computer.

    Parameters
    ----------
    viewer : ViewerModel
    settings : Settings
    """

    def __init__(self, viewer: ViewerModel, settings: Settings) -> None:
        self._viewer, self._settings = viewer, settings
        self.shown = not len(viewer.layers) and not settings.recall(_SEEN) and not viewer.canvas.overlays.text.text
        if self.shown:
            viewer.canvas.overlays.text.text = _TEXT
            viewer.canvas.overlays.text.font_size = 14
            viewer.canvas.overlays.text.position = "top_center"
            viewer.canvas.overlays.text.visible = True
            viewer.mouse_drag_callbacks.append(self._on_click)
            viewer.layers.events.inserted.connect(self.hide)

    def hide(self, event: Any = None) -> None:
        """Show it no more, now and in later sessions."""
        if self.shown:
            self.close()
            self._settings.remember(_SEEN, "yes")

    def close(self) -> None:
        """Take it away; who has not seen it yet sees it in the next session."""
        if self.shown:
            self.shown = False
            self._viewer.canvas.overlays.text.visible = False
            self._viewer.canvas.overlays.text.text = ""
            self._viewer.mouse_drag_callbacks.remove(self._on_click)
            self._viewer.layers.events.inserted.disconnect(self.hide)

    def _on_click(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        yield
        self.hide()
