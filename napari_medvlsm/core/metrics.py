"""Overlap of a binary mask with the true one: pure functions on arrays. Imports no torch (see `surface_metrics`).

Empty masks: Dice and IoU are 1 where both masks are empty and 0 where only one is, as in the paper's mean. Precision
is NaN where nothing is predicted, recall where nothing is true; leave these out of means and count them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[np.generic]
Mask = npt.NDArray[np.bool_]


def dice(a: AnyArray, b: AnyArray) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|), 1 when both masks are empty, as in the paper."""
    a, b = same_shape(a, b)
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def iou(a: AnyArray, b: AnyArray) -> float:
    """Intersection over union, 1 when both masks are empty."""
    a, b = same_shape(a, b)
    union = int((a | b).sum())
    return 1.0 if union == 0 else int((a & b).sum()) / union


def precision(predicted: AnyArray, true: AnyArray) -> float:
    """The fraction of predicted pixels that are true; NaN where nothing is predicted."""
    predicted, true = same_shape(predicted, true)
    area = int(predicted.sum())
    return int((predicted & true).sum()) / area if area else math.nan


def recall(predicted: AnyArray, true: AnyArray) -> float:
    """The fraction of true pixels that are predicted; NaN where nothing is true."""
    return precision(true, predicted)


def same_shape(a: AnyArray, b: AnyArray) -> tuple[Mask, Mask]:
    """Two masks as bool arrays.

    Raises
    ------
    ValueError
        If their shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"Two masks of one size are needed, but they have shapes {a.shape} and {b.shape}.")
    return np.greater(a, 0), np.greater(b, 0)
