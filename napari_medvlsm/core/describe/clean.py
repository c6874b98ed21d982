"""The clean rule, of the interface and of training."""

from __future__ import annotations

import numpy as np
import scipy

from napari_medvlsm.core.describe.color import color_word
from napari_medvlsm.core.describe.components import Array, Bool, Box, areas_of, list_sizes, plane
from napari_medvlsm.core.describe.description import CELLS, COUNTED, CRUMB_FRACTION, MANY, PARTS, Description
from napari_medvlsm.core.describe.shape import shape_word
from napari_medvlsm.core.masks import SPECK_FRACTION, bounding_box
from napari_medvlsm.core.prompts.english import number_word


def describe(
    mask: Array, image: Array | None = None, spacing: tuple[float, float] | None = None, *, suggest: bool = True
) -> Description:
    """Describe a mask as the interface and the training do.

    Parameters
    ----------
    mask : array of shape (H, W)
        Foreground is anything above zero. Components are 4-connected; those of at most 0.01 % of the image,
        or of 2 % of the largest, are ignored unless there is nothing else.
    image : array of shape (H, W) or (H, W, C), optional
        The scan, as in `images.Scan.pixels`; colour is suggested where it has colour.
    spacing : (float, float), optional
        Size of a pixel as (row, col), in any unit; only their ratio matters, and only to the shape.
    suggest : bool
        Whether shape and colour are looked for too, which takes most of the time; else they are empty.

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
    mask = plane(mask)
    if image is not None and image.shape[:2] != mask.shape:
        raise ValueError(f"Mask and image must have one size, but have shapes {mask.shape} and {image.shape}.")
    foreground = mask if mask.dtype == bool else mask > 0
    box = bounding_box(foreground)
    if box is None:
        return Description(number_word(0))
    labels, count = scipy.ndimage.label(foreground[box])
    areas = areas_of(labels, count)
    kept = np.flatnonzero(areas > max(SPECK_FRACTION * mask.size, CRUMB_FRACTION * areas.max()))
    if kept.size == 0:
        kept = np.arange(count)
    kept = kept[np.argsort(-areas[kept], kind="stable")]
    fractions = areas[kept] / mask.size
    boxes = scipy.ndimage.find_objects(labels)
    parts = [(labels[boxes[i]] == i + 1, boxes[i]) for i in kept[:PARTS]]
    return Description(
        number=number_word(kept.size) if kept.size <= COUNTED else MANY,
        size=list_sizes(fractions),
        location=", ".join(CELLS[r][c] for r, c in sorted({_cell(p, b, box, mask.shape) for p, b in parts})),
        shape=shape_word(parts[0][0], spacing or (1.0, 1.0)) if suggest else "",
        color=color_word(image, foreground, box) if suggest and image is not None else "",
        fraction=int(areas[kept].sum()) / mask.size,
        parts=tuple(float(f) for f in fractions[:PARTS]),
    )


def _cell(part: Bool, box: Box, outer: Box, shape: tuple[int, ...]) -> tuple[int, int]:
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
