"""Overlap of two binary masks. Pure functions on arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dice(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|), 1 when both masks are empty, as in the paper."""
    a, b = _pair(a, b)
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def iou(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Intersection over union, 1 when both masks are empty."""
    a, b = _pair(a, b)
    union = int((a | b).sum())
    return 1.0 if union == 0 else int((a & b).sum()) / union


def _pair(
    a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    if a.shape != b.shape:
        raise ValueError(f"Two masks of one size are needed, but they have shapes {a.shape} and {b.shape}.")
    return np.asarray(a) > 0, np.asarray(b) > 0
