"""Between a base and what was trained from it: the least change that validates as well.

Weights that lie between those of a base and of a model that was trained further from it make a model too, and one that
keeps more of what the base knew, also of patients that the few new scans do not show (WiSE-FT, Wortsman et al., CVPR
2022). Where the base knows nothing of a target, only all of the change validates well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from medvlsm_training.evaluation.data import DataSet
from medvlsm_training.evaluation.threshold import NEARLY, Sweep, choose_threshold, sweep
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.prompts import Vocabulary

# How much of the change is tried.
PARTS = (0.25, 0.5, 0.75, 1.0)


def least_change(
    segmenter: Segmenter,
    base: Mapping[str, Tensor],
    sets: Sequence[DataSet],
    vocabulary: Vocabulary,
    threshold: float,
    wording: str,
) -> tuple[float, float]:
    """Put the weights with the least change that validates nearly as well as the best (`NEARLY`) into a model.

    Parameters
    ----------
    segmenter : Segmenter
        Of the trained model.
    base : mapping of str to Tensor
        Weights of the base.
    sets : sequence of DataSet
        Of the validation.
    vocabulary : Vocabulary
    threshold : float
        The base's.
    wording : str
        Of the prompts.

    Returns
    -------
    (float, float)
        The part of the change that was kept, and the threshold.
    """
    trained = {name: tensor.detach().cpu().clone() for name, tensor in segmenter.model.state_dict().items()}
    found: dict[float, tuple[float, float]] = {}
    for part in PARTS:
        segmenter.model.load_state_dict(between(base, trained, part))
        segmenter.free_memory()
        swept = sweep(segmenter, sets, vocabulary, wording=wording)
        chosen = choose_threshold(swept, threshold)
        found[part] = chosen, _mean(swept, chosen)
    best = max(score for _, score in found.values())
    kept = next(part for part in PARTS if found[part][1] >= best - NEARLY)
    segmenter.model.load_state_dict(between(base, trained, kept))
    segmenter.free_memory()
    return kept, found[kept][0]


def between(base: Mapping[str, Tensor], trained: Mapping[str, Tensor], part: float) -> dict[str, Tensor]:
    """Weights at `part` (0 to 1) of the way from the base's to the trained ones; what is no number stays trained."""
    return {
        name: base[name].to(tensor).lerp(tensor, part) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }


def _mean(swept: Sweep, threshold: float) -> float:
    return float(np.mean([np.mean(scores) for scores in swept[threshold].values()]))
