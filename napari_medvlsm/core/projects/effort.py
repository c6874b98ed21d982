"""What an outline cost a person: how far it is from the prediction that it began from."""

from __future__ import annotations

import numpy as np

from napari_medvlsm.core import metrics
from napari_medvlsm.core.annotation import Annotation


def distance(annotation: Annotation) -> tuple[int, float | None]:
    """(pixels that a person changed, Dice between prediction and mask).

    Without a prediction all of the foreground was drawn by the person, and there is no Dice.
    """
    if annotation.prediction is None:
        return int(np.count_nonzero(annotation.mask)), None
    changed = int(np.count_nonzero(annotation.mask != annotation.prediction))
    return changed, 1.0 if not changed else metrics.dice(annotation.prediction, annotation.mask)
