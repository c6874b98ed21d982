"""Scans for napari, as an npe2 reader: without the panel too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_warning

from napari_medvlsm.core.io.images import read_image
from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.io.listing import Listing, list_scans
from napari_medvlsm.widgets._correction_layers import NOTES
from napari_medvlsm.widgets._layers import PATH_KEY, SPACING_KEY, WAITING_KEY

LayerData = tuple[Any, ...]
# What napari takes for "read, and there is no layer".
_NO_LAYER: list[LayerData] = [(None,)]
# Files that cannot be read of which each is told.
_TOLD = 3


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """A function that reads files or a folder; None where there is nothing that is read here.

    Several scans, or those of a folder, are no stack: the first is a layer, and its metadata name the others, which the
    panel puts into its list.
    """
    paths = [path] if isinstance(path, str) else path
    found = list_scans([Path(p) for p in paths])
    return (lambda _: _read(found)) if found.scans or found.outlines or found.dicom else None


def _read(found: Listing) -> list[LayerData]:
    """The layers of what can be read of what was found; the rest is told.

    Raises
    ------
    ValueError
        With one sentence each, if nothing can be read.
    """
    layers, problems = [], list[str]()
    for place, path in enumerate(found.scans):
        try:
            image = read_image(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        metadata = {SPACING_KEY: image.spacing, PATH_KEY: path, WAITING_KEY: found.scans[place + 1 :]}
        layers.append((image.pixels, {"name": path.stem, "rgb": image.colour, "metadata": metadata}, "image"))
        break
    for path in found.outlines:
        try:
            outline = load_mask(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        notes = {outline.provenance.scan_hash: {(): outline}}
        layers.append((outline.mask.astype(np.uint8), {"name": path.stem, "metadata": {NOTES: notes}}, "labels"))
    more = len(problems) - _TOLD
    told = [*problems[:_TOLD], *([f"And {more} more cannot be read."] if more > 0 else [])]
    if problems and not layers:
        raise ValueError(" ".join(told))
    if told or found.refused:
        show_warning(" ".join(text for text in (*told, found.refused) if text))
    return layers or _NO_LAYER
