"""Outlines as lines: what of a label image is left when the inside of each label is taken out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter, minimum_filter

Labels = npt.NDArray[np.integer]


def boundaries(labels: Labels, thickness: int, background: int = 0) -> Labels:
    """The labels along their boundaries, `background` elsewhere.

    A line lies inside of what it goes around; along the edge of the image there is none. Takes as long for thick lines
    as for thin ones, and only as long as the part of the image that holds labels is large.

    Parameters
    ----------
    labels : integer array of shape (H, W)
    thickness : int
        Of a line, in pixels; at least 1.
    background : int
        What is no label.

    Returns
    -------
    integer array of shape (H, W)
    """
    lines = np.full_like(labels, background)
    there = labels != background
    rows, cols = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    if rows.size:
        # With the background around it, where it does not reach the edge of the image.
        box = tuple(slice(max(0, found[0] - 1), found[-1] + 2) for found in (rows, cols))
        part = labels[box]
        inside = minimum_filter(part, 2 * thickness + 1, mode="nearest") == maximum_filter(part, 3, mode="nearest")
        lines[box] = np.where(inside, background, part)
    return lines
