"""Rasters to grey or RGB, as a viewer shows them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from napari_medvlsm.core.images import over_black
from napari_medvlsm.core.io.pictures.raster import (
    CMYK,
    COLOURS,
    LAB,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    AnyArray,
    Raster,
)


def displayed(raster: Raster) -> tuple[AnyArray, bool]:
    """(pixels of shape (..., H, W) or (..., H, W, 3), whether they are colour).

    Transparent pixels lie over black. Samples beyond the colour's own that are no alpha are left out.

    Raises
    ------
    ValueError
        With words that follow the file's name, for colours that cannot be converted.
    """
    pixels, space = raster.pixels, raster.space
    if space == PALETTE:
        assert raster.palette is not None
        return _of_palette(raster), True
    count = COLOURS[space]
    alpha = pixels[..., count] if raster.alpha else None
    if raster.channels:
        if pixels.shape[-1] < count:
            raise ValueError(f"has {pixels.shape[-1]} samples a pixel, fewer than {space} needs; save the scan as RGB")
        pixels = pixels[..., :count] if count > 1 else pixels[..., 0]
    elif count > 1:
        raise ValueError(f"has one sample a pixel, fewer than {space} needs; save the scan as grey or RGB")
    if space == WHITE_IS_ZERO:
        pixels = _inverted(pixels)
    elif space in (CMYK, YCBCR, LAB):
        pixels = _converted(pixels, space)
    colour = count > 1
    if alpha is not None and not raster.over_black:
        pixels = over_black(pixels, alpha, colour)
    return pixels, colour


def _inverted(pixels: AnyArray) -> AnyArray:
    if pixels.dtype.kind == "b":
        return ~pixels
    if pixels.dtype.kind == "u":
        inverse: AnyArray = np.iinfo(pixels.dtype).max - pixels
        return inverse
    if pixels.dtype.kind == "f":
        highest = np.max(pixels, where=np.isfinite(pixels), initial=np.finfo(pixels.dtype).min)
        return highest - pixels  # type: ignore[no-any-return]
    highest, lowest = pixels.max(), pixels.min()
    # Where the difference is beyond the type, any order from white to black will do.
    return ~pixels if int(highest) - int(lowest) > np.iinfo(pixels.dtype).max else highest - pixels


def _of_palette(raster: Raster) -> AnyArray:
    table = raster.palette
    assert table is not None
    index = raster.pixels[..., 0] if raster.channels else raster.pixels
    index = np.minimum(index.astype(np.int64), len(table) - 1)
    if table.shape[1] == 4:
        table = over_black(table[None, :, :3], table[None, :, 3], True)[0].astype(np.uint8)
    colours: AnyArray = table[index]
    if raster.channels and raster.alpha:
        colours = over_black(colours, raster.pixels[..., 1], True)
    return colours


def _converted(pixels: AnyArray, space: str) -> AnyArray:
    """CMYK, YCbCr or LAB to RGB, a plane at a time, in 8 bits."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)  # type: ignore[operator]
    if pixels.dtype not in (np.uint8, np.int8):
        raise ValueError(f"holds {space} colours of the type {pixels.dtype}; save the scan as RGB")
    planes = pixels.view(np.uint8).reshape(-1, *pixels.shape[-3:])
    done = np.stack([_convert_plane(plane, space) for plane in planes])
    return done.reshape(*pixels.shape[:-1], 3)


def _convert_plane(plane: AnyArray, space: str) -> AnyArray:
    size = (plane.shape[1], plane.shape[0])
    if space == LAB:
        # Pillow takes a and b as signed bytes, as TIFF has them.
        image = Image.frombytes("LAB", size, np.ascontiguousarray(plane).tobytes())
        return np.asarray(ImageCms.applyTransform(image, _lab_to_rgb()))
    return np.asarray(Image.frombytes(space, size, np.ascontiguousarray(plane).tobytes()).convert(RGB))


@cache
def _lab_to_rgb() -> Any:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, rgb, "LAB", "RGB")
