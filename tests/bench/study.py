"""The study of the README: which of the paper's findings hold for tiny models trained from scratch.

    python tests/bench/study.py DATA RUNS            # trains what is missing, measures, writes study.png beside this file

One model for each set ("individual") and one for all three ("pooled"), with prompts of level P0 (no words), P1 (the name)
and P6 (every attribute, read from the true mask: an oracle), and an image-only UNet. All with the same images, augmentation,
epochs and seed. It goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETS = ("kvasir_polyp", "clinicdb_polyp", "isic")
WAYS = ("p1", "image-only", "p6", "p0")


@dataclass(frozen=True)
class Condition:
    """One model: `way` of prompting, and the sets that it is trained on."""

    way: str
    sets: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{'pooled' if len(self.sets) > 1 else self.sets[0]}-{self.way}"

    @property
    def words(self) -> list[str]:
        """What the recipe is changed by."""
        level = "p1" if self.way == "image-only" else self.way
        model = ["model=unet-tiny"] if self.way == "image-only" else []
        return [*model, f"sources=[{', '.join(self.sets)}]", f"prompts.mix={{{level}: 1}}", f"name=study-{self.name}"]


def conditions() -> Iterator[Condition]:
    for way in WAYS:
        yield Condition(way, SETS)
        for name in SETS:
            yield Condition(way, (name,))


def train_all(data: Path, runs: Path) -> None:
    from medvlsm_training.package import package
    from medvlsm_training.recipes import load_recipe
    from medvlsm_training.train import train

    for condition in conditions():
        run = runs / condition.name
        if (run / "model").is_dir():
            continue
        recipe = load_recipe("study", condition.words)
        stopped = train(recipe, data, run)
        print(f"{condition.name}: {stopped.sentence} Validation Dice {stopped.val_dice}", flush=True)
        package(recipe, data, run, run / "model")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the three data sets")
    parser.add_argument("runs", type=Path, help="folder for runs and results")
    options = parser.parse_args()
    train_all(options.data, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
