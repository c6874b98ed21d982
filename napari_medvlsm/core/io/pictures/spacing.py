"""Millimetres per pixel, where a file states them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

from napari_medvlsm.core.io.pictures import tiff_directories as tags
from napari_medvlsm.core.io.pictures.tiff_directories import Directory

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
# What is left of these where they are rounded to pixels per centimetre, such as 28.35.
_ROUNDED = 3e-4


def tiff_spacing(page: Directory) -> tuple[float, float] | None:
    """(row, col) in mm as stored, so before any turn; None where the page does not say, or on any doubt."""
    text = page.text(tags.DESCRIPTION)
    if "<OME" in text[:4000]:
        return ome_spacing(text)
    unit = _TIFF_UNIT.get(page.number(tags.RESOLUTION_UNIT))
    found = [page.numbers(tag) for tag in (tags.Y_RESOLUTION, tags.X_RESOLUTION)]
    if unit is None or any(len(f) < 2 or not f[1] for f in found):
        return None
    per_unit = [f[0] / f[1] for f in found]
    if any(p <= 0 or _is_screens(p * 25.4 / unit) for p in per_unit):
        return None
    return unit / per_unit[0], unit / per_unit[1]


def _is_screens(dots: float) -> bool:
    """Whether so many dots per inch are those of a screen or printer."""
    return any(math.isclose(dots, known, rel_tol=_ROUNDED) for known in _SCREEN_DPI)


def ome_spacing(xml: str) -> tuple[float, float] | None:
    """(row, col) in mm of the first picture of OME-XML."""
    try:
        pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("}Pixels")), None)
        values = []
        for axis in ("Y", "X"):
            size, unit = (
                (pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
                if (pixels is not None)
                else (None, "")
            )
            if size is None or unit not in _MM_PER_UNIT or not (float(size) > 0 and math.isfinite(float(size))):
                return None
            values.append(float(size) * _MM_PER_UNIT[unit])
    except (ElementTree.ParseError, ValueError):
        return None
    return values[0], values[1]
