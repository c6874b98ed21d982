"""`medvlsm train` and `medvlsm package`, which are `python -m medvlsm_training train` and `package` too."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvlsm_training.events import Failed, Report, json_lines, silent

if TYPE_CHECKING:
    from medvlsm_training.config import Recipe


def add_to(commands: Any) -> None:
    """Add both commands to subparsers."""
    trainer = commands.add_parser(
        "train",
        help="finetune a model by a recipe",
        description="Train a recipe; the same command goes on after an interruption. Without a recipe: list them; "
        "without --data and --run: show the recipe.",
    )
    trainer.add_argument("recipe", nargs="?", help="name of a shipped recipe, or a YAML file")
    trainer.add_argument("changes", nargs="*", metavar="key=value", help="such as trainer.max_epochs=5 or model=cris")
    trainer.add_argument("--data", type=Path, help="folder with the recipe's data sets")
    trainer.add_argument("--run", type=Path, help="folder for checkpoints, curves, model and report", dest="folder")
    trainer.add_argument(
        "--accept", nargs="+", default=[], metavar="KIND", help="findings of the data check to go on with"
    )
    trainer.add_argument("--minutes", type=float, help="stop after this time, at the end of an epoch")
    trainer.add_argument("--accelerator", default="auto", help="cpu, gpu, mps or auto (default: %(default)s)")
    trainer.add_argument("--devices", type=int, default=1, help="of each machine (default: %(default)s)")
    trainer.add_argument("--nodes", type=int, default=1, help="machines (default: %(default)s)")
    trainer.add_argument("--events", action="store_true", help="tell every event as a line of JSON on stdout")
    trainer.add_argument("--no-measure", action="store_true", help="only train; `package` measures later")
    trainer.set_defaults(run=_train)

    packager = commands.add_parser("package", help="measure a run's best model and write its model folder")
    packager.add_argument("folder", type=Path, help="folder of the run")
    packager.add_argument("--data", type=Path, required=True, help="folder with the recipe's data sets")
    packager.add_argument("--out", type=Path, help="model folder to write (default: `model` in the run's folder)")
    packager.add_argument("--events", action="store_true", help="tell every event as a line of JSON on stdout")
    packager.set_defaults(run=_package)


def _train(options: argparse.Namespace) -> int:
    from medvlsm_training.recipes import dumped, listing, load_recipe

    if options.recipe is None:
        print(listing())
        return 0
    if options.data is None and options.folder is None:
        print(dumped(load_recipe(options.recipe, options.changes)), end="")
        return 0
    if options.data is None or options.folder is None:
        raise ValueError("Training needs --data, the folder of data sets, and --run, a folder for what comes out.")

    def work(report: Report) -> int:
        from medvlsm_training.train import Machine, train

        recipe = load_recipe(options.recipe, options.changes)
        recipe = replace(recipe, accept=(*recipe.accept, *options.accept))
        machine = Machine(options.accelerator, options.devices, options.nodes)
        stopped = train(recipe, options.data, options.folder, options.minutes, machine, report)
        if stopped.reason in ("finished", "early stopping") and not options.no_measure:
            _write_model(recipe, options.data, options.folder, options.folder / "model", report)
        return 0 if stopped.reason != "diverged" else 1

    return _reporting(options, work)


def _package(options: argparse.Namespace) -> int:
    from medvlsm_training.recipes import load_recipe

    def work(report: Report) -> int:
        recipe = load_recipe(options.folder / "recipe.yaml")
        _write_model(recipe, options.data, options.folder, options.out or options.folder / "model", report)
        return 0

    return _reporting(options, work)


def _write_model(recipe: Recipe, data: Path, run: Path, out: Path, report: Report) -> None:
    from medvlsm_training.package import package

    package(recipe, data, run, out)


def _reporting(options: argparse.Namespace, work: Any) -> int:
    """Carry out with events for a program or lines for people; an expected error is one sentence."""
    logging.basicConfig(level=logging.WARNING if options.events else logging.INFO, format="%(message)s")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    report = json_lines(sys.stdout) if options.events else silent
    try:
        return int(work(report))
    except (ValueError, OSError) as error:
        report(Failed(str(error)))
        raise
