"""Overlapping tiles, and their answers blended into one map. Imports no torch.

The grid is a product of rows and columns, and so are the weights: along each axis the weights of all
tiles sum to 1 at every pixel, which makes a sum of weighted tiles an average without any division.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.masks import Bytes, quantise
from napari_medvlsm.core.options import Region

# Pixels quantised at once: bounds the memory.
_STRIP_PIXELS = 2**18

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Span:
    """A tile along one axis: where it lies, and its weight at each of its pixels (float32, `stop - start`)."""

    start: int
    stop: int
    weight: Float32


@dataclass(frozen=True, eq=False)
class Grid:
    """Tiles of a rectangle, in pixels of the rectangle."""

    rows: tuple[Span, ...]
    cols: tuple[Span, ...]

    @property
    def side(self) -> int:
        """Rows of a tile."""
        return self.rows[0].stop - self.rows[0].start

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """From left to right, then from top to bottom."""
        return ((row, col) for row in self.rows for col in self.cols)


def grid(size: tuple[int, int], side: int, overlap: float) -> Grid:
    """Tiles of `side` that cover `size` (rows, cols) and share at least the fraction `overlap` with the next.

    A side longer than the rectangle is cut to it.
    """
    rows, cols = (spans(length, min(side, length), overlap) for length in size)
    return Grid(rows, cols)


def spans(length: int, side: int, overlap: float) -> tuple[Span, ...]:
    """Evenly spaced spans of `side` over `length`, with Hann weights.

    A Hann window falls to nothing at both ends with no corner, so where a tile begins or ends the blend has
    neither a step nor a kink.
    """
    most = max(1, int(side * (1 - overlap)))
    count = 1 + -(-(length - side) // most)
    starts = np.linspace(0, length - side, count).round().astype(int)
    hann = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += hann
    return tuple(
        Span(int(start), int(start) + side, (hann / total[start : start + side]).astype(np.float32)) for start in starts
    )


class Blend:
    """Sums weighted tiles row by row of the grid into maps of bytes.

    Only the rows of the present row of tiles are held as float32; what lies above them is final.

    Parameters
    ----------
    maps : list of uint8 arrays (H, W)
        Written into; one for each prompt.
    region : Region
        Where the grid lies in the maps.
    side : int
        Rows of a tile.
    """

    def __init__(self, maps: list[Bytes], region: Region, side: int) -> None:
        row0, col0, row1, col1 = region
        self._parts = [plane[row0:row1, col0:col1] for plane in maps]
        self._top = 0
        self._open = np.zeros((len(maps), side, col1 - col0), np.float32)

    def add(self, row: Span, col: Span, answers: Float32) -> None:
        """Add one tile's probabilities (P, rows, cols); tiles come in the order of their grid."""
        if row.start > self._top:
            self._settle(row.start - self._top)
        self._open[:, :, col.start : col.stop] += answers * (row.weight[:, None] * col.weight)

    def finish(self) -> None:
        """Write what is still open."""
        self._settle(self._open.shape[1])

    def _settle(self, count: int) -> None:
        """Write the uppermost `count` rows and move the others up."""
        for part, summed in zip(self._parts, self._open, strict=True):
            step = max(1, _STRIP_PIXELS // summed.shape[1])
            for start in range(0, count, step):
                rows = summed[start : min(count, start + step)]
                part[self._top + start : self._top + start + len(rows)] = quantise(np.minimum(rows, 1))
            # In pieces that do not overlap, which numpy moves without a copy in between.
            for start in range(0, len(summed) - count, count):
                rows = summed[start + count : start + 2 * count]
                summed[start : start + len(rows)] = rows
            summed[-count:] = 0
        self._top += count
