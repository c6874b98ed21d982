"""Scans kept in memory at the size that the model sees, so that an epoch reads no file twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.datasets.items import Item, Mask
from napari_medvlsm.core.images import resize, to_unit_square

Unit = npt.NDArray[np.float32]


class ResizedScans:
    """Images and masks of items at the size of the model's input.

    Parameters
    ----------
    side : int
        Rows and columns.
    keep : bool
        Whether to keep them: in 8 bits, so 4 bytes a pixel of a scan with one mask.
    """

    def __init__(self, side: int, keep: bool) -> None:
        self.side = side
        self.keep = keep
        self._images: dict[Path, npt.NDArray[np.uint8]] = {}
        self._masks: dict[tuple[bool, tuple[tuple[str, tuple[Path, ...]], ...]], dict[str, Mask]] = {}

    def image(self, item: Item) -> Unit:
        """The image, (3, S, S) in [0, 1]."""
        kept = self._images.get(item.image)
        if kept is not None:
            return (kept / np.float32(255)).astype(np.float32)
        unit = np.ascontiguousarray(to_unit_square(item.load_image(), self.side).transpose(2, 0, 1))
        if self.keep:
            self._images[item.image] = np.rint(unit * 255).astype(np.uint8)
            return self.image(item)  # the same the first time as later
        return unit

    def masks(self, item: Item) -> dict[str, Unit]:
        """Masks by target, (S, S): in [0, 1], or 0 and 1 where they are kept."""
        key = (item.split_lungs, tuple(sorted((name, mask.paths) for name, mask in item.masks.items())))
        kept = self._masks.get(key)
        if kept is None:
            size = (self.side, self.side)
            found = {name: resize(mask.astype(np.float32), size) for name, mask in item.load_masks().items()}
            if not self.keep:
                return found
            kept = self._masks[key] = {name: plane > 0.5 for name, plane in found.items()}
        return {name: plane.astype(np.float32) for name, plane in kept.items()}
