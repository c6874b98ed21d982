"""Prompt effect: how much the words of a prompt change the mask. Imports no torch.

A mask that does not change with the prompt depends on the image alone: then neither the prompt nor the agreement
between wordings says anything about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.images import Scan, resize
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.prompts import Prompt, Vocabulary
from napari_medvlsm.core.prompts.variants import Contrast, contrasts
from napari_medvlsm.core.prompts.vocabulary import Trained

# Longest side, in pixels, at which wordings are compared: the model's own resolution hardly exceeds it.
COMPARE_SIDE = 256
# Changes (1 - Dice) up to these are called "hardly" and "a little", and from the last on "another one"; a convention of
# this project.
HARDLY, LITTLE, ELSEWHERE = 0.05, 0.25, 0.9


@dataclass(frozen=True)
class Effect:
    """How much each contrast changes the mask of the user's own prompt.

    Attributes
    ----------
    changes : mapping of Contrast to float
        1 - Dice between the mask of the contrast and that of the user's prompt: 0 for equal masks, 1 for disjoint ones.
        Empty where the user's prompt gives an empty mask.
    drawn : frozenset of Contrast
        Those whose mask is not empty.
    """

    changes: Mapping[Contrast, float]
    drawn: frozenset[Contrast] = frozenset()

    @property
    def verdict(self) -> str:
        """One sentence for the clinician."""
        if not self.changes:
            return "Nothing is outlined, so there is no effect of the words to show."
        if Contrast.OTHER_TARGET not in self.changes:
            how = self._how(self.changes.get(Contrast.EMPTY, 1.0))
            return f"Without words the model draws {how}; whether the name counts is not known."
        name = self.changes[Contrast.OTHER_TARGET]
        if name <= LITTLE:
            count = "hardly count" if name <= HARDLY else "count only a little"
            return f"The words {count} here: asked for something else, the model draws {self._how(name)}."
        described = (Contrast.WRONG_SIDE, Contrast.WRONG_SIZE, Contrast.CLASS_ONLY)
        found = [self.changes[c] for c in described if c in self.changes]
        if not found:
            return "The name steers this outline."
        if max(found) <= HARDLY:
            return "The name steers this outline; describing words hardly change it."
        if self.changes.get(Contrast.WRONG_SIDE, 0.0) >= ELSEWHERE:
            how = "picks another one" if Contrast.WRONG_SIDE in self.drawn else "outlines nothing"
            return f"The name steers this outline, and so does the place: the opposite side {how}."
        how = "change it a little" if max(found) <= LITTLE else "steer it too"
        return f"The name steers this outline; describing words {how}."

    @staticmethod
    def _how(change: float) -> str:
        return "the same" if change <= HARDLY else "much the same" if change <= LITTLE else "something else"

    @property
    def steered(self) -> bool:
        """Whether the target's name is known to matter: prompted for another target, the model gives another mask.

        With an empty prompt many models segment the most salient object; that says nothing about the name.
        """
        return self.changes.get(Contrast.OTHER_TARGET, 0.0) > LITTLE


def effect(masks: Mapping[Contrast, Mask]) -> Effect:
    """The effect from the masks of a person's words (`Contrast.YOURS`) and of their contrasts, all (H, W)."""
    yours = masks[Contrast.YOURS]
    if not yours.any():
        return Effect({})
    changes: dict[Contrast, float] = {c: 1 - dice(yours, mask) for c, mask in masks.items() if c is not Contrast.YOURS}
    return Effect(changes, frozenset(c for c in changes if masks[c].any()))


def agreement(masks: Sequence[Mask]) -> float:
    """Mean Dice over all pairs of masks, 1 for a single one: the agreement between several wordings."""
    pairs = list(combinations(masks, 2))
    return float(np.mean([dice(a, b) for a, b in pairs])) if pairs else 1.0


def compare_size(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, cols) at which wordings are compared: the scan's shape, its longest side at most `COMPARE_SIDE`."""
    scale = min(1.0, COMPARE_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class PredictionLike(Protocol):
    """An answer to one prompt: `core.inference.Prediction`."""

    def mask(self) -> Mask:
        """The binary mask (H, W)."""


class SegmenterLike(Protocol):
    """The part of `core.inference.Segmenter` that is used here, so that this module needs no torch."""

    @property
    def card(self) -> Trained:
        """What the model was trained on."""

    def set_image(self, image: Scan) -> str:
        """Encode a scan."""

    def segment(self, prompts: list[str], *, size: tuple[int, int]) -> Sequence[PredictionLike]:
        """One answer for each prompt, at `size` (rows, cols)."""


@dataclass(frozen=True, eq=False)
class EffectCase:
    """One scan with a prompt.

    `truth` is the true mask (H, W) of the scan's size, where it is known; `also` are other texts to compare, by what
    they are.
    """

    scan: Scan
    prompt: Prompt
    truth: Mask | None = None
    also: Mapping[str, str] = field(default_factory=dict)


def measure(segmenter: SegmenterLike, cases: Iterable[EffectCase], vocabulary: Vocabulary) -> dict[str, Any]:
    """The prompt effect of a model over a set of scans, for its card.

    Parameters
    ----------
    segmenter : SegmenterLike
    cases : iterable of EffectCase
    vocabulary : Vocabulary

    Returns
    -------
    dict
        "cases": scans read; "outlined": those on which the prompt outlined something, over which changes are taken;
        "contrasts": for each contrast its "cases", the mean "change" (1 - Dice with the outline of the prompt) and,
        over the "dice_cases" scans whose truth shows the target, the mean "dice" with the truth and the mean "margin"
        by which the prompt's own is better on the same scans, at the comparison's size. Not every prompt allows every
        contrast: a target in the center has no opposite side.

    Raises
    ------
    ValueError
        If there are no cases.
    """
    changes: dict[str, list[float]] = {}
    truths: dict[str, list[float]] = {}
    margins: dict[str, list[float]] = {}
    count = outlined = 0
    for case in cases:
        count += 1
        size = compare_size(case.scan.size)
        segmenter.set_image(case.scan)
        (own,) = segmenter.segment([case.prompt.text], size=size)
        yours = own.mask()
        variants = contrasts(case.prompt, describe(yours, suggest=False).measured, vocabulary, segmenter.card.targets)
        texts = {v.contrast.value: v.prompt.text for v in variants} | dict(case.also)
        answers = segmenter.segment(list(texts.values()), size=size)
        masks = {what: answer.mask() for what, answer in zip(texts, answers, strict=True)}
        if yours.any():
            outlined += 1
            for what, mask in masks.items():
                if what != Contrast.YOURS.value:
                    changes.setdefault(what, []).append(1 - dice(yours, mask))
        if case.truth is not None and case.truth.any():
            true = resize(case.truth.astype(np.float32), size) > 0.5
            right = dice(yours, true)
            for what, mask in masks.items():
                truths.setdefault(what, []).append(dice(mask, true))
                margins.setdefault(what, []).append(right - truths[what][-1])
    if not count:
        raise ValueError("There are no scans to measure the prompt effect on.")
    rows = {}
    for what in dict.fromkeys([*(c.value for c in Contrast), *changes, *truths]):
        row: dict[str, float] = {}
        if what in changes:
            row |= {"cases": len(changes[what]), "change": round(float(np.mean(changes[what])), 4)}
        if what in truths:
            row |= {"dice": round(float(np.mean(truths[what])), 4), "dice_cases": len(truths[what])}
            if what != Contrast.YOURS.value:
                row["margin"] = round(float(np.mean(margins[what])), 4)
        if row:
            rows[what] = row
    return {"cases": count, "outlined": outlined, "contrasts": rows}
