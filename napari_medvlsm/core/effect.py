"""Prompt effect: how much the words of a prompt change the outline. No torch is imported here.

An answer that stays the same whatever is asked comes from the picture alone; then neither the words nor the
agreement between wordings can be relied on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.prompts.variants import Contrast

# Longest side, in pixels, at which wordings are compared: the model's own resolution hardly exceeds it.
COMPARE_SIDE = 256
# Changes (1 - Dice) up to these are called "hardly" and "a little"; a convention of this project.
HARDLY, LITTLE = 0.05, 0.25


@dataclass(frozen=True)
class Effect:
    """How much each contrast changes the outline that a person's own words give.

    Attributes
    ----------
    changes : mapping of Contrast to float
        1 - Dice between the outline of the contrast and that of the person's words: 0 the same, 1 nothing shared.
        Empty where the person's words outline nothing.
    """

    changes: Mapping[Contrast, float]

    @property
    def verdict(self) -> str:
        """One sentence for the clinician."""
        if not self.changes:
            return "Nothing is outlined, so there is no effect of the words to show."
        described = (Contrast.WRONG_SIDE, Contrast.WRONG_SIZE, Contrast.CLASS_ONLY)
        describing = max((self.changes[c] for c in described if c in self.changes), default=0.0)
        asked = "without words" if self._name is Contrast.EMPTY else "asked for something else"
        if self.changes[self._name] <= HARDLY:
            return f"The words hardly count here: {asked}, the model draws the same."
        if self.changes[self._name] <= LITTLE:
            return f"The words count only a little here: {asked}, the model draws much the same."
        if describing <= HARDLY:
            return "The name steers this outline; describing words hardly change it."
        how = "change it a little" if describing <= LITTLE else "steer it too"
        return f"The name steers this outline; describing words {how}."

    @property
    def steered(self) -> bool:
        """Whether the name of the target steers the outline."""
        return bool(self.changes) and self.changes[self._name] > LITTLE

    @property
    def _name(self) -> Contrast:
        """The contrast that tells whether the name counts.

        Without words many models draw what stands out, and rightly so; that tells less than asking for something else.
        """
        return Contrast.OTHER_TARGET if Contrast.OTHER_TARGET in self.changes else Contrast.EMPTY


def effect(masks: Mapping[Contrast, Mask]) -> Effect:
    """The effect from the masks of a person's words (`Contrast.YOURS`) and of their contrasts, all (H, W)."""
    yours = masks[Contrast.YOURS]
    if not yours.any():
        return Effect({})
    return Effect({c: 1 - dice(yours, mask) for c, mask in masks.items() if c is not Contrast.YOURS})


def agreement(masks: Sequence[Mask]) -> float:
    """Mean Dice over all pairs of masks, 1 for a single one: how far several wordings say the same."""
    pairs = list(combinations(masks, 2))
    return float(np.mean([dice(a, b) for a, b in pairs])) if pairs else 1.0


def compare_size(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, cols) at which wordings are compared: the scan's shape, its longest side at most `COMPARE_SIDE`."""
    scale = min(1.0, COMPARE_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
