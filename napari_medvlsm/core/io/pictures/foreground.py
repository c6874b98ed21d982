"""Rasters to masks, by the values that they hold; what could mean several things is refused with its values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_medvlsm.core.annotation import is_record
from napari_medvlsm.core.io.pictures.colour import displayed
from napari_medvlsm.core.io.pictures.raster import COLOURS, GREY, PALETTE, WHITE_IS_ZERO, AnyArray, Raster

Mask = npt.NDArray[np.bool_]
# What may be said of a set's masks: "" to see from each, "nonzero" for all above 0, "half" for all above half of the
# type's range (or of 1), "dark" for the contrary of what would be seen, "alpha" for what is not transparent, or values.
Foreground = str | int | tuple[int, ...]
RULES = ("", "nonzero", "half", "dark", "alpha")
# Distinct values that are told apart.
_MAX_VALUES = 4096
# A mask of more distinct values holds shades, and no labels.
_MOST_LABELS = 64
_OR_HALF = ", or 'foreground: half' to cut in the middle"
# Values of which one sentence shows so many.
_SHOWN = 8
_STRIP = 2**22
# Share of the values between black and white that may lie inside of areas of one value; more are labels, no soft edges.
_FLAT = 0.05
# Share of all pixels that soft edges may have. Scans have more: what was taken for a mask by mistake stops.
_EDGES = 0.25
# Of fractions: the share of pixels that has to lie near 0 or 1, and what near means.
_CLEAR, _NEAR = 0.9, 0.25
# What lies below is a faint speck that compression leaves on black. But what is as low as a label, and on more than
# this share of the pixels, is a mask of 0 and 1, which a JPEG does not keep.
_FAINT, _LABEL, _SPECKS = 64, 4, 0.01
# Of 8-bit values, what compression makes of black and white.
_NOISE = 32


class AmbiguousMask(ValueError):
    """A mask whose values could mean several things; the sentence shows them and names the key that settles it."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A mask, and how it was read.

    Attributes
    ----------
    mask : bool array of shape (H, W)
    between : int
        Pixels of soft edges, neither black nor white.
    cut_off : int
        Those of them that are background.
    fractions : bool
        Whether the values were fractions, cut at one half.
    orientation : int
        Of `Raster`.
    """

    mask: Mask
    between: int = 0
    cut_off: int = 0
    fractions: bool = False
    orientation: int = 1


def check_rule(rule: Foreground) -> None:
    """Raise ValueError unless a rule is one of `RULES`, or values."""
    if isinstance(rule, str) and rule not in RULES:
        raise ValueError(f"foreground must be one of {', '.join(RULES[1:])}, or a list of values, but is {rule!r}.")


def foreground_of(raster: Raster, rule: Foreground = "") -> Reading:
    """The mask that a raster holds.

    Parameters
    ----------
    raster : Raster
    rule : Foreground
        What is known of its values. Masks that this program saved need no rule.

    Raises
    ------
    AmbiguousMask
        With words that follow the file's name, where the values could mean several things.
    """
    if raster.left_out:
        raise AmbiguousMask(f"holds {raster.left_out + 1} pictures; save the mask that is meant as a file of its own")
    if _is_own(raster):
        rule = "nonzero"
    planes = int(np.prod(raster.planes))
    if planes != 1 and not rule:
        raise AmbiguousMask(
            f"holds {planes} pages; write 'foreground: nonzero' into dataset.yaml if the mask is what is above 0 on "
            "any of them, or save the one that is meant as a file of its own"
        )
    values, names = _values(raster, rule)
    values = values.reshape(-1, *values.shape[-2:])
    if len(values) == 1:
        return _read(values[0], names, rule, raster.lossy)
    return Reading(np.logical_or.reduce([_read(plane, names, rule, raster.lossy).mask for plane in values]))


def _is_own(raster: Raster) -> bool:
    try:
        return is_record(json.loads(raster.description)) if raster.description.startswith("{") else False
    except (ValueError, RecursionError):
        return False


# From samples to one value a pixel ------------------------------------------------------------------------------------

Names = Mapping[int, str]


def _values(raster: Raster, rule: Foreground) -> tuple[AnyArray, Names]:
    """(one value a pixel, shape (..., H, W), 0 for what is background if that can be known; names of values)."""
    space, pixels = raster.space, raster.pixels
    if space == PALETTE:
        return _palette_values(raster, rule)
    count = COLOURS[space]
    if raster.channels and pixels.shape[-1] > count + raster.alpha:
        raise AmbiguousMask(f"holds {pixels.shape[-1]} channels; save the one that is the mask as a file of its own")
    alpha = pixels[..., count] if raster.alpha else None
    if alpha is not None and rule == "alpha":
        return alpha, {}
    if space in (GREY, WHITE_IS_ZERO):
        colour = pixels[..., 0] if raster.channels else pixels
        # tifffile writes bool so that True is black; other programs draw their masks white.
        written = raster.software.startswith("tifffile") or raster.description.startswith('{"shape"')
        if space == WHITE_IS_ZERO and not (colour.dtype == bool and written):
            colour, _ = displayed(Raster(colour, WHITE_IS_ZERO))
        names: Names = {}
    else:
        rgb, _ = displayed(Raster(pixels[..., :count], space, channels=True))
        colour, names = _colour_values(rgb, raster.lossy)
    return (colour, names) if alpha is None else (_with_alpha(colour, alpha, rule), names)


def _with_alpha(colour: AnyArray, alpha: AnyArray, rule: Foreground) -> AnyArray:
    if (alpha == alpha.flat[0]).all():
        return colour
    if (colour == colour.flat[0]).all():
        return alpha
    seen: AnyArray = np.where(alpha > 0, colour, np.zeros((), colour.dtype))
    if ((seen != 0) != (alpha > 0)).any():
        if rule:
            return colour
        raise AmbiguousMask(
            "is drawn both in colour and in transparency; write 'foreground: nonzero' (the colour) or 'foreground: "
            "alpha' into dataset.yaml"
        )
    return seen


def _colour_values(rgb: AnyArray, lossy: bool) -> tuple[AnyArray, Names]:
    """Grey or a single channel as it is; of other colours a number, 0 for black."""
    wide = rgb.astype(np.int32)
    if int((wide.max(axis=-1) - wide.min(axis=-1)).max(initial=0)) <= (_NOISE if lossy else 0):
        return rgb[..., 1], {}
    used = [c for c in range(3) if (rgb[..., c] > (_FAINT if lossy else 0)).any()]
    if len(used) == 1:
        return rgb[..., used[0]], {}
    if lossy:
        raise AmbiguousMask("holds colours that JPEG has changed; save the mask as PNG, or in grey")
    if rgb.dtype != np.uint8:
        raise AmbiguousMask("holds colours of 16 bit; save the mask as grey")
    code = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    found = np.unique(code)
    return code, {int(c): f"#{c:06x}" for c in found[:_SHOWN]}


def _palette_values(raster: Raster, rule: Foreground) -> tuple[AnyArray, Names]:
    """Grey where the palette is grey; else the index, 0 for the colour that is black or comes first.

    Where some of the colours are transparent, these are the background.
    """
    assert raster.palette is not None
    index = raster.pixels[..., 0] if raster.channels else raster.pixels
    alpha = raster.palette[:, 3:].ravel()
    if raster.channels and raster.alpha:
        alpha = raster.pixels[..., 1]
    elif alpha.size:
        alpha = alpha[np.minimum(index, len(alpha) - 1)]
    if alpha.size and rule == "alpha":
        return alpha, {}
    opaque = not alpha.size or (alpha == alpha.flat[0]).all()
    if not opaque and rule == "" and len(np.unique(index[alpha > 0])) == 1:
        return alpha > 0, {}
    if not opaque and rule == "nonzero":  # all that is not black
        return (raster.palette[:, :3].max(axis=1)[index] > 0) & (alpha > 0), {}
    # Values that are given are those of the file.
    values, names = _indices(index, raster.palette, numbered=not isinstance(rule, str))
    return (values, names) if opaque or not isinstance(rule, str) else (_with_alpha(values, alpha, rule), names)


def _indices(index: AnyArray, palette: AnyArray, numbered: bool) -> tuple[AnyArray, Names]:
    """Values of indices, as they are where `numbered` and the palette is not grey; and their names."""
    used = np.flatnonzero(np.bincount(index.ravel(), minlength=1))
    table = palette[np.minimum(np.arange(int(used[-1]) + 1), len(palette) - 1)].astype(np.int64)
    colours = table[used, :3]
    if (colours == colours[:, :1]).all() and len(np.unique(colours[:, 0])) == len(used):
        return table[:, 0].astype(np.uint8)[index], {}
    names = {int(i): f"{i} (#{r:02x}{g:02x}{b:02x})" for i, (r, g, b) in zip(used, colours, strict=True)}
    black = used[(colours == 0).all(axis=1)]
    if black.size == 1 and black[0] != 0 and not numbered:
        value = np.arange(len(table), dtype=np.int64) + 1
        value[black[0]] = 0
        return value[index], {int(value[i]): name for i, name in names.items()}
    return index, names


# From values to foreground --------------------------------------------------------------------------------------------


def _read(values: AnyArray, names: Names, rule: Foreground, lossy: bool) -> Reading:
    if values.dtype == bool:
        return Reading(~values if rule == "dark" else values.astype(bool, copy=False))
    if rule == "dark":
        seen = _read(values, names, "", lossy)
        return Reading(~seen.mask, seen.between, seen.between - seen.cut_off, seen.fractions)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        if not rule:
            raise AmbiguousMask("holds values that are not finite; save the mask as 0 and 255")
        values = np.nan_to_num(values, nan=0.0, posinf=np.finfo(values.dtype).max, neginf=0.0)
    if not isinstance(rule, str):
        return Reading(np.isin(values, np.atleast_1d(rule)))
    if rule in ("nonzero", "alpha"):
        return Reading(values > 0)
    full = 1.0 if values.dtype.kind == "f" and values.max() <= 1 else _full(values)
    if rule == "half" and not names:
        return _halved(values, full)
    return _seen(values, names, full, lossy)


def _full(values: AnyArray) -> float:
    """What stands for white: of 8 bits 255, of wider types 255 too if nothing is above, else the type's largest."""
    if values.dtype.kind == "f" or values.max() <= 255:
        return 255.0
    return float(np.iinfo(np.uint16).max) if values.max() < 2**16 else float(np.iinfo(values.dtype).max)


def _seen(values: AnyArray, names: Names, full: float, lossy: bool) -> Reading:
    found, counts = _distinct(values)
    faint = int(counts[found > 0].sum())
    if lossy and found[-1] < _FAINT and (found[-1] >= _LABEL or faint <= _SPECKS * values.size):
        return Reading(np.zeros(values.shape, bool), faint, faint)
    if lossy and found[-1] < _FAINT:
        raise AmbiguousMask(_shown(found, counts, values.size, names, "nonzero"))
    if len(found) <= 2 and found[0] == 0:
        return Reading(values > 0)
    if len(found) == 1 and found[0] > 0:
        return Reading(np.ones(values.shape, bool))
    if values.dtype.kind == "f" and (found % 1 != 0).any():
        near = np.count_nonzero((values < _NEAR * full) | (values > (1 - _NEAR) * full)) / values.size
        if found[0] < 0 or full != 1.0 or near < _CLEAR or found[-1] <= 0.5:
            raise AmbiguousMask(_shown(found, counts, values.size, names, "half"))
        halved = _halved(values, full)
        return Reading(halved.mask, halved.between, halved.cut_off, fractions=True)
    dark, bright = (_NOISE, full - _NOISE) if lossy else (0, full)
    two_ends = not names and found[0] >= 0 and found[0] <= dark and found[-1] >= bright
    if two_ends and len(found) > 2 and _soft(values, found, full, lossy):
        return _halved(values, full)
    raise AmbiguousMask(_shown(found, counts, values.size, names, "nonzero"))


def _soft(values: AnyArray, found: npt.NDArray[np.float64], full: float, lossy: bool) -> bool:
    """Whether what lies between black and white is soft edges or noise of compression, and no labels, and no scan."""
    noise = _NOISE if lossy or (len(found) > 8 and found[-2] >= full - _NOISE) else 0
    between = (values > noise) & (values < full - noise)
    total = int(between.sum())
    if total == 0:
        return True
    if total > _EDGES * values.size:
        return False
    flat = between[1:-1, 1:-1].copy()
    inner = values[1:-1, 1:-1]
    for rows, cols in ((slice(None, -2), slice(1, -1)), (slice(2, None), slice(1, -1))):
        flat &= values[rows, cols] == inner
        flat &= values[cols, rows] == inner
    return int(flat.sum()) <= _FLAT * total


def _halved(values: AnyArray, full: float) -> Reading:
    mask = values > full / 2
    between = (values > 0) & (values < full)
    return Reading(mask, int(between.sum()), int((between & ~mask).sum()))


def _distinct(values: AnyArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(distinct values in order, how many pixels have each), a strip at a time: no wide copy is made.

    Of very many values some are left out, but never the lowest and the highest.
    """
    if values.dtype == np.uint8:
        counts = np.asarray(Image.fromarray(np.ascontiguousarray(values)).histogram(), np.int64)
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]
    step = max(1, _STRIP // max(1, values.shape[1]))
    total: dict[float, int] = {}
    for start in range(0, values.shape[0], step):
        strip, numbers = np.unique(values[start : start + step], return_counts=True)
        for value, number in zip(strip[:_MAX_VALUES].tolist(), numbers[:_MAX_VALUES].tolist(), strict=True):
            total[float(value)] = total.get(float(value), 0) + number
        if len(total) >= _MAX_VALUES:
            for value in (values.min(), values.max()):
                total[float(value)] = int(np.count_nonzero(values == value))
            break
    keys = sorted(total)
    return np.array(keys, np.float64), np.array([total[k] for k in keys], np.int64)


def _number(value: float, names: Names) -> str:
    """A value as it is to be written into a rule; of a palette the index."""
    name = names.get(int(value), "#")
    return f"{value:.12g}" if name.startswith("#") else name.split()[0]


def _shown(found: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], size: int, names: Names, key: str) -> str:
    """The values with their shares of `size` pixels, as the words of an error."""
    shares = 100 * counts / size
    told = [f"{names.get(int(v), f'{v:g}')} ({s:.2g} %)" for v, s in zip(found, shares, strict=True)][:_SHOWN]
    more = f" and {len(found) - _SHOWN} others" if len(found) > _SHOWN else ""
    many = len(found) > _MOST_LABELS
    words = {
        "nonzero": "'foreground: nonzero' if all above 0 is the target, or the values that are, such as "
        f"'foreground: [{_number(found[-1], names)}]'{_OR_HALF if many and not names else ''}",
        "half": "'foreground: half' to cut at one half, or 'foreground: nonzero' if all above 0 is the target",
    }[key]
    where = "if it is a mask and no scan, " if many else ""
    return (
        f"holds the values {', '.join(told)}{more}, which could mean several things; {where}write {words} into "
        "dataset.yaml (or into the recipe's source)"
    )
