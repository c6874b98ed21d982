"""What an outline measures: area, longest and shortest axis, in mm where the pixel size is known, else in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from napari_medvlsm.core.masks import Mask, bounding_box

_TOUCHING = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Measurement:
    """What an outline measures.

    Attributes
    ----------
    area : float
        Of all parts, in mm² or pixels.
    longest : float
        The largest distance between two points of the boundary of the largest part (its Feret diameter), in mm or
        pixels.
    shortest : float
        Its width at right angles to the longest axis, in mm or pixels.
    parts : int
        Parts that touch at a corner are one.
    in_mm : bool
        Whether lengths are in mm; else in pixels, each of which counts as a square of side 1.
    """

    area: float
    longest: float
    shortest: float
    parts: int
    in_mm: bool

    def __str__(self) -> str:
        """In words: lengths in mm, or cm from 10 cm on."""
        if self.in_mm:
            area = f"{_digits(self.area / 100)} cm²" if self.area >= 100 else f"{_digits(self.area)} mm²"
            long, short = (_digits(v) for v in (self.longest, self.shortest))
            axes = f"{long} × {short} mm"
        else:
            area = f"{self.area:.0f} pixels"
            axes = f"{self.longest:.0f} × {self.shortest:.0f} pixels"
        of = "" if self.parts == 1 else f" (the largest of {self.parts} parts)"
        return f"Area {area}; longest × shortest axis {axes}{of}"


def measure(mask: Mask, spacing: tuple[float, float] | None) -> Measurement | None:
    """Measure an outline.

    The boundary is that of the pixels' squares, not of their centres: one pixel has the area 1 and not 0.

    Parameters
    ----------
    mask : bool array of shape (H, W)
    spacing : (float, float) or None
        Millimetres per pixel as (row, col); None where unknown.

    Returns
    -------
    Measurement or None
        None for an empty mask.
    """
    box = bounding_box(mask)
    if box is None:
        return None
    scale = np.asarray(spacing or (1.0, 1.0), np.float64)
    labels, count = scipy.ndimage.label(mask[box], structure=_TOUCHING)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    largest = labels == 1 + int(areas[1:].argmax())
    longest, shortest = _axes(_corners(largest) * scale)
    return Measurement(float(areas[1:].sum() * scale.prod()), longest, shortest, count, spacing is not None)


def spacing_from_length(
    start: tuple[float, float], end: tuple[float, float], millimetres: float
) -> tuple[float, float]:
    """Millimetres per pixel as (row, col), equal in both, from a line (row, col) to (row, col) of known length.

    Raises
    ------
    ValueError
        If the line is shorter than two pixels, or the length is no positive number.
    """
    pixels = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if pixels < 2:
        raise ValueError("The line is too short to measure by; draw it along something whose length you know.")
    if not (np.isfinite(millimetres) and millimetres > 0):
        raise ValueError(f"The length must be a positive number of millimetres, but is {millimetres}.")
    return millimetres / pixels, millimetres / pixels


def _corners(part: Mask) -> npt.NDArray[np.float64]:
    """Corners (row, col) of the outermost pixels of each row of one part; its convex hull is theirs."""
    rows = np.flatnonzero(part.any(axis=1))
    first = part[rows].argmax(axis=1)
    last = part.shape[1] - part[rows, ::-1].argmax(axis=1)
    ends = [np.stack([rows + below, cols], 1) for below in (0, 1) for cols in (first, last)]
    return np.concatenate(ends).astype(np.float64)


def _axes(points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Largest distance of two points, and the extent of all of them at right angles to it."""
    hull = points[scipy.spatial.ConvexHull(points).vertices]
    distances = np.hypot(*(hull[:, None] - hull[None]).transpose(2, 0, 1))
    one, other = np.unravel_index(int(distances.argmax()), distances.shape)
    along = (hull[other] - hull[one]) / distances[one, other]
    across = hull @ np.array([-along[1], along[0]])
    return float(distances[one, other]), float(np.ptp(across))


def _digits(value: float) -> str:
    """Three significant digits, and never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
