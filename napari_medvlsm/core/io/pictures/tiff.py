"""TIFF to raster: which pages make the picture, how large it is, and whether all of it is there; then the decoding."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.io.pictures import tiff_directories as tags
from napari_medvlsm.core.io.pictures.limits import check_stack
from napari_medvlsm.core.io.pictures.raster import (
    CMYK,
    COLOURS,
    GREY,
    LAB,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    AnyArray,
    Raster,
    turned,
    upright,
)
from napari_medvlsm.core.io.pictures.spacing import tiff_spacing
from napari_medvlsm.core.io.pictures.tiff_directories import (
    Directory,
    first_directory,
    read_directories,
    sub_directories,
)

if TYPE_CHECKING:
    import tifffile

_SPACES = {0: WHITE_IS_ZERO, 1: GREY, 2: RGB, 3: PALETTE, 5: CMYK, 6: YCBCR, 8: LAB, 9: LAB}
_UNSUPPORTED = {4: "a transparency mask", 32803: "raw data of a camera's sensor", 34892: "raw data of a camera"}
_ICC_LAB = 9
_NONE, _JPEG = 1, (6, 7, 33007)
# None, LZW, deflate (two numbers), PackBits, and fax: their decoders stop at the size that they are told.
_BOUNDED = (1, 5, 8, 32946, 32773)
# Tag 254 of files whose smaller copies are not tagged: pages of the same sides' ratio count as such, within this.
_SAME_RATIO = 0.02
_LEFT_OUT = "It holds {} more pages of another size or kind, which are not shown."
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # errors are told once, by what is raised


@dataclass(frozen=True, eq=False)
class TiffPlan:
    """Which pages of a TIFF file are read.

    Attributes
    ----------
    pages : sequence of Directory
        Of one kind; planes of a stack.
    leading : tuple of int
        Sizes of the axes before the rows; () for a single plane.
    repeats : int
        Planes that lie one after another behind a single page (ImageJ), else 1.
    bounded : bool
        Whether the decoder is one that stops at a known size.
    spacing : (float, float) or None
        Millimetres per pixel (row, col) as stored, before any turn.
    colour_axis : str
        "first" or "last" where the planes of grey pages are the colours, or the rows, of one picture; else "".
    left_out : int
        Pages of another size or kind.
    notes : tuple of str
    """

    pages: Sequence[Directory]
    leading: tuple[int, ...]
    repeats: int
    bounded: bool
    spacing: tuple[float, float] | None = None
    colour_axis: str = ""
    left_out: int = 0
    notes: tuple[str, ...] = ()

    @property
    def page(self) -> Directory:
        """The first page."""
        return self.pages[0]


def plan(path: Path) -> TiffPlan:
    """Look at a file's structure, and decide what is read of it. Nothing is decoded.

    Raises
    ------
    ValueError
        With words that follow the file's name, if the picture is damaged, cut off or too large.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        found = read_directories(file, size)
        first, left_out = _pictures(found)
        notes: tuple[str, ...] = (_LEFT_OUT.format(left_out),) if left_out else ()
        page, levels = first[0], _levels(file, size, found, first[0])
        spacing = tiff_spacing(page)
        try:
            _check(first, 1)
        except ValueError:
            # A pyramid: the largest level that can be opened, if there is one.
            if len(first) > 1:
                raise
            fitting = next((level for level in levels if _fits(level)), None)
            if fitting is None:
                raise
            first, factor = [fitting], page.shape[0] / fitting.shape[0]
            rows, cols = fitting.shape
            spacing = spacing and (spacing[0] * factor, spacing[1] * page.shape[1] / cols)
            notes = (
                f"Of {page.shape[1]} x {page.shape[0]} pixels, its smaller copy of {cols} x {rows} (1 to {factor:.3g}) "
                "is used.",
            )
    repeats = _repeats(first, size)
    _check(first, repeats)
    for one in first:
        _check_whole(one, size)
    text = first[0].text(tags.DESCRIPTION)
    leading = _leading(text, len(first) * repeats, first[0].samples)
    bounded = all(p.number(tags.COMPRESSION, _NONE) in _BOUNDED for p in first)
    colour_axis = _colour_axis(text, leading, first[0])
    if colour_axis:
        notes += ("Its pages are taken for the red, green and blue of one picture.",)
    return TiffPlan(first, leading, repeats, bounded, spacing, colour_axis, left_out, notes)


def decode(path: Path, planned: TiffPlan) -> Raster:
    """The raster of a planned picture.

    Raises
    ------
    ValueError
        With words that follow the file's name, for colours that are not known.
    Exception
        Of the decoder, for a damaged file.
    """
    page = planned.page
    photometric = page.number(tags.PHOTOMETRIC, 1)
    if photometric not in _SPACES:
        kind = _UNSUPPORTED.get(photometric, f"colours of an unknown kind ({photometric})")
        raise ValueError(f"holds {kind}; save the scan as grey or RGB")
    pixels, channels = _decode_pages(path, planned)
    space = _SPACES[photometric]
    if photometric == _ICC_LAB and pixels.dtype.kind == "u":  # its a and b have no sign, but 0 in the middle
        pixels[..., 1:3] ^= pixels.dtype.type(1 << 8 * pixels.dtype.itemsize - 1)
    compression = page.number(tags.COMPRESSION, _NONE)
    if space == YCBCR and compression in _JPEG:
        space = RGB  # the decoder has converted it
    if space == YCBCR and page.numbers(tags.YCBCR_SUBSAMPLING) not in ((1, 1),):
        raise ValueError("holds YCbCr colours of reduced resolution; save the scan as RGB")
    if space != PALETTE and pixels.dtype == np.uint8 and 1 < (bits := max(page.bits)) == min(page.bits) < 8:
        # The decoder gives 0 to 15 for 4 bits; white is white, as of a PNG of so many.
        pixels = np.rint(np.arange(1 << bits) * (255 / ((1 << bits) - 1))).astype(np.uint8)[pixels]
    pixels, channels = _arranged(pixels, channels, planned)
    extra = page.numbers(tags.EXTRA_SAMPLES)
    if channels and space == GREY and pixels.shape[-1] in (3, 4) and not any(extra[:2]):
        space, extra = RGB, extra[2:]  # of grey with two more samples of no stated meaning
    orientation = page.number(tags.ORIENTATION, 1)
    alpha = channels and pixels.shape[-1] > COLOURS[space] and (not extra or extra[0] in (1, 2))
    return Raster(
        upright(pixels, orientation, channels),
        space,
        channels,
        alpha,
        over_black=alpha and extra[:1] == (1,),
        palette=_palette(page) if space == PALETTE else None,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        spacing=turned(planned.spacing, orientation),
        lossy=compression in _JPEG,
        software=page.text(tags.SOFTWARE)[:200],
        description=page.text(tags.DESCRIPTION),
        fill=_fill(page),
        left_out=planned.left_out,
        notes=planned.notes,
    )


def description(path: Path) -> str:
    """The description of a file's first page; "" without it."""
    with path.open("rb") as file:
        return first_directory(file, path.stat().st_size).text(tags.DESCRIPTION)


def _pictures(found: Sequence[Directory]) -> tuple[list[Directory], int]:
    """(the pages of the picture, the number of others that are no smaller copies of it)."""
    full = [page for page in found if not page.reduced] or [found[0]]
    first = full[0]
    same = [page for page in full if page.kind == first.kind]
    return same, sum(page.kind != first.kind and not _is_copy(page, first) for page in full)


def _is_copy(page: Directory, of: Directory) -> bool:
    """Whether a page that is not tagged so has the sides of a smaller copy of another."""
    (rows, cols), (all_rows, all_cols) = page.shape, of.shape
    if not (0 < rows < all_rows and 0 < cols < all_cols):
        return False
    return abs(rows * all_cols / (cols * all_rows) - 1) < _SAME_RATIO + 1 / min(rows, cols)


def _levels(file: BinaryIO, size: int, found: Sequence[Directory], page: Directory) -> list[Directory]:
    """Smaller copies of a page, the largest first."""
    others = [*found, *sub_directories(file, size, page)]
    copies = [o for o in others if _is_copy(o, page) and o.samples == page.samples and o.bits == page.bits]
    return sorted(copies, key=lambda one: -one.shape[0])


def _fits(page: Directory) -> bool:
    try:
        _check([page], 1)
    except ValueError:
        return False
    return True


def _check(pages: Sequence[Directory], repeats: int) -> None:
    page = pages[0]
    rows, cols = page.shape
    if rows < 1 or cols < 1:
        raise tags.DamagedTiff("is damaged: it states no size")
    depth = max(1, page.number(tags.IMAGE_DEPTH, 1))
    check_stack(len(pages) * repeats * depth, rows, cols, page.samples, page.bits)


def _check_whole(page: Directory, size: int) -> None:
    """Raise unless all parts of a page's pixels are in the file. A part of no bytes is left out on purpose."""
    rows, cols = page.shape
    tiled = tags.TILE_OFFSETS in page.tags
    offsets = page.numbers(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS)
    counts = page.numbers(tags.TILE_BYTE_COUNTS if tiled else tags.STRIP_BYTE_COUNTS)
    if tiled:
        height, width = page.number(tags.TILE_LENGTH), page.number(tags.TILE_WIDTH)
        if not (height > 0 and width > 0):
            raise tags.DamagedTiff("is damaged: its tiles have no size")
        check_stack(1, min(height, 2**30), min(width, 2**30), page.samples, page.bits)
        wanted = math.ceil(rows / height) * math.ceil(cols / width)
    else:
        height, width = min(max(1, page.number(tags.ROWS_PER_STRIP, rows)), rows), cols
        wanted = math.ceil(rows / height)
    separate = page.number(tags.PLANAR_CONFIGURATION, 1) == 2
    wanted *= page.samples if separate else 1
    if not offsets and page.number(tags.COMPRESSION) == 6:
        raise ValueError("is compressed in a way that was given up (old JPEG); save the scan as PNG or another TIFF")
    if len(offsets) < wanted or (len(counts) < wanted and not (len(offsets) == 1 and not counts)):
        raise tags.DamagedTiff(f"is cut off, or damaged: {min(len(offsets), len(counts))} of {wanted} parts are listed")
    counts = counts or (size - offsets[0],)
    bits = sum(page.bits) if len(page.bits) >= page.samples else page.bits[0] * page.samples
    need = 0
    if page.number(tags.COMPRESSION, _NONE) == _NONE:
        need = height * math.ceil(width * (bits // page.samples if separate else bits) / 8)
    for i, (offset, count) in enumerate(zip(offsets[:wanted], counts[:wanted], strict=True)):
        if offset == 0 and count == 0:
            continue
        # The last strip may hold fewer rows.
        short = not tiled and (i + 1) % math.ceil(rows / height) == 0
        least = need if not short else need * (rows - height * (math.ceil(rows / height) - 1)) // height
        if count == 0 or offset + max(count, least) > size or (need and count < least):
            raise tags.DamagedTiff("is cut off, or damaged: a part of its pixels is missing")


def _repeats(pages: Sequence[Directory], size: int) -> int:
    """Planes that ImageJ, or tifffile for one page, writes one after another behind the only page."""
    page = pages[0]
    if len(pages) > 1 or page.number(tags.COMPRESSION, _NONE) != _NONE:
        return 1
    text = page.text(tags.DESCRIPTION)
    told = re.search(r"^images=(\d{1,9})\s*$", text, re.MULTILINE) if text.startswith("ImageJ=") else None
    planes = int(told[1]) if told else math.prod(_shaped(text, page.samples) or (1,))
    if planes <= 1 or tags.TILE_OFFSETS in page.tags:
        return 1
    offsets = page.numbers(tags.STRIP_OFFSETS)
    rows, cols = page.shape
    itemsize = max(1, page.bits[0] // 8)
    need = planes * rows * cols * page.samples * itemsize
    return planes if offsets and offsets[0] + need <= size else 1


def _shaped(text: str, samples: int = 1) -> tuple[int, ...]:
    """Axes before the rows, of the description that tifffile writes; () of any other."""
    if not text.startswith('{"shape":'):
        return ()
    try:
        shape = json.loads(text)["shape"]
        # Samples of a pixel come last there.
        return (
            tuple(int(n) for n in shape[: -3 if samples > 1 else -2])
            if all(isinstance(n, int) and n > 0 for n in shape)
            else ()
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()


def _leading(text: str, planes: int, samples: int) -> tuple[int, ...]:
    """The axes before the rows: as the file names them where that fits its planes, else one axis of planes."""
    if planes == 1:
        return ()
    for named in (_ome_axes(text), _imagej_axes(text), _shaped(text, samples)):
        axes = tuple(n for n in named if n > 1)
        if axes and math.prod(axes) == planes:
            return axes
    return (planes,)


def _ome_axes(text: str, wanted: str = "CZT") -> tuple[int, ...]:
    """Sizes of T, C and Z of the first picture of OME-XML, the slowest first. Other files that it names stay closed."""
    if "<OME" not in text[:4000]:
        return ()
    try:
        pixels = next(e for e in ElementTree.fromstring(text).iter() if e.tag.rsplit("}", 1)[-1] == "Pixels")
        order = pixels.get("DimensionOrder", "XYCZT")
        samples = [int(c.get("SamplesPerPixel", 1)) for c in pixels if c.tag.rsplit("}", 1)[-1] == "Channel"]
        sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in "CZT"}
        sizes["C"] //= max([1, *samples])
        return tuple(sizes[axis] for axis in reversed(order) if axis in wanted)
    except (ElementTree.ParseError, StopIteration, ValueError):
        return ()


def _imagej_axes(text: str, wanted: tuple[str, ...] = ("frames", "slices", "channels")) -> tuple[int, ...]:
    if not text.startswith("ImageJ="):
        return ()
    sizes = {k: int(v) for k, v in re.findall(r"^(frames|slices|channels)=(\d{1,9})\s*$", text, re.MULTILINE)}
    return tuple(sizes.get(axis, 1) for axis in wanted)


def _decode_pages(path: Path, planned: TiffPlan) -> tuple[AnyArray, bool]:
    """(pixels of the shape (planes, H, W) or (planes, H, W, C), whether there are channels)."""
    import tifffile  # here: no start of the window waits for it

    page, workers = planned.page, min(4, os.cpu_count() or 1)
    # No flag of a maker's own dialect: these read more of a file than is asked for, and other files beside it.
    plain = {f"is_{flag}": False for flag in tifffile.TIFF.FILE_FLAGS}
    with tifffile.TiffFile(path, _multifile=False, **plain) as tiff:
        if planned.repeats > 1:
            return _decode_repeats(path, tiff, planned), page.samples > 1
        decoded: AnyArray | None = None
        axes = ""
        for i, directory in enumerate(planned.pages):
            tiff.filehandle.seek(directory.offset)
            one = tifffile.TiffPage(tiff, i)
            plane, axes = _decode_page(one, workers), one.axes
            if len(planned.pages) == 1:
                decoded = plane[None]
                break
            if decoded is None:
                decoded = np.empty((len(planned.pages), *plane.shape), plane.dtype)
            decoded[i] = plane
    assert decoded is not None
    if "S" in axes and axes[-1] != "S":
        decoded = np.moveaxis(decoded, axes.index("S") + 1, -1)
    if decoded.ndim - ("S" in axes) != 3:
        raise ValueError(f"holds a page of the axes {axes or decoded.shape}; save the slice as a plain picture")
    return decoded, "S" in axes


def _decode_page(page: tifffile.TiffPage, workers: int) -> AnyArray:
    plane: AnyArray = np.asarray(page.asarray(maxworkers=workers))
    if plane.dtype.kind not in "biuf" or plane.size == 0:
        raise ValueError(f"holds pixels of the type {plane.dtype}; save the scan as 8- or 16-bit grey or RGB")
    return plane


def _decode_repeats(path: Path, tiff: tifffile.TiffFile, planned: TiffPlan) -> AnyArray:
    import tifffile

    page = planned.page
    tiff.filehandle.seek(page.offset)
    one = tifffile.TiffPage(tiff, 0)
    shape = (planned.repeats, *one.shape)
    dtype = np.dtype(one.dtype).newbyteorder(tiff.byteorder)
    offset = page.numbers(tags.STRIP_OFFSETS)[0]
    stack = np.fromfile(path, dtype, math.prod(shape), offset=offset).reshape(shape)
    return stack.astype(dtype.newbyteorder("="), copy=False)


def _colour_axis(text: str, leading: tuple[int, ...], page: Directory) -> str:
    """Where the colours of one picture lie among its planes: only where the file's description says that much."""
    if page.samples != 1 or page.bits[0] != 8 or page.number(tags.PHOTOMETRIC, 1) not in (0, 1) or len(leading) != 1:
        return ""
    shaped = tuple(n for n in _shaped(text) if n > 1)
    if shaped == leading and page.shape[1] in (3, 4) and page.shape[0] > 4:
        return "last"
    channels = (_ome_axes(text, "C"), _imagej_axes(text, ("channels",)), shaped)
    return "first" if leading == (3,) and (3,) in channels else ""


def _arranged(pixels: AnyArray, channels: bool, planned: TiffPlan) -> tuple[AnyArray, bool]:
    """(Planes on the axes that the file names, whether the last axis is samples)."""
    if planned.colour_axis:
        return (np.moveaxis(pixels, 0, -1) if planned.colour_axis == "first" else pixels), True
    return pixels.reshape((*planned.leading, *pixels.shape[1:])), channels


def _palette(page: Directory) -> npt.NDArray[np.uint8] | None:
    table = page.numbers(tags.COLOR_MAP)
    if not table or len(table) % 3:
        raise tags.DamagedTiff("is damaged: its table of colours is missing")
    colours = np.array(table, np.int64).reshape(3, -1).T
    # Some writers put 8-bit values where 16 belong.
    return (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)


def _fill(page: Directory) -> float | None:
    try:
        return float(page.text(tags.GDAL_NODATA).strip() or "x")
    except ValueError:
        return None
