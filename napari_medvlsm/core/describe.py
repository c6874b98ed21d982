"""Attributes read back from a mask, and where they disagree with what a person wrote.

Two rules. `describe_reference` repeats the paper's annotation code, quirks included, so that exported prompts read
like the release's. `describe` is the clean rule of the interface and of training. Location words are sides of the
image as shown, never the patient's left and right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageColor
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.measure import block_reduce, regionprops

from napari_medvlsm.core.images import to_unit_rgb
from napari_medvlsm.core.prompts import Attributes
from napari_medvlsm.core.prompts.english import number_word

SIZE_WORDS = ("tiny", "small", "medium", "large")
SHAPE_WORDS = ("round", "oval", "elongated", "rectangular", "triangular", "irregular")
# Components of at most this fraction of the image get no size in the release, and are specks in the clean rule.
SPECK_FRACTION = 0.0001

_Array = npt.NDArray[Any]
_Bool = npt.NDArray[np.bool_]
_Box = tuple[slice, slice]

# Fractions of the image between which each size lies (release: f < 0.001 tiny, f > 0.08 medium, f > 0.30 large).
_SIZE_RANGES = {"tiny": (0.0, 0.001), "small": (0.001, 0.08), "medium": (0.08, 0.30), "large": (0.30, 1.0)}
_CELLS = (("top left", "top", "top right"), ("left", "center", "right"), ("bottom left", "bottom", "bottom right"))
MANY = "many"
# The clean rule counts in words up to ten: nobody tells eleven parts from twelve at a glance.
_COUNTED = 10
# The largest number that `number_word` knows.
_NAMED = 999
# Places and sizes of single parts are kept for this many, the largest: noise has hundreds of thousands.
_PARTS = 100


@dataclass(frozen=True)
class Description:
    """What a mask says about itself.

    `number`, `size` and `location` are measured. `shape` and `color` are suggestions: a person may well choose another
    word, so they are never held against anybody. An empty string says nothing.

    Attributes
    ----------
    number : str
        In words; "zero" when the mask is empty, and everything else is empty then.
    size, location : str
        One or several words joined by ", ".
    shape : str
        One of `SHAPE_WORDS` for the largest part, or empty.
    color : str
        One of `COLOR_WORDS`, or empty.
    fraction : float
        Area of all parts counted, as a fraction of the image.
    parts : tuple of float
        Area of each part (of the 100 largest) as a fraction of the image, largest first.
    """

    number: str
    size: str = ""
    location: str = ""
    shape: str = ""
    color: str = ""
    fraction: float = 0.0
    parts: tuple[float, ...] = ()

    @property
    def measured(self) -> dict[str, str]:
        """The attributes that follow from the mask alone."""
        return {"number": self.number, "size": self.size, "location": self.location}

    @property
    def suggested(self) -> dict[str, str]:
        """The attributes that are a matter of opinion."""
        return {"shape": self.shape, "color": self.color}


def describe_reference(mask: _Array) -> Description:
    """Number, size and location by the rules of the paper's annotation code.

    Every component counts, specks too. For x the location compares the centre of the bounding box with thirds of
    the image *height*, so wide images say "right" too often; this is what the published prompts do.

    Parameters
    ----------
    mask : array of shape (H, W)
        Grey masks are cut at 127.5; where nothing is above 1 (0 and 1, or probabilities) at 0.5; bool as it is.

    Returns
    -------
    Description
        `number` in words (the release goes to "nineteen"), "many" above 999; `size` lists the distinct sizes from tiny
        to large, components of at most 0.01 % of the image give none; `location` has one place per component, in the
        order of their first pixels row by row. No shape, no colour.
    """
    mask = _plane(mask)
    if mask.dtype == bool:
        foreground, full = mask, mask
    else:
        grey = bool(mask.max() > 1)
        foreground = mask > (127.5 if grey else 0.5)
        # The release counts pixels of exactly 255. JPEG specks have none.
        full = mask >= 255 if grey else foreground
    labels, count = ndimage.label(foreground)
    if count == 0:
        return Description(number_word(0))
    areas = _areas(labels, count)
    fractions = areas / mask.size
    boxes = ndimage.find_objects(labels)
    return Description(
        number=number_word(count) if count <= _NAMED else MANY,
        size=_list_sizes(f for f in fractions if f > SPECK_FRACTION),
        location=", ".join(
            _reference_place(labels[box] == i, full[box], box, mask.shape) for i, box in enumerate(boxes, 1)
        ),
        fraction=int(areas.sum()) / mask.size,
        parts=tuple(float(f) for f in np.sort(fractions)[::-1][:_PARTS]),
    )


def describe(mask: _Array, image: _Array | None = None, spacing: tuple[float, float] | None = None) -> Description:
    """Describe a mask as the interface and the training do.

    Parameters
    ----------
    mask : array of shape (H, W)
        Foreground is anything above zero. Components are 4-connected; those of at most 0.01 % of the image are
        ignored unless there is nothing else.
    image : array of shape (H, W) or (H, W, C), optional
        The scan, as in `images.Scan.pixels`; colour is suggested where it has colour.
    spacing : (float, float), optional
        Size of a pixel as (row, col), in any unit; only their ratio matters, and only to the shape.

    Returns
    -------
    Description
        `number` "zero" to "ten" or "many". `size` and `location` list each distinct word once, sizes from tiny to
        large, locations in reading order. A location is the cell of a 3 x 3 grid over the image in which the
        component's centroid lies; the middle includes its bounds.

    Raises
    ------
    ValueError
        If the mask is not one 2D plane, or the image has another size.
    """
    mask = _plane(mask)
    if image is not None and image.shape[:2] != mask.shape:
        raise ValueError(f"Mask and image must have one size, but have shapes {mask.shape} and {image.shape}.")
    foreground = mask if mask.dtype == bool else mask > 0
    box = _bounding_box(foreground)
    if box is None:
        return Description(number_word(0))
    labels, count = ndimage.label(foreground[box])
    areas = _areas(labels, count)
    kept = np.flatnonzero(areas > SPECK_FRACTION * mask.size)
    if kept.size == 0:
        kept = np.arange(count)
    kept = kept[np.argsort(-areas[kept], kind="stable")]
    fractions = areas[kept] / mask.size
    boxes = ndimage.find_objects(labels)
    parts = [(labels[boxes[i]] == i + 1, boxes[i]) for i in kept[:_PARTS]]
    return Description(
        number=number_word(kept.size) if kept.size <= _COUNTED else MANY,
        size=_list_sizes(fractions),
        location=", ".join(_CELLS[r][c] for r, c in sorted({_cell(p, b, box, mask.shape) for p, b in parts})),
        shape=_shape(parts[0][0], spacing or (1.0, 1.0)),
        color="" if image is None else _color(image, foreground, box),
        fraction=int(areas[kept].sum()) / mask.size,
        parts=tuple(float(f) for f in fractions[:_PARTS]),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Number, size, location


def _plane(mask: _Array) -> _Array:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"A mask must be one 2D plane (H, W), but this one has shape {mask.shape}.")
    return mask


def _bounding_box(foreground: _Bool) -> _Box | None:
    rows, cols = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    if rows.size == 0:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _areas(labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.int64]:
    """Pixels of each label, background left out: shape (count,)."""
    # In bands of rows, because bincount copies its input to 64 bit.
    bands = np.array_split(labels, max(1, labels.size // 2**22))
    areas = np.sum([np.bincount(band.ravel(), minlength=count + 1) for band in bands], axis=0)
    return np.asarray(areas[1:])


def _list_sizes(fractions: Iterable[float]) -> str:
    ranks = {int(f >= 0.001) + int(f > 0.08) + int(f > 0.30) for f in fractions}
    return ", ".join(SIZE_WORDS[rank] for rank in sorted(ranks))


def _reference_place(part: _Bool, full: _Bool, box: _Box, shape: tuple[int, ...]) -> str:
    """The cell of one component, all of `part` and `full` cut out at `box`; `shape` (H, W) is the image's."""
    white = part & full
    total = np.count_nonzero(white)
    if total == 0:
        return _CELLS[0][0]
    (top, left), (height, width) = (box[0].start, box[1].start), shape
    row_cuts = np.clip(np.array([0, int(height / 3), int(2 * height / 3), height]) - top, 0, None)
    col_cuts = np.clip(np.array([0, int(width / 3), int(2 * width / 3), width]) - left, 0, None)
    counts = [np.count_nonzero(white[r0:r1, c0:c1]) for r0, r1 in pairwise(row_cuts) for c0, c1 in pairwise(col_cuts)]
    share = np.array(counts) / total
    for filled in (share > 0, share >= 0.1):
        if np.count_nonzero(filled) == 1:
            return _CELLS[int(filled.argmax()) // 3][int(filled.argmax()) % 3]
    # Centre between the first and the last pixel; thirds of the height serve x as well.
    y, x = (top + box[0].stop - 1) / 2, (left + box[1].stop - 1) / 2
    return _CELLS[_third(y, height)][_third(x, height)]


def _third(position: float, length: int) -> int:
    if position < int(length / 3):
        return 0
    return 1 if position <= int(2 * length / 3) else 2


def _cell(part: _Bool, box: _Box, outer: _Box, shape: tuple[int, ...]) -> tuple[int, int]:
    """(row, col) in the 3 x 3 grid of the centroid of `part`, cut out at `box` within the region `outer`."""
    area = int(np.count_nonzero(part))
    cell = []
    for axis in (0, 1):
        start = outer[axis].start + box[axis].start
        profile = np.count_nonzero(part, axis=1 - axis)
        total = start * area + int(profile @ np.arange(profile.size))
        # Whole numbers, so that a mirrored mask lies in the mirrored cell: the centroid, in pixels from the image's
        # edge, is total / area + 1/2.
        centre, unit = 3 * (2 * total + area), 2 * area * shape[axis]
        cell.append(0 if centre < unit else 1 if centre <= 2 * unit else 2)
    return cell[0], cell[1]


# ---------------------------------------------------------------------------------------------------------------------
# Shape and colour

# Fewer pixels than this do not tell a disc from a square.
_SHAPE_PIXELS = 30
# Larger components are reduced to about this many pixels along the longer side, where shape is as clear.
_SHAPE_SIDE = 128
# Area over area of the convex hull. Pixelated discs, ellipses, triangles and rectangles of 30 pixels and more stay
# above 0.85; 19 of 20 outlines of polyps and skin lesions do too. What is long may be bent, and thin oblique lines lose
# to their steps, but vessels that branch are not just long.
_SOLID = 0.85
_SOLID_LONG = 0.6
# Ratio of the axes of the ellipse with the same second moments: 1.08 at most for discs of 6 pixels radius, and 1.85
# to 2.15 for ellipses of 2 : 1 at any angle and size. The middle of real outlines is 1.3 to 1.5.
_OVAL = 1.3
_ELONGATED = 2.5
# Area over area of the tightest rectangle at any angle: 1/2 for triangles, pi/4 = 0.79 for ellipses, 1 for rectangles.
# From 6 pixels radius on, pixels move it by at most 0.08, 0.06 and 0.15. Circularity would tell them apart as well, but
# not on pixels: 4 pi area / perimeter^2 of a disc goes from 1.29 (3 pixels radius) to 0.91 (100 pixels).
_TRIANGULAR = 0.62
_RECTANGULAR = 0.86


def _shape(part: _Bool, spacing: tuple[float, float]) -> str:
    """The word of `SHAPE_WORDS` for one component, holes filled; empty when it is too small to tell."""
    if np.count_nonzero(part) < _SHAPE_PIXELS:
        return ""
    step = max(1, round(max(part.shape) / _SHAPE_SIDE))
    if step > 1:
        part = block_reduce(part, (step, step), np.max)
    region = regionprops(ndimage.binary_fill_holes(part).astype(np.uint8), spacing=spacing)[0]
    if region.axis_major_length >= _ELONGATED * region.axis_minor_length:
        return "elongated" if region.solidity >= _SOLID_LONG else "irregular"
    if region.solidity < _SOLID:
        return "irregular"
    fill = region.area / _tightest_rectangle(region.image, spacing)
    if fill < _TRIANGULAR:
        return "triangular"
    if fill > _RECTANGULAR:
        return "rectangular"
    return "oval" if region.axis_major_length >= _OVAL * region.axis_minor_length else "round"


def _tightest_rectangle(part: _Bool, spacing: tuple[float, float]) -> float:
    """Area, in squared units of `spacing`, of the smallest rectangle at any angle around `part`."""
    rows = np.flatnonzero(part.any(axis=1))
    ends = np.concatenate([part.argmax(axis=1)[rows], part.shape[1] - 1 - part[:, ::-1].argmax(axis=1)[rows]])
    points = np.stack([np.tile(rows, 2), ends], axis=1)
    # The middles of the pixels' sides, as skimage takes them for the convex hull.
    sides = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
    points = (points + sides[:, None]).reshape(-1, 2) * spacing
    angles = np.deg2rad(np.arange(0, 180, 3))
    extent = np.ptp(points @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
    return float(np.min(extent[:30] * extent[30:]))


# Below this chroma (CIELAB, distance from the grey axis) a colour is white, gray or black, above it none of them: the
# nearest name alone calls dull browns gray.
_NEUTRAL_CHROMA = 12
_NEUTRALS = ("white", "gray", "black")
# Reference colours of each name among the named colours of CSS (Color Module Level 4). Tissue lies far from the pure
# colours, so its names have several; salmon counts as pink, as mucosa is called "salmon-pink".
_COLORS = {
    "white": ("white",),
    "gray": ("gray", "silver", "dimgray"),
    "black": ("black",),
    "yellow": ("yellow", "gold", "khaki"),
    "brown": ("brown", "saddlebrown", "sienna", "maroon", "rosybrown"),
    "pink": ("pink", "hotpink", "salmon", "lightsalmon", "darksalmon", "lightcoral", "mistyrose"),
    "orange": ("orange", "darkorange", "coral", "sandybrown"),
    "tan": ("tan", "burlywood", "wheat"),
    "red": ("red", "tomato", "indianred", "firebrick", "crimson", "darkred"),
    "blue": ("blue", "steelblue", "skyblue", "navy"),
    "purple": ("purple", "mediumpurple", "indigo"),
    "green": ("green", "limegreen", "darkseagreen"),
}
COLOR_WORDS = tuple(_COLORS)
# More than this share of an image's pixels must be coloured for it to be a colour scan; ultrasound stored as RGB has a
# few coloured marks.
_COLOURED_SHARE = 0.05
# Difference between the channels, of 1, above which a pixel is coloured.
_COLOURED = 0.06
# Larger regions are sampled to about this many pixels.
_COLOR_SAMPLES = 2**16


def _color(image: _Array, foreground: _Bool, box: _Box) -> str:
    """The name nearest to the median colour under the mask (H, W) with bounding box `box`; empty for grey scans."""
    if image.ndim == 2 or image.shape[2] < 3:
        return ""
    # One pixel more on each side: a scan of a single line is none.
    rows, cols = (slice(max(0, s.start - 1), s.stop + 1) for s in box)
    box = rows, cols
    inside = foreground[box]
    step = 1 + math.isqrt(inside.size // _COLOR_SAMPLES)
    inside = inside[::step, ::step]
    if image.dtype == np.uint8:
        pixels = to_unit_rgb(image[box][::step, ::step])[inside]
    else:
        # The grey range comes from the whole image.
        pixels = to_unit_rgb(image)[box][::step, ::step][inside]
    if len(pixels) == 0:
        return ""
    # Median, because highlights are bright and few.
    lab = np.median(rgb2lab(pixels), axis=0)
    neutral = bool(np.hypot(lab[1], lab[2]) < _NEUTRAL_CHROMA)
    if neutral and not _has_color(image):
        return ""
    names, anchors = _anchors(neutral)
    return names[int(np.linalg.norm(anchors - lab, axis=1).argmin())]


def _has_color(image: _Array) -> bool:
    step = max(1, min(image.shape[:2]) // _SHAPE_SIDE)
    spread = np.ptp(to_unit_rgb(image[::step, ::step]), axis=2)
    return bool(np.mean(spread > _COLOURED) > _COLOURED_SHARE)


@cache
def _anchors(neutral: bool) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Names (n,) and their CIELAB colours (n, 3), for neutral colours or for the others."""
    pairs = [(name, css) for name, values in _COLORS.items() for css in values if (name in _NEUTRALS) == neutral]
    rgb = np.array([ImageColor.getrgb(css) for _, css in pairs]) / 255
    return tuple(name for name, _ in pairs), rgb2lab(rgb)


# ---------------------------------------------------------------------------------------------------------------------
# Contradictions

# A size is wrong only when the area lies outside its range by more than this part of the limit.
_SIZE_MARGIN = 0.25
# "Many" stands for "several" too, and three are several.
_FEWEST_MANY = 3
_COUNTS = {number_word(n): n for n in range(_NAMED + 1)}
_PLACES = {name: (row, col) for row, names in enumerate(_CELLS) for col, name in enumerate(names)}
_PREPOSITIONS = {"left": "on the", "right": "on the", "top": "at the", "bottom": "at the"}


@dataclass(frozen=True)
class Contradiction:
    """One attribute that says something else than the mask, with a sentence for the person who wrote it."""

    attribute: str
    said: str
    seen: str
    sentence: str


def contradictions(said: Attributes, seen: Description) -> tuple[Contradiction, ...]:
    """Where a person's words disagree with the outline, in the order number, size, location.

    Words that are not in the vocabulary are left alone, and so are shape and colour, which are opinions. The target
    is never looked at: in "left lung", left is the patient's side.

    - number: another count. "many" disagrees with fewer than three, and a number above ten agrees with "many".
    - size: some size said fits no part, nor all parts together, even when its range is 25 % wider on either side.
    - location: some place said is opposite, from side to side or from top to bottom, to every place seen.

    Parameters
    ----------
    said : Attributes
        What was written; several sizes or places are joined by ", ".
    seen : Description
        From `describe`; the locations of `describe_reference` are biased to the right.

    Returns
    -------
    tuple of Contradiction
        Empty when nothing disagrees.
    """
    outline = "the outline has one part" if seen.number == "one" else f"the outline has {seen.number} parts"
    found = {
        "number": (_wrong_number(said.number.lower(), seen.number), outline if seen.parts else "nothing is outlined"),
        "size": (
            _wrong_size(said.size, seen),
            f"the outline is {_and(seen.size)} ({_percent(seen.fraction)} of the image)",
        ),
        "location": (
            _wrong_place(said.location, seen.location),
            f"the outline is {_where(seen.location)} of the image",
        ),
    }
    return tuple(
        Contradiction(name, getattr(said, name), getattr(seen, name), f"You wrote {getattr(said, name)}; {sentence}.")
        for name, (wrong, sentence) in found.items()
        if wrong
    )


def _wrong_number(said: str, seen: str) -> bool:
    if said == MANY:
        return seen != MANY and _COUNTS[seen] < _FEWEST_MANY
    if said not in _COUNTS:
        return False
    return _COUNTS[said] <= _COUNTED if seen == MANY else said != seen


def _wrong_size(said: str, seen: Description) -> bool:
    ranges = [_SIZE_RANGES[word] for word in _listed(said) if word in _SIZE_RANGES]
    areas = {seen.fraction, *seen.parts}
    return bool(seen.size) and any(
        not any(low * (1 - _SIZE_MARGIN) <= area <= high * (1 + _SIZE_MARGIN) for area in areas) for low, high in ranges
    )


def _wrong_place(said: str, seen: str) -> bool:
    places = [_PLACES[word] for word in _listed(seen)]
    wanted = [_PLACES[word] for word in _listed(said) if word in _PLACES]
    # Cells two apart on an axis are opposite.
    return bool(places) and any(all(abs(row - r) == 2 or abs(col - c) == 2 for r, c in places) for row, col in wanted)


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.lower().split(",") if word.strip()]


def _where(location: str) -> str:
    return _and(", ".join(f"{_PREPOSITIONS.get(place, 'in the')} {place}" for place in _listed(location)))


def _and(words: str) -> str:
    return " and ".join(words.rsplit(", ", 1))


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    if percent < 0.01:
        return "less than 0.01 %"
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"
