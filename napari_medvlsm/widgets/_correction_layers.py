"""Correction layers in the viewer: the `Canvas` of `controllers.canvas` on napari's labels layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.contrast import outline_color
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Target
from napari_medvlsm.widgets._layers import LayerManager, image_id, one_color, role, scan_layers
from napari_medvlsm.widgets._planes import working_data

# Metadata of a correction layer: by the hash of a slice and the place of the slice in the layer, its annotation there.
NOTES = "medvlsm_annotations"
# Metadata of a correction layer: the lengths of its undo history when it was last read.
_HISTORY = "medvlsm_history"
# Metadata of a correction layer: its colour, as "#rrggbb".
_COLOR = "medvlsm_color"
_Notes = dict[str, dict[tuple[int, ...], Annotation]]


class CorrectionLayers:
    """One labels layer for each target of the image in view.

    Parameters
    ----------
    viewer : ViewerModel
    layers : LayerManager
    view : ViewState
    """

    painted = Signal(str, str, object, bool)  # scan hash, target, mask, whether by a stroke
    deleted = Signal(str, object)  # target, hashes of the slices that had an annotation

    def __init__(self, viewer: ViewerModel, layers: LayerManager, view: ViewState) -> None:
        self._viewer, self._layers, self._view = viewer, layers, view
        self._writing = False
        viewer.layers.events.removed.connect(self._on_removed)

    # What `Corrections` asks for ------------------------------------------------------------------------------------

    def targets(self) -> Sequence[str]:
        """The targets that have a layer."""
        if self._view.slice is None:
            return ()
        image = self._view.slice.image
        # Its scan was taken out of the viewer, and is there again.
        self._layers.unpark(image, lambda layer: self._view.scan_hash in _notes(layer))
        found = self._layers.corrections(image)
        for layer in found:
            self._watch(layer)
        return [role(layer)["target"] for layer in found]

    def open(self, target: Target, mask: Mask | None = None) -> None:
        """Give a target a layer, if it has none; a new one holds the mask, with nothing to undo."""
        if self._view.slice is not None and self._layer(target.phrase) is None:
            layer = self._layers.new_correction(self._view.slice.image, target)
            if mask is not None:
                self._layers.fill(layer, self._view.slice.index, mask)
            color = outline_color(self._view.slice.scan.pixels, self._colors())
            layer.metadata[_COLOR], layer.colormap = color, one_color(color)
            self._watch(layer)

    def edit(self, target: str) -> None:
        """Make a layer ready to paint on."""
        layer, view = self._layer(target), self._view.slice
        if layer is not None and view is not None:
            layer.brush_size = max(3, min(view.scan.size) // 40)
            layer.selected_label = 1
            layer.visible = True
            layer.mode = "paint"
            self._viewer.layers.selection.active = layer

    def read(self, target: str) -> Mask | None:
        """A copy of the slice in view; None without a layer."""
        layer, view = self._layer(target), self._view.slice
        return None if layer is None or view is None else _plane(layer, view.index)

    def slice_before(self, target: str) -> Mask | None:
        """A copy of the slice before the one in view, along the axis next to the plane; None before the first."""
        layer, view = self._layer(target), self._view.slice
        if layer is None or view is None or not view.index or view.index[-1] == 0:
            return None
        return _plane(layer, (*view.index[:-1], view.index[-1] - 1))

    def replace(self, target: str, mask: Mask) -> int:
        """Make the slice in view equal to a mask as one undoable step; the number of changed pixels."""
        layer, view = self._layer(target), self._view.slice
        if layer is None or view is None:
            return 0
        with self._quiet(layer):
            return self._layers.replace_plane(layer, view.index, mask)

    def undo(self, target: str) -> None:
        """Take back the last step of a layer."""
        self._step(target, "undo")

    def redo(self, target: str) -> None:
        """Bring back the last step that was undone."""
        self._step(target, "redo")

    def adoptable(self) -> Sequence[tuple[str, object]]:
        """Names and layers of the person's own that could become a correction."""
        view = self._view.slice
        return [] if view is None else [(layer.name, layer) for layer in self._layers.adoptable(view.image)]

    def adopt(self, layer: Any, target: Target) -> None:
        """Make a layer of the person's own the correction layer of a target."""
        if self._view.slice is not None:
            self._watch(self._layers.adopt(layer, self._view.slice.image, target))

    def note(self, annotation: Annotation) -> None:
        """Let the layer carry the annotation of one of its slices."""
        scan_hash, view = annotation.provenance.scan_hash, self._view.slice
        # Where the axes are rolled or the view is 3D, no slice is in view, and an image all the same.
        image = view.image if view is not None else self._view.image
        layer = self._layers.correction(image, annotation.target) if image is not None else None
        if layer is None:
            return
        notes = _notes(layer)
        if view is not None and scan_hash == self._view.scan_hash:
            notes.setdefault(scan_hash, {})[view.index] = annotation
        elif scan_hash in notes:
            notes[scan_hash] = dict.fromkeys(notes[scan_hash], annotation)

    def noted(self, target: str) -> Annotation | None:
        """The annotation that the layer carries for the slice in view."""
        layer, view = self._layer(target), self._view.slice
        if layer is None or view is None:
            return None
        return _notes(layer).get(self._view.scan_hash, {}).get(view.index)

    def forget(self, target: str) -> None:
        """Let the layer carry no annotation for the slice in view any more."""
        layer = self._layer(target)
        if layer is not None:
            _notes(layer).pop(self._view.scan_hash, None)

    def close(self) -> None:
        """Report nothing any more."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for layer in self._viewer.layers:
            if isinstance(layer, Labels) and role(layer).get("kind") == "correction":
                layer.events.paint.disconnect(self._on_paint)
                layer.events.set_data.disconnect(self._on_set_data)

    # What a person does ---------------------------------------------------------------------------------------------

    def _on_paint(self, event: Any) -> None:
        """A stroke is finished: `paint` is emitted for each undoable step.

        Outside of `block_history` (a fill, for instance) napari emits it before the pixels change, so they are read
        again when it is done.
        """
        if self._writing:
            return
        self._view.settle()
        layer = event.source
        self._report(layer, stroke=True)
        if self._shown(layer) and self._view.slice is not None:
            place = layer, self._view.scan_hash, self._view.slice.index
            QTimer.singleShot(0, lambda: self._report_plane(*place, stroke=False))
        if layer.n_edit_dimensions > 2 or self._view.slice is None:
            QTimer.singleShot(0, lambda: self._report_unread(layer))

    def _on_set_data(self, event: Any) -> None:
        """The layer was drawn anew, which also follows an undo by the keyboard, and each move of a slider."""
        layer = event.source
        if self._writing:
            return
        if _history(layer) != layer.metadata.get(_HISTORY):
            self._view.settle()
            self._report(layer, stroke=False)
        elif not self._view.moving and self._view.slice is not None and self._shown(layer):
            index, scan_hash = self._view.slice.index, self._view.scan_hash
            self._report_plane(layer, scan_hash, index, stroke=False)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if isinstance(layer, Labels) and role(layer).get("kind") == "correction" and "parked" not in role(layer):
            self.deleted.emit(role(layer)["target"], list(_notes(layer)))

    # Within ---------------------------------------------------------------------------------------------------------

    def _layer(self, target: str) -> Labels | None:
        view = self._view.slice
        return self._layers.correction(view.image, target) if view is not None else None

    def _shown(self, layer: Labels) -> bool:
        view = self._view.slice
        return view is not None and layer in self._layers.corrections(view.image)

    def _colors(self) -> list[str]:
        """Colours of the corrections of the scan in view."""
        assert self._view.slice is not None
        return [layer.metadata.get(_COLOR, "") for layer in self._layers.corrections(self._view.slice.image)]

    def _watch(self, layer: Labels) -> None:
        # Connecting a method twice connects it once.
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_set_data)
        layer.metadata.setdefault(_HISTORY, _history(layer))

    @contextmanager
    def _quiet(self, layer: Labels) -> Iterator[None]:
        """Report nothing of what the program itself does."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
            layer.metadata[_HISTORY] = _history(layer)

    def _step(self, target: str, action: str) -> None:
        layer = self._layer(target)
        if layer is not None:
            with self._quiet(layer):
                getattr(layer, action)()
            self._report(layer, stroke=False)

    def _report(self, layer: Labels, stroke: bool) -> None:
        """Report every slice of a layer that changed: an undo may be of another slice than the one in view."""
        layer.metadata[_HISTORY] = _history(layer)
        if self._shown(layer) and self._view.slice is not None:
            self._report_plane(layer, self._view.scan_hash, self._view.slice.index, stroke)
        for scan_hash, places in list(_notes(layer).items()):
            for index in list(places):
                if scan_hash != self._view.scan_hash:
                    self._report_plane(layer, scan_hash, index, stroke, always=False)

    def _report_unread(self, layer: Labels) -> None:
        """Report the slices that a stroke reached and that never were in view.

        A brush of napari's reaches them in three dimensions, or where the axes are rolled.
        """
        image = next((scan for scan in scan_layers(self._viewer) if image_id(scan) == role(layer).get("image")), None)
        if image is None or layer not in self._viewer.layers:
            return
        known = {index for places in _notes(layer).values() for index in places}
        data, target = working_data(image), role(layer)["target"]
        for place in np.argwhere(np.asarray(layer.data).any(axis=(-2, -1))):
            index = tuple(int(n) for n in place)
            if index in known:
                continue
            scan_hash, mask = content_hash(np.asarray(data[index])), _plane(layer, index)
            if scan_hash != self._view.scan_hash:  # of slices of the same pixels, the one in view counts
                nothing = Annotation(target, np.zeros_like(mask), provenance=Provenance(scan_hash))
                _notes(layer).setdefault(scan_hash, {})[index] = nothing
                self.painted.emit(scan_hash, target, mask, True)

    def _report_plane(
        self, layer: Labels, scan_hash: str, index: tuple[int, ...], stroke: bool, always: bool = True
    ) -> None:
        """Report a slice if it changed; with `always`, one with a stroke in any case."""
        if layer not in self._viewer.layers:
            return  # deleted since
        mask, noted = _plane(layer, index), _notes(layer).get(scan_hash, {}).get(index)
        before = noted.mask if noted is not None else np.zeros_like(mask)
        if (stroke and always) or not np.array_equal(mask, before):
            self.painted.emit(scan_hash, role(layer)["target"], mask, stroke)


def _notes(layer: Labels) -> _Notes:
    found: _Notes = layer.metadata.setdefault(NOTES, {})
    return found


def _history(layer: Labels) -> tuple[int, int]:
    """Tells an undo or a redo from a mere redrawing: how many steps can be undone, and redone."""
    return len(layer._undo_history), len(layer._redo_history)


def _plane(layer: Labels, index: tuple[int, ...]) -> Mask:
    """A copy of one slice as a mask, shape (H, W)."""
    return np.asarray(layer.data[index]) > 0
