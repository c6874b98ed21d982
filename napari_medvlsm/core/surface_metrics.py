"""Surface metrics of a binary mask against the true one, by MONAI. Imports torch.

Empty masks: the surface Dice is 1 where both masks are empty (MONAI: NaN) and 0 where only one is; a distance is NaN
where either is empty, to be left out of means and counted.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance

from napari_medvlsm.core.metrics import AnyArray, dice, same_shape


def surface_scores(
    a: AnyArray, b: AnyArray, tolerance: float, spacing: tuple[float, float] = (1, 1)
) -> tuple[float, float]:
    """95th percentile of the Hausdorff distance, and surface Dice, from one computation of the distances.

    An edge is made of the pixels of a mask that touch background with a side, or the image's border; distances go from
    centre to centre of pixels.

    Parameters
    ----------
    a, b : arrays of shape (H, W)
        Foreground is anything above zero.
    tolerance : float
        Distance that still counts as agreement, in the unit of `spacing`.
    spacing : (float, float)
        Size of a pixel as (row, col).

    Returns
    -------
    hausdorff95 : float
        The larger of the 95th percentiles of the distances from either edge to the other, in the unit of `spacing`;
        NaN if a mask is empty.
    surface_dice : float
        The fraction of both edges within `tolerance` of the other: the normalised surface distance.

    Raises
    ------
    ValueError
        If the masks differ in shape.
    """
    a, b = same_shape(a, b)
    if not (a.any() and b.any()):
        return math.nan, dice(a, b)
    # Its two public metrics compute these distances once each.
    with warnings.catch_warnings():
        # MONAI 1.6 calls itself with an argument that it has deprecated.
        warnings.filterwarnings("ignore", "(?s).*always_return_as_numpy", FutureWarning)
        _, distances, _ = get_edge_surface_distance(
            torch.from_numpy(a), torch.from_numpy(b), spacing=spacing, symmetric=True
        )
    there, back = (distance.numpy() for distance in distances)
    far = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return far, float(np.mean(np.concatenate([there, back]) <= tolerance))


def hausdorff95(a: AnyArray, b: AnyArray, spacing: tuple[float, float] = (1, 1)) -> float:
    """The first of `surface_scores`."""
    return surface_scores(a, b, 0, spacing)[0]


def surface_dice(a: AnyArray, b: AnyArray, tolerance: float, spacing: tuple[float, float] = (1, 1)) -> float:
    """The second of `surface_scores`."""
    return surface_scores(a, b, tolerance, spacing)[1]
