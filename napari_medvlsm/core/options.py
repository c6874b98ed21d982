"""Options of a segmentation beside model, scan and prompts: tiles, a rectangle, the device and the precision.

Imports no torch: the window builds the options, the engine process uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUTO = "auto"
#: Names of the number formats that a model computes in, the most exact first.
PRECISIONS = ("float32", "bfloat16", "float16")

#: A rectangle (row0, col0, row1, col1) in pixels of the scan; the last row and column are not part of it.
Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Device:
    """A device that computes.

    Attributes
    ----------
    name : str
        As torch calls it: "cpu", "cuda:0", "mps".
    title : str
        In words.
    precisions : tuple of str
        What it computes in, the one chosen by "auto" first.
    """

    name: str
    title: str
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class Tiling:
    """Overlapping tiles.

    Attributes
    ----------
    side : int or None
        Rows and columns of a tile, in pixels of the scan; None for as many as the model takes, so that it sees the
        scan at its native resolution.
    overlap : float
        Of neighbouring tiles, as a fraction of the side: 0 to 0.9.
    """

    side: int | None = None
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.side is not None and self.side < 16:
            raise ValueError(f"The side of a tile must be at least 16 pixels, but is {self.side}.")
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"The overlap of tiles must be a fraction from 0 to 0.9, but is {self.overlap}.")


@dataclass(frozen=True)
class SegmentOptions:
    """The part of the scan that is segmented; by default all of it, resized to the model's input size.

    Attributes
    ----------
    tiling : Tiling or None
        Segment overlapping tiles instead, and blend their probabilities.
    region : Region or None
        Segment this rectangle only; the probability outside it is 0.
    """

    tiling: Tiling | None = None
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.region is not None:
            row0, col0, row1, col1 = self.region
            if row0 < 0 or col0 < 0 or row1 - row0 < 2 or col1 - col0 < 2:
                raise ValueError(
                    f"A rectangle (row, column, row, column) needs two rows and two columns, but is {self.region}."
                )

    @property
    def whole(self) -> bool:
        """Whether the whole scan is segmented at once."""
        return self.tiling is None and self.region is None

    def to_message(self) -> dict[str, Any]:
        """The options as the engine's protocol carries them; see `core.engine.protocol`."""
        tiles = None if self.tiling is None else {"side": self.tiling.side, "overlap": self.tiling.overlap}
        return {"tiles": tiles, "region": None if self.region is None else [int(edge) for edge in self.region]}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> SegmentOptions:
        """The options of a request; what it does not hold is as by default.

        Raises
        ------
        ValueError
            If the options are out of range.
        """
        tiles, region = message.get("tiles"), message.get("region")
        if region is not None:
            row0, col0, row1, col1 = (int(edge) for edge in region)
            region = row0, col0, row1, col1
        return cls(None if tiles is None else Tiling(**tiles), region)


#: The default.
WHOLE_SCAN = SegmentOptions()


def check_region(region: Region, size: tuple[int, int]) -> Region:
    """The rectangle, if it lies inside a scan of `size` (rows, cols).

    Raises
    ------
    ValueError
        If it does not, or has less than two rows or columns.
    """
    SegmentOptions(region=region)
    if region[2] > size[0] or region[3] > size[1]:
        raise ValueError(f"The rectangle {region} reaches beyond the scan of {size[0]} x {size[1]} pixels.")
    return region
