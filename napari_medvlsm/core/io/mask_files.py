"""Mask files of any program to foreground, read as pictures are (`core.io.images`) and by what they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.io.pictures.colour import displayed
from napari_medvlsm.core.io.pictures.decode import sentence
from napari_medvlsm.core.io.pictures.foreground import (
    RULES,
    AmbiguousMask,
    Foreground,
    Mask,
    Reading,
    check_rule,
    foreground_of,
)
from napari_medvlsm.core.io.pictures.formats import display_name
from napari_medvlsm.core.io.pictures.reading import read_raster

__all__ = ["RULES", "AmbiguousMask", "Foreground", "Mask", "Reading", "check_rule", "read_foreground", "read_grey"]


def read_foreground(path: Path, rule: Foreground = "") -> Reading:
    """Read a mask, upright, by the values that it holds; masks that this program saved always read back.

    Parameters
    ----------
    path : Path
    rule : Foreground
        What is known of the values: see `pictures.foreground`.

    Raises
    ------
    AmbiguousMask
        With one sentence, where the values could mean several things.
    ValueError
        With one sentence, if the file cannot be read as a picture.
    """
    raster = read_raster(path)
    try:
        return replace(foreground_of(raster, rule), orientation=raster.orientation)
    except AmbiguousMask as error:
        raise AmbiguousMask(sentence(display_name(path), error)) from error
    except ValueError as error:
        raise ValueError(sentence(display_name(path), error)) from error


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    """A mask as the grey values that a viewer shows, shape (H, W), for rules that are made for these.

    Raises
    ------
    ValueError
        As `read_foreground`, and for a stack or values beyond 8 bits, of which the foreground is given as 255.
    """
    raster = read_raster(path)
    if raster.planes == () and raster.pixels.dtype == np.uint8 and not raster.alpha:
        pixels, colour = displayed(raster)
        if not colour:
            return pixels.astype(np.uint8, copy=False)
        # ITU-R 601, as Pillow weighs the colours.
        return np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # type: ignore[no-any-return]
    return np.where(read_foreground(path).mask, np.uint8(255), np.uint8(0))
