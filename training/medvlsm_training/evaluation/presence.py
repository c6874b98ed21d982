"""Does a model know what is not there? Every trained target is asked for on every kind of scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medvlsm_training.evaluation.data import DataSet, EvaluationCase
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.presence import presence_score
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build

# What was asked: a target that is there; one that the set has and this scan has not; what such a scan cannot show; a
# trained target of another kind of scan.
PRESENT, EMPTY, SAME, OTHER = "present", "empty", "same modality", "other modality"
# At most this share of the present targets of the validation may fall below the threshold.
LOST = 0.01
# Above this share of the absent ones there is nothing to gain by a higher threshold.
_ENOUGH = 0.995


@dataclass(frozen=True)
class PresenceAnswer:
    """One answer: `outlined` is the fraction of the image above the model's threshold, `score` of `presence_score`."""

    set: str
    image: str
    asked: str
    what: str
    outlined: float
    score: float


def presence_answers(
    segmenter: Segmenter,
    sets: Sequence[DataSet],
    targets: Sequence[str],
    vocabulary: Vocabulary,
    threshold: float,
    progress: Callable[[Iterable[EvaluationCase]], Iterable[EvaluationCase]] = iter,
) -> list[PresenceAnswer]:
    """Ask every image for all `targets`, and for what such a scan cannot show.

    A target of the same kind of scan that has no mask is left out: nobody says whether it is there.
    """
    found = []
    for data in sets:
        shown = {kind: data.shown(kind) for kind in {case.modality for case in data.cases}}
        for case in progress([case for case in data.cases if case.first]):
            asked = _asked(case, targets, vocabulary, shown[case.modality])
            segmenter.set_image(read_scan(case.image))
            texts = [text for text, _, _ in asked]
            for (_, name, what), answer in zip(asked, segmenter.segment(texts), strict=True):
                outlined = float(answer.mask(threshold).mean())
                score = presence_score(answer.probability)
                found.append(PresenceAnswer(data.name, case.image.name, name, what, outlined, score))
    return found


def _asked(
    case: EvaluationCase, targets: Sequence[str], vocabulary: Vocabulary, shown: Collection[str]
) -> list[tuple[str, str, str]]:
    """Texts, what they name, and whether that is there; `shown` are the targets that such scans show."""
    asked = [
        (_text(own.target, vocabulary), own.target, PRESENT if own.load_mask().any() else EMPTY)
        for own in (case, *case.others)
    ]
    if case.modality not in vocabulary.modalities:  # nobody says what such a scan cannot show
        return asked
    called = vocabulary.called(shown)
    elsewhere = [t for t in targets if vocabulary.target(t).modality not in ("", case.modality)]
    others = [target for target in elsewhere if not vocabulary.called((target,)) & called]
    asked += [(_text(target, vocabulary), target, OTHER) for target in others]
    return asked + [(text, text, SAME) for text in vocabulary.cannot_show(case.modality, shown)]


def _text(target: str, vocabulary: Vocabulary) -> str:
    return build(Attributes(target), vocabulary, "p1").text


def choose_presence(found: Sequence[PresenceAnswer]) -> float:
    """The threshold of the score: as high as `LOST` allows, and no higher than what keeps out nearly all absent ones.

    0 where nothing absent or nothing present was asked for.
    """
    present = [answer.score for answer in found if answer.what == PRESENT]
    absent = [answer.score for answer in found if answer.what != PRESENT]
    if not present or not absent:
        return 0.0
    # One of the scores, and rounded down: between two of them, or rounded up, the lowest of a few would be lost.
    highest = float(np.quantile(present, LOST, method="lower"))
    enough = float(np.quantile(absent, _ENOUGH)) + 0.005
    return math.floor(1000 * min(highest, max(enough, 0.02))) / 1000
