"""From the model's own resolution to the scan's, and rectangles on either. Imports torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_medvlsm.core.masks import Bytes, quantise
from napari_medvlsm.core.options import Region

# Pixels brought to the scan's own size at once: bounds the memory for very large scans.
_STRIP_PIXELS = 2**20


def to_scan_size(logits: Tensor, size: tuple[int, int]) -> Bytes:
    """Logits (L, L) to probabilities as bytes at `size` (rows, cols): bilinear, a strip of rows at a time."""
    rows, cols = size
    side = logits.shape[0]
    result = np.empty(size, np.uint8)
    step = max(1, _STRIP_PIXELS // cols)
    wide = functional.interpolate(logits[None, None].float(), size=(side, cols), mode="bilinear")[0, 0]
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        # Source position of each row, as in interpolate(align_corners=False).
        position = ((torch.arange(start, stop, device=wide.device) + 0.5) * (side / rows) - 0.5).clamp(0, side - 1)
        low = position.floor().long()
        weight = (position - low)[:, None]
        high = (low + 1).clamp(max=side - 1)
        strip = wide[low] * (1 - weight) + wide[high] * weight
        result[start:stop] = quantise(torch.sigmoid(strip).cpu().numpy())
    return result


def scaled(region: Region, size: tuple[int, int], to: tuple[int, int]) -> Region:
    """A rectangle of a plane of one size (rows, cols) on a plane of another: at least one pixel."""
    row0, col0 = (min(round(region[i] * to[i] / size[i]), to[i] - 1) for i in (0, 1))
    row1, col1 = (round(region[i + 2] * to[i] / size[i]) for i in (0, 1))
    return row0, col0, max(row1, row0 + 1), max(col1, col0 + 1)


def within(part: Bytes, box: Region, size: tuple[int, int]) -> Bytes:
    """A plane of `size` (rows, cols) that is 0 outside the box and `part` in it."""
    if part.shape == size:
        return part
    plane = np.zeros(size, np.uint8)
    plane[box[0] : box[2], box[1] : box[3]] = part
    return plane
