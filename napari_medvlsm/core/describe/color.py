"""One word for the colour of the pixels under a mask."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from napari_medvlsm.core.describe.components import Array, Bool, Box
from napari_medvlsm.core.images import to_unit_rgb

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
# Whether a scan has colour is looked up on about this many pixels along its shorter side.
_SCAN_SIDE = 128


def color_word(image: Array, foreground: Bool, box: Box) -> str:
    """The name nearest to the median colour under the mask (H, W) with bounding box `box`; empty for grey scans."""
    # Here, not above: the window opens without it.
    from skimage.color import rgb2lab

    if image.ndim == 2 or image.shape[2] < 3:
        return ""
    # One more pixel on each side: `Scan` refuses a single row or column.
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


def _has_color(image: Array) -> bool:
    step = max(1, min(image.shape[:2]) // _SCAN_SIDE)
    spread = np.ptp(to_unit_rgb(image[::step, ::step]), axis=2)
    return bool(np.mean(spread > _COLOURED) > _COLOURED_SHARE)


@cache
def _anchors(neutral: bool) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Names (n,) and their CIELAB colours (n, 3), for neutral colours or for the others."""
    # Here, not above: the window opens without it.
    from skimage.color import rgb2lab

    pairs = [(name, css) for name, values in _COLORS.items() for css in values if (name in _NEUTRALS) == neutral]
    rgb = np.array([ImageColor.getrgb(css) for _, css in pairs]) / 255
    return tuple(name for name, _ in pairs), rgb2lab(rgb)
