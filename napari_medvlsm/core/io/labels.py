"""Annotations as label TIFF and PNG: the mask as pixels, the record of `core.annotation` in the file's description."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from napari_medvlsm.core.annotation import Annotation, dumps, from_dict, is_corrected, is_record
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.pictures.foreground import foreground_of
from napari_medvlsm.core.io.pictures.formats import display_name
from napari_medvlsm.core.io.pictures.reading import read_description, read_raster
from napari_medvlsm.core.prompts.vocabulary import Target

LABEL_SUFFIXES = (".tif", ".tiff", ".png")
_PNG_KEY = "Description"


class ForeignMask(ValueError):
    """A readable mask that holds no annotation record of this program."""


def file_stem(scan: str, target: Target) -> str:
    """A file name without suffix for a target of a scan: "case 7_left-lung"."""
    return "".join("-" if c in '/\\:*?"<>|' or c < " " else c for c in f"{scan}_{target.name.replace(' ', '-')}")[:120]


def save_mask(path: Path, annotation: Annotation, *, revision: int = 0, private: bool = False) -> None:
    """Write an annotation as label TIFF (0 and 1, with spacing in the resolution tags) or PNG (0 and 255).

    Parameters
    ----------
    path : Path
        Ends in .tif, .tiff or .png; replaced at once or not at all.
    annotation : Annotation
    revision : int
        See `core.annotation.dumps`.
    private : bool
        Whether only this user may read the file.

    Raises
    ------
    ValueError
        For another suffix.
    OSError
        If the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise ValueError(f"A mask is saved as .tif or .png, but the name ends in {path.suffix or 'nothing'!r}.")
    labels, text = annotation.mask.astype(np.uint8), dumps(annotation, revision)
    spacing = annotation.provenance.spacing
    with replacing(path, private) as temporary:
        if suffix == ".png":
            info = PngImagePlugin.PngInfo()
            info.add_text(_PNG_KEY, text)
            Image.fromarray(labels * 255).save(temporary, pnginfo=info)
        else:
            import tifffile  # here: no start of the window waits for it

            tifffile.imwrite(
                temporary,
                labels,
                photometric="minisblack",
                compression="zlib",
                # Pixels per centimetre, as (x, y).
                resolution=None if spacing is None else (10 / spacing[1], 10 / spacing[0]),
                resolutionunit="NONE" if spacing is None else "CENTIMETER",
                description=text,
                metadata=None,
            )


def load_mask(path: Path) -> Annotation:
    """The annotation that `save_mask`, of this or an earlier version, wrote; the file is known by content.

    Raises
    ------
    ForeignMask
        If the file can be read, but was not written by this program.
    ValueError
        If the file or its record is damaged, or of a newer version of the program.
    """
    name = display_name(path)
    try:
        raster = read_raster(path)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as a mask ({error})") from error
    if raster.planes or raster.channels:
        raise ValueError(f"{name} is no 2D mask; its shape is {raster.pixels.shape}.")
    record = _parsed(raster.description)
    if not is_record(record):
        raise ForeignMask(f"{name} was not saved by napari-medvlsm; open it as a labels layer instead.")
    try:
        # As every mask: what another program saved anew may have white first in its palette, or white for zero.
        return from_dict(record, np.array(foreground_of(raster).mask))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def read_record(path: Path) -> object:
    """The record in a file as read from JSON, without its pixels; None for a foreign or damaged file."""
    try:
        return _parsed(read_description(path))
    except ValueError:
        return None


def is_own_mask(path: Path) -> bool:
    """Whether a file is a mask that this program saved."""
    return is_record(read_record(path))


def is_correction(path: Path) -> bool:
    """Whether a file is a mask that a person corrected, and that this program saved."""
    return is_corrected(read_record(path))


def _parsed(text: str) -> object:
    try:
        record: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record
