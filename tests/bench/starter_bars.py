"""The starter against its bars: an image-only baseline, wrong words, other words, absent targets, unseen sets.

    python tests/bench/starter_bars.py --starter MODEL --baseline MODEL --data DATA --out FOLDER

All on the test splits, at the scans' stored size, by the name of the target alone. What was measured before (of the
same weights and data) is read from --out; an interrupted run goes on. The exit code is 1 where a bar is missed.

(a) against the image-only model: the mean Dice over cases, and that over sets, at most 0.02 lower; no set over 0.05
(b) the right one of left and right lung against the wrong one: at least 0.5 Dice, in every set
(c) every unseen paraphrase of every target: at most 0.03 below the name itself
(d) what is not there, that a scan cannot show or does not: at most 10 % of the answers cover over 1 % of the image
(e) sets that were never trained on: reported
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medvlsm_training.evaluation.data import DataSet, read_data, recipe_sets
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from medvlsm_training.evaluation.run import evaluate_sets
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import recipe_vocabulary
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.runs.comparison import ScorePair, pair_up
from napari_medvlsm.core.runs.folder import RECIPE_FILE
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import SUMMARY_FILE, read_results
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION, ORIGINAL, Score, read_scores
from napari_medvlsm.core.runs.summary import with_right
from napari_medvlsm.core.statistics import Estimate, estimate

MEAN_LOSS, SET_LOSS, LISTENS, PARAPHRASE_LOSS, DRAWN = 0.02, 0.05, 0.5, 0.03, 0.10
SIDES = {("left lung", "right lung"), ("right lung", "left lung")}
# Folder, and the targets that fit: those of the starter under any of their names, and of DRIVE what its masks show.
UNSEEN = {
    "clinicdb_polyp": (),
    "drive_retina_vessels": ("blood vessels",),
    "biomedparse_demo": (
        *("polyp", "neoplastic polyp", "non-neoplastic polyp", "melanoma", "lung", "left lung", "right lung"),
    ),
}


@dataclass(frozen=True)
class Row:
    """One line of the table. `passed` is None for what is only reported; `cases` counts answers."""

    bar: str
    what: str
    found: Estimate
    passed: bool | None = None

    @property
    def line(self) -> str:
        """For people."""
        around = "" if np.isnan(self.found.low) else f"({self.found.low:+.3f} to {self.found.high:+.3f})"
        verdict = {None: "", True: "pass", False: "FAIL"}[self.passed]
        return f"{self.bar:4}{self.what:62}{self.found.cases:6}{self.found.mean:+9.3f} {around:20} {verdict}".rstrip()


def against_baseline(pairs: Sequence[ScorePair]) -> list[Row]:
    """(a): the starter's Dice less the baseline's, on the cases that show their target. The baseline comes first."""
    shown = [p for p in pairs if p.first.size == ORIGINAL and p.first.present]
    by_set: dict[str, list[ScorePair]] = {}
    for pair in shown:
        by_set.setdefault(pair.first.set, []).append(pair)
    gains = {name: _gain(found) for name, found in by_set.items()}
    over_sets = float(np.mean([gain.mean for gain in gains.values()]))
    rows = [_verdict("a", "mean over cases: starter - image-only", _gain(shown), -MEAN_LOSS)]
    mean = Estimate(over_sets, nan, nan, len(shown), len(gains))
    rows.append(_verdict("a", f"mean over the {len(gains)} sets", mean, -MEAN_LOSS))
    return rows + [_verdict("a", name, gain, -SET_LOSS) for name, gain in gains.items()]


def right_against_wrong(scores: Sequence[Score]) -> list[Row]:
    """(b): Dice of the right name less that of the wrong one, both held against the right mask."""
    groups: dict[tuple[str, str], list[tuple[Score, Score]]] = {}
    for right, wrong in with_right(scores):
        if (wrong.kind, wrong.size) == (PromptKind.OTHER.value, ORIGINAL):
            lungs = (wrong.target, wrong.prompt) in SIDES
            what = "left against right lung" if lungs else f"{wrong.target}, not {wrong.prompt}"
            groups.setdefault((wrong.set, what), []).append((right, wrong))
    rows = []
    for (name, what), found in groups.items():
        gain = estimate([a.dice - b.dice for a, b in found], [a.group for a, _ in found])
        row = Row("b", f"{name}: {what}", gain)
        rows.append(replace(row, passed=gain.mean >= LISTENS) if what.startswith("left against") else row)
    return rows or [_nothing("b", "no image shows both lungs")]


def paraphrased(scores: Sequence[Score]) -> list[Row]:
    """(c): Dice of each paraphrase less that of the name, over the cases that show the target."""
    groups: dict[tuple[str, str], list[tuple[Score, Score]]] = {}
    for right, other in with_right(scores):
        if (other.kind, other.size) == (PromptKind.PARAPHRASE.value, ORIGINAL) and other.present:
            groups.setdefault((other.target, "all"), []).append((right, other))
            groups.setdefault((other.target, other.prompt), []).append((right, other))
    rows = []
    for (target, text), found in sorted(groups.items(), key=lambda entry: (entry[0][0], entry[0][1] != "all")):
        loss = estimate([b.dice - a.dice for a, b in found], [f"{a.set} {a.group}" for a, _ in found])
        if text == "all":
            rows.append(Row("c", f"{target}: all paraphrases together", loss))
        else:
            rows.append(_verdict("c", f"{target}: {text}", loss, -PARAPHRASE_LOSS))
    return rows or [_nothing("c", "no target has paraphrases")]


def absent(scores: Sequence[Score]) -> list[Row]:
    """(d): share of answers that cover more than 1 % of an image which does not show what was asked for."""
    groups: dict[str, list[Score]] = {}
    for score in scores:
        if (
            score.size != ORIGINAL
            or score.present
            or score.kind not in (PromptKind.CLASS.value, PromptKind.ABSENT.value)
        ):
            continue
        what = (
            "what such a scan cannot show" if score.kind == PromptKind.ABSENT.value else f"scans without {score.target}"
        )
        groups.setdefault("everything absent", []).append(score)
        groups.setdefault(f"{score.set}: {what}", []).append(score)
    rows = []
    for what, found in groups.items():
        drawn = [float(s.predicted_fraction > FALSE_POSITIVE_FRACTION) for s in found]
        share = estimate(drawn, [f"{s.set} {s.group}" for s in found])
        row = Row("d", what, share)
        rows.append(replace(row, passed=share.mean <= DRAWN) if what == "everything absent" else row)
    return rows or [_nothing("d", "nothing absent was asked for")]


def unseen(scores: Sequence[Score]) -> list[Row]:
    """(e): Dice by set and target."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if score.size == ORIGINAL and score.present:
            groups.setdefault((score.set, score.target), []).append(score)
    return [
        Row("e", f"{name}: {target}", estimate([s.dice for s in found], [s.group for s in found]))
        for (name, target), found in groups.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", required=True, help="model folder or name")
    parser.add_argument("--baseline", required=True, help="model folder of the image-only model")
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--recipe", default="starter", help="whose sets: a name, a file or a run's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--limit", type=int, default=0, help="images of each set, to try it")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)

    run = Path(options.recipe) / RECIPE_FILE
    recipe = load_recipe(run if run.is_file() else options.recipe)
    trained = replace(recipe, sources=tuple(source for source in recipe.sources if not source.tested_only))
    sets = recipe_sets(trained, options.data, "test", recipe_vocabulary(trained, options.data), limit=options.limit)
    kinds = (PromptKind.CLASS, PromptKind.PARAPHRASE, PromptKind.OTHER, PromptKind.ABSENT)
    there = [options.data / name for name in UNSEEN if (options.data / name).is_dir()]
    words = dataset_vocabulary(there)
    elsewhere = [read_data(folder, "test", words, UNSEEN[folder.name], options.limit) for folder in there]
    measured = partial(_measured, device=options.device)
    starter = measured(options.starter, sets, options.out / "starter", EvaluationPrompts(kinds))
    baseline = measured(options.baseline, sets, options.out / "baseline", EvaluationPrompts())
    scores = read_scores(starter)
    rows = against_baseline(pair_up(baseline, starter, PromptKind.CLASS.value))
    rows += [*right_against_wrong(scores), *paraphrased(scores), *absent(scores)]
    if elsewhere:
        rows += unseen(read_scores(measured(options.starter, elsewhere, options.out / "unseen", EvaluationPrompts())))
    for folder in (starter, baseline):
        print(f"{folder.name}: {read_results(folder).about.line}")
    print(f"{'bar':4}{'':62}{'n':>6}{'mean':>9} {'95 % interval':20}")
    for row in rows:
        print(row.line)
    missed = sorted({row.bar for row in rows if row.passed is False})
    print(f"Missed: {', '.join(missed)}." if missed else "Every bar is passed.")
    return 1 if missed else 0


def _measured(model: str, sets: Sequence[DataSet], out: Path, prompts: EvaluationPrompts, device: str) -> Path:
    """The folder of results; those that are there are taken where model and data are the same."""
    if (out / SUMMARY_FILE).is_file():
        before = read_results(out)
        same = {name: facts.sha256 for name, facts in before.sets.items()} == {d.name: d.sha256 for d in sets}
        if same and before.about.weights == weights_hash(find_model(model).folder):
            print(f"{out}: measured before", file=sys.stderr)
            return out
    bar: partial[Iterable[object]] = partial(tqdm, unit="case", disable=None)
    evaluate_sets(model, sets, out, prompts, device=device, replace=True, progress=bar)  # type: ignore[arg-type]
    return out


def _gain(pairs: Sequence[ScorePair]) -> Estimate:
    groups = [f"{p.first.set} {p.first.group}" for p in pairs]
    return estimate([p.second.dice - p.first.dice for p in pairs], groups)


def _verdict(bar: str, what: str, found: Estimate, least: float) -> Row:
    return Row(bar, what, found, bool(found.mean >= least))


def _nothing(bar: str, why: str) -> Row:
    return Row(bar, why, Estimate(nan, nan, nan, 0, 0), False)


if __name__ == "__main__":
    raise SystemExit(main())
