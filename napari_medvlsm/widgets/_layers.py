"""The only place where napari layers become core values, and core values become layers.

A layer of ours is told by its metadata, never by its name: `metadata["medvlsm"]` holds its `kind`
("prediction", "certainty", "correction" or "rectangle"), the `image` it belongs to and its `target`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.colormaps import Colormap, DirectLabelColormap

from napari_medvlsm.controllers.view_state import SliceInView
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.io.images import read_spacing
from napari_medvlsm.core.io.listing import list_scans
from napari_medvlsm.core.masks import Bytes, Mask
from napari_medvlsm.core.options import Region
from napari_medvlsm.core.prompts import Target
from napari_medvlsm.widgets._planes import Read, check_size, factors, read_now, working_data

KEY = "medvlsm"
SPACING_KEY = "medvlsm_spacing_mm"
# Metadata of a scan: how a person came to its pixel size; it goes before that of the file.
SPACING_FROM_KEY = "medvlsm_spacing_from"
# Metadata of a scan: the file that it was read from, and files that came with it and wait to be opened.
PATH_KEY = "medvlsm_path"
WAITING_KEY = "medvlsm_waiting"
_DICOM_KEY = "medvlsm_is_dicom"
CORRECTION_COLOR = "#ffe14d"
# From transparent at probability 0 through blue, green and yellow to red.
_CERTAINTY = Colormap(
    [[0, 0, 1, 0], [0, 0.3, 1, 0.5], [0, 0.9, 0.6, 0.7], [1, 0.9, 0, 0.85], [1, 0.1, 0, 1]], name="medvlsm certainty"
)
# Undo steps hold the pixels they change; together they may take this much.
_UNDO_BYTES = 2**28


def role(layer: Layer) -> dict[str, Any]:
    """What the layer is to us; {} for a layer that is not ours."""
    found = layer.metadata.get(KEY, {})
    return found if isinstance(found, dict) else {}


def scan_layers(viewer: ViewerModel) -> list[Image]:
    """Image layers that can be a scan, the topmost first."""
    return [layer for layer in reversed(viewer.layers) if isinstance(layer, Image) and not role(layer).get("kind")]


def image_id(layer: Image) -> str:
    """A name that no other layer has, a duplicate of this one included."""
    return str(layer.unique_id)


def slice_in_view(viewer: ViewerModel, layer: Image, read: Read = read_now) -> SliceInView:
    """The plane of `layer` that the viewer shows.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
    read : callable
        Reads the plane's pixels, as `_planes.read_now`; may raise ValueError with a sentence.

    Raises
    ------
    ValueError
        With one sentence, if the layer is too large or hidden, napari read it from DICOM, the view is 3D, or the
        layer's last two axes are not the ones shown.
    """
    if not layer.visible:
        raise ValueError(f"“{layer.name}” is hidden; click its eye in the layer list to work on it.")
    if read_from_dicom(layer):
        raise ValueError(
            "napari read this from DICOM files and may have mixed the images of a folder; save the image as PNG or "
            "TIFF in the program that shows it, and open that."
        )
    if viewer.dims.ndisplay != 2:
        raise ValueError("The viewer shows 3D; switch to 2D (button below the layer list) to outline a slice.")
    data = working_data(layer)
    check_size(layer, data)
    offset = viewer.dims.ndim - layer.ndim
    shown = tuple(axis - offset for axis in viewer.dims.displayed)
    if shown != (layer.ndim - 2, layer.ndim - 1):
        raise ValueError("The slice is shown along another axis; roll the axes back (button below the layer list).")
    point = layer.world_to_data(viewer.dims.point)
    index = tuple(
        int(np.clip(round(p / f), 0, n - 1)) for p, f, n in zip(point[:-2], factors(layer), data.shape, strict=False)
    )
    made = str(layer.metadata.get(SPACING_FROM_KEY, ""))
    pixels, pixels_hash = read(layer, data, index)
    scan = Scan(pixels, _level_spacing(layer), layer.name, spacing_from=made)
    return SliceInView(layer, index, scan, pixels_hash)


def _level_spacing(layer: Image) -> tuple[float, float] | None:
    """Millimetres per pixel (row, col) of the level that is worked on."""
    spacing, (rows, cols) = spacing_of(layer), factors(layer)[-2:]
    return spacing and (spacing[0] * rows, spacing[1] * cols)


def read_from_dicom(layer: Image) -> bool:
    """Whether napari's own reader made a layer of DICOM files: of whatever lies in their folder."""
    path = layer.source.path
    if not path or not layer.source.reader_plugin or layer.source.reader_plugin == "napari-medvlsm":
        return False
    if _DICOM_KEY not in layer.metadata:
        layer.metadata[_DICOM_KEY] = bool(list_scans([Path(path)]).dicom)
    return bool(layer.metadata[_DICOM_KEY])


def spacing_of(layer: Image) -> tuple[float, float] | None:
    """Millimetres per pixel (row, col): from the layer's units, or else from the file it came from."""
    if layer.metadata.get(SPACING_FROM_KEY):
        entered: tuple[float, float] = layer.metadata[SPACING_KEY]
        return entered
    try:
        rows, cols = (
            float((s * u).to("mm").magnitude) for s, u in zip(layer.scale[-2:], layer.units[-2:], strict=True)
        )
        return rows, cols
    except Exception:  # pixel units: pint's own errors, which napari does not export
        pass
    if SPACING_KEY not in layer.metadata:
        path = layer.source.path
        layer.metadata[SPACING_KEY] = read_spacing(Path(path)) if path else None
    spacing: tuple[float, float] | None = layer.metadata[SPACING_KEY]
    return spacing


def enter_spacing(layer: Image, spacing: tuple[float, float], made: str) -> None:
    """Take the millimetres per pixel (row, col) that a person gave, and how: "entered by hand"."""
    layer.metadata[SPACING_KEY], layer.metadata[SPACING_FROM_KEY] = spacing, made


class LayerManager:
    """The layers of ours in a viewer."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._parked: list[Labels] = []

    def show_predictions(
        self, view: SliceInView, masks: Mapping[Target, Mask], visible: Collection[str] | None = None
    ) -> None:
        """Give each answer of the model a layer; corrections are not touched.

        `masks` are all that is known of the slice in view; of them the targets in `visible` can be seen, by default
        all.
        """
        spare = list(self._ours(Labels, "prediction", view.image))
        for layer in [layer for layer in spare if layer.data.shape != self._shape(view.image)]:
            spare.remove(layer)
            self._remove(layer)
        chosen = {t: layer for layer in spare for t in masks if role(layer)["target"] == t.phrase}
        spare = [layer for layer in spare if layer not in chosen.values()]
        for target, mask in masks.items():
            layer = chosen.get(target) or (spare.pop() if spare else self._new_prediction(view, target))
            self._retarget(layer, "model", target)
            layer.colormap = one_color(target.display_color)
            # One answer at a time: what another slice was asked before may have been another target.
            if (last := layer.metadata[KEY].get("index", view.index)) != view.index:
                layer.data[last] = 0
            layer.metadata[KEY]["index"] = view.index
            self._set_plane(layer, view.index, mask.astype(np.uint8))
            layer.visible = visible is None or target.phrase in visible
        for layer in spare:
            self._remove(layer)

    def _new_prediction(self, view: SliceInView, target: Target) -> Labels:
        layer = Labels(np.zeros(self._shape(view.image), np.uint8), **self._placement(view.image), opacity=0.45)
        self._add(layer, view.image, "prediction", target.phrase)
        layer.editable = False
        return layer

    def update_prediction(self, view: SliceInView, target: str, mask: Mask) -> None:
        """Change the pixels of a shown prediction, and nothing else."""
        layer = self.prediction(view.image, target)
        if layer is not None:
            self._set_plane(layer, view.index, mask.view(np.uint8))

    def hide_results(self) -> None:
        """Hide predictions and take certainty maps away: none of them belongs to what is in view."""
        for layer in list(self._viewer.layers):
            if role(layer).get("kind") == "prediction":
                layer.visible = False
            elif role(layer).get("kind") == "certainty":
                self._remove(layer)

    def show_certainty(self, view: SliceInView, probability: Bytes | None) -> None:
        """Show the certainty as a colour overlay, or take it away with None."""
        layer = self._find(Image, "certainty", view.image)
        if probability is None:
            self._remove(layer)
            return
        if layer is None:
            layer = Image(
                np.zeros(self._shape(view.image), np.uint8),
                **self._placement(view.image),
                colormap=_CERTAINTY,
                blending="translucent",
                opacity=0.6,
                contrast_limits=(0, 255),
                name="Certainty",
            )
            self._add(layer, view.image, "certainty", "")
        self._set_plane(layer, view.index, probability)

    def draw_rectangle(self, view: SliceInView) -> Shapes:
        """The layer on which the person draws the rectangle that is looked at, ready to draw."""
        layer: Shapes | None = self._find(Shapes, "rectangle", view.image)
        if layer is None:
            layer = Shapes(
                ndim=len(self._shape(view.image)),
                **self._placement(view.image),
                name="Region to segment",
                edge_color=CORRECTION_COLOR,
                face_color="transparent",
                edge_width=max(1, max(view.scan.size) / 300),
            )
            self._add(layer, view.image, "rectangle", "")
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"
        return layer

    def draw_line(self, view: SliceInView) -> Shapes:
        """A layer on which the person draws one line, ready to draw."""
        self._remove(self._find(Shapes, "length", view.image))
        layer = Shapes(
            ndim=len(self._shape(view.image)),
            **self._placement(view.image),
            name="Known length",
            edge_color=CORRECTION_COLOR,
            edge_width=max(1, max(view.scan.size) / 300),
        )
        self._add(layer, view.image, "length", "")
        self._viewer.layers.selection.active = layer
        layer.mode = "add_line"
        return layer

    def remove_line(self, line: Shapes) -> None:
        """Take the line away that was drawn."""
        self._remove(line)

    def hide_rectangle(self, image: Image) -> None:
        """Put the rectangle out of sight, and the scan in its place as what is worked on."""
        layer = self._find(Shapes, "rectangle", image)
        if layer is not None:
            layer.visible = False
            self._viewer.layers.selection.active = image

    def rectangle(self, view: SliceInView) -> Region | None:
        """The rectangle (row0, col0, row1, col1) drawn last on the slice in view, in pixels of the scan.

        None if there is none, or nothing of it lies on the scan.
        """
        layer: Shapes | None = self._find(Shapes, "rectangle", view.image)
        for corners in reversed(layer.data if layer is not None else ()):
            if tuple(np.rint(corners[0, :-2]).astype(int)) == view.index:
                # A pixel reaches half a pixel around its centre.
                low, high = corners[:, -2:].min(axis=0) + 0.5, corners[:, -2:].max(axis=0) + 0.5
                size = np.array(view.scan.size)
                row0, col0 = (int(v) for v in np.clip(np.floor(low), 0, size))
                row1, col1 = (int(v) for v in np.clip(np.floor(high) + 1, 0, size))
                return (row0, col0, row1, col1) if row1 - row0 >= 2 and col1 - col0 >= 2 else None
        return None

    def prediction(self, image: Image, target: str) -> Labels | None:
        """The prediction layer of an image and target."""
        found = (p for p in self._ours(Labels, "prediction", image) if role(p)["target"] == target)
        return next(found, None)

    def correction(self, image: Image, target: str) -> Labels | None:
        """The correction layer of an image and target."""
        found = (c for c in self.corrections(image) if role(c)["target"] == target)
        return next(found, None)

    def corrections(self, image: Image) -> list[Labels]:
        """All correction layers of an image."""
        return list(self._ours(Labels, "correction", image))

    def adoptable(self, image: Image) -> list[Labels]:
        """Label layers of the image's shape that a person made, and corrections of images that are gone."""
        present = {image_id(scan) for scan in scan_layers(self._viewer)}
        return [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Labels)
            and layer.data.shape == self._shape(image)
            and (not role(layer) or (role(layer).get("kind") == "correction" and role(layer)["image"] not in present))
        ]

    def disown(self, layer: Layer) -> Layer | None:
        """Let a copy of a layer of ours be a layer of the person's own: two cannot be the same correction.

        Returns
        -------
        Layer or None
            The correction that it is a copy of.
        """
        ours = role(layer)
        twins = (other for other in self._viewer.layers if other is not layer and role(other) == ours)
        if not ours or (twin := next(twins, None)) is None:
            return None
        # A new dictionary: a copied layer shares what is within the old one.
        layer.metadata = {k: v for k, v in layer.metadata.items() if not k.startswith(KEY)}
        layer.editable = True
        return twin if ours["kind"] == "correction" else None

    def park(self, image: Image) -> None:
        """Take the corrections of an image that is gone out of the viewer; they wait for it with all undo steps."""
        for layer in self.corrections(image):
            layer.metadata[KEY]["parked"] = True
            self._parked.append(layer)
            self._viewer.layers.remove(layer)

    def unpark(self, image: Image, wanted: Callable[[Labels], bool]) -> None:
        """Bring those of the parked corrections back that are of an image which is there again."""
        for layer in [p for p in self._parked if p.data.shape == self._shape(image) and wanted(p)]:
            self._parked.remove(layer)
            target = role(layer)["target"]
            if self.correction(image, target) is None:
                layer.visible = True
                self._add(layer, image, "correction", target)

    def adopt(self, layer: Labels, image: Image, target: Target) -> Labels:
        """Take a layer that the person made as the correction of a target."""
        layer.metadata[KEY] = {"kind": "correction", "image": image_id(image), "target": target.phrase}
        return layer

    def new_correction(self, image: Image, target: Target) -> Labels:
        """An empty correction layer, ready to paint on."""
        layer = Labels(np.zeros(self._shape(image), np.uint8), **self._placement(image), opacity=0.6)
        layer.colormap = one_color(CORRECTION_COLOR)
        self._add(layer, image, "correction", target.phrase)
        self._retarget(layer, "yours", target)
        return layer

    def fill(self, layer: Labels, index: tuple[int, ...], mask: Mask) -> None:
        """Let one plane of a new layer hold a mask, with nothing to undo."""
        self._set_plane(layer, index, mask.astype(layer.data.dtype))

    @staticmethod
    def plane(layer: Labels, index: tuple[int, ...]) -> npt.NDArray[np.generic]:
        """A copy of one plane of a label layer, shape (H, W)."""
        return np.array(layer.data[index])

    @staticmethod
    def replace_plane(layer: Labels, index: tuple[int, ...], mask: Mask) -> int:
        """Make one plane equal to `mask` as one undoable step; the number of changed pixels."""
        before = np.asarray(layer.data[index])
        after = mask.astype(before.dtype)
        rows, cols = np.nonzero((before > 0) != mask)
        if rows.size == 0:
            return 0
        indices = (*(np.full(rows.size, i) for i in index), rows, cols)
        with layer.block_history():
            layer.data_setitem(indices, after[rows, cols])
        _bound_history(layer)
        return int(rows.size)

    def _ours(self, kind: type[Any], name: str, image: Image) -> Iterator[Any]:
        wanted = image_id(image)
        for layer in self._viewer.layers:
            if isinstance(layer, kind) and role(layer).get("kind") == name and role(layer).get("image") == wanted:
                yield layer

    def _find(self, kind: type[Any], name: str, image: Image) -> Any:
        return next(self._ours(kind, name, image), None)

    def _remove(self, layer: Layer | None) -> None:
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _add(self, layer: Layer, image: Image, kind: str, target: str) -> None:
        layer.metadata[KEY] = {"kind": kind, "image": image_id(image), "target": target}
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if active is not None:
            self._viewer.layers.selection.active = active

    @staticmethod
    def _retarget(layer: Labels, whose: str, target: Target) -> None:
        layer.metadata[KEY]["target"] = target.phrase
        # The target first, and short: napari's list cuts out the middle of a name.
        name = f"{target.short_label} ({whose})"
        if layer.name != name:
            layer.name = name

    @staticmethod
    def _set_plane(layer: Any, index: tuple[int, ...], plane: npt.NDArray[np.generic]) -> None:
        # In place: assigning `data` would make the layer editable again.
        layer.data[index] = plane
        layer.refresh()

    @staticmethod
    def _shape(image: Image) -> tuple[int, ...]:
        data = working_data(image)
        return tuple(data.shape[:-1] if image.rgb else data.shape)

    @staticmethod
    def _placement(image: Image) -> dict[str, Any]:
        coarser = np.array(factors(image))
        return {
            "scale": image.scale * coarser,
            "translate": image.translate + image.scale * (coarser - 1) / 2,  # the corner stays where it is
            "rotate": image.rotate,
            "shear": image.shear,
            "affine": image.affine,
            "units": image.units,
        }


def one_color(color: str) -> DirectLabelColormap:
    """A label colormap that shows every label in one colour."""
    clear = (0, 0, 0, 0)
    return DirectLabelColormap(color_dict={None: color, 0: clear, 1: color})


def _bound_history(layer: Labels) -> None:
    # napari bounds the number of undo steps, not their size: a step of ours can hold a whole large mask.
    history = layer._undo_history

    def size(item: list[Any]) -> int:
        parts = [part for atom in item if isinstance(atom, tuple) for part in (*atom[0], *atom[1:])]
        return sum(getattr(part, "nbytes", 0) for part in parts)

    while len(history) > 1 and sum(size(item) for item in history) > _UNDO_BYTES:
        history.popleft()
