"""The scan: which image is worked on, files opened, and the region that the model sees."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.images import SUFFIXES, ImageFile, read_image
from napari_medvlsm.core.io.labels import is_own_mask, load_mask
from napari_medvlsm.core.options import SegmentOptions, Tiling
from napari_medvlsm.widgets._correction_layers import NOTES
from napari_medvlsm.widgets._layers import SPACING_KEY, LayerManager, scan_layers
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.sections import ScanSection
from napari_medvlsm.widgets.sections.scan import RegionMode

# Wait this long after the last move of a slider before the slice is read.
_SETTLE_MS = 120


class ScanPresenter(QObject):
    """Tells the view state which image layer is worked on and when another slice may be in view.

    Parameters
    ----------
    viewer : ViewerModel
    view : ViewState
    layers : LayerManager
    section : ScanSection
    background : Background
        Reads files.
    parent : QWidget
        Of the dialogs.
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        viewer: ViewerModel,
        view: ViewState,
        layers: LayerManager,
        section: ScanSection,
        background: Background,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._view, self._layers, self._section = viewer, view, layers, section
        self._background, self._parent = background, parent
        self._followed: Image | None = None
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(lambda: view.settle())
        # A function of ours: psygnal cannot read the signature of Qt's own.
        view.moving_started.connect(lambda: self._timer.start())
        view.changed.connect(self._show)
        view.image_changed.connect(self._follow)
        section.layerChosen.connect(self._choose)
        section.openRequested.connect(self._ask_open)
        section.regionModeChosen.connect(self._choose_region_mode)
        events = viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            emitter.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_active)
        viewer.dims.events.connect(self._on_dims)
        self._on_layers()

    def open_file(self, path: Path) -> None:
        """Open a scan beside what is there; a file that cannot be read changes nothing."""
        self.message.emit(f"Opening {path.name}…", False)
        self._background.run(partial(_read, path), partial(self._add_file, path), self._report)

    def options(self) -> SegmentOptions:
        """The region that the model is to see.

        Raises
        ------
        ValueError
            If a rectangle is wanted and none is there; one can be drawn then.
        """
        self._view.settle()
        mode, view = self._section.region_mode(), self._view.slice
        region = self._layers.rectangle(view) if mode.rectangle and view is not None else None
        if mode.rectangle and view is not None and region is None:
            self._layers.draw_rectangle(view)
            raise ValueError("Draw a rectangle around the region to segment, then press Segment.")
        return SegmentOptions(Tiling() if mode.tiles else None, region)

    def close(self) -> None:
        """Follow nothing any more."""
        self._closed = True
        self._timer.stop()
        self._unfollow()
        events = self._viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            emitter.disconnect(self._on_layers)
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        self._viewer.dims.events.disconnect(self._on_dims)

    def _choose_region_mode(self, mode: RegionMode) -> None:
        view = self._view.slice
        if view is None:
            return
        if mode.rectangle:
            self._layers.draw_rectangle(view)
            self.message.emit("Draw a rectangle on the scan. The last one drawn counts.", False)
        else:
            self._layers.hide_rectangle(view.image)
            self.message.emit("", False)

    def _show(self) -> None:
        self._section.set_scan(self._view.scan, self._view.problem)

    def _choose(self, layer: Image | None) -> None:
        if layer is not self._view.image:
            self._view.choose(layer)
            self._on_layers()

    def _follow(self) -> None:
        """Listen to the pixels and the name of the layer that is worked on."""
        self._unfollow()
        layer = self._followed = self._view.image
        if layer is not None:
            layer.events.data.connect(self._on_pixels)
            layer.events.name.connect(self._on_layers)

    def _unfollow(self) -> None:
        if self._followed is not None:
            self._followed.events.data.disconnect(self._on_pixels)
            self._followed.events.name.disconnect(self._on_layers)
            self._followed = None

    def _on_layers(self, event: Any = None) -> None:
        layers = scan_layers(self._viewer)
        if self._view.image not in layers:
            active = self._viewer.layers.selection.active
            self._view.choose(active if active in layers else (layers[0] if layers else None))
        self._section.set_layers([(layer.name, layer) for layer in layers], self._view.image)

    def _on_active(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and active in scan_layers(self._viewer):
            self._choose(active)

    def _on_pixels(self, event: Any = None) -> None:
        self._view.move(other_pixels=True)

    def _on_dims(self, event: Any) -> None:
        if event.type in ("point", "current_step", "ndisplay", "order") and not self._closed:
            self._view.move()

    def _add_file(self, path: Path, found: ImageFile | Annotation) -> None:
        if isinstance(found, Annotation):
            # What is known of it comes along, for when it becomes a correction of its scan.
            notes = {found.provenance.scan_hash: ((), found)}
            self._viewer.add_layer(Labels(found.mask.astype(np.uint8), name=path.stem, metadata={NOTES: notes}))
            self.message.emit(f"Opened the mask {path.name}; it can be used as a correction.", False)
            return
        layer = Image(found.pixels, name=path.stem, rgb=found.colour, metadata={SPACING_KEY: found.spacing})
        self._viewer.add_layer(layer)
        self._viewer.layers.selection.active = layer
        self._layers.show_scan(layer)
        self.message.emit(f"Opened {path.name}.", False)

    def _ask_open(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self._parent, "Open a scan", "", f"Scans ({kinds});;All files (*)")
        if name:
            self.open_file(Path(name))

    def _report(self, error: Exception) -> None:
        if not self._closed:
            self.message.emit(str(error), True)


def _read(path: Path) -> ImageFile | Annotation:
    """A scan, or the annotation of a file that this program saved."""
    return load_mask(path) if is_own_mask(path) else read_image(path)
