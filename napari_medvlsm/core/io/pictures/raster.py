"""What a decoder gives: the samples of a file, upright, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
GREY, WHITE_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = "grey", "white is zero", "RGB", "palette", "CMYK", "YCbCr", "LAB"
# Samples of a pixel, without those beyond the colour.
COLOURS = {GREY: 1, WHITE_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}


@dataclass(frozen=True, eq=False)
class Raster:
    """Samples as they lie in a file, turned upright; nothing is converted yet.

    Attributes
    ----------
    pixels : array of shape (..., H, W) or, where `channels`, (..., H, W, C)
        Leading axes are slices or frames.
    space : str
        What the samples mean: "grey", "white is zero" (grey with 0 for white), "RGB", "palette" (indices), "CMYK",
        "YCbCr" or "LAB".
    channels : bool
        Whether the last axis is samples of a pixel; those beyond the colour's own are `alpha` or unknown.
    alpha : bool
        Whether the sample after the colour's own is alpha.
    over_black : bool
        Whether the colours lie over black already, as their alpha says ("associated alpha" of TIFF).
    palette : array of shape (N, 3) or (N, 4), uint8, or None
    orientation : int
        The tag 274 by which the pixels were turned; 1 where they were not.
    spacing : (float, float) or None
        Millimetres per pixel as (row, col), where the file states it.
    lossy : bool
        Whether the compression changes values a little (JPEG).
    software : str
        That wrote the file, where it says so.
    description : str
        The file's description or comment.
    left_out : int
        Pages or frames of the file that are not here, copies in another size aside.
    fill : float or None
        The value that the file says stands for no data.
    notes : tuple of str
        What people should know of how the file was read, as sentences.
    """

    pixels: AnyArray
    space: str
    channels: bool = False
    alpha: bool = False
    over_black: bool = False
    palette: npt.NDArray[np.uint8] | None = None
    orientation: int = 1
    spacing: tuple[float, float] | None = None
    lossy: bool = False
    software: str = ""
    description: str = ""
    left_out: int = 0
    fill: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def planes(self) -> tuple[int, ...]:
        """Sizes of the leading axes."""
        return self.pixels.shape[: -3 if self.channels else -2]


def upright(pixels: AnyArray, orientation: int, channels: bool) -> AnyArray:
    """Turn and mirror as the tag 274 of EXIF and TIFF says: 1 leaves all, 5 to 8 exchange rows and columns."""
    rows = pixels.ndim - (3 if channels else 2)
    cols = rows + 1
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, rows, cols)
    flips = {2: (cols,), 3: (rows, cols), 4: (rows,), 6: (cols,), 7: (rows, cols), 8: (rows,)}.get(orientation, ())
    return np.flip(pixels, flips) if flips else pixels


def turned(spacing: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    """The spacing (row, col) of pixels that `upright` has turned."""
    return spacing[::-1] if spacing is not None and orientation in (5, 6, 7, 8) else spacing


def header(raster: Raster) -> dict[str, Any]:
    """All of a raster but its pixels, as JSON."""
    kept = {k: v for k, v in vars(raster).items() if k not in ("pixels", "palette")}
    palette = None if raster.palette is None else raster.palette.tolist()
    return kept | {"dtype": raster.pixels.dtype.str, "shape": raster.pixels.shape, "palette": palette}


def from_header(found: dict[str, Any], pixels: AnyArray) -> Raster:
    """The raster of a `header` and its pixels."""
    kept = {k: v for k, v in found.items() if k not in ("dtype", "shape")}
    kept["notes"] = tuple(kept["notes"])
    kept["spacing"] = tuple(kept["spacing"]) if kept["spacing"] else None
    kept["palette"] = None if kept["palette"] is None else np.array(kept["palette"], np.uint8)
    return Raster(pixels, **kept)
