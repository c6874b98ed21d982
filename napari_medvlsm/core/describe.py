"""Number, size and location of a mask, in the prompts' own words.

The size limits are those of the paper's annotation code (fractions of the image area). Location
is the cell of a 3 x 3 grid in which the component's centroid lies; the release's own rule, with its
use of the image height for both axes, is not reproduced here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SIZE_WORDS = ("tiny", "small", "medium", "large")
# Upper limits of tiny, small and medium (release of the paper: f < 0.001, f <= 0.08, f <= 0.30).
_SIZE_LIMITS = (0.001, 0.08, 0.30)
# Components below this fraction get no size in the release, and are taken for specks here.
SPECK_FRACTION = 0.0001
_ROWS = ("top", "center", "bottom")
_COLS = ("left", "center", "right")


@dataclass(frozen=True)
class MaskDescription:
    """What a mask says about itself. Empty strings when the mask is empty."""

    number: str
    size: str
    location: str


def describe(mask: npt.NDArray[np.generic]) -> MaskDescription:
    """Describe a binary mask.

    Parameters
    ----------
    mask : array of shape (H, W)
        Foreground is anything above zero. Components are 4-connected; those of at most 0.01 % of
        the image are ignored unless there is nothing else.

    Returns
    -------
    MaskDescription
        `number` "one" to "ten" or "many"; `size` and `location` list each distinct word once,
        sizes from tiny to large, locations in reading order, joined by ", ".
    """
    labels, count = ndimage.label(np.asarray(mask) > 0)
    if count == 0:
        return MaskDescription("", "", "")
    rows, cols = labels.shape
    areas = np.bincount(labels.ravel())[1:] / labels.size
    keep = np.flatnonzero(areas > SPECK_FRACTION)
    if keep.size == 0:
        keep = np.arange(count)
    centroids = ndimage.center_of_mass(labels > 0, labels, keep + 1)
    sizes = {int(np.searchsorted(_SIZE_LIMITS, areas[i])) for i in keep}
    cells = {(min(int(3 * (r + 0.5) / rows), 2), min(int(3 * (c + 0.5) / cols), 2)) for r, c in centroids}
    return MaskDescription(
        number=NUMBER_WORDS[keep.size] if keep.size < len(NUMBER_WORDS) else "many",
        size=", ".join(SIZE_WORDS[i] for i in sorted(sizes)),
        location=", ".join(_cell_name(r, c) for r, c in sorted(cells)),
    )


def _cell_name(row: int, col: int) -> str:
    if row == 1:
        return _COLS[col]
    return _ROWS[row] if col == 1 else f"{_ROWS[row]} {_COLS[col]}"
