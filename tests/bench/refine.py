"""How many clicks or strokes until an outline is right, by a scripted user who always mends the largest error.

    python tests/bench/refine.py --data DATA [--split test] [--model starter] [--limit 0]

The user begins with the model's outline, looks for the largest connected error, and does one of these:

refine   points at its middle, "this too" or "not this" (`core.refine`)
dab      presses the brush once, as large as fits into the error
stroke   drags a brush along the error without leaving it: half as wide as what fits, so nearly all of it is mended

A click costs a moment, a stroke has to be drawn with care: it knows the true boundary, so it is the bound of what a
hand can do. 20 at most; who does not get there counts 20.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from medvlsm_training.evaluation.data import recipe_sets
from medvlsm_training.recipes import load_recipe
from napari_medvlsm.core.images import AnyArray
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.masks import Bytes, Mask, binarize
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.refine import Hint, refine

SETS = {
    "kvasir_polyp": "polyp",
    "fuseg_foot_ulcer": "foot ulcer",
    "busi": "breast tumor",
    "shenzhen_cxr_lungs": "lungs",
}
GOALS = (0.90, 0.95)
MOST = 20


@dataclass
class Case:
    """A scan with its true mask and the model's answer."""

    pixels: AnyArray
    truth: Mask
    probability: Bytes
    threshold: float

    @property
    def first(self) -> Mask:
        """The model's outline."""
        return binarize(self.probability, self.threshold)


@dataclass
class Error:
    """The largest connected error: its pixels, its middle, and how far that is from its edge."""

    part: Mask
    middle: tuple[int, int]
    radius: float
    missing: bool


def largest_error(mask: Mask, truth: Mask) -> Error | None:
    """What the user sees first."""
    parts = []
    for wrong, missing in ((truth & ~mask, True), (mask & ~truth, False)):
        labels, count = ndimage.label(wrong)
        if count:
            areas = np.bincount(labels.ravel())[1:]
            parts.append((int(areas.max()), missing, labels == 1 + int(areas.argmax())))
    if not parts:
        return None
    _, missing, part = max(parts, key=lambda found: found[0])
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return Error(part, (int(row), int(col)), float(depth.max()), missing)


class Refining:
    """Points."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.seconds: list[float] = []

    def __call__(self, case: Case, mask: Mask, error: Error) -> Mask:
        self.hints = [*(h for h in self.hints if h.holds(mask)), Hint((error.middle,), error.missing)]
        start = time.perf_counter()
        found = refine(mask, case.pixels, self.hints, case.probability, case.threshold)
        self.seconds.append(time.perf_counter() - start)
        return found


def dab(case: Case, mask: Mask, error: Error) -> Mask:
    """One press of the brush."""
    rows, cols = np.ogrid[: mask.shape[0], : mask.shape[1]]
    disc = (rows - error.middle[0]) ** 2 + (cols - error.middle[1]) ** 2 <= error.radius**2
    return np.where(disc, error.missing, mask)


def stroke(case: Case, mask: Mask, error: Error) -> Mask:
    """One drag of a brush that nowhere leaves the error."""
    half = max(1.0, error.radius / 2)
    depth = ndimage.distance_transform_edt(np.pad(error.part, 1))[1:-1, 1:-1]
    labels, _ = ndimage.label(depth >= half, np.ones((3, 3)))
    way = labels == labels[error.middle]
    return np.where(ndimage.distance_transform_edt(~way) < half, error.missing, mask)


def course(case: Case, act: Callable[[Case, Mask, Error], Mask]) -> list[float]:
    """Dice after 0, 1, 2 ... acts, until the last goal."""
    mask = case.first
    found = [dice(mask, case.truth)]
    while found[-1] < GOALS[-1] and len(found) <= MOST:
        error = largest_error(mask, case.truth)
        if error is None:
            break
        mask = act(case, mask, error)
        found.append(dice(mask, case.truth))
    return found


def until(scores: list[float], goal: float) -> int:
    """How many acts it took."""
    return next((n for n, score in enumerate(scores) if score >= goal), MOST)


def cases(folder: str, target: str, data: Path, split: str, segmenter: Segmenter, limit: int) -> list[Case]:
    """The scans of a set that show the target."""
    recipe, found = load_recipe("starter"), []
    for read in recipe_sets(recipe, data, split, load_vocabulary(), [target], limit):
        for case in read.cases:
            truth = case.load_mask()
            if folder in str(case.image) and truth.any():
                pixels = read_scan(case.image).pixels
                segmenter.set_image(pixels)
                answer = segmenter.segment(target)[0]
                found.append(Case(pixels, truth, answer.probability, answer.threshold))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--limit", type=int, default=0)
    given = parser.parse_args()
    segmenter = load_segmenter(find_model(given.model).folder, device="cpu")
    print(
        "| target | scans | Dice before | act | mean Dice after 1 | 3 | until 0.90 | reached | until 0.95 | reached |"
    )
    print("|---|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    seconds: list[float] = []
    for folder, target in SETS.items():
        found = cases(folder, target, given.data, given.split, segmenter, given.limit)
        for name in ("refine", "dab", "stroke"):
            courses = []
            for case in found:
                act = Refining() if name == "refine" else dab if name == "dab" else stroke
                courses.append(course(case, act))
                seconds += act.seconds if isinstance(act, Refining) else []
            after = [np.mean([c[min(n, len(c) - 1)] for c in courses]) for n in (0, 1, 3)]
            reached = [
                f"{np.mean([until(c, goal) for c in courses]):.1f} | {np.mean([max(c) >= goal for c in courses]):.0%}"
                for goal in GOALS
            ]
            print(
                f"| {target} | {len(found)} | {after[0]:.2f} | {name} | {after[1]:.2f} | {after[2]:.2f} | "
                f"{' | '.join(reached)} |",
                flush=True,
            )
    print(f"a click on these scans: {1000 * np.median(seconds):.0f} ms (slowest {1000 * max(seconds):.0f} ms)")
    speed()


def speed() -> None:
    """Clicks on a scan of 2048 x 2048 pixels."""
    rows, cols = np.mgrid[-1:1:2048j, -1:1:2048j]
    away = np.hypot(rows, cols)
    pixels = (
        (128 + 60 * (away < 0.5) + np.random.default_rng(0).normal(0, 10, away.shape)).clip(0, 255).astype(np.uint8)
    )
    outline = np.hypot(rows - 0.1, cols) < 0.4
    probability, times = (200 * outline).astype(np.uint8), []
    for row in range(100, 2048, 300):
        for col in range(100, 2048, 300):
            start = time.perf_counter()
            refine(outline, pixels, [Hint(((row, col),), not outline[row, col])], probability, 0.6)
            times.append(time.perf_counter() - start)
    print(f"a click on 2048 x 2048 pixels: {1000 * np.median(times):.0f} ms (slowest {1000 * max(times):.0f} ms)")


if __name__ == "__main__":
    main()
