"""Whether a scan shows what was asked for: a score of the probability map, held against a threshold of the card."""

from __future__ import annotations

import numpy as np

from napari_medvlsm.core.masks import Bytes

# The most probable pixels, of all, whose mean is the score: as many as a small target has, not a single one.
HIGHEST_FRACTION = 0.002


def presence_score(probability: Bytes) -> float:
    """Mean of the highest probabilities of a map (H, W) in bytes, in [0, 1]: near 0 where nothing was found."""
    values = probability.ravel()
    count = max(1, round(HIGHEST_FRACTION * values.size))
    highest = np.partition(values, values.size - count)[values.size - count :]
    return float(highest.mean()) / 255
