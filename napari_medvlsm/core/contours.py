"""The edges of masks as lines, to be drawn sharply at every zoom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours

from napari_medvlsm.core.masks import Mask, bounding_box

Line = npt.NDArray[np.float32]


def contours(mask: Mask) -> list[Line]:
    """The edges of a mask (H, W) as closed lines: arrays (N, 2) of (row, col), pixel centres at whole numbers."""
    box = bounding_box(mask)
    if box is None:
        return []
    # A mask that reaches the border of the scan has an edge there, too.
    part = np.pad(mask[box], 1).astype(np.float32)
    corner = np.array([s.start - 1 for s in box], np.float32)
    return [line.astype(np.float32) + corner for line in find_contours(part, 0.5)]
