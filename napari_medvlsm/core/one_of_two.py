"""Does the place in a prompt pick the right one of two? Two scans side by side, each with one lesion. Imports no torch.

On a scan with one lesion a model need not read the place to find it; between two, the place is the only way to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medvlsm.core.effect import EffectCase, SegmenterLike
from napari_medvlsm.core.images import Scan, resize, to_unit_rgb
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build

# Rows of a pair: more than most models see.
_ROWS = 384


@dataclass(frozen=True, eq=False)
class Pair:
    """Two scans side by side.

    Attributes
    ----------
    scan : Scan
        Pixels (H, W, 3), 8 bit.
    target : str
        What both show.
    left, right : mask (H, W)
        Where each is.
    """

    scan: Scan
    target: str
    left: Mask
    right: Mask


def join(left: Scan, right: Scan) -> Scan:
    """Two scans side by side, of one height (384 rows), as one with three channels of 8 bits."""
    halves = [resize(to_unit_rgb(scan.pixels), _half(scan)) for scan in (left, right)]
    return Scan(np.rint(255 * np.concatenate(halves, axis=1)).astype(np.uint8))


def side_by_side(cases: Sequence[EffectCase], vocabulary: Vocabulary, count: int, seed: int = 7) -> list[Pair]:
    """`count` pairs of different scans that show the same target, drawn by seed.

    Targets that have a left and a right of their own are left out, and scans whose truth is not known or empty.
    """
    usable = [case for case in cases if case.truth is not None and case.truth.any()]
    usable = [case for case in usable if not vocabulary.target(case.prompt.attributes.target).lateralised]
    targets = [case.prompt.attributes.target for case in usable]
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = []
    for _ in range(10 * count):
        if len(pairs) == count or len(usable) < 2:
            break
        first, second = (int(i) for i in rng.choice(len(usable), 2, replace=False))
        if targets[first] == targets[second]:
            pairs.append(_pair(usable[first], usable[second]))
    return pairs


def pick_one_of_two(segmenter: SegmenterLike, pairs: Iterable[Pair], vocabulary: Vocabulary) -> dict[str, Any]:
    """How often the place finds the right one.

    Returns
    -------
    dict
        "cases": pairs; "picked": how often, of twice as many questions, the outline has a higher Dice with the one that
        was asked for than with the other (chance: 0.5; nothing outlined counts as wrong); "dice": mean Dice with the
        one that was asked for.

    Raises
    ------
    ValueError
        If there are no pairs.
    """
    right: list[float] = []
    wrong: list[float] = []
    for pair in pairs:
        segmenter.set_image(pair.scan)
        asked = [build(Attributes(pair.target, location=side), vocabulary).text for side in ("left", "right")]
        answers = [answer.mask() for answer in segmenter.segment(asked, size=pair.scan.size)]
        for mask, one, other in zip(answers, (pair.left, pair.right), (pair.right, pair.left), strict=True):
            right.append(dice(mask, one))
            wrong.append(dice(mask, other))
    if not right:
        raise ValueError("There are no two scans with the same target to put side by side.")
    picked = float(np.mean([a > b for a, b in zip(right, wrong, strict=True)]))
    return {"cases": len(right) // 2, "picked": round(picked, 4), "dice": round(float(np.mean(right)), 4)}


def _pair(first: EffectCase, second: EffectCase) -> Pair:
    masks = [resize(_truth(case).astype(np.float32), _half(case.scan)) > 0.5 for case in (first, second)]
    left = np.concatenate([masks[0], np.zeros_like(masks[1])], axis=1)
    right = np.concatenate([np.zeros_like(masks[0]), masks[1]], axis=1)
    return Pair(join(first.scan, second.scan), first.prompt.attributes.target, left, right)


def _half(scan: Scan) -> tuple[int, int]:
    rows, cols = scan.size
    return _ROWS, max(1, round(cols * _ROWS / rows))


def _truth(case: EffectCase) -> Mask:
    assert case.truth is not None, "only cases with a truth are paired"
    return case.truth
