"""The paper's rule: number, size and location as its annotation code reads them, quirks included."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy

from napari_medvlsm.core.describe.components import Array, Bool, Box, areas_of, list_sizes, plane
from napari_medvlsm.core.describe.description import CELLS, MANY, NAMED, PARTS, Description
from napari_medvlsm.core.masks import SPECK_FRACTION
from napari_medvlsm.core.prompts.english import number_word


def describe_upstream(mask: Array) -> Description:
    """Number, size and location by the rules of the paper's annotation code.

    Every component counts, specks too. For x the location compares the centre of the bounding box with thirds of
    the image *height*, so wide images say "right" too often; this is what the published prompts do.

    Parameters
    ----------
    mask : array of shape (H, W)
        Grey masks are binarised at 127.5; where nothing is above 1 (0 and 1, or probabilities) at 0.5; bool as it is.

    Returns
    -------
    Description
        `number` in words (upstream goes to "nineteen"), "many" above 999; `size` lists the distinct sizes from tiny
        to large, components of at most 0.01 % of the image give none; `location` has one place per component, in the
        order of their first pixels row by row. No shape, no colour.
    """
    mask = plane(mask)
    if mask.dtype == bool:
        foreground, full = mask, mask
    else:
        grey = bool(mask.max() > 1)
        foreground = mask > (127.5 if grey else 0.5)
        # Upstream counts pixels of exactly 255. JPEG specks have none.
        full = mask >= 255 if grey else foreground
    labels, count = scipy.ndimage.label(foreground)
    if count == 0:
        return Description(number_word(0))
    areas = areas_of(labels, count)
    fractions = areas / mask.size
    boxes = scipy.ndimage.find_objects(labels)
    return Description(
        number=number_word(count) if count <= NAMED else MANY,
        size=list_sizes(f for f in fractions if f > SPECK_FRACTION),
        location=", ".join(
            _upstream_place(labels[box] == i, full[box], box, mask.shape) for i, box in enumerate(boxes, 1)
        ),
        fraction=int(areas.sum()) / mask.size,
        parts=tuple(float(f) for f in np.sort(fractions)[::-1][:PARTS]),
    )


def _upstream_place(part: Bool, full: Bool, box: Box, shape: tuple[int, ...]) -> str:
    """The cell of one component, all of `part` and `full` cut out at `box`; `shape` (H, W) is the image's."""
    white = part & full
    total = np.count_nonzero(white)
    if total == 0:
        return CELLS[0][0]
    (top, left), (height, width) = (box[0].start, box[1].start), shape
    row_cuts = np.clip(np.array([0, int(height / 3), int(2 * height / 3), height]) - top, 0, None)
    col_cuts = np.clip(np.array([0, int(width / 3), int(2 * width / 3), width]) - left, 0, None)
    counts = [np.count_nonzero(white[r0:r1, c0:c1]) for r0, r1 in pairwise(row_cuts) for c0, c1 in pairwise(col_cuts)]
    share = np.array(counts) / total
    for filled in (share > 0, share >= 0.1):
        if np.count_nonzero(filled) == 1:
            return CELLS[int(filled.argmax()) // 3][int(filled.argmax()) % 3]
    # Centre between the first and the last pixel; thirds of the height serve x as well.
    y, x = (top + box[0].stop - 1) / 2, (left + box[1].stop - 1) / 2
    return CELLS[_third(y, height)][_third(x, height)]


def _third(position: float, length: int) -> int:
    if position < int(length / 3):
        return 0
    return 1 if position <= int(2 * length / 3) else 2
