"""PNG, JPEG, TIFF and OME-TIFF to arrays with pixel spacing."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps

from napari_medvlsm.core.images import Scan

TIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF_SUFFIXES, ".bmp")
# One plane of 16384 x 16384; above, a scan is refused rather than the computer brought to its knees.
MAX_PIXELS = 2**28

_MM_PER_UNIT = {
    "mm": 1.0,
    "cm": 10.0,
    "m": 1000.0,
    "nm": 1e-6,
    "µm": 1e-3,
    "\u03bcm": 1e-3,
    "um": 1e-3,
    "inch": 25.4,
    "in": 25.4,
}
_TIFF_UNIT = {2: 25.4, 3: 10.0}
# What TIFF writers put when they know nothing: 72 or 96 dots per inch, or 1. Never taken for a measurement.
_SCREEN_DPI = (1.0, 72.0, 96.0, 150.0, 300.0, 600.0)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds.

    Attributes
    ----------
    pixels : array of shape (..., H, W) or (..., H, W, C)
        Leading axes are slices or frames.
    colour : bool
        Whether the last axis is red, green, blue (and alpha).
    spacing : (float, float) or None
        Millimetres per pixel as (row, col), where the file states it.
    """

    pixels: npt.NDArray[np.generic]
    colour: bool
    spacing: tuple[float, float] | None


def read_image(path: Path) -> ImageFile:
    """Read an image file.

    Raises
    ------
    ValueError
        With one sentence, if the file is missing, empty, broken, of another kind, or too large.
    """
    name = path.name
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{name} is not a PNG, JPEG, BMP or TIFF file; save the scan as one of these and open that.")
    if path.stat().st_size == 0:
        raise ValueError(f"{name} is empty (0 bytes); copy it again from where it came.")
    try:
        return _read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_pillow(path)
    except _TooLarge as error:
        raise ValueError(
            f"{name} has {error.pixels / 1e6:.0f} million pixels in a plane, more than the "
            f"{MAX_PIXELS / 1e6:.0f} million that can be opened; cut out the part you need."
        ) from None
    except MemoryError:
        raise ValueError(f"{name} does not fit into this computer's memory.") from None
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ValueError(f"{name} is broken or is no image; open it in another program to check ({error}).") from error


def read_scan(path: Path) -> Scan:
    """Read a file that holds exactly one plane.

    Raises
    ------
    ValueError
        As `read_image`, and for a stack of several planes.
    """
    image = read_image(path)
    planes = image.pixels.shape[: -3 if image.colour else -2]
    if math.prod(planes) != 1:
        raise ValueError(
            f"{path.name} is a stack of {math.prod(planes)} planes; one plane is needed here. "
            "Open it in the viewer, or save one slice as a file of its own."
        )
    return Scan(image.pixels.reshape(image.pixels.shape[len(planes) :]), image.spacing, path.name)


def read_spacing(path: Path) -> tuple[float, float] | None:
    """Millimetres per pixel (row, col) that a TIFF states; None for other files or on any doubt."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            return _spacing(tiff)
    except Exception:  # a damaged file makes the decoders raise nearly anything
        return None


class _TooLarge(Exception):
    def __init__(self, pixels: int) -> None:
        self.pixels = pixels


def _check_size(rows: int, cols: int) -> None:
    if rows * cols > MAX_PIXELS:
        raise _TooLarge(rows * cols)


def _read_pillow(path: Path) -> ImageFile:
    with own_limit(), Image.open(path) as opened:
        _check_size(opened.height, opened.width)
        # As other viewers show it: a photograph taken with a turned camera is turned upright.
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            image = image.convert("RGB")
        pixels = np.asarray(image)
    if pixels.dtype == np.int32:  # Pillow's mode "I": 16-bit PNGs of older writers
        pixels = pixels.astype(np.uint16) if pixels.min() >= 0 and pixels.max() < 2**16 else pixels
    return ImageFile(*_split_channels(pixels, pixels.ndim == 3), None)


def _split_channels(pixels: npt.NDArray[np.generic], channels_last: bool) -> tuple[npt.NDArray[np.generic], bool]:
    """(pixels, whether they are colour): only three or four channels are; of others the first is kept."""
    if not channels_last or pixels.shape[-1] in (3, 4):
        return pixels, channels_last
    return pixels[..., 0], False


@contextmanager
def own_limit() -> Iterator[None]:
    """Pillow's own limit set aside: it is lower than ours, and the size is checked before a pixel is decoded.

    The limit is one for the process: threads that read images enter this once, around them all.
    """
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _read_tiff(path: Path) -> ImageFile:
    with tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise tifffile.TiffFileError("no image in the file")
        series = tiff.series[0]
        axes = series.axes
        sizes = dict(zip(axes, series.shape, strict=True))
        _check_size(sizes.get("Y", 0), sizes.get("X", 0))
        page = tiff.pages[0]
        pixels = series.asarray()
        if (
            isinstance(page, tifffile.TiffPage)
            and page.photometric == tifffile.PHOTOMETRIC.PALETTE
            and page.colormap is not None
        ):
            pixels = (np.moveaxis(page.colormap, 0, -1)[pixels] >> 8).astype(np.uint8)
            axes += "S"
        if isinstance(page, tifffile.TiffPage) and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = ~pixels if pixels.dtype.kind in "bu" else pixels.max() - pixels
        spacing = _spacing(tiff)
    if "S" in axes and axes[-1] != "S":
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    return ImageFile(*_split_channels(pixels, "S" in axes), spacing)


def _spacing(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_spacing(tiff.ome_metadata)
    tags = tiff.pages[0].tags if isinstance(tiff.pages[0], tifffile.TiffPage) else {}
    found = {name: tags[name].value for name in ("XResolution", "YResolution", "ResolutionUnit") if name in tags}
    if len(found) < 3 or int(found["ResolutionUnit"]) not in _TIFF_UNIT:
        return None
    unit = _TIFF_UNIT[int(found["ResolutionUnit"])]
    per_unit = [found[name][0] / found[name][1] if found[name][1] else 0.0 for name in ("YResolution", "XResolution")]
    if any(p <= 0 for p in per_unit) or any(round(p * 25.4 / unit, 2) in _SCREEN_DPI for p in per_unit):
        return None
    return unit / per_unit[0], unit / per_unit[1]


def _ome_spacing(xml: str) -> tuple[float, float] | None:
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    values = []
    for axis in ("Y", "X"):
        size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if size is None or unit not in _MM_PER_UNIT or not float(size) > 0:
            return None
        values.append(float(size) * _MM_PER_UNIT[unit])
    return values[0], values[1]
