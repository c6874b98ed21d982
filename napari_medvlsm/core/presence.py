"""Whether a scan shows what was asked for: a score of the probability map, held against a threshold of the card."""

from __future__ import annotations

from math import isqrt

import numpy as np

from napari_medvlsm.core.masks import Bytes
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.options import SegmentOptions

# The most probable pixels, of all, whose mean is the score: as many as a small target has, not a single one.
HIGHEST_FRACTION = 0.002
# Pixels that are looked at: of larger maps, which are smooth since models see scans smaller, every second, third ...
_ENOUGH = 2**20


def presence_score(probability: Bytes) -> float:
    """Mean of the highest probabilities of a map (H, W) in bytes, in [0, 1]: near 0 where nothing was found."""
    step = max(1, isqrt(probability.size // _ENOUGH))
    values = probability[::step, ::step].ravel()
    count = max(1, round(HIGHEST_FRACTION * values.size))
    highest = np.partition(values, values.size - count)[values.size - count :]
    return float(highest.mean()) / 255


def probably_absent(probability: Bytes, card: ModelCard, options: SegmentOptions) -> bool:
    """Whether the scan of a map (H, W) in bytes probably does not show what was asked for.

    Only of maps of the whole scan at once, on which the card's threshold was chosen.
    """
    return card.presence > 0 and options.whole and presence_score(probability) < card.presence
