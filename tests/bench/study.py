"""The study of `training/study.md`: what words bring to small models with pretrained encoders, by way of training.

    python tests/bench/study.py DATA RUNS [--seeds 1 2 3]   # trains and measures what is missing, prints tables, draws

One model for each set ("individual") and one for all four ("pooled"), by P0 (no words), P1 (the name) or P6 (every
attribute, read from the true mask: an oracle), and an image-only UNet. Then, pooled, by name and attributes, four ways
of making words count: with mosaics, with opposition, with both, with neither. All from the same encoder, images,
augmentation, epochs and seed. It goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medvlsm.core.runs.scores import Score

SETS = {"kvasir_polyp": "Kvasir-SEG", "clinicdb_polyp": "ClinicDB", "isic": "ISIC 2016", "busi": "BUSI"}
_NAMED = ["prompts.mix={p1: 1, attributes: 2}", "prompts.attribute_dropout=0.3", "prompts.per_image=2"]
_MOSAIC, _OPPOSITION = ["augmentation.mosaic=0.5"], ["prompts.opposed=true", "loss.opposition=0.3"]
# Ways of training, and how they change the recipe `study`.
WAYS = {
    "P0: no words": ["prompts.mix={p0: 1}"],
    "P1: the name": ["prompts.mix={p1: 1}"],
    "P6: all attributes (oracle)": ["prompts.mix={p6: 1}"],
    "image-only UNet": ["model=unet-tiny"],
}
ARMS = {
    "neither": _NAMED,
    "mosaics": _NAMED + _MOSAIC,
    "opposition": _NAMED + _OPPOSITION,
    "both": _NAMED + _MOSAIC + _OPPOSITION,
}
# Okabe and Ito's colours, which people who see few colours tell apart.
COLORS = ("#999999", "#0072b2", "#e69f00", "#009e73")
PICTURE = Path(__file__).with_suffix(".png")
MOSAICS = 100
RIGHT = ("class", "oracle")


@dataclass(frozen=True)
class Condition:
    """One model: a way of training, the sets that it is trained on, and the seed."""

    way: str
    sets: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        way = self.way.split(":")[0].lower().replace(" ", "-")
        return f"{'pooled' if self.pooled else self.sets[0]}-{way}-{self.seed}"

    @property
    def pooled(self) -> bool:
        return len(self.sets) > 1

    @property
    def changes(self) -> list[str]:
        """Of the recipe."""
        own = [f"sources=[{', '.join(self.sets)}]", f"name=study-{self.name}", f"seed={self.seed}"]
        return [*(WAYS | ARMS)[self.way], *own, "measure.kinds=[class]"]


def conditions(seeds: Sequence[int]) -> Iterator[Condition]:
    """The pooled ones first, seed by seed."""
    for seed in seeds:
        for way in (*ARMS, *WAYS):
            yield Condition(way, tuple(SETS), seed)
        # What most of the comparisons need comes first, should the time not be enough.
        for way in sorted(WAYS, key=lambda way: way not in ("P1: the name", "image-only UNet")):
            for name in SETS:
                yield Condition(way, (name,), seed)


def train(condition: Condition, data: Path, run: Path) -> None:
    from medvlsm_training import train as training
    from medvlsm_training.package import package
    from medvlsm_training.recipes import load_recipe

    if (run / "model").is_dir():
        return
    recipe = load_recipe("study", condition.changes)
    stopped = training.train(recipe, data, run)
    print(f"{condition.name}: {stopped.sentence} Validation Dice {stopped.val_dice}", flush=True)
    package(recipe, data, run, run / "model")


def measure(condition: Condition, data: Path, run: Path) -> list[Score]:
    """Scores at the scans' size on the test splits of all four sets, in the way that the model was trained."""
    from medvlsm_training.evaluation.data import read_data
    from medvlsm_training.evaluation.prompts import EvaluationPrompts
    from medvlsm_training.evaluation.run import evaluate_sets
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
    from napari_medvlsm.core.runs.prompt_kinds import PromptKind
    from napari_medvlsm.core.runs.scores import ORIGINAL, read_scores

    out = run / "all"
    if not out.is_dir():
        wrong = (PromptKind.ORACLE, PromptKind.WRONG_SIDE, PromptKind.WRONG_SIZE)
        by_attributes = EvaluationPrompts((PromptKind.CLASS, *wrong), ("p6",))
        asked = {
            "P0: no words": EvaluationPrompts((PromptKind.ORACLE,), ("p0",)),
            "P6: all attributes (oracle)": EvaluationPrompts(wrong, ("p6",)),
        } | dict.fromkeys(ARMS, by_attributes)
        words = dataset_vocabulary(data / name for name in SETS)
        sets = [read_data(data / name, "test", words) for name in SETS]
        evaluate_sets(str(run / "model"), sets, out, asked.get(condition.way))
    return [score for score in read_scores(out) if score.size == ORIGINAL]


def measure_picked(data: Path, run: Path) -> dict[str, list[float]]:
    """In mosaics of two test images of a set: whether a sentence found the lesion that it fits."""
    from words import measure_mosaics

    from medvlsm_training.evaluation.data import read_data
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
    from napari_medvlsm.core.kept_base import load_segmenter
    from napari_medvlsm.core.models.store.registry import find_model

    path = run / "mosaics.json"
    if not path.is_file():
        entry = find_model(str(run / "model"))
        segmenter = load_segmenter(entry, "cpu", "float32")
        words = dataset_vocabulary(data / name for name in SETS)
        found = {}
        for name in SETS:
            made = measure_mosaics(segmenter, read_data(data / name, "test", words), entry.card.threshold, MOSAICS)
            found[name] = asdict(made)["picked"] if made else []
        path.write_text(json.dumps(found), "utf-8")
    return {name: list(values) for name, values in json.loads(path.read_text("utf-8")).items()}


def several(data: Path) -> frozenset[tuple[str, str]]:
    """(set, case) of the test scans that show several parts of the target."""
    from medvlsm_training.evaluation.data import read_data
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
    from napari_medvlsm.core.describe import describe

    words = dataset_vocabulary(data / name for name in SETS)
    sets = {name: read_data(data / name, "test", words) for name in SETS}
    return frozenset(
        (name, called)
        for name, found in sets.items()
        for case in found.cases
        if describe(case.load_mask()).measured["number"] not in ("zero", "one")
        for called in (case.name, found.label(case).case)  # results of earlier versions hold names
    )


def points(values: Sequence[float], groups: Sequence[str]) -> str:
    """A mean in points with its 95 % interval, which a single group does not have."""
    from napari_medvlsm.core.statistics import estimate

    if not values:
        return ""
    found = estimate([100 * value for value in values], groups)
    if found.low != found.low:  # one group has no interval
        return f"{found.mean:z.1f}"
    return f"{found.mean:z.1f} ({found.low:z.1f} to {found.high:z.1f})"


def dice_table(scores: dict[Condition, list[Score]]) -> str:
    """Dice of the scans that show the target: rows are ways of training, columns test sets."""
    head = ["trained on", "prompts", *SETS.values()]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * len(SETS)]
    for where in ("all four", *SETS.values()):
        for way in WAYS:
            found = {c: s for c, s in scores.items() if c.way == way and _where(c) == where}
            if not found:
                continue
            cells = []
            for name in SETS:
                kept = [s for some in found.values() for s in some if s.set == name and s.kind in RIGHT and s.present]
                seen = all(name in condition.sets for condition in found)
                cells.append(points([s.dice for s in kept], [s.group for s in kept]) + ("" if seen else " *"))
            lines.append("| " + " | ".join([where, way, *cells]) + " |")
    return "\n".join([*lines, "", "\\* a set that the model was not trained on"])


def _where(condition: Condition) -> str:
    return "all four" if condition.pooled else SETS[condition.sets[0]]


def margins(scores: Sequence[Score], other: str) -> list[tuple[Score, float]]:
    """For each case that shows the target: the right sentence, and its Dice less that of another kind of prompt."""
    right = {(s.set, s.case): s for s in scores if s.kind == "oracle" and s.present}
    rest = [s for s in scores if s.kind == other and (s.set, s.case) in right]
    return [(right[s.set, s.case], right[s.set, s.case].dice - s.dice) for s in rest]


def words_table(
    scores: dict[Condition, list[Score]], picked: dict[Condition, dict[str, list[float]]], data: Path
) -> str:
    """What right and wrong words do, by arm and set, in points of Dice."""
    many = several(data)
    head = ["training", "test set", "name", "right words", "gain over the name", "the same, several lesions"]
    head += ["side margin", "size margin", "the right one of two"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for arm in (*ARMS, "P6: all attributes (oracle)"):
        found = {c: s for c, s in scores.items() if c.way == arm and c.pooled}
        if not found:
            continue
        for name, title in SETS.items():
            own = [[s for s in some if s.set == name and s.present] for some in found.values()]
            flat = [s for some in own for s in some]
            by_kind = [[s for s in flat if s.kind == kind] for kind in RIGHT]
            gains = [pair for some in own for pair in margins(some, "class")]
            several_gains = [pair for pair in gains if (pair[0].set, pair[0].case) in many]
            pairs = [gains, several_gains]
            pairs += [[p for some in own for p in margins(some, kind)] for kind in ("wrong side", "wrong size")]
            cells = [points([s.dice for s in some], [s.group for s in some]) for some in by_kind]
            cells += [points([gain for _, gain in some], [s.group for s, _ in some]) for some in pairs]
            chosen = [value for c in found for value in picked.get(c, {}).get(name, [])]
            cells.append(f"{100 * sum(chosen) / len(chosen):.0f} %" if chosen else "")
            lines.append("| " + " | ".join([arm, title, *cells]) + " |")
    return "\n".join(lines)


def draw(scores: dict[Condition, list[Score]], path: Path) -> None:
    """Left: Dice of the pooled models. Right: what the wrong side and the wrong size cost, by arm, over all sets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from napari_medvlsm.core.statistics import estimate

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    ways = list(WAYS)
    for number, way in enumerate(ways):
        for place, name in enumerate(SETS):
            found = [s for c, some in scores.items() if c.way == way and c.pooled for s in some if s.set == name]
            kept = [s for s in found if s.kind in RIGHT and s.present]
            if kept:
                e = estimate([100 * s.dice for s in kept], [s.group for s in kept])
                label = way if place == 0 else None
                _point(left, place + 0.17 * (number - 1.5), e, COLORS[number], label)
    left.set_xticks(range(len(SETS)), list(SETS.values()))
    left.set_ylabel("test Dice, points (95 % interval)")
    left.set_title("Trained on all four sets, by kind of prompt", fontsize=11)
    for number, arm in enumerate(ARMS):
        found = [some for c, some in scores.items() if c.way == arm]
        for place, kind in enumerate(("class", "wrong side", "wrong size")):
            pairs = [pair for some in found for pair in margins(some, kind)]
            if pairs:
                e = estimate([100 * gain for _, gain in pairs], [f"{s.set} {s.group}" for s, _ in pairs])
                label = arm if place == 0 else None
                _point(right, place + 0.17 * (number - 1.5), e, COLORS[number], label)
    right.set_xticks(range(3), ["the name", "the opposite side", "a wrong size"])
    right.set_ylabel("right words less ..., points of Dice")
    right.set_title("What words do, by way of training", fontsize=11)
    right.axhline(0, color="#555555", linewidth=0.8)
    for axis in (left, right):
        axis.grid(axis="y", color="#dddddd")
        axis.set_axisbelow(True)
        axis.legend(fontsize=9)
    figure.savefig(path, dpi=110)


def _point(axis, x, found, color, label):  # type: ignore[no-untyped-def]
    around = [[found.mean - found.low], [found.high - found.mean]]
    axis.errorbar(x, found.mean, around, fmt="o", color=color, capsize=3, markersize=6, label=label)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the four data sets")
    parser.add_argument("runs", type=Path, help="folder for runs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--only-done", action="store_true", help="train nothing: tables and plot of what there is")
    options = parser.parse_args()
    scores, picked = {}, {}
    for condition in conditions(options.seeds):
        run = options.runs / condition.name
        if options.only_done and not (run / "all").is_dir():
            print(f"not there: {condition.name}", file=sys.stderr)
            continue
        train(condition, options.data, run)
        scores[condition] = measure(condition, options.data, run)
        if condition.way in ARMS:
            picked[condition] = measure_picked(options.data, run)
    print(dice_table(scores), "", words_table(scores, picked, options.data), sep="\n")
    draw(scores, PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
