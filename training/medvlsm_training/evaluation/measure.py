"""Scores of a model's predictions, case by case, at the model's size and at the scan's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from medvlsm_training.config import INTERFACE
from medvlsm_training.evaluation.data import DataSet, EvaluationCase
from medvlsm_training.evaluation.prompts import EvaluationPrompt, EvaluationPrompts, evaluation_prompts
from napari_medvlsm.core import metrics, surface_metrics
from napari_medvlsm.core.calibration import Calibration
from napari_medvlsm.core.datasets.items import Mask
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.inference import Prediction, Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.masks import Bytes, binarize
from napari_medvlsm.core.prompts import Vocabulary
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import MODEL, ORIGINAL, TOLERANCE, Measurements, Score
from napari_medvlsm.core.upsampling import to_scan_size


def measure(
    segmenter: Segmenter,
    data: DataSet,
    prompts: EvaluationPrompts,
    vocabulary: Vocabulary,
    threshold: float,
    tolerance: float = TOLERANCE,
    progress: Callable[[Iterable[EvaluationCase]], Iterable[EvaluationCase]] = iter,
) -> Measurements:
    """Evaluate a model on every case of a data set.

    Parameters
    ----------
    segmenter : Segmenter
    data : DataSet
    prompts : EvaluationPrompts
    vocabulary : Vocabulary
    threshold : float
        One that was chosen elsewhere than on these cases.
    tolerance : float
        Of the normalised surface distance, in mm where the spacing is known, else in pixels.
    progress : callable, optional
        Wraps the cases, for a progress bar.

    Raises
    ------
    ValueError
        If an image cannot be read, or a mask has another size than its image.
    """
    measured = Measurements()
    for answer in answers(segmenter, data, prompts, vocabulary, progress):
        for view in _views(answer, segmenter.model.image_size):
            measured.scores.append(_score(data, answer, prompts.wording, view, threshold, tolerance))
            # Compared with the mask of something else, probabilities are neither right nor wrong.
            if answer.prompt.kind is not PromptKind.OTHER:
                key = (data.name, answer.prompt.kind.value, answer.prompt.level, view.size)
                measured.calibration.setdefault(key, Calibration()).add(view.probability, view.truth)
    return measured


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer to one prompt about a case; `truth` (H, W) is what should be outlined."""

    case: EvaluationCase
    prompt: EvaluationPrompt
    scan: Scan
    truth: Mask
    prediction: Prediction


def answers(
    segmenter: Segmenter,
    data: DataSet,
    prompts: EvaluationPrompts,
    vocabulary: Vocabulary,
    progress: Callable[[Iterable[EvaluationCase]], Iterable[EvaluationCase]] = iter,
) -> Iterator[Answer]:
    """Predict every prompt of every case; parameters and errors as those of `measure`."""
    shown = {kind: data.shown(kind) for kind in {case.modality for case in data.cases}}
    for case in progress(data.cases):
        scan, truth = read_scan(case.image), case.load_mask()
        if scan.size != truth.shape:
            raise ValueError(f"{case.image.name} has {scan.size} pixels (rows, columns), its mask {truth.shape}.")
        asked = evaluation_prompts(case, truth, prompts, vocabulary, data.paper_dataset, shown[case.modality])
        if not asked:
            continue
        segmenter.set_image(scan)
        for prompt, made in zip(asked, segmenter.segment([q.text for q in asked]), strict=True):
            yield Answer(case, prompt, scan, np.zeros_like(truth) if prompt.absent else truth, made)


@dataclass(frozen=True, eq=False)
class _View:
    """An answer and the truth on one grid of pixels."""

    size: str
    probability: Bytes
    truth: Mask
    spacing: tuple[float, float] | None


def _views(answer: Answer, side: int) -> list[_View]:
    scan, truth, made, spacing = answer.scan, answer.truth, answer.prediction, answer.scan.spacing
    views = [_View(ORIGINAL, made.probability, truth, spacing)]
    if made.logits is not None:
        small = to_scan_size(torch.from_numpy(made.logits), (side, side))
        squashed = spacing and (spacing[0] * scan.size[0] / side, spacing[1] * scan.size[1] / side)
        views.append(_View(MODEL, small, nearest(truth, side), squashed))
    return views


def nearest(mask: Mask, side: int) -> Mask:
    """A mask squashed to (side, side) by nearest neighbour."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)) > 0


def _score(data: DataSet, answer: Answer, wording: str, view: _View, threshold: float, tolerance: float) -> Score:
    case, prompt, label = answer.case, answer.prompt, data.label(answer.case)
    predicted, truth, spacing = binarize(view.probability, threshold), view.truth, view.spacing or (1.0, 1.0)
    hd95, nsd = surface_metrics.surface_scores(predicted, truth, tolerance, spacing)
    return Score(
        set=data.name,
        split=data.split,
        case=label.case,
        image=label.image,
        group=label.group,
        target=prompt.absent or case.target,
        kind=prompt.kind.value,
        level=prompt.level,
        wording=wording if data.paper_dataset and not prompt.kind.several else INTERFACE,
        prompt=prompt.text,
        size=view.size,
        present=bool(truth.any()),
        dice=metrics.dice(predicted, truth),
        iou=metrics.iou(predicted, truth),
        precision=metrics.precision(predicted, truth),
        recall=metrics.recall(predicted, truth),
        hd95=hd95,
        nsd=nsd,
        unit="mm" if view.spacing else "px",
        predicted_fraction=float(predicted.mean()),
    )
