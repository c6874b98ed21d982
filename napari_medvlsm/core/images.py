"""One 2D scan plane, and the one normalisation that every pixel passes on its way to a model.

Training, the command line and the panel all call `to_unit_square` (inference through `to_model_input`), so
a model never sees pixels prepared in another way than those it was trained on. The display's window, level,
gamma and colormap play no part.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

# 16-bit and float scans have no fixed white: their grey range is taken between these percentiles,
# so that a few hot pixels or a burnt-in label do not darken everything else.
WINDOW_PERCENTILES = (0.5, 99.5)
# Padding is one value at an end of the range that at least this share of the pixels has (the percentiles leave out
# less), as far from all other values as this share of their range; with fewer levels beside it, a plane is a drawing.
_PADDING_SHARE, _PADDING_GAP, _PADDING_LEVELS = 0.005, 0.25, 16
# Percentiles are read from at most this many evenly spaced pixels of each axis.
_PERCENTILE_SAMPLES = 1024
# Beyond this, differences of float32 values overflow.
_HUGE = 1e37
# Values made float32 at once: bounds the memory for very large scans.
_STRIP_VALUES = 2**20

# One plane of 16384 x 16384; above, a scan is refused rather than the computer brought to its knees.
MAX_PIXELS = 2**28
# Rows or columns: a narrower picture than 16384 x 16384 of as many pixels costs more where it is resized.
MAX_SIDE = 2**16
# All planes and samples of a picture together.
MAX_BYTES = 2**31

AnyArray = npt.NDArray[np.generic]
Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Scan:
    """One 2D scan as it came, before any normalisation.

    Attributes
    ----------
    pixels : array of shape (H, W) or (H, W, C), C in {1, 2, 3, 4}
        Axis order (row, col, channel); bool, integer or float. Two channels are grey and alpha,
        four are red, green, blue and alpha.
    spacing : (float, float) or None
        Millimetres per pixel as (row, col); None where the file does not say.
    source : str
        File name or layer name, for people to read.
    notes : tuple of str
        What people should know of how it was read, as sentences.
    spacing_from : str
        How a person came to the spacing, such as "entered by hand"; "" where it is the file's.
    """

    pixels: AnyArray
    spacing: tuple[float, float] | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    spacing_from: str = ""

    def __post_init__(self) -> None:
        check_plane(self.pixels)
        if self.spacing is not None and not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise ValueError(f"The pixel spacing must be two positive numbers in mm, but is {self.spacing}.")

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def kind(self) -> str:
        """The kind of pixels in words, for instance "grey, 16 bit"."""
        channels = 1 if self.pixels.ndim == 2 else self.pixels.shape[2]
        colour = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha"}[channels]
        dtype = self.pixels.dtype
        depth = "binary" if dtype.kind == "b" else f"{dtype.itemsize * 8} bit"
        return f"{colour}, {depth}{' float' if dtype.kind == 'f' else ''}"


def check_extent(shape: tuple[int, int, int, int], itemsize: int) -> None:
    """Raise ValueError, with a sentence for the user, unless a stack of planes is small enough to be read.

    Parameters
    ----------
    shape : (planes, rows, columns, samples)
    itemsize : int
        Bytes of a sample.
    """
    planes, rows, cols, samples = shape
    if rows * cols > MAX_PIXELS:
        raise ValueError(
            f"has {rows * cols / 1e6:.0f} million pixels in a plane, more than the {MAX_PIXELS / 1e6:.0f} million that "
            "can be opened; cut out the part you need"
        )
    if max(rows, cols) > MAX_SIDE:
        raise ValueError(
            f"has {cols} columns and {rows} rows, more than the {MAX_SIDE} that can be opened; cut out the part you "
            "need"
        )
    if math.prod(shape) * itemsize > MAX_BYTES:
        raise ValueError(
            f"takes {math.prod(shape) * itemsize / 1e9:.1f} GB of memory in all ({planes} x {rows} x {cols} pixels of "
            f"{samples} x {8 * itemsize} bit), more than the {MAX_BYTES / 1e9:.1f} GB that can be opened; save the "
            "part you need as a file of its own"
        )


def check_plane(pixels: AnyArray) -> None:
    """Raise ValueError, with a sentence for the user, unless `pixels` is one 2D plane."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4)):
        raise ValueError(
            f"A scan must be one 2D image, grey (H, W) or colour (H, W, 3), but this one has shape "
            f"{pixels.shape}. Choose one slice of it."
        )
    if pixels.shape[0] < 2 or pixels.shape[1] < 2:
        raise ValueError(f"The scan is empty or a single line ({pixels.shape[0]} x {pixels.shape[1]} pixels).")
    if pixels.dtype.kind not in "biuf":
        raise ValueError(f"Pixels of type {pixels.dtype} are not supported; save the scan as 8- or 16-bit grey or RGB.")


def over_black(pixels: AnyArray, alpha: AnyArray, colour: bool) -> AnyArray:
    """Pixels whose transparent parts show black behind them, as viewers do; an alpha that is the same everywhere says
    nothing.

    Parameters
    ----------
    pixels : array of shape (..., H, W) or, where `colour`, (..., H, W, C)
    alpha : array of shape (..., H, W)
        0 to the largest value of its type, or 0 to 1 as float.
    colour : bool

    Returns
    -------
    array of the shape and type of `pixels`
    """
    if alpha.size == 0 or (alpha == alpha.flat[0]).all():
        return pixels
    full = float(np.iinfo(alpha.dtype.str).max) if alpha.dtype.kind in "iu" else 1.0
    share = np.clip(alpha.astype(np.float32) / np.float32(full), 0, 1)
    shown = pixels * (share[..., None] if colour else share)
    return (np.rint(shown) if pixels.dtype.kind in "iu" else shown).astype(pixels.dtype)


@dataclass(frozen=True)
class Window:
    """The grey range of a plane that becomes 0 to 1; all zeros where `high` is not above `low`."""

    low: float
    high: float


def window_of(pixels: AnyArray) -> Window:
    """The range that a plane is stretched from.

    Bool is 0 to 1 and 8-bit 0 to 255. Wider integers and floats: the 0.5th to the 99.5th percentile of the finite
    values over all colour channels together, read from evenly spaced pixels; where these coincide, all of
    the range. Padding (`padding_of`) is left out.

    A part of a plane (a tile, a rectangle) uses the window of the *whole* plane. Its own window would stretch the noise
    of an empty part to full contrast, give one tissue two grey levels in neighbouring tiles, and differ from
    training.

    Raises
    ------
    ValueError
        If `pixels` is not one 2D plane.
    """
    pixels = _colours(pixels)
    if pixels.dtype == bool or pixels.dtype == np.uint8:
        return Window(0, 1 if pixels.dtype == bool else 255)
    finite = _sampled(pixels)
    if finite.size == 0:
        return Window(0, 0)
    for value in _padding(finite):
        finite = finite[finite != value]
    low, high = (float(p) for p in np.percentile(finite, WINDOW_PERCENTILES, overwrite_input=True))
    return Window(low, high) if high > low else Window(float(finite.min()), float(finite.max()))


def padding_of(pixels: AnyArray) -> dict[float, float]:
    """Values that stand for no measurement in a wide plane, and the share of the pixels that has each.

    Such are -2000 around the circle of a CT slice, or 65535 beside an image of 12 bits: a single value, far from all
    others, that many pixels have. None in 8 bits, where the window is fixed.

    Raises
    ------
    ValueError
        If `pixels` is not one 2D plane.
    """
    pixels = _colours(pixels)
    return {} if pixels.dtype == bool or pixels.dtype == np.uint8 else _padding(_sampled(pixels))


def _sampled(pixels: AnyArray) -> npt.NDArray[np.float64]:
    """Finite values of evenly spaced pixels."""
    stride = tuple(slice(None, None, max(1, n // _PERCENTILE_SAMPLES)) for n in pixels.shape[:2])
    values = pixels[stride].astype(np.float64).ravel()
    return values[np.isfinite(values)] if pixels.dtype.kind == "f" else values


def _padding(values: npt.NDArray[np.float64]) -> dict[float, float]:
    found: dict[float, float] = {}
    for end in (np.min, np.max) if values.size else ():
        value = float(end(values))
        share = float((values == value).mean())
        rest = values[(values != value) & ~np.isin(values, list(found))]
        if share < _PADDING_SHARE or np.unique(rest[:: max(1, rest.size // 4096)]).size < _PADDING_LEVELS:
            continue
        # Halves, so that no difference overflows.
        low, high = np.percentile(rest / 2, WINDOW_PERCENTILES)
        if np.abs(rest / 2 - value / 2).min() > _PADDING_GAP * (high - low):
            found[value] = share
    return found


def to_unit_rgb(pixels: AnyArray, window: Window | None = None) -> Float32:
    """Convert any plane to three channels between 0 and 1.

    - bool: 0 and 1. 8-bit: divided by 255, as in the paper's code.
    - wider integers and floats: linear in their window, clipped; NaN and minus infinity
      become 0, plus infinity 1; a constant plane becomes 0.
    - grey is repeated to three channels; an alpha channel is dropped.

    Parameters
    ----------
    pixels : array of shape (H, W) or (H, W, C)
        See `Scan.pixels`.
    window : Window, optional
        By default `window_of(pixels)`; for a part of a plane, that of the whole plane.

    Returns
    -------
    float32 array of shape (H, W, 3), values in [0, 1]

    Raises
    ------
    ValueError
        If `pixels` is not one 2D plane.
    """
    return _as_rgb(_to_unit(_colours(pixels), window or window_of(pixels)))


def to_unit_square(pixels: AnyArray, side: int, window: Window | None = None) -> Float32:
    """`to_unit_rgb` and `resize` in one: float32 (side, side, 3), values in [0, 1].

    A strip of rows at a time, first to `side` columns, then all of them to `side` rows: no float32 copy of the plane is
    made. The two passes are PIL's own, so the result is the same to 1e-6 (exactly where PIL, which
    chooses the order of the passes by the shape, also resizes the columns first).
    """
    window = window or window_of(pixels)
    pixels = _colours(pixels)
    rows, cols = pixels.shape[:2]
    narrow = np.empty((rows, side, *pixels.shape[2:]), np.float32)
    step = max(1, _STRIP_VALUES // max(side, cols))
    for start in range(0, rows, step):
        strip = _to_unit(pixels[start : start + step], window)
        narrow[start : start + step] = resize(strip, (len(strip), side))
    return _as_rgb(resize(narrow, (side, side)))


def to_screen(pixels: AnyArray, longest: int) -> tuple[Bytes, int]:
    """A plane as it is shown: (uint8 array of shape (h, w, 3), step), every `step`-th row and column of it.

    The step is the smallest by which no side is longer than `longest`. Brightness is as in `to_unit_rgb`.
    """
    check_plane(pixels)
    step = max(1, -(-max(pixels.shape[:2]) // longest))
    window, small = window_of(pixels), pixels[::step, ::step]
    shown = np.empty((*small.shape[:2], 3), np.uint8)
    rows = max(1, _STRIP_VALUES // max(1, 3 * small.shape[1]))
    for start in range(0, len(small), rows):
        strip = to_unit_rgb(small[start : start + rows], window)
        np.rint(strip * 255, out=shown[start : start + rows], casting="unsafe")
    return shown, step


def _colours(pixels: AnyArray) -> AnyArray:
    """The plane without its alpha channel; grey as (H, W)."""
    check_plane(pixels)
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if pixels.shape[2] <= 2 else pixels[..., :3]


def _as_rgb(unit: Float32) -> Float32:
    return np.repeat(unit[..., None], 3, axis=2) if unit.ndim == 2 else unit


def _to_unit(pixels: AnyArray, window: Window) -> Float32:
    """As `to_unit_rgb`, but grey stays (H, W): a third of the memory."""
    if pixels.dtype == bool:
        return pixels.astype(np.float32)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    low, high = window.low, window.high
    if not high > low:
        return np.zeros(pixels.shape, np.float32)
    if max(abs(low), abs(high)) > _HUGE:
        pixels = pixels.astype(np.float64) / _HUGE**8
        low, high = low / _HUGE**8, high / _HUGE**8
    wide = np.clip(pixels, low, high, dtype=np.float64 if pixels.dtype.itemsize > 4 else np.float32)
    wide -= low
    wide /= high - low
    unit = wide.astype(np.float32, copy=False)
    return np.clip(np.nan_to_num(unit, copy=False, nan=0.0), 0.0, 1.0, out=unit)


def resize(channels: Float32, size: tuple[int, int]) -> Float32:
    """Resize (H, W) or (H, W, C) float32 to `size` (rows, cols) with PIL's antialiased bilinear filter."""
    if channels.ndim == 3:
        return np.stack([resize(channels[..., c], size) for c in range(channels.shape[2])], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(channels))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def to_model_input(
    pixels: AnyArray,
    side: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    window: Window | None = None,
) -> Float32:
    """Normalise, squash to a square and standardise: what the image encoder sees.

    The aspect ratio is not kept, as in the paper's code.

    Parameters
    ----------
    pixels : array of shape (H, W) or (H, W, C)
        See `Scan.pixels`.
    side : int
        Rows and columns of the result.
    mean, std : three floats each
        Per channel, in units of [0, 1].
    window : Window, optional
        For a part of a plane, that of the whole plane; see `window_of`.

    Returns
    -------
    float32 array of shape (3, side, side)
    """
    square = to_unit_square(pixels, side, window)
    standard = (square - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(standard.transpose(2, 0, 1))


def content_hash(pixels: AnyArray) -> str:
    """A short, stable name of the pixels' content (type, shape and bytes): 32 hexadecimal digits."""
    digest = hashlib.blake2b(f"{pixels.dtype.str}{pixels.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
