"""A file to a raster: looked at first, then decoded here, or in a process that may die where that could take long.

All that reads pictures comes through here: the window, commands, the check of data, evaluation, and each worker of a
training, which has such a process of its own. So the limits of size and memory hold everywhere, counted before anything
is decoded. What is decoded here is what takes some seconds at most for its size; the rest is given up after
`limits.MAX_SECONDS`. No limit holds for a disk that does not answer.
"""

from __future__ import annotations

from pathlib import Path

from napari_medvlsm.core.io.pictures import common, tiff
from napari_medvlsm.core.io.pictures.child import decode_apart
from napari_medvlsm.core.io.pictures.decode import decode, plan, sentence
from napari_medvlsm.core.io.pictures.formats import PNG, TIFF, display_name, format_of, read_head, refusal
from napari_medvlsm.core.io.pictures.raster import Raster


def read_raster(path: Path) -> Raster:
    """Read a picture, whatever its name ends in.

    Raises
    ------
    ValueError
        With one sentence, if the file is missing, empty, damaged, of another kind, or too large.
    """
    head = read_head(path)
    kind, name = format_of(head), display_name(path)
    if not kind:
        raise ValueError(refusal(path, head))
    try:
        planned = plan(path, kind)
        if planned.bounded:
            return decode(path, planned)
    except MemoryError:
        raise ValueError(f"{name} does not fit into this computer's memory.") from None
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ValueError(sentence(name, error)) from error
    try:
        return decode_apart(path)
    except MemoryError:
        raise ValueError(f"{name} does not fit into this computer's memory.") from None


def read_description(path: Path) -> str:
    """The text in a PNG's or TIFF's description, without decoding a pixel; "" for others.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    kind = format_of(read_head(path))
    try:
        return {PNG: common.description, TIFF: tiff.description}[kind](path) if kind in (PNG, TIFF) else ""
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ValueError(sentence(display_name(path), error)) from error
