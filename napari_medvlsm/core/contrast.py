"""A colour for an outline that can be told from the scan beneath."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import skimage

from napari_medvlsm.core.images import AnyArray, to_unit_rgb

# Bright, far apart, and none that a person who confuses red and green takes for another; the first is preferred.
OUTLINE_COLORS = ("#ffe14d", "#00e5ff", "#ff4df0", "#7dff5a", "#ffffff")
# The colour of each pixel in this many rows and columns of the scan is asked.
_SAMPLES = 48
# A share of the scan that the colour may come close to.
_UNLIKE_ALL_BUT = 10.0


def outline_color(pixels: AnyArray, taken: Collection[str] = (), colors: Sequence[str] = OUTLINE_COLORS) -> str:
    """The colour that differs most from a scan.

    Parameters
    ----------
    pixels : array of shape (H, W) or (H, W, C)
        See `Scan.pixels`.
    taken : collection of str
        Colours of other outlines, which are not chosen as long as there are others.
    colors : sequence of str
        To choose from, as "#rrggbb".

    Returns
    -------
    str
        That with the largest distance in CIELAB to nine tenths of the scan; the first of equal ones.
    """
    strides = [max(1, n // _SAMPLES) for n in pixels.shape[:2]]
    seen = skimage.color.rgb2lab(to_unit_rgb(np.ascontiguousarray(pixels[:: strides[0], :: strides[1]])).reshape(-1, 3))
    free = [color for color in colors if color not in taken] or list(colors)
    values = skimage.color.rgb2lab(np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in free]))
    apart = np.linalg.norm(seen[:, None] - values[None], axis=-1)
    return free[int(np.percentile(apart, _UNLIKE_ALL_BUT, axis=0).argmax())]
