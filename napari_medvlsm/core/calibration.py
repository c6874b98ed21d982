"""Calibration of probabilities: of the pixels predicted with 70 %, are 70 % foreground? Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.masks import Bytes, Mask

BINS = 10
_LEVELS = 256


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability table: pixels with a probability between `low` and `high`."""

    low: float
    high: float
    pixels: int
    confidence: float
    frequency: float


@dataclass(eq=False)
class Calibration:
    """Pixels by the probability they were given, over any number of scans.

    Probabilities are bytes already, so that counting each of the 256 loses nothing.
    """

    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))
    true: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_LEVELS, np.int64))

    def add(self, probability: Bytes, truth: Mask) -> None:
        """Count a scan: its probabilities and true mask, both (H, W)."""
        self.pixels += np.bincount(probability.ravel(), minlength=_LEVELS)
        self.true += np.bincount(probability[truth], minlength=_LEVELS)

    def bins(self, count: int = BINS) -> list[Bin]:
        """The reliability table: `count` bins of equal width, those without pixels left out."""
        level = np.arange(_LEVELS) / (_LEVELS - 1)
        which = np.minimum((level * count).astype(int), count - 1)
        found = []
        for i in range(count):
            pixels = int(self.pixels[which == i].sum())
            if pixels:
                confidence = float((self.pixels * level)[which == i].sum()) / pixels
                frequency = int(self.true[which == i].sum()) / pixels
                found.append(Bin(i / count, (i + 1) / count, pixels, confidence, frequency))
        return found

    def expected_error(self, count: int = BINS) -> float:
        """The expected calibration error: |confidence - frequency| over the bins, each by its share of pixels."""
        total = max(1, int(self.pixels.sum()))
        return sum(b.pixels * abs(b.confidence - b.frequency) for b in self.bins(count)) / total
