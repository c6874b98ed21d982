"""Edits of a whole outline: smooth, grow, shrink, and keep or drop its parts. Each gives a new mask of the same shape.

Lengths are in pixels. `step_of` gives the length by which one press of a button grows or shrinks an outline.
"""

from __future__ import annotations

import numpy as np
import scipy

from napari_medvlsm.core.masks import Mask, bounding_box

# Standard deviation of the smoothing, as a fraction of the side of a square of the outline's area.
_SMOOTHING = 0.04
# A press grows or shrinks by this fraction of the scan's longest side, but at least by one pixel.
_STEP = 1 / 500
# Parts that touch at a corner are one part, as in `Cleanup`.
_TOUCHING = np.ones((3, 3), bool)


def step_of(size: tuple[int, int]) -> int:
    """Pixels by which one press of a button grows or shrinks an outline in a scan of (rows, columns)."""
    return max(1, round(max(size) * _STEP))


def smooth(mask: Mask) -> Mask:
    """Even out the boundary: a Gaussian of 4 % of the outline's side (square root of its area), cut at one half.

    A mask (H, W) whose parts are all thinner than the Gaussian is returned as it is: smoothing deletes no outline.
    """
    box = bounding_box(mask)
    if box is None:
        return mask.copy()
    sigma = max(1.0, _SMOOTHING * float(np.sqrt(np.count_nonzero(mask))))
    margin = int(np.ceil(3 * sigma))
    part = _padded(mask, box, margin)
    # A mask that reaches the edge of the scan goes on beyond it.
    evened = scipy.ndimage.gaussian_filter(part.astype(np.float32), sigma, mode="nearest") >= 0.5
    return _put_back(mask, box, margin, evened) if evened.any() else mask.copy()


def grow(mask: Mask, pixels: float) -> Mask:
    """All pixels at most `pixels` away from the mask (H, W)."""
    box = bounding_box(mask)
    if box is None:
        return mask.copy()
    margin = int(np.ceil(pixels))
    part = _padded(mask, box, margin)
    return _put_back(mask, box, margin, scipy.ndimage.distance_transform_edt(~part) <= pixels)


def shrink(mask: Mask, pixels: float) -> Mask:
    """Pixels of the mask (H, W) that are more than `pixels` away from what is outside.

    The edge of the scan is not outside: what it cuts off may well go on.
    """
    box = bounding_box(mask)
    if box is None or mask.all():
        return mask.copy()
    part = _padded(mask, box, 1)
    return _put_back(mask, box, 1, part & (scipy.ndimage.distance_transform_edt(part) > pixels))


def part_at(mask: Mask, row: int, col: int) -> Mask | None:
    """The part of the mask (H, W) that holds a pixel, 8-connected; None where the pixel is outside of the mask."""
    rows, cols = mask.shape
    if not (0 <= row < rows and 0 <= col < cols) or not mask[row, col]:
        return None
    labels, _ = scipy.ndimage.label(mask, structure=_TOUCHING)
    part: Mask = labels == labels[row, col]
    return part


def count_parts(mask: Mask) -> int:
    """How many parts (8-connected) a mask (H, W) has."""
    box = bounding_box(mask)
    return 0 if box is None else int(scipy.ndimage.label(mask[box], structure=_TOUCHING)[1])


def _padded(mask: Mask, box: tuple[slice, slice], margin: int) -> Mask:
    """The box with a margin around it, as far as the scan goes."""
    return mask[_around(mask, box, margin)]


def _put_back(mask: Mask, box: tuple[slice, slice], margin: int, part: Mask) -> Mask:
    result = np.zeros_like(mask)
    result[_around(mask, box, margin)] = part
    return result


def _around(mask: Mask, box: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
    rows, cols = (
        slice(max(0, s.start - margin), min(size, s.stop + margin)) for s, size in zip(box, mask.shape, strict=True)
    )
    return rows, cols
