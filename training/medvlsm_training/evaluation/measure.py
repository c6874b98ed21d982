"""A model's answers to numbers, case by case, at the model's size and at the scan's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from medvlsm_training.evaluation.data import Case, DataSet, Mask
from medvlsm_training.evaluation.questions import INTERFACE, Kind, Question, Wishes, questions
from napari_medvlsm.core import metrics, surface_metrics
from napari_medvlsm.core.calibration import Calibration
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.inference import Prediction, Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.masks import Bytes, cut
from napari_medvlsm.core.prompts import Vocabulary
from napari_medvlsm.core.upsampling import to_scan_size

# A mask on an absent target counts as drawn above this fraction of the image.
FALSE_POSITIVE_FRACTION = 0.01
TOLERANCE = 2.0
MODEL, ORIGINAL = "model", "original"


@dataclass(frozen=True)
class Score:
    """One case, prompt and size.

    Attributes
    ----------
    set, split, case, image, group : str
    kind, level, wording, prompt : str
        See `questions`.
    size : str
        "model" (the mask resized to the model's square by nearest neighbour, as the reference does) or "original".
    target : str
        Of the case; of an absent one what was asked for.
    present : bool
        Whether the true mask holds anything.
    dice, iou, precision, recall, hd95, nsd : float
        See `core.metrics`; not-a-number where one says nothing.
    unit : str
        Of `hd95` and of the tolerance of `nsd`: "mm" where the file gives the spacing, else "px".
    predicted_fraction : float
        Of the image.
    """

    set: str
    split: str
    case: str
    image: str
    group: str
    target: str
    kind: str
    level: str
    wording: str
    prompt: str
    size: str
    present: bool
    dice: float
    iou: float
    precision: float
    recall: float
    hd95: float
    nsd: float
    unit: str
    predicted_fraction: float


@dataclass(eq=False)
class Measured:
    """Scores of any number of sets, and the calibration by (set, kind, level, size)."""

    scores: list[Score] = field(default_factory=list)
    calibration: dict[tuple[str, str, str, str], Calibration] = field(default_factory=dict)


def measure(
    segmenter: Segmenter,
    data: DataSet,
    wishes: Wishes,
    vocabulary: Vocabulary,
    threshold: float,
    tolerance: float = TOLERANCE,
    progress: Callable[[Iterable[Case]], Iterable[Case]] = iter,
) -> Measured:
    """Ask a model about every case of a data set.

    Parameters
    ----------
    segmenter : Segmenter
    data : DataSet
    wishes : Wishes
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
    measured = Measured()
    for answer in answers(segmenter, data, wishes, vocabulary, progress):
        for view in _views(answer, segmenter.model.image_size):
            measured.scores.append(_score(data, answer, wishes.wording, view, threshold, tolerance))
            # Held against the mask of something else, probabilities are neither right nor wrong.
            if answer.question.kind is not Kind.OTHER:
                key = (data.name, answer.question.kind.value, answer.question.level, view.size)
                measured.calibration.setdefault(key, Calibration()).add(view.probability, view.truth)
    return measured


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer to one question about a case; `truth` (H, W) is what should be drawn."""

    case: Case
    question: Question
    scan: Scan
    truth: Mask
    prediction: Prediction


def answers(
    segmenter: Segmenter,
    data: DataSet,
    wishes: Wishes,
    vocabulary: Vocabulary,
    progress: Callable[[Iterable[Case]], Iterable[Case]] = iter,
) -> Iterator[Answer]:
    """Ask the questions of every case; parameters and errors as those of `measure`."""
    for case in progress(data.cases):
        scan, truth = read_scan(case.image), case.load_mask()
        if scan.size != truth.shape:
            raise ValueError(f"{case.image.name} has {scan.size} pixels (rows, columns), its mask {truth.shape}.")
        asked = questions(case, truth, wishes, vocabulary, data.reference)
        if not asked:
            continue
        segmenter.set_image(scan)
        for question, made in zip(asked, segmenter.segment([q.text for q in asked]), strict=True):
            yield Answer(case, question, scan, np.zeros_like(truth) if question.absent else truth, made)


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
    case, question = answer.case, answer.question
    drawn, truth, spacing = cut(view.probability, threshold), view.truth, view.spacing or (1.0, 1.0)
    hd95, nsd = surface_metrics.surface_scores(drawn, truth, tolerance, spacing)
    return Score(
        set=data.name,
        split=data.split,
        case=case.name,
        image=case.image.name,
        group=case.group,
        target=question.absent or case.target,
        kind=question.kind.value,
        level=question.level,
        wording=wording if data.reference and not question.kind.several else INTERFACE,
        prompt=question.text,
        size=view.size,
        present=bool(truth.any()),
        dice=metrics.dice(drawn, truth),
        iou=metrics.iou(drawn, truth),
        precision=metrics.precision(drawn, truth),
        recall=metrics.recall(drawn, truth),
        hd95=hd95,
        nsd=nsd,
        unit="mm" if view.spacing else "px",
        predicted_fraction=float(drawn.mean()),
    )
