"""The decision threshold, chosen on validation cases: never on what is then measured with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from medvlsm_training.config import INTERFACE
from medvlsm_training.evaluation.data import DataSet
from medvlsm_training.evaluation.measure import answers
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.prompts import Vocabulary

THRESHOLDS: tuple[float, ...] = tuple(np.round(np.arange(0.2, 0.81, 0.05), 2).tolist())

# Dice by which a threshold must be better than another to be chosen before one nearer to the base's.
NEARLY = 0.01

# Dice by threshold and target.
Sweep = Mapping[float, Mapping[str, Sequence[float]]]


def sweep(
    segmenter: Segmenter,
    sets: Sequence[DataSet],
    vocabulary: Vocabulary,
    thresholds: Sequence[float] = THRESHOLDS,
    wording: str = INTERFACE,
) -> Sweep:
    """Dice of the answers to class names at the images' own size, at each threshold."""
    found: dict[float, dict[str, list[float]]] = {value: defaultdict(list) for value in thresholds}
    for data in sets:
        for answer in answers(segmenter, data, EvaluationPrompts(wording=wording), vocabulary):
            for value in thresholds:
                found[value][answer.case.target].append(dice(answer.prediction.mask(value), answer.truth))
    return found


def choose_threshold(found: Sweep, base: float | None = None) -> float:
    """The threshold with the best Dice, averaged over targets: many scans of one kind do not decide for all.

    Of those that are nearly as good (`NEARLY`), the one nearest to that of the `base` that was trained further: a few
    validation scans hardly tell thresholds apart.
    """
    means = {value: float(np.mean([np.mean(scores) for scores in found[value].values()])) for value in found}
    best = max(means, key=lambda value: means[value])
    if base is None:
        return best
    return min((v for v in means if means[v] >= means[best] - NEARLY), key=lambda value: abs(value - base))
