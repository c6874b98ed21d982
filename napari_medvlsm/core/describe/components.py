"""The 4-connected components of a mask, which both rules count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.describe.description import SIZE_WORDS

Array = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]
Box = tuple[slice, slice]


def plane(mask: Array) -> Array:
    """The mask as an array, refused with a sentence unless it is one 2D plane."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"A mask must be one 2D plane (H, W), but this one has shape {mask.shape}.")
    return mask


def areas_of(labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Pixels of each label, background left out: shape (count,)."""
    # In bands of rows, because bincount copies its input to 64 bit.
    bands = np.array_split(labels, max(1, labels.size // 2**22))
    areas = np.sum([np.bincount(band.ravel(), minlength=count + 1) for band in bands], axis=0)
    return np.asarray(areas[1:])


def list_sizes(fractions: Iterable[float]) -> str:
    """The distinct sizes of parts of these fractions of the image, from tiny to large, joined by ", "."""
    ranks = {int(f >= 0.001) + int(f > 0.08) + int(f > 0.30) for f in fractions}
    return ", ".join(SIZE_WORDS[rank] for rank in sorted(ranks))
