"""Pictures to scans: the one reader of the window, the command line, training, evaluation and the check of data.

What a file is, is told by its content and never by its name. Pixels come upright (EXIF, TIFF's tag 274), as grey or
RGB, with the spacing that the file states; masks are read by `core.io.mask_files` from the same rasters.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.images import Scan, padding_of
from napari_medvlsm.core.io.pictures import tiff
from napari_medvlsm.core.io.pictures.colour import displayed
from napari_medvlsm.core.io.pictures.decode import sentence
from napari_medvlsm.core.io.pictures.formats import SUFFIXES, TIFF, display_name, format_of, kind_of, read_head
from napari_medvlsm.core.io.pictures.raster import Raster, turned
from napari_medvlsm.core.io.pictures.reading import read_raster
from napari_medvlsm.core.io.pictures.tiff_directories import ORIENTATION
from napari_medvlsm.core.plain_files import is_system_file

__all__ = ["SUFFIXES", "ImageFile", "list_pictures", "read_image", "read_scan", "read_spacing", "walk_pictures"]


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds.

    Attributes
    ----------
    pixels : array of shape (..., H, W) or (..., H, W, 3)
        Leading axes are slices or frames.
    colour : bool
        Whether the last axis is red, green, blue.
    spacing : (float, float) or None
        Millimetres per pixel as (row, col), where the file states it.
    notes : tuple of str
        What people should know of how the file was read, as sentences.
    orientation : int
        The tag 274 of EXIF or TIFF by which the pixels were turned; 1 where they were not.
    """

    pixels: npt.NDArray[np.generic]
    colour: bool
    spacing: tuple[float, float] | None
    notes: tuple[str, ...] = ()
    orientation: int = 1


def read_image(path: Path) -> ImageFile:
    """Read an image file.

    Raises
    ------
    ValueError
        With one sentence, if the file is missing, empty, damaged, of another kind, or too large.
    """
    raster = read_raster(path)
    try:
        pixels, colour = displayed(raster)
        pixels, notes = _without_fill(pixels, raster)
    except ValueError as error:
        raise ValueError(sentence(display_name(path), error)) from error
    except MemoryError:
        raise ValueError(f"{display_name(path)} does not fit into this computer's memory.") from None
    if raster.planes == () and min(pixels.shape[:2]) > 1:
        notes += tuple(
            f"{share:.0%} of its pixels have the value {value:g} for padding, which is kept out of the grey range."
            for value, share in padding_of(pixels).items()
        )
    return ImageFile(np.ascontiguousarray(pixels), colour, raster.spacing, raster.notes + notes, raster.orientation)


def read_scan(path: Path) -> Scan:
    """Read a file that holds exactly one plane.

    Raises
    ------
    ValueError
        As `read_image`, and for a stack of several planes.
    """
    return to_scan(read_image(path), display_name(path))


def to_scan(image: ImageFile, name: str) -> Scan:
    """The scan of a picture of one plane; raises ValueError with a sentence for others."""
    planes = image.pixels.shape[: -3 if image.colour else -2]
    if math.prod(planes) != 1:
        raise ValueError(
            f"{name} is a stack of {math.prod(planes)} planes; one plane is needed here. "
            "Open it in the viewer, or save one slice as a file of its own."
        )
    try:
        return Scan(image.pixels.reshape(image.pixels.shape[len(planes) :]), image.spacing, name, image.notes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def read_spacing(path: Path) -> tuple[float, float] | None:
    """Millimetres per pixel (row, col) that a TIFF states, turned as its picture; None for others or on doubt."""
    try:
        if format_of(read_head(path)) != TIFF:
            return None
        planned = tiff.plan(path)
    except (ValueError, OSError):
        return None
    return turned(planned.spacing, planned.page.number(ORIENTATION, 1))


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder by name, known by content.

    What is only named like a picture, or is DICOM, is among them, so that it is refused in words. Files of the system
    are passed over.
    """
    return sorted(p for p in folder.iterdir() if not is_system_file(p) and not p.is_dir() and kind_of(p))


def walk_pictures(folder: Path) -> Iterator[Path]:
    """The same of a folder and of those below it, in alphabetical order."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_system_file(Path(where) / name))
        for path in (Path(where) / name for name in sorted(names)):
            if not is_system_file(path) and kind_of(path):
                yield path


def _without_fill(pixels: npt.NDArray[np.generic], raster: Raster) -> tuple[npt.NDArray[np.generic], tuple[str, ...]]:
    """(float pixels with NaN where the file says that there is no data, what is to be told)."""
    if pixels.dtype.kind != "f":
        return pixels, ()
    if raster.fill is not None and np.isfinite(raster.fill):
        empty = pixels == pixels.dtype.type(raster.fill)
        if empty.any():
            pixels = np.where(empty, pixels.dtype.type(np.nan), pixels)
    missing = pixels.size - int(np.isfinite(pixels).sum())
    if missing == pixels.size:
        raise ValueError("holds no finite value; check how it was exported")
    share = 100 * missing / pixels.size
    return pixels, (f"{share:.2g} % of its values are not finite or stand for no data.",) if missing else ()
