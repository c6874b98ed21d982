"""Do words count, and does the model know what is not there? On a split of a recipe's data sets.

    python tests/bench/words.py MODEL --recipe starter --data DATA [--split test] [--mosaics 100] [--limit 0]

Dice in points at the scans' stored size, with 95 % intervals:

name         by the name of the target alone
sentence     by a sentence of all that the true mask shows (number, size, place)
side, size   the sentence less the same with the opposite side, or a size far from the true one
picked       in mosaics of two images of the split: how often a sentence that fits one lesion finds that one rather than
             the other (chance: 50 %), and the Dice of name and sentence
presence     every trained target asked on every scan: what is outlined where it is not, and the presence score
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from medvlsm_training.evaluation import presence
from medvlsm_training.evaluation.data import DataSet, EvaluationCase, recipe_sets
from medvlsm_training.evaluation.measure import measure
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from medvlsm_training.mosaics import distinguishing, place_in_frame, sample_frame, sentence
from medvlsm_training.recipes import load_recipe
from napari_medvlsm.core.images import resize, to_unit_square
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.prompts import Attributes, build, load_vocabulary
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION, ORIGINAL, Score
from napari_medvlsm.core.runs.summary import with_right
from napari_medvlsm.core.statistics import estimate

VOCABULARY = load_vocabulary()
KINDS = (PromptKind.CLASS, PromptKind.ORACLE, PromptKind.WRONG_SIDE, PromptKind.WRONG_SIZE)
# Rows and columns of a mosaic: more than any shipped model sees.
SIDE = 384
SEED = 7


def line(what: str, values: Sequence[float], groups: Sequence[str] | None = None, scale: float = 100.0) -> None:
    """Print a mean with its interval."""
    if values:
        found = estimate([scale * v for v in values], groups or [str(i) for i in range(len(values))])
        print(f"  {what:34}{found.cases:6}{found.mean:8.1f}  [{found.low:.1f}, {found.high:.1f}]", flush=True)


def single(segmenter: Segmenter, data: DataSet, threshold: float) -> None:
    """Scans as they are."""
    found = measure(segmenter, data, EvaluationPrompts(KINDS), VOCABULARY, threshold).scores
    scores = [s for s in found if s.size == ORIGINAL]
    for target in sorted({s.target for s in scores}):
        own = [s for s in scores if s.target == target]
        print(f"{data.name}: {target}")
        for kind, what in ((PromptKind.CLASS, "name"), (PromptKind.ORACLE, "sentence")):
            present = [s for s in own if s.kind == kind.value and s.present]
            line(what, [s.dice for s in present], [s.group for s in present])
        pairs = [(a, b) for a, b in with_right(own) if b.present]
        for kind in (PromptKind.WRONG_SIDE, PromptKind.WRONG_SIZE):
            margin(kind.value, [(a, b) for a, b in pairs if b.kind == kind.value])
        empty = [s for s in own if s.kind == PromptKind.CLASS.value and not s.present]
        line("outlined where it is not (%)", [float(s.predicted_fraction > FALSE_POSITIVE_FRACTION) for s in empty])


def margin(what: str, pairs: Sequence[tuple[Score, Score]]) -> None:
    """Right less wrong."""
    line(f"margin, {what}", [a.dice - b.dice for a, b in pairs], [a.group for a, _ in pairs])


@dataclass
class Mosaics:
    """Dice of the name (one a mosaic) and of the sentences (two), and which of two lesions each of these found."""

    target: str
    names: list[float]
    sentences: list[float]
    picked: list[float]


def measure_mosaics(segmenter: Segmenter, data: DataSet, threshold: float, count: int) -> Mosaics | None:
    """Two images of a set in one frame, `count` times; None where words cannot tell them apart."""
    cases = [c for c in data.cases if not c.others and c.load_mask().any()]
    if len(cases) < 2 or VOCABULARY.target(cases[0].target).lateralised:
        return None
    rng = np.random.default_rng(SEED)
    found = Mosaics(cases[0].target, [], [], [])
    for _ in range(10 * count):
        if len(found.names) == count:
            break
        first, second = (cases[int(i)] for i in rng.choice(len(cases), 2, replace=False))
        frame = sample_frame(rng)
        masks = [m.numpy()[0] > 0.5 for m in place_in_frame(_mask(first), _mask(second), frame)]
        told = distinguishing(masks[0], masks[1])
        texts = [sentence(first.target, mask, told, VOCABULARY, rng) for mask in masks]
        if None in texts:
            continue
        image = sum(place_in_frame(_image(first), _image(second), frame)).numpy().transpose(1, 2, 0)
        segmenter.set_image(np.rint(image * 255).astype(np.uint8))
        name = build(Attributes(first.target), VOCABULARY, "p1").text
        answers = [a.mask(threshold) for a in segmenter.segment([name, *texts])]
        found.names.append(dice(answers[0], masks[0] | masks[1]))
        for outlined, right, wrong in ((answers[1], *masks), (answers[2], *masks[::-1])):
            found.sentences.append(dice(outlined, right))
            found.picked.append(float(dice(outlined, right) > dice(outlined, wrong)))
    return found


def mosaics(segmenter: Segmenter, data: DataSet, threshold: float, count: int) -> None:
    """Print what is found in mosaics."""
    if found := measure_mosaics(segmenter, data, threshold, count):
        print(f"{data.name}: {len(found.names)} mosaics of {found.target}")
        line("name, both lesions", found.names)
        line("sentence, the one", found.sentences)
        line("picked the one (%)", found.picked)


def _mask(case: EvaluationCase) -> torch.Tensor:
    return torch.from_numpy(resize(case.load_mask().astype(np.float32), (SIDE, SIDE)).copy())[None]


def _image(case: EvaluationCase) -> torch.Tensor:
    return torch.from_numpy(to_unit_square(read_scan(case.image).pixels, SIDE).transpose(2, 0, 1).copy())


def known(segmenter: Segmenter, sets: Sequence[DataSet], threshold: float) -> None:
    """What is outlined where it is not, and what the presence score tells."""
    found = presence.presence_answers(segmenter, sets, segmenter.card.targets, VOCABULARY, threshold)
    least = segmenter.card.presence
    print(f"presence: threshold {least:g}")
    here = [a.score for a in found if a.what == presence.PRESENT]
    line("present but suppressed (%)", [float(score < least) for score in here])
    for what in (presence.OTHER, presence.SAME, presence.EMPTY):
        own = [a for a in found if a.what == what]
        line(f"{what}: outlined of the image (%)", [a.outlined for a in own])
        line(f"{what}: over 1 % outlined (%)", [float(a.outlined > FALSE_POSITIVE_FRACTION) for a in own])
        shown = [float(a.outlined > FALSE_POSITIVE_FRACTION and a.score >= least) for a in own]
        line(f"{what}: the same, not suppressed", shown)
        line(f"{what}: AUC of the score", [_auc(here, [a.score for a in own])] if own else [])
    line("all absent: AUC of the score", [_auc(here, [a.score for a in found if a.what != presence.PRESENT])])


def _auc(high: Sequence[float], low: Sequence[float]) -> float:
    """How often one of the first is above one of the second; a tie counts half."""
    ordered = np.sort(low)
    above, up_to = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((above + up_to).mean() / 2 / len(low))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--recipe", default="starter")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--mosaics", type=int, default=100)
    parser.add_argument("--limit", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    entry = find_model(options.model)
    segmenter = load_segmenter(entry, "cpu", "float32")
    sets = recipe_sets(load_recipe(options.recipe), options.data, options.split, VOCABULARY, limit=options.limit)
    print(f"{entry.card.title} ({entry.folder}), {options.split}, threshold {entry.card.threshold:g}")
    for data in tqdm(sets, disable=None):
        single(segmenter, data, entry.card.threshold)
        mosaics(segmenter, data, entry.card.threshold, options.mosaics)
    known(segmenter, sets, entry.card.threshold)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
