"""Probability to mask: quantised probabilities, the threshold, and clean-up.

Probabilities are kept as bytes (0 to 255): a threshold on them costs a comparison, and the panel, the
command line and the Python API all binarize the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

# Components of at most this fraction of the image are specks; upstream medvlsm gives them no size.
SPECK_FRACTION = 0.0001

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def quantise(probability: npt.NDArray[np.float32]) -> Bytes:
    """Probabilities in [0, 1] to bytes, 255 for 1, rounded to the nearest."""
    return np.rint(probability * np.float32(255)).astype(np.uint8)


def binarize(probability: Bytes, threshold: float) -> Mask:
    """Pixels whose probability is at least `threshold` (0 to 1); a probability of 0 is never foreground."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold must lie between 0 and 1, but is {threshold}.")
    return probability >= np.uint8(max(1, math.ceil(threshold * 255 - 1e-6)))


@dataclass(frozen=True)
class Cleanup:
    """What is done to a mask after the threshold, in this order."""

    fill_holes: bool = False
    drop_specks: bool = False
    keep_largest: bool = False

    @property
    def nothing(self) -> bool:
        """Whether the mask passes unchanged."""
        return not (self.fill_holes or self.drop_specks or self.keep_largest)

    def apply(self, mask: Mask) -> Mask:
        """The cleaned mask, a new array of the same shape (H, W).

        Holes are background that does not reach the image border (4-connected); specks are
        components of at most 0.01 % of the image (8-connected), and so is "largest".
        """
        box = bounding_box(mask)
        if self.nothing or box is None:
            return mask.copy()
        part = mask[box]
        if self.fill_holes:
            part = _fill_holes(part)
        if self.drop_specks or self.keep_largest:
            part = self._select(part, mask.size)
        result = np.zeros_like(mask)
        result[box] = part
        return result

    def _select(self, mask: Mask, image_pixels: int) -> Mask:
        labels, count = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        areas[0] = 0
        keep = areas > (SPECK_FRACTION * image_pixels if self.drop_specks else 0)
        if self.keep_largest:
            keep &= np.arange(keep.size) == int(areas.argmax())
        selected: Mask = keep[labels]
        return selected


@dataclass(frozen=True)
class MaskSettings:
    """How a probability map becomes a mask: a threshold (0 to 1) and the clean-up after it."""

    threshold: float
    cleanup: Cleanup = Cleanup()

    def apply(self, probability: Bytes, clean: bool = True) -> Mask:
        """The mask (H, W) of a probability map (H, W), with or without the clean-up."""
        mask = binarize(probability, self.threshold)
        return self.cleanup.apply(mask) if clean and not self.cleanup.nothing else mask


def bounding_box(mask: Mask) -> tuple[slice, slice] | None:
    """Rows and columns that hold all of the foreground; None for an empty mask."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _fill_holes(mask: Mask) -> Mask:
    # One labelling of the background instead of `binary_fill_holes`, whose repeated dilation takes
    # seconds on a 2048 x 2048 scan.
    labels, count = scipy.ndimage.label(np.pad(~mask, 1, constant_values=True))
    outside: Mask = labels[1:-1, 1:-1] == labels[0, 0]
    return ~outside if count > 1 else mask
