"""`medvlsm evaluate` and `medvlsm table`: measure models, compare them, and put results into tables."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import OK
from napari_medvlsm.core.models.store.registry import STARTER
from napari_medvlsm.core.runs.folder import RECIPE_FILE, Run
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import METRICS, TOLERANCE

if TYPE_CHECKING:
    from medvlsm_training.evaluation.data import DataSet
    from napari_medvlsm.core.runs.comparison import Comparison
    from napari_medvlsm.core.runs.results import Results

_COMPARE = "compare"
_KINDS = ("class", "typed", "oracle", "annotated", "wrong", "paraphrase", "other", "absent")
_DESCRIPTION = """\
Measure a model on data sets, or compare two results:

  medvlsm evaluate FOLDER... --model M --out FOLDER
  medvlsm evaluate --recipe RUN_OR_RECIPE --data DATA --out FOLDER
  medvlsm evaluate compare A B

The same command goes on after an interruption, with the set that was in progress.

Kinds of prompts, never mixed in a number:
  class   the name of the target alone
  typed   the text given with --prompt
  oracle  the annotated attributes at each of --levels. They were made from the true mask and give part of
          the answer away
  annotated  what the annotation files say at each of --levels, to the letter
  wrong   the same with the opposite side, and with a wrong size
  paraphrase  the target in words that no shipped recipe trains with, four for each case
  other   another target that the image shows, compared with the mask of the first: high Dice is bad
  absent  what such a scan cannot show, once an image: nothing should be outlined
"""


def add_to(commands: Any) -> None:
    """Add both commands to the subparsers of `medvlsm`."""
    made = commands.add_parser(
        "evaluate",
        help="measure a model on data sets, or compare two results",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="data set folders: images/ and masks/ with anns/ or splits/*.txt",
    )
    made.add_argument("--recipe", help="run folder, YAML file or name of a recipe: all its data sets, with its rules")
    made.add_argument("--data", type=Path, help="with --recipe: the folder of its data sets")
    made.add_argument("--model", help=f"name or folder of a model (default: the run's of --recipe, else {STARTER})")
    made.add_argument("--out", type=Path, help="folder to make for the results; with compare: a CSV file of all cases")
    made.add_argument(
        "--replay",
        action="store_true",
        help="also the scans that come with the starter and that no training replays: what was forgotten?",
    )
    made.add_argument("--replace", action="store_true", help="replace older results in --out")
    made.add_argument("--split", default="test", help="of the data sets (default: %(default)s)")
    made.add_argument("--target", nargs="+", default=[], help="only these targets; what the masks of split lists show")
    made.add_argument("--limit", type=int, default=0, help="only so many images of each set, to try things out")
    made.add_argument("--kinds", nargs="+", choices=_KINDS, help="of prompts (default: class, and typed with --prompt)")
    made.add_argument("--levels", nargs="+", default=["p6"], help="of oracle prompts: p0 to p9, random (default: p6)")
    made.add_argument("--prompt", default="", help="text of the typed prompt")
    made.add_argument(
        "--wording",
        type=_wording,
        choices=("interface", "upstream"),
        default="interface",
        help="prompts as the panel writes them, or the paper's to the letter, and of other sets the texts of their "
        "annotation files (default: %(default)s)",
    )
    made.add_argument(
        "--threshold", type=float, help="certainty from 0 to 1 (default: the model's own); never choose it on the test"
    )
    made.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="of NSD, in mm, or pixels without spacing (default: %(default)s)",
    )
    made.add_argument(
        "--trained-on", nargs="*", metavar="SET", help="sets the model was trained on, where its card does not say"
    )
    made.add_argument(
        "--file-names",
        action="store_true",
        help="name files and groups in the results (default: hashes of the images, numbers of the groups)",
    )
    made.add_argument(
        "--trained-level",
        default="",
        metavar="LEVEL",
        help="level of the prompts it was trained with, in upstream's wording, where its card does not say",
    )
    made.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="KIND",
        help="a kind of finding of the data check to go on with; may be given again",
    )
    made.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of intervals and lists of sentences (default: %(default)s)")
    made.add_argument("--metric", choices=METRICS, default="dice", help="of compare (default: %(default)s)")
    made.set_defaults(run=_evaluate)

    table = commands.add_parser("table", help="results in one table, the paper's numbers beside them; markdown")
    table.add_argument("folders", nargs="+", type=Path, help="folders of results, or folders that hold some")
    table.add_argument("--against", choices=("paper",), help="fill the paper's tables instead of one of models by sets")
    kinds = [kind.value for kind in PromptKind]
    table.add_argument("--kind", default="", choices=kinds, help="only this kind of prompt (not with --against)")
    table.add_argument("--size", choices=("model", "original"), help="(default: original; with --against: model)")
    table.add_argument("--metric", choices=METRICS, default="dice", help="not with --against (default: %(default)s)")
    table.add_argument("--out", type=Path, help="write it to this file (default: print it)")
    table.set_defaults(run=_table)


def _evaluate(options: argparse.Namespace) -> int:
    if options.folders[:1] == [_COMPARE]:
        return _compare(options)
    from tqdm import tqdm

    from medvlsm_training.evaluation.prompts import EvaluationPrompts
    from medvlsm_training.evaluation.run import evaluate_sets

    if options.out is None:
        raise ValueError("Say where the results go, with --out FOLDER.")
    names = [*(options.kinds or ["class"]), *(["typed"] if options.prompt else [])]
    kinds = [kind for kind in PromptKind if kind.value.split()[0] in names]
    prompts = EvaluationPrompts(tuple(kinds), tuple(options.levels), options.wording, options.prompt, options.seed)
    results = evaluate_sets(
        options.model or _model_of(options.recipe),
        _sets(options),
        options.out,
        prompts,
        threshold=options.threshold,
        tolerance=options.tolerance,
        seen=options.trained_on,
        trained_level=options.trained_level,
        device=options.device,
        replace=options.replace,
        accept=options.accept,
        notify=lambda text: print(f"medvlsm: {text}", file=sys.stderr),
        progress=partial(tqdm, unit="case", disable=None),
    )
    _print(results)
    return OK


def _wording(name: str) -> str:
    """The wording's name; "release" is what versions before 0.2 called that of upstream."""
    if name == "release":
        print("medvlsm: --wording release is now called upstream.", file=sys.stderr)
        return "upstream"
    return name


def _sets(options: argparse.Namespace) -> list[DataSet]:
    """The data sets of folders, or of a recipe."""
    from medvlsm_training.evaluation.data import read_data, recipe_sets
    from medvlsm_training.recipes import load_recipe
    from medvlsm_training.sources import recipe_vocabulary
    from napari_medvlsm.core.datasets.replay import REPLAY_TEST, shipped_replay
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary

    if options.limit < 0:
        raise ValueError(f"--limit is a number of images, but is {options.limit}.")
    if bool(options.folders) == bool(options.recipe) or bool(options.recipe) != (options.data is not None):
        raise ValueError(
            "Name data set folders, or a recipe with --recipe and the folder of its data sets with --data."
        )
    if options.recipe and options.replay:
        raise ValueError("--replay goes with data set folders; leave it out with --recipe.")
    older = [(folder, REPLAY_TEST) for folder in shipped_replay()] if options.replay else []
    if options.folders:
        return [
            read_data(
                folder,
                split,
                dataset_vocabulary([folder]),
                () if (folder, split) in older else options.target,
                options.limit,
                options.file_names,
            )
            for folder, split in [*((Path(name), options.split) for name in options.folders), *older]
        ]
    run = Path(options.recipe) / RECIPE_FILE
    recipe = load_recipe(run if run.is_file() else options.recipe)
    vocabulary = recipe_vocabulary(recipe, options.data)
    sets = recipe_sets(
        recipe, options.data, options.split, vocabulary, options.target, options.limit, options.file_names
    )
    if not sets:
        raise ValueError(f"The data sets of {recipe.name} have nothing in the split {options.split!r}.")
    return sets


def _model_of(recipe: str | None) -> str:
    """The model that a run left behind, else the starter."""
    model = Run(Path(recipe)).model if recipe else None
    return STARTER if model is None else str(model)


def _print(results: Results) -> None:
    print(results.about.line)
    for name, facts in results.sets.items():
        print(f"{name}, {facts.split}: {facts.cases} cases, intervals by {facts.grouped_by}, data {facts.sha256[:12]}")
    print(
        f"{'set':17} {'target':16} {'prompt':15} {'size':8} {'cases':>5}  {'Dice, all cases':20} {'IoU':>5} "
        f"{'prec.':>5} {'rec.':>5} {'NSD':>5} {'HD95':>8}  absent, false positives"
    )
    for row in results.rows:
        unit = "mm" if "hd95_mm" in row else "px"
        absent = f"{row['absent']}, {row['false_positive_rate']:.0%}" if row["absent"] else ""
        means = " ".join(f"{_part(row[n]['mean']):>5}" for n in ("iou", "precision", "recall", f"nsd_{unit}"))
        far = row[f"hd95_{unit}"]["mean"]
        distance = "-" if far is None else f"{far:.1f} {unit}"
        print(
            f"{row['set'][:17]:17} {row['target'][:16]:16} {row['kind']:10} {row['level']:4} {row['size']:8} "
            f"{row['cases']:5}  {_interval(row['dice']):20} {means} {distance:>8}  {absent}"
        )
    for row in results.contrasts:
        print(
            f"{row['set']}, {row['target']}: {row['kind']} against the right words, {row['level']}, {row['size']} "
            f"size: Dice {_interval(row['difference'])} on {row['difference']['cases']} answers"
        )
    for row in results.calibration:
        if row["size"] == "original":
            print(f"{row['set']}: {row['kind']} {row['level']}, calibration error {row['expected_error']:.4f}")


def _compare(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.runs.comparison import compare, pair_up, write_pairs
    from napari_medvlsm.core.runs.results import read_results

    if len(options.folders) != 3:
        raise ValueError("Two folders of results are compared: medvlsm evaluate compare A B.")
    first, second = (Path(name) for name in options.folders[1:])
    _check_new(options.out)
    pairs = pair_up(first, second)
    for what, folder in (("first", first), ("second", second)):
        print(f"{what}: {folder}: {read_results(folder).about.line}")
    print(
        f"{'set':17} {'prompt':15} {'size':8} {'cases':>5} {'first':>7} {'second':>7}  {'second - first':26} "
        "wins/losses/ties"
    )
    for row in compare(pairs, options.metric, options.seed):
        print(_compared(row))
    if options.out is not None:
        write_pairs(options.out, pairs)
    return OK


def _compared(row: Comparison) -> str:
    found = row.found
    gain = found.difference
    around = "" if isnan(gain.low) else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return (
        f"{row.set[:17]:17} {row.kind:10} {row.level:4} {row.size:8} {gain.cases:5} {found.first:7.3f} "
        f"{found.second:7.3f}  {f'{gain.mean:+.3f}{around}':26} "
        f"{found.wins}/{found.losses}/{found.ties}"
    )


def _table(options: argparse.Namespace) -> int:
    from medvlsm_training.evaluation.table import cross_table, paper_tables
    from napari_medvlsm.core.runs.results import find_results, read_results

    _check_new(options.out)
    results = [read_results(folder) for folder in find_results(options.folders)]
    if options.against:
        text = paper_tables(results, options.size or "model")
    else:
        text = cross_table(results, options.metric, options.size or "original", options.kind)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n", "utf-8")
    return OK


def _check_new(out: Path | None) -> None:
    if out is not None and out.exists():
        raise ValueError(f"{out} exists already; choose another name with --out.")


def _interval(found: dict[str, Any]) -> str:
    around = "" if found["low"] is None else f" ({found['low']:.3f} to {found['high']:.3f})"
    return f"{_part(found['mean'], 3)}{around}"


def _part(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
