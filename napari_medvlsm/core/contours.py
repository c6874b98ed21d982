"""The edges of masks as lines: as curves, to be drawn sharply at every zoom, or as pixels of the mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy
import skimage

from napari_medvlsm.core.masks import Mask, bounding_box

Line = npt.NDArray[np.float32]
Labels = npt.NDArray[np.integer]


def contours(mask: Mask) -> list[Line]:
    """The edges of a mask (H, W) as closed lines: arrays (N, 2) of (row, col), pixel centres at whole numbers."""
    box = bounding_box(mask)
    if box is None:
        return []
    # A mask that reaches the border of the scan has an edge there, too.
    part = np.pad(mask[box], 1).astype(np.float32)
    corner = np.array([s.start - 1 for s in box], np.float32)
    return [line.astype(np.float32) + corner for line in skimage.measure.find_contours(part, 0.5)]


def boundaries(labels: Labels, thickness: int, background: int = 0) -> Labels:
    """The labels along their boundaries, `background` elsewhere.

    A line lies inside of what it goes around; along the edge of the image there is none. Takes as long for thick lines
    as for thin ones, and only as long as the part of the image that holds labels is large.

    Parameters
    ----------
    labels : integer array of shape (H, W)
    thickness : int
        Of a line, in pixels; at least 1.
    background : int
        What is no label.

    Returns
    -------
    integer array of shape (H, W)
    """
    lines = np.full_like(labels, background)
    box = bounding_box(labels != background)
    if box is not None:
        # With the background around it, where it does not reach the edge of the image.
        around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        part = labels[around]
        low = scipy.ndimage.minimum_filter(part, 2 * thickness + 1, mode="nearest")
        inside = low == scipy.ndimage.maximum_filter(part, 3, mode="nearest")
        lines[around] = np.where(inside, background, part)
    return lines
