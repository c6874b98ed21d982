"""How well a binary mask agrees with the true one. Pure functions on arrays.

Empty masks. Dice, IoU and the surface Dice are 1 where both masks are empty and 0 where only one is, as in the paper's
mean. Precision says nothing where nothing is drawn, recall where nothing is there, and a distance where either mask is
empty: these are not-a-number, to be left out of means and counted.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

AnyArray = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]


def dice(a: AnyArray, b: AnyArray) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|), 1 when both masks are empty, as in the paper."""
    a, b = _pair(a, b)
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def iou(a: AnyArray, b: AnyArray) -> float:
    """Intersection over union, 1 when both masks are empty."""
    a, b = _pair(a, b)
    union = int((a | b).sum())
    return 1.0 if union == 0 else int((a & b).sum()) / union


def precision(drawn: AnyArray, true: AnyArray) -> float:
    """The part of what is drawn that is true; not-a-number where nothing is drawn."""
    drawn, true = _pair(drawn, true)
    area = int(drawn.sum())
    return int((drawn & true).sum()) / area if area else math.nan


def recall(drawn: AnyArray, true: AnyArray) -> float:
    """The part of what is true that is drawn; not-a-number where nothing is there."""
    return precision(true, drawn)


def surface_distances(a: AnyArray, b: AnyArray, spacing: tuple[float, float] = (1, 1)) -> tuple[Distances, Distances]:
    """How far the edge of each mask lies from the other's.

    An edge is made of the pixels of a mask that touch background with a side, or the image's border; distances go from
    centre to centre of pixels.

    Parameters
    ----------
    a, b : arrays of shape (H, W)
        Masks, of which neither is empty.
    spacing : (float, float)
        Size of a pixel as (row, col).

    Returns
    -------
    (array, array)
        From each edge pixel of `a` to the nearest of `b`, and the other way round, in the unit of `spacing`.
    """
    a, b = _pair(a, b)
    box = _bounding_box(a | b)
    edges = [_edge(mask[box]) for mask in (a, b)]
    away = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return away[1][edges[0]], away[0][edges[1]]


def surface_scores(
    a: AnyArray, b: AnyArray, tolerance: float, spacing: tuple[float, float] = (1, 1)
) -> tuple[float, float]:
    """(`hausdorff95`, `surface_dice`) of two masks, for the price of one."""
    if not (np.any(a) and np.any(b)):
        return math.nan, dice(a, b)
    there, back = surface_distances(a, b, spacing)
    far = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return far, float(np.mean(np.concatenate([there, back]) <= tolerance))


def hausdorff95(a: AnyArray, b: AnyArray, spacing: tuple[float, float] = (1, 1)) -> float:
    """The larger of the 95th percentiles of both directions' `surface_distances`; not-a-number if a mask is empty."""
    return surface_scores(a, b, 0, spacing)[0]


def surface_dice(a: AnyArray, b: AnyArray, tolerance: float, spacing: tuple[float, float] = (1, 1)) -> float:
    """The part of both edges that lies within `tolerance` of the other: the normalised surface distance.

    1 when both masks are empty, 0 when one is.
    """
    return surface_scores(a, b, tolerance, spacing)[1]


def _pair(a: AnyArray, b: AnyArray) -> tuple[Mask, Mask]:
    if a.shape != b.shape:
        raise ValueError(f"Two masks of one size are needed, but they have shapes {a.shape} and {b.shape}.")
    return np.greater(a, 0), np.greater(b, 0)


def _edge(mask: Mask) -> Mask:
    edge: Mask = mask & ~ndimage.binary_erosion(mask)
    return edge


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    # What is outside it is farther from every edge than what is inside.
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
