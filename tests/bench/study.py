"""The study of the README: which of the paper's findings hold for tiny models trained from scratch.

    python tests/bench/study.py DATA RUNS     # trains and measures what is missing, prints tables, draws study.png

One model for each set ("individual") and one for all three ("pooled"), with prompts of level P0 (no words), P1 (the
name) and P6 (every attribute, read from the true mask: an oracle), and an image-only UNet. All with the same images,
augmentation, epochs and seed. It goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medvlsm.core.runs.scores import Score

SETS = {"kvasir_polyp": "Kvasir-SEG", "clinicdb_polyp": "ClinicDB", "isic": "ISIC 2016"}
WAYS = {
    "p0": "P0: no words",
    "p1": "P1: the name",
    "p6": "P6: all attributes (oracle)",
    "image-only": "image-only UNet",
}
# Okabe and Ito's colours, which people who see few colours tell apart.
COLORS = {"p0": "#999999", "p1": "#0072b2", "p6": "#e69f00", "image-only": "#009e73"}
PICTURE = Path(__file__).with_suffix(".png")


@dataclass(frozen=True)
class Condition:
    """One model: `way` of prompting, and the sets that it is trained on."""

    way: str
    sets: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{'pooled' if self.pooled else self.sets[0]}-{self.way}"

    @property
    def pooled(self) -> bool:
        return len(self.sets) > 1

    @property
    def words(self) -> list[str]:
        """What the recipe is changed by."""
        level = "p1" if self.way == "image-only" else self.way
        model = ["model=unet-tiny"] if self.way == "image-only" else []
        return [*model, f"sources=[{', '.join(self.sets)}]", f"prompts.mix={{{level}: 1}}", f"name=study-{self.name}"]


def conditions() -> Iterator[Condition]:
    for way in ("p1", "image-only", "p6", "p0"):
        yield Condition(way, tuple(SETS))
        for name in SETS:
            yield Condition(way, (name,))


def train(condition: Condition, data: Path, run: Path) -> None:
    from medvlsm_training import train as training
    from medvlsm_training.package import package
    from medvlsm_training.recipes import load_recipe

    if (run / "model").is_dir():
        return
    recipe = load_recipe("study", condition.words)
    stopped = training.train(recipe, data, run)
    print(f"{condition.name}: {stopped.sentence} Validation Dice {stopped.val_dice}", flush=True)
    package(recipe, data, run, run / "model")


def measure(condition: Condition, data: Path, run: Path) -> list[Score]:
    """Scores at original size on the test splits of all three sets, in the way that the model was trained."""
    from medvlsm_training.evaluation.data import read_data
    from medvlsm_training.evaluation.prompts import EvaluationPrompts
    from medvlsm_training.evaluation.run import evaluate_sets
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
    from napari_medvlsm.core.runs.prompt_kinds import PromptKind
    from napari_medvlsm.core.runs.scores import ORIGINAL, read_scores

    out = run / "all"
    if not out.is_dir():
        asked = {
            "p0": EvaluationPrompts((PromptKind.ORACLE,), ("p0",)),
            "p6": EvaluationPrompts((PromptKind.ORACLE, PromptKind.WRONG_SIDE, PromptKind.WRONG_SIZE), ("p6",)),
        }
        words = dataset_vocabulary(data / name for name in SETS)
        sets = [read_data(data / name, "test", words) for name in SETS]
        evaluate_sets(str(run / "model"), sets, out, asked.get(condition.way))
    return [score for score in read_scores(out) if score.size == ORIGINAL]


def table(scores: dict[Condition, list[Score]]) -> str:
    """Dice in percent with 95 % intervals: rows are models, columns test sets."""
    head = ["trained on", "prompts", *SETS.values()]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * len(SETS)]
    for condition, found in scores.items():
        where = "all three" if condition.pooled else SETS[condition.sets[0]]
        cells = [cell(found, name) + ("" if name in condition.sets else " *") for name in SETS]
        lines.append("| " + " | ".join([where, WAYS[condition.way], *cells]) + " |")
    return "\n".join([*lines, "", "\\* a set that the model was not trained on"])


def cell(scores: Sequence[Score], name: str) -> str:
    from napari_medvlsm.core.statistics import estimate

    kept = [s for s in scores if s.set == name and s.kind in ("class", "oracle")]
    found = estimate([s.dice for s in kept], [s.group for s in kept])
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def wrong_table(scores: dict[Condition, list[Score]]) -> str:
    """What wrong attributes cost the models that were trained with all of them."""
    from napari_medvlsm.core.runs.summary import contrasts

    lines = [
        "| trained on | test set | changed | cases | Dice right | Dice wrong | difference |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for condition, found in scores.items():
        if condition.way != "p6":
            continue
        for row in contrasts(found):
            if row["set"] in condition.sets:
                d = row["difference"]
                gain = f"{100 * d['mean']:.1f} ({100 * d['low']:.1f} to {100 * d['high']:.1f})"
                where = "all three" if condition.pooled else "itself"
                cells = [where, SETS[row["set"]], row["kind"], str(d["cases"])]
                lines.append(
                    "| " + " | ".join([*cells, f"{100 * row['first']:.1f}", f"{100 * row['second']:.1f}", gain]) + " |"
                )
    return "\n".join(lines)


def draw(scores: dict[Condition, list[Score]], path: Path) -> None:
    """Test Dice of every model on the sets that it was trained on, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from napari_medvlsm.core.statistics import estimate

    figure, axes = plt.subplots(1, len(SETS), figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes, SETS.items(), strict=True):
        for place, way in enumerate(WAYS):
            for condition, found in scores.items():
                if condition.way != way or name not in condition.sets:
                    continue
                kept = [s for s in found if s.set == name and s.kind in ("class", "oracle")]
                e = estimate([s.dice for s in kept], [s.group for s in kept])
                axis.errorbar(
                    place + (0.14 if condition.pooled else -0.14),
                    100 * e.mean,
                    [[100 * (e.mean - e.low)], [100 * (e.high - e.mean)]],
                    fmt="s" if condition.pooled else "o",
                    color=COLORS[way],
                    markerfacecolor="white" if condition.pooled else COLORS[way],
                    capsize=3,
                    markersize=7,
                )
        axis.set_title(title, fontsize=11)
        axis.set_xticks(range(len(WAYS)), ["P0\nno words", "P1\nname", "P6\noracle", "image-\nonly"])
        axis.set_xlim(-0.6, len(WAYS) - 0.4)
        axis.grid(axis="y", color="#dddddd")
        axis.set_axisbelow(True)
    axes[0].set_ylabel("test Dice, % (95 % interval)")
    for marker, fill, label in (("o", "#555555", "one set"), ("s", "white", "all three sets")):
        axes[-1].plot([], [], marker, color="#555555", markerfacecolor=fill, markersize=7, label=f"trained on {label}")
    axes[-1].legend(loc="lower right", frameon=True, fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the three data sets")
    parser.add_argument("runs", type=Path, help="folder for runs and results")
    options = parser.parse_args()
    scores = {}
    for condition in conditions():
        run = options.runs / condition.name
        train(condition, options.data, run)
        scores[condition] = measure(condition, options.data, run)
    print(table(scores), "", wrong_table(scores), sep="\n")
    draw(scores, PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
