"""Masks to label TIFF and PNG, with the story of how they were made, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, PngImagePlugin

from napari_medvlsm import __version__
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.options import WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.prompts import Prompt

LABEL_SUFFIXES = (".tif", ".tiff", ".png")
_PNG_KEY = "Description"
_CORRECTION, _PREDICTION = "correction by a person", "prediction"
Spacing = tuple[float, float]


def story(
    prompt: Prompt | None,
    model: str,
    threshold: float | None,
    cleanup: Cleanup | None,
    corrected: bool,
    scan_hash: str,
    options: SegmentOptions = WHOLE_SCAN,
) -> dict[str, Any]:
    """How a mask was made, as plain values. No file name and no patient data: the scan is named by its hash."""
    return {
        "software": f"napari-medvlsm {__version__}",
        "made": _CORRECTION if corrected else _PREDICTION,
        "prompt": None
        if prompt is None
        else {
            "text": prompt.text,
            "level": prompt.level,
            "attributes": {k: v for k, v in vars(prompt.attributes).items() if v},
            "vocabulary": prompt.vocabulary_version,
            "measured": list(prompt.measured),
        },
        "model": model,
        "threshold": threshold,
        "cleanup": [] if cleanup is None else [name for name, on in vars(cleanup).items() if on],
        "looked_at": "the whole scan" if options.whole else options.to_message(),
        "scan_hash": scan_hash,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save_mask(
    path: Path, mask: npt.NDArray[np.generic], description: dict[str, Any], spacing: Spacing | None = None
) -> None:
    """Write a mask as label TIFF (0 and 1, with spacing) or PNG (0 and 255).

    Parameters
    ----------
    path : Path
        Ends in .tif, .tiff or .png; replaced at once or not at all.
    mask : array of shape (H, W)
        Foreground is anything above zero.
    description : dict
        Stored as JSON inside the file; see `story`.
    spacing : (float, float), optional
        Millimetres per pixel as (row, col).

    Raises
    ------
    ValueError
        For another suffix or a mask that is not 2D.
    OSError
        If the file cannot be written.
    """
    if mask.ndim != 2:
        raise ValueError(f"A mask must be 2D, but has shape {mask.shape}.")
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise ValueError(f"A mask is saved as .tif or .png, but the name ends in {path.suffix or 'nothing'!r}.")
    foreground = np.asarray(mask) > 0
    text = json.dumps(description | ({"spacing_mm": list(spacing)} if spacing else {}))
    with replacing(path) as temporary:
        if suffix == ".png":
            info = PngImagePlugin.PngInfo()
            info.add_text(_PNG_KEY, text)
            Image.fromarray(foreground.astype(np.uint8) * 255).save(temporary, pnginfo=info)
        else:
            resolution = None if spacing is None else (10 / spacing[1], 10 / spacing[0])
            tifffile.imwrite(
                temporary,
                foreground.astype(np.uint8),
                photometric="minisblack",
                compression="zlib",
                resolution=resolution,
                resolutionunit="NONE" if spacing is None else "CENTIMETER",
                description=text,
                metadata=None,
            )


def load_mask(path: Path) -> tuple[npt.NDArray[np.bool_], dict[str, Any]]:
    """A mask (H, W) written by `save_mask`, and its description ({} for a foreign file).

    Raises
    ------
    ValueError
        If the file cannot be read as a mask.
    """
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L"))
        else:
            pixels = tifffile.imread(path)
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ValueError(f"{path.name} cannot be read as a mask ({error}).") from error
    if pixels.ndim != 2:
        raise ValueError(f"{path.name} is no 2D mask; its shape is {pixels.shape}.")
    return pixels > 0, read_description(path)


def read_description(path: Path) -> dict[str, Any]:
    """How a mask was made, without reading its pixels; {} for a foreign or damaged file."""
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as image:
                text = str(image.info.get(_PNG_KEY, ""))
        else:
            with tifffile.TiffFile(path) as tiff:
                text = getattr(tiff.pages[0], "description", "")
        description = json.loads(text)
    except Exception:  # a damaged file makes the decoders raise nearly anything
        return {}
    return description if isinstance(description, dict) else {}


def is_own_mask(path: Path) -> bool:
    """Whether a file is a mask that this program saved."""
    if path.suffix.lower() not in LABEL_SUFFIXES or not path.is_file():
        return False
    return str(read_description(path).get("software", "")).startswith("napari-medvlsm")


def is_correction(path: Path) -> bool:
    """Whether a file is a mask that a person corrected, and that this program saved."""
    return path.is_file() and read_description(path).get("made") == _CORRECTION
