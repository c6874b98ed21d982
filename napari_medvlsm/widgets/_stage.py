"""One scan in sight: the `Stage` of `controllers.worklist` on napari's viewer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.images import ImageFile
from napari_medvlsm.widgets._correction_layers import NOTES
from napari_medvlsm.widgets._layers import PATH_KEY, SPACING_KEY, image_id, role, scan_layers

# Blank space around a scan that is shown as a whole, as a fraction of the canvas; napari's own.
_MARGIN = 0.05


class ViewerStage:
    """Shows one scan and what belongs to it, and hides the others.

    What belongs to a scan: the layers of ours for it, and those that a person added while it was in sight. What was
    visible of it is visible again when the scan comes back, and so is the slice of a stack.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._shown = ""  # id of the scan in sight
        # By the id of a layer: the scan that was in sight when a person added it.
        self._added_to: dict[str, str] = {}
        # Layers that were visible when their scan was put out of sight.
        self._hidden: set[str] = set()
        # By the id of a scan: the slice that was in view.
        self._steps: dict[str, tuple[int, ...]] = {}
        # By the id of a scan: the layer of it that was active.
        self._active: dict[str, Layer] = {}
        self._fitted: tuple[Any, ...] | None = None
        self._busy = 0
        viewer.canvas.events.size.connect(self._on_canvas)

    @property
    def busy(self) -> bool:
        """Whether layers change by the stage's own doing."""
        return self._busy > 0

    def make(self, found: ImageFile, path: Path) -> Image:
        """An image layer of what was read."""
        metadata = {SPACING_KEY: found.spacing, PATH_KEY: path}
        return Image(found.pixels, name=path.stem, rgb=found.colour, metadata=metadata)

    def insert(self, image: Image) -> None:
        """Put an image into the viewer, below which nothing of another scan is in sight any more."""
        self._viewer.add_layer(image)

    def insert_outline(self, outline: Annotation, path: Path) -> None:
        """Put a saved outline into the viewer, with what is known of it, for when it becomes a correction."""
        notes = {outline.provenance.scan_hash: {(): outline}}
        self._viewer.add_layer(Labels(outline.mask.astype(np.uint8), name=path.stem, metadata={NOTES: notes}))

    def show(self, image: Image) -> None:
        """Show a scan alone, as a whole, in 2D."""
        wanted = image_id(image)
        with self._doing():
            came = wanted != self._shown
            if came:
                self._remember_active()
                self._steps[self._shown] = tuple(self._viewer.dims.current_step)
            for layer in list(self._viewer.layers):
                self._set_visible(layer, wanted)
            self._shown = wanted
            if came:
                self._look_straight(image)
            active = self._viewer.layers.selection.active
            if active is None or self._owner(active) not in (wanted, None):
                last = self._active.get(wanted)
                self._viewer.layers.selection.active = last if last in self._viewer.layers else image
            self.fit(image)

    def fit(self, image: Image) -> None:
        """Make the whole of a scan fill the canvas.

        napari's own `fit_to_view` asks a 2D layer for a third axis where a stack is in the viewer too.
        """
        low, high = np.asarray(image.extent.world)[:, -2:]
        size = np.maximum(high - low + np.abs(np.asarray(image.scale)[-2:]), 1e-12)
        camera = self._viewer.scene.camera
        camera.center = tuple((low + high) / 2)
        camera.zoom = (1 - _MARGIN) * float(np.min(self._viewer.canvas.viewbox_size(self._viewer.layers) / size))
        self._fitted = self._camera()

    def adopt(self, layer: Layer) -> None:
        """Take note of a layer that was added: it belongs to the scan in sight."""
        if self._shown and not role(layer) and not isinstance(layer, Image):
            self._added_to[str(layer.unique_id)] = self._shown

    def forget(self, image: Image) -> None:
        """Take away what the model said of a scan that is gone, and put what a person added to it out of sight."""
        gone = image_id(image)
        self._steps.pop(gone, None)
        self._active.pop(gone, None)
        if self._shown == gone:
            self._shown = ""
        with self._doing():
            for layer in list(self._viewer.layers):
                if self._owner(layer) == gone and layer is not image:
                    if role(layer):
                        self._viewer.layers.remove(layer)
                    else:
                        layer.visible = False

    def take_out(self, image: Image) -> None:
        """Take a scan that is not in sight out of the viewer with the layers of ours; what a person added is hidden."""
        gone = image_id(image)
        self._steps.pop(gone, None)
        self._active.pop(gone, None)
        with self._doing():
            for layer in list(self._viewer.layers):
                if self._owner(layer) != gone:
                    continue
                self._hidden.discard(str(layer.unique_id))
                if role(layer) or layer is image:
                    # Nobody deleted it: it is kept elsewhere, and not offered back.
                    role(layer)["parked"] = True
                    self._viewer.layers.remove(layer)
                else:
                    layer.visible = False

    def close(self) -> None:
        """Follow nothing any more."""
        self._viewer.canvas.events.size.disconnect(self._on_canvas)

    def owner(self, layer: Layer) -> Image | None:
        """The scan in the viewer that a layer belongs to, or that it is."""
        found = self._owner(layer)
        return next((scan for scan in scan_layers(self._viewer) if image_id(scan) == found), None)

    # Within ---------------------------------------------------------------------------------------------------------

    def _owner(self, layer: Layer) -> str | None:
        """Id of the scan that a layer belongs to; None for one of no scan."""
        if role(layer):
            return str(role(layer).get("image", ""))
        return image_id(layer) if isinstance(layer, Image) else self._added_to.get(str(layer.unique_id))

    def _remember_active(self) -> None:
        """Before another scan is shown. A click on a layer of that one has made it active already."""
        active = self._viewer.layers.selection.active
        if active is not None and self._owner(active) == self._shown:
            self._active[self._shown] = active

    def _set_visible(self, layer: Layer, wanted: str) -> None:
        key, owner = str(layer.unique_id), self._owner(layer)
        if owner == wanted:
            if key in self._hidden or (isinstance(layer, Image) and not role(layer)):
                self._hidden.discard(key)
                layer.visible = True
        elif owner is not None and layer.visible:
            self._hidden.add(key)
            layer.visible = False

    def _look_straight(self, image: Image) -> None:
        """Show the last two axes, at the slice that was in view; nothing of what a stack before it left."""
        dims = self._viewer.dims
        dims.ndisplay = 2
        dims.order = tuple(range(dims.ndim))
        steps = self._steps.get(image_id(image))
        if steps is not None and len(steps) == dims.ndim:
            dims.current_step = steps

    def _on_canvas(self, event: Any = None) -> None:
        """The canvas got another size: a scan that was shown as a whole is so again, unless a person moved it."""
        if self._fitted is not None and self._fitted == self._camera():
            scan = next((scan for scan in scan_layers(self._viewer) if image_id(scan) == self._shown), None)
            if scan is not None:
                self.fit(scan)

    def _camera(self) -> tuple[Any, ...]:
        camera = self._viewer.scene.camera
        return (*(round(float(c), 6) for c in camera.center), round(float(camera.zoom), 9))

    @contextmanager
    def _doing(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
