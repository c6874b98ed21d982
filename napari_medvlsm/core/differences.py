"""How two outlines of one scan differ: pure functions on masks (see `surface_metrics`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from napari_medvlsm.core.masks import Mask, bounding_box
from napari_medvlsm.core.metrics import dice, same_shape


@dataclass(frozen=True)
class Differences:
    """Two masks compared, at their full size.

    Attributes
    ----------
    dice : float
        1 where both are the same, or both empty.
    first, second : int
        Pixels of each.
    only_first, only_second : int
        Pixels that are in one alone.
    mean_distance, largest_distance : float
        Between their edges, from either to the other, in millimetres where the spacing is known and in pixels
        otherwise; NaN where a mask is empty.
    in_mm : bool
    """

    dice: float
    first: int
    second: int
    only_first: int
    only_second: int
    mean_distance: float
    largest_distance: float
    in_mm: bool

    @property
    def same(self) -> bool:
        """Whether not one pixel differs."""
        return not (self.only_first or self.only_second)


def differences(first: Mask, second: Mask, spacing: tuple[float, float] | None = None) -> Differences:
    """Compare two masks of shape (H, W).

    Parameters
    ----------
    first, second : bool arrays of shape (H, W)
    spacing : (float, float) or None
        Millimetres per pixel as (row, col).

    Raises
    ------
    ValueError
        If their shapes differ.
    """
    first, second = same_shape(first, second)
    both = int(np.count_nonzero(first & second))
    areas = int(np.count_nonzero(first)), int(np.count_nonzero(second))
    mean, largest = _edge_distances(first, second, spacing or (1.0, 1.0))
    return Differences(
        dice(first, second), *areas, areas[0] - both, areas[1] - both, mean, largest, spacing is not None
    )


def _edge_distances(first: Mask, second: Mask, spacing: tuple[float, float]) -> tuple[float, float]:
    box = bounding_box(first | second)
    if box is None or not (first.any() and second.any()):
        return math.nan, math.nan
    # Beyond the box there is no edge, so nothing farther away is ever the nearest.
    edges = [_edge(mask[box]) for mask in (first, second)]
    away = [scipy.ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    found = np.concatenate([away[1][edges[0]], away[0][edges[1]]])
    return float(found.mean()), float(found.max())


def _edge(mask: Mask) -> Mask:
    """Pixels of a mask that touch what is outside of it with a side; the border of the scan is outside, too."""
    edge: Mask = mask & ~scipy.ndimage.binary_erosion(mask)
    return edge
