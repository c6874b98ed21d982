"""Mosaics: two training images in one frame, where only the words tell which of two lesions is meant.

With a single lesion in an image, its place and size in words are redundant, and a model learns to pass over them. In a
mosaic the name means both lesions, and a sentence only the one that it fits: what a sentence says is read from that
one's mask as it stands in the frame, so it is true, and a sentence is made only where it does not fit the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_medvlsm.core.datasets.items import Mask
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build

# What tells two lesions of one frame apart, read from their masks.
DISTINGUISHING = ("location", "size")
# Width of the soft edge of a pasted lesion, of the side; and places that are tried for it.
_EDGE, _TRIES = 0.02, 20
# The smaller part of an uneven frame, of its whole length; and how often a frame is uneven.
_SMALLER, _UNEVEN = (0.3, 0.45), 0.5


@dataclass(frozen=True)
class Frame:
    """How two images share a square: side by side or one above the other, the first in its first `share`."""

    beside: bool
    share: float


@dataclass(frozen=True)
class Pasted:
    """An image (3, S, S) with a further lesion, and that one's mask (S, S)."""

    image: Tensor
    mask: Tensor


def sample_frame(rng: np.random.Generator) -> Frame:
    """A frame by chance: half of them uneven, for a large lesion beside a small one."""
    share = float(rng.uniform(*_SMALLER)) if rng.random() < _UNEVEN else 0.5
    return Frame(bool(rng.random() < 0.5), 1 - share if rng.random() < 0.5 else share)


def place_in_frame(first: Tensor, second: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Two stacks of planes (C, S, S) squeezed to their places in the frame; zero elsewhere, so their sum is both."""
    side = first.shape[-1]
    border = round(frame.share * side)
    axis = -1 if frame.beside else -2
    placed = []
    for planes, length, before in ((first, border, 0), (second, side - border, border)):
        size = (side, length) if frame.beside else (length, side)
        small = functional.interpolate(planes[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
        whole = torch.zeros_like(planes)
        whole.narrow(axis, before, length).copy_(small)
        placed.append(whole)
    return placed[0], placed[1]


def paste(image: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor, rng: np.random.Generator) -> Pasted | None:
    """Put another image's lesion into an image, beside its own, with a soft edge.

    Parameters
    ----------
    image, other : (3, S, S)
    mask, other_mask : bool (S, S)
    rng : Generator

    Returns
    -------
    Pasted or None
        The new image and where the lesion now lies; None where no place for it was found in some tries.
    """
    side = image.shape[-1]
    rows, cols = (torch.nonzero(other_mask.any(dim=axis))[:, 0] for axis in (1, 0))
    if not len(rows):
        return None
    edge = max(1, round(_EDGE * side))
    top, left = max(0, int(rows[0]) - edge), max(0, int(cols[0]) - edge)
    bottom, right = min(side, int(rows[-1]) + 1 + edge), min(side, int(cols[-1]) + 1 + edge)
    lesion = other_mask[top:bottom, left:right]
    soft = functional.avg_pool2d(lesion[None].float(), 2 * edge + 1, 1, edge, count_include_pad=False)[0]
    soft = torch.where(lesion, torch.ones_like(soft), (2 * soft).clamp(max=1))
    near = functional.max_pool2d(mask[None].float(), 2 * edge + 1, 1, edge)[0] > 0
    for _ in range(_TRIES):
        row = int(rng.integers(side - (bottom - top) + 1))
        col = int(rng.integers(side - (right - left) + 1))
        place = (slice(row, row + bottom - top), slice(col, col + right - left))
        if not (near[place] & (soft > 0)).any():
            pasted, where = image.clone(), torch.zeros_like(mask)
            pasted[(slice(None), *place)] = torch.lerp(
                image[(slice(None), *place)], other[:, top:bottom, left:right], soft
            )
            where[place] = lesion
            return Pasted(pasted, where)
    return None


def distinguishing(first: Mask, second: Mask) -> tuple[str, ...]:
    """Which of `DISTINGUISHING` fit only one of two masks (S, S): no word of the one fits the other."""
    seen = [describe(mask, suggest=False).measured for mask in (first, second)]
    if "zero" in (seen[0]["number"], seen[1]["number"]):
        return ()
    return tuple(name for name in DISTINGUISHING if _apart(*(facts[name].split(", ") for facts in seen)))


def sentence(
    target: str, mask: Mask, told: tuple[str, ...], vocabulary: Vocabulary, rng: np.random.Generator
) -> str | None:
    """A sentence that is true of a mask in its frame, with one or more of what tells it apart.

    None where the target's kind of scan has no words for that.
    """
    sayable = [name for name in told if name in vocabulary.family(target).attributes]
    if not sayable:
        return None
    facts = Attributes(target, **describe(mask, suggest=False).measured)
    kept = {sayable[int(rng.integers(len(sayable)))]}
    kept |= {name for name in sorted(facts.named()) if rng.random() < 0.4}
    return build(facts.only(frozenset(kept)), vocabulary).text


def _apart(ours: list[str], theirs: list[str]) -> bool:
    """Whether no word is another's, or holds it: "left" fits what lies at the "top left" too."""
    return not any({*a.split()} <= {*b.split()} or {*b.split()} <= {*a.split()} for a in ours for b in theirs)
