"""PNG, JPEG, BMP and GIF to raster, each by its own decoder of Pillow: no other can be reached."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from napari_medvlsm.core.io.pictures.formats import BMP, GIF, JPEG, PNG
from napari_medvlsm.core.io.pictures.limits import check_stack
from napari_medvlsm.core.io.pictures.raster import CMYK, GREY, LAB, PALETTE, RGB, YCBCR, AnyArray, Raster, upright

# The classes themselves and not `Image.open`, whose own limit of size is lower than ours and counts for all threads.
_DECODERS: dict[str, Callable[..., ImageFile.ImageFile]] = {
    PNG: PngImagePlugin.PngImageFile,
    JPEG: JpegImagePlugin.JpegImageFile,
    BMP: BmpImagePlugin.BmpImageFile,
    GIF: GifImagePlugin.GifImageFile,
}
_ORIENTATION = 0x0112
# Space, samples and bits by Pillow's mode.
_MODES = {
    **{"1": (GREY, 1, 8), "L": (GREY, 1, 8), "LA": (GREY, 2, 8), "I;16": (GREY, 1, 16), "I;16B": (GREY, 1, 16)},
    **{"I": (GREY, 1, 32), "F": (GREY, 1, 32), "P": (PALETTE, 1, 8), "PA": (PALETTE, 2, 8), "RGB": (RGB, 3, 8)},
    **{"RGBA": (RGB, 4, 8), "RGBX": (RGB, 4, 8), "CMYK": (CMYK, 4, 8), "YCbCr": (YCBCR, 3, 8), "LAB": (LAB, 3, 8)},
}
# What decoding in this process may cost at most, some seconds each. A progressive JPEG draws all of the picture anew
# with each of its scans, and keeps two bytes for each sample meanwhile: pixels times scans.
_MOST_SCANNED = 2**30
# Chunks of a PNG or segments of a JPEG, which Pillow walks through in Python; of 16384 x 16384 pixels there are 25,000.
_MOST_PARTS = 2**17
# Bytes of a file whose frames (GIF) or runs (BMP) Pillow walks through in Python.
_MOST_WALKED = 2**22
_BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class CommonPlan:
    """A picture that may be decoded.

    Attributes
    ----------
    kind : str
        Of `formats.READABLE`.
    bounded : bool
        Whether its decoding takes a time that its size bounds.
    """

    kind: str
    bounded: bool


def plan(path: Path, kind: str, apart: bool = False) -> CommonPlan:
    """Look at a file's header. Nothing is decoded.

    Parameters
    ----------
    path : Path
    kind : str
    apart : bool
        Whether this is the process that may die. In another, a file is not even opened by its decoder where that alone
        could take long.

    Raises
    ------
    ValueError
        With words that follow the file's name, if the picture is too large or of an unknown kind of pixels.
    Exception
        Of the decoder, for a damaged file.
    """
    bounded = _quick(path, kind)
    if not bounded and not apart:
        return CommonPlan(kind, bounded)
    with opened(path, kind) as image:
        _, samples, bits = _mode(image)
        check_stack(1, image.height, image.width, samples, bits)
        if kind == JPEG and image.info.get("progressive"):
            bounded = bounded and image.height * image.width * _scans(path) <= _MOST_SCANNED
    return CommonPlan(kind, bounded)


def decode(path: Path, planned: CommonPlan) -> Raster:
    """The raster of a planned picture; of a film, the first frame.

    Raises
    ------
    Exception
        Of the decoder, for a damaged file.
    """
    with opened(path, planned.kind) as image:
        space, samples, _ = _mode(image)
        image.load()
        orientation = _orientation(image)
        palette, transparent = (_palette(image), image.info.get("transparency")) if space == PALETTE else (None, None)
        pixels: AnyArray = np.asarray(image)
        frames = getattr(image, "n_frames", 1) if planned.kind in (GIF, PNG) else 1
        description = str(image.info.get("Description", ""))
        software = str(image.info.get("Software", ""))
        if image.mode == "RGBX":
            pixels, samples = pixels[..., :3], 3
    if pixels.dtype == np.int32 and pixels.min() >= 0 and pixels.max() < 2**16:  # 16-bit PNGs of older writers
        pixels = pixels.astype(np.uint16)
    if palette is not None and transparent is not None:
        alpha = np.full(len(palette), 255, np.uint8)
        if isinstance(transparent, bytes):
            alpha[: len(transparent)] = np.frombuffer(transparent, np.uint8)[: len(palette)]
        elif 0 <= transparent < len(alpha):  # the only one
            alpha[transparent] = 0
        palette = np.column_stack([palette, alpha])
    notes = (f"It holds {frames} frames; the first is used.",) if frames > 1 else ()
    channels = pixels.ndim == 3
    return Raster(
        upright(pixels, orientation, channels),
        space,
        channels,
        alpha=channels and samples in (2, 4) and space != CMYK,
        palette=palette,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        lossy=planned.kind == JPEG,
        software=software[:200],
        description=description,
        left_out=frames - 1,
        notes=notes,
    )


def description(path: Path) -> str:
    """The text "Description" before a PNG's pixels; "" without it."""
    with opened(path, PNG) as image:
        return str(image.info.get("Description", ""))


def opened(path: Path, kind: str) -> ImageFile.ImageFile:
    """A file of a known kind with its header read, by the decoder of that kind alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tags that nobody asks for
        return _DECODERS[kind](path)


def _mode(image: Image.Image) -> tuple[str, int, int]:
    """(space, samples, bits)."""
    try:
        return _MODES[image.mode]
    except KeyError:
        raise ValueError(f"holds pixels of the kind {image.mode}; save the scan as grey or RGB") from None


def _orientation(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = image.getexif().get(_ORIENTATION, 1)
        return int(found) if isinstance(found, int) else 1
    except Exception:  # damaged EXIF makes its reader raise nearly anything, and is no reason to refuse a picture
        return 1


def _palette(image: Image.Image) -> npt.NDArray[np.uint8]:
    table = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    # Indices behind the table are drawn black.
    return np.concatenate([table, np.zeros((256 - len(table), 3), np.uint8)])[:256]


def _scans(path: Path) -> int:
    """Scans of a JPEG, or a few more where the thumbnail inside has some, too."""
    found, before = 0, b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found += (before + block).count(b"\xff\xda")
            before = block[-1:] if block[-1:] == b"\xff" else b""
    return found


def _quick(path: Path, kind: str) -> bool:
    """Whether what Pillow does in Python for a file is little."""
    if kind == BMP:
        with path.open("rb") as file:
            compressed = file.read(34)[30:34] in (b"\1\0\0\0", b"\2\0\0\0")
        return not compressed or path.stat().st_size <= _MOST_WALKED
    if kind == GIF:
        return path.stat().st_size <= _MOST_WALKED
    return _parts(path, kind) < _MOST_PARTS


def _parts(path: Path, kind: str) -> int:
    """Chunks of a PNG, or segments of a JPEG before its pixels, as far as they are to be counted."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(8 if kind == PNG else 2)
        for count in range(_MOST_PARTS):
            if kind == PNG:
                head = file.read(8)
                length, last = int.from_bytes(head[:4], "big") + 4, head[4:] == b"IEND"
            else:
                head = file.read(4)
                length, last = int.from_bytes(head[2:], "big") - 2, head[:2] == b"\xff\xda"
            if len(head) < 4 or last or file.tell() + length > size or length < 0:
                return count
            file.seek(length, 1)
    return _MOST_PARTS
