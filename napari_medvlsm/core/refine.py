"""Refine an outline by pointing: "this too" and "not this", from the strokes, the image's edges and the probability.

A click changes the outline around it, as far as the boundary that it speaks of is away. In a window of that size, on a
grid of at most 128 pixels, each pixel has a prior: the present outline and the model's probability, moved towards what
the click says by how cheaply it is reached from there (a geodesic distance over colour and edges). A random walker
(Grady, "Random Walks for Image Segmentation", IEEE TPAMI 2006; with priors: Grady, CVPR 2005) settles prior, edges and
all hints. Only the region that the new hint touches is changed, and only in its direction. The constants were chosen by
trial on 20 validation scans of each of four sets; `tests/bench/refine.py` measures on test scans, against brushing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy
import skimage
from PIL import Image

from napari_medvlsm.core.images import AnyArray, Window, to_unit_rgb, window_of
from napari_medvlsm.core.masks import Bytes, Mask
from napari_medvlsm.core.options import Region

# (row, col) of a pixel.
Point = tuple[int, int]
_Floats = npt.NDArray[np.float32]

# Longest side of the grid that is solved.
_GRID = 128
# The scale of a hint, its distance to the boundary, in fractions of the scan's longest side.
_LEAST_SCALE, _LARGEST_SCALE = 0.012, 0.1
# Standard deviation of a hint's reach, and the half side of the window, in scales.
_REACH, _WINDOW = 3.0, 6.0
# Log odds: of the present outline, beyond the middle at the hint, and the most that the model's probability counts.
_OUTLINE, _MARGIN, _MOST = 4.0, 4.0, 6.0
# Cost of a pixel, beside its length: of the steepest edge, and of a colour far from the hint's.
_EDGE_COST, _COLOR_COST = 1.0, 5.0
# Random walker: strength of the prior, of an edge between unlike pixels, and the fall of that strength with contrast.
_PRIOR, _LEAST_EDGE, _CONTRAST = 0.01, 0.06, 1.0
_HARD = 50.0
# What a downscaled map needs to be called changed when it is scaled up again.
_HALF = 0.5


@dataclass(frozen=True)
class Hint:
    """What a person pointed at.

    Attributes
    ----------
    points : tuple of (row, col)
        Pixels of one click or stroke, in their order.
    include : bool
        Whether they belong to what is outlined.
    """

    points: tuple[Point, ...]
    include: bool

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("A hint must have at least one point.")

    def holds(self, mask: Mask) -> bool:
        """Whether a mask (H, W) agrees with most of it."""
        rows, cols = np.transpose(self.points)
        return bool((mask[rows, cols] == self.include).mean() > _HALF)


def refine(
    mask: Mask,
    pixels: AnyArray,
    hints: Sequence[Hint],
    probability: Bytes | None = None,
    threshold: float = 0.5,
    box: Region | None = None,
    window: Window | None = None,
) -> Mask:
    """The outline after one more hint.

    Parameters
    ----------
    mask : bool array of shape (H, W)
        The outline as it is.
    pixels : array of shape (H, W) or (H, W, C)
        Of the scan, see `Scan.pixels`.
    hints : sequence of Hint
        All that hold for this outline; the last is new, and the only one that changes anything.
    probability : uint8 array of shape (H, W), optional
        The model's, 255 for 1.
    threshold : float
        Probability (0 to 1) from which the model means the target.
    box : (row0, col0, row1, col1), optional
        Nothing outside of it is changed.
    window : Window, optional
        Grey range of the whole scan; by default it is read from `pixels`.

    Returns
    -------
    bool array of shape (H, W)
        A new one. The points of the new hint are as it says, where they lie in the box.
    """
    new, result = hints[-1], mask.copy()
    part = _Part.around(new, mask, box)
    if part is None:
        return result
    shown = to_unit_rgb(pixels[part.slices], window or window_of(pixels))
    colors = _scaled(shown, part.grid)
    inside = _scaled(mask[part.slices].astype(np.float32), part.grid) > _HALF
    odds = np.where(inside, _OUTLINE, -_OUTLINE).astype(np.float32)
    if probability is not None:
        odds += _log_odds(_scaled(probability[part.slices], part.grid) / np.float32(255), threshold)
    seeds = part.on_grid(new)
    sign = 1.0 if new.include else -1.0
    near = np.exp(-0.5 * (_distances(colors, seeds) * part.step / (_REACH * part.scale)) ** 2)
    needed = max(0.0, float(-sign * odds[seeds].mean())) + _MARGIN
    odds += sign * needed * near
    meant = _random_walk(colors, odds, [(part.on_grid(hint), hint.include) for hint in hints]) > _HALF
    changed = _touched((meant != inside) & (meant == new.include), seeds)
    where = _scaled(changed.astype(np.float32), part.size, Image.Resampling.BILINEAR) > _HALF
    result[part.slices][where] = new.include
    rows, cols = np.transpose(part.within(new))
    result[rows, cols] = new.include
    return result


@dataclass(frozen=True)
class _Part:
    """The part of a scan that a hint speaks of, and the grid on which it is solved.

    Attributes
    ----------
    slices : (slice, slice)
        Rows and columns of the scan.
    grid : (int, int)
        Rows and columns of the grid.
    scale : float
        Pixels from the hint to the boundary that it speaks of.
    """

    slices: tuple[slice, slice]
    grid: tuple[int, int]
    scale: float

    @classmethod
    def around(cls, hint: Hint, mask: Mask, box: Region | None) -> _Part | None:
        """The part around a hint, within a box; None where the hint lies outside of it."""
        row0, col0, row1, col1 = box or (0, 0, *mask.shape)
        inside = [(r, c) for r, c in hint.points if row0 <= r < row1 and col0 <= c < col1]
        if not inside:
            return None
        points, side = np.array(inside), max(mask.shape)
        scale = float(np.clip(_to_boundary(points, mask, hint.include), _LEAST_SCALE * side, _LARGEST_SCALE * side))
        reach = int(np.ceil(scale * _WINDOW)) + 4
        low = np.maximum(points.min(0) - reach, (row0, col0))
        high = np.minimum(points.max(0) + reach + 1, (row1, col1))
        size = high - low
        step = max(1.0, size.max() / _GRID)
        rows, cols = (max(1, round(n / step)) for n in size)
        return cls((slice(low[0], high[0]), slice(low[1], high[1])), (rows, cols), scale)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns in pixels of the scan."""
        return self.slices[0].stop - self.slices[0].start, self.slices[1].stop - self.slices[1].start

    @property
    def step(self) -> float:
        """Pixels of the scan to a pixel of the grid."""
        return max(self.size[0] / self.grid[0], self.size[1] / self.grid[1])

    def within(self, hint: Hint) -> list[Point]:
        """Points of a hint that lie in the part."""
        rows, cols = self.slices
        return [(r, c) for r, c in hint.points if rows.start <= r < rows.stop and cols.start <= c < cols.stop]

    def on_grid(self, hint: Hint) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The same as indices of the grid, each once."""
        points = np.reshape(self.within(hint), (-1, 2)) - (self.slices[0].start, self.slices[1].start)
        places = np.unique((points * self.grid // np.array(self.size)).astype(np.intp), axis=0)
        return places[:, 0], places[:, 1]


def _to_boundary(points: npt.NDArray[np.intp], mask: Mask, include: bool) -> float:
    """Median distance of the points from the pixels that are already as the hint says; infinite without any."""
    stride = max(1, max(mask.shape) // 256)
    there = np.argwhere(mask[::stride, ::stride] == include) * stride
    if len(there) == 0:
        return float("inf")
    some = points[:: max(1, len(points) // 16)]
    return float(np.median([np.sqrt(((there - point) ** 2).sum(1).min()) for point in some]))


def _scaled(
    plane: npt.NDArray[np.generic], size: tuple[int, int], how: Image.Resampling = Image.Resampling.BOX
) -> _Floats:
    """A plane (H, W) or (H, W, C) at another size (rows, cols)."""
    values: _Floats = plane.astype(np.float32)
    if values.shape[:2] == size:
        return values
    if values.ndim == 3:
        return np.stack([_scaled(values[..., i], size, how) for i in range(values.shape[2])], axis=-1)
    return np.asarray(Image.fromarray(values).resize(size[::-1], how))


def _log_odds(probability: _Floats, threshold: float) -> _Floats:
    """Log odds beyond those of the threshold."""
    low = 0.5 / 255
    odds = [np.log(p / (1 - p)) for p in (np.clip(probability, low, 1 - low), np.clip(threshold, low, 1 - low))]
    return np.clip(odds[0] - odds[1], -_MOST, _MOST).astype(np.float32)


def _distances(colors: _Floats, seeds: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]) -> _Floats:
    """Geodesic distances from the seeds, in pixels of the grid; longer over edges and unlike colours."""
    if min(colors.shape[:2]) < 2:
        return np.ones(colors.shape[:2], np.float32)
    rows, cols = np.gradient(colors, axis=(0, 1))
    steep = np.sqrt((rows**2 + cols**2).sum(-1))
    steep = np.minimum(steep / (steep.mean() + 1e-4), 4) / 4
    spread = colors.reshape(-1, colors.shape[-1]).std(axis=0).mean() + 1e-3
    smooth = scipy.ndimage.uniform_filter(colors, (3, 3, 0), mode="nearest")
    unlike = np.sqrt(((colors - smooth[seeds].mean(axis=0)) ** 2).sum(-1)) / spread
    costs = 1 + _EDGE_COST * steep + _COLOR_COST * np.minimum(unlike, 3) / 3
    return skimage.graph.MCP_Geometric(costs).find_costs(list(zip(*seeds, strict=True)))[0].astype(np.float32)


def _random_walk(
    colors: _Floats,
    odds: _Floats,
    seeds: Sequence[tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], bool]],
) -> _Floats:
    """Probability (0 to 1) of each pixel of the grid to belong to the target."""
    from scipy.sparse.linalg import cg  # here: no start of the window waits for it

    rows, cols = odds.shape
    steps = [(np.diff(colors, axis=axis) ** 2).sum(-1) for axis in (0, 1)]
    mean = max(1e-6, float(np.mean([s.mean() if s.size else 0.0 for s in steps])))
    down, right = (np.exp(-_CONTRAST * s / mean) + _LEAST_EDGE for s in steps)
    prior = 1 / (1 + np.exp(-odds))
    strength = _PRIOR * (0.2 + np.minimum(np.abs(odds), 4))
    for places, include in seeds:
        prior[places], strength[places] = float(include), _HARD
    diagonal = strength.copy()
    for weights, first, second in (
        (down, np.s_[1:], np.s_[:-1]),
        (right, np.s_[:, 1:], np.s_[:, :-1]),
    ):
        diagonal[first] += weights
        diagonal[second] += weights
    beside = np.zeros((rows, cols), np.float32)
    beside[:, :-1] = -right
    offsets = [diagonal.ravel(), beside.ravel()[:-1], beside.ravel()[:-1], -down.ravel(), -down.ravel()]
    matrix = scipy.sparse.diags(offsets, [0, 1, -1, cols, -cols], shape=(rows * cols, rows * cols), format="csr")
    found, _ = cg(
        matrix,
        (strength * prior).ravel(),
        x0=prior.ravel(),
        rtol=1e-3,
        maxiter=60,
        M=scipy.sparse.diags(1 / diagonal.ravel()),
    )
    return found.reshape(rows, cols).astype(np.float32)


def _touched(changed: Mask, seeds: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]) -> Mask:
    """Of what would change, the regions that the seeds lie in; all of it where they lie in none."""
    labels, _ = scipy.ndimage.label(changed)
    hit = np.setdiff1d(labels[seeds], [0])
    return np.isin(labels, hit) if hit.size else changed
