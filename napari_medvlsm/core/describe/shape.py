"""One word for the outline of a part, from its elongation, solidity and fill."""

from __future__ import annotations

import numpy as np
import scipy

from napari_medvlsm.core.describe.components import Bool

SHAPE_WORDS = ("round", "oval", "elongated", "rectangular", "triangular", "irregular")
# Fewer pixels than this do not tell a disc from a square.
_SHAPE_PIXELS = 30
# Larger components are reduced to about this many pixels along the longer side, where shape is as clear.
_SHAPE_SIDE = 128
# Area over area of the convex hull. Pixelated discs, ellipses, triangles and rectangles of 30 pixels and more stay
# above 0.85; 19 of 20 outlines of polyps and skin lesions do too. What is long may be bent, and thin oblique lines lose
# to their steps, but vessels that branch are not just long.
_SOLID = 0.85
_SOLID_LONG = 0.6
# Ratio of the axes of the ellipse with the same second moments: 1.08 at most for discs of 6 pixels radius, and 1.85
# to 2.15 for ellipses of 2 : 1 at any angle and size. The middle of real outlines is 1.3 to 1.5.
_OVAL = 1.3
_ELONGATED = 2.5
# Area over area of the tightest rectangle at any angle: 1/2 for triangles, pi/4 = 0.79 for ellipses, 1 for rectangles.
# From 6 pixels radius on, pixels move it by at most 0.08, 0.10 and 0.16. Circularity would tell them apart as well, but
# not on pixels: 4 pi area / perimeter^2 of a disc goes from 1.29 (3 pixels radius) to 0.91 (100 pixels).
_TRIANGULAR = 0.62
_RECTANGULAR = 0.86
# The same over the loosest such rectangle: at most 0.55 for rectangles, 0.66 and more for discs. Those of 6 to 8 pixels
# radius are octagons on pixels, and may fill the tightest one as rectangles do.
_ROUND = 0.6


def shape_word(part: Bool, spacing: tuple[float, float]) -> str:
    """The word of `SHAPE_WORDS` for one component, holes filled; empty when it is too small to tell."""
    # Here, not above: the window opens without it.
    from skimage.measure import block_reduce, regionprops

    if np.count_nonzero(part) < _SHAPE_PIXELS:
        return ""
    step = max(1, round(max(part.shape) / _SHAPE_SIDE))
    if step > 1:
        part = block_reduce(part, (step, step), np.max)
    region = regionprops(scipy.ndimage.binary_fill_holes(part).astype(np.uint8), spacing=spacing)[0]
    if region.axis_major_length >= _ELONGATED * region.axis_minor_length:
        return "elongated" if region.solidity >= _SOLID_LONG else "irregular"
    if region.solidity < _SOLID:
        return "irregular"
    tightest, loosest = _rectangles(region.image, spacing)
    if region.area < _TRIANGULAR * tightest:
        return "triangular"
    if region.area > _RECTANGULAR * tightest and region.area < _ROUND * loosest:
        return "rectangular"
    return "oval" if region.axis_major_length >= _OVAL * region.axis_minor_length else "round"


def _rectangles(part: Bool, spacing: tuple[float, float]) -> tuple[float, float]:
    """Areas, in squared units of `spacing`, of the smallest and the largest rectangle at any angle around `part`."""
    rows = np.flatnonzero(part.any(axis=1))
    ends = np.concatenate([part.argmax(axis=1)[rows], part.shape[1] - 1 - part[:, ::-1].argmax(axis=1)[rows]])
    points = np.stack([np.tile(rows, 2), ends], axis=1)
    # The middles of the pixels' sides, as skimage takes them for the convex hull.
    sides = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
    points = (points + sides[:, None]).reshape(-1, 2) * spacing
    angles = np.deg2rad(np.arange(0, 180, 3))
    extent = np.ptp(points @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
    areas = extent[:30] * extent[30:]
    return float(areas.min()), float(areas.max())
