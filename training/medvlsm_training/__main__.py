"""`python -m medvlsm_training train|package RECIPE --data FOLDER --run FOLDER`."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = argparse.ArgumentParser(prog="medvlsm_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (
        ("train", "train a recipe; the same command goes on after an interruption"),
        ("package", "measure a run's model on the test splits and write its model folder"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("recipe", help="name of a shipped recipe, or a YAML file")
        command.add_argument("--data", type=Path, required=True, help="folder with the recipe's data sets")
        command.add_argument("--run", type=Path, required=True, help="folder for checkpoints and curves")
        if name == "train":
            command.add_argument(
                "--accept", nargs="+", default=[], metavar="KIND", help="findings of the data check to go on with"
            )
            command.add_argument("--minutes", type=float, help="stop after this time, at the end of an epoch")
        else:
            command.add_argument("--out", type=Path, required=True, help="model folder to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    from medvlsm_training.config import load_recipe, shipped_recipe

    try:
        recipe = load_recipe(shipped_recipe(options.recipe))
        if options.command == "train":
            from medvlsm_training.train import train

            recipe = replace(recipe, accept=(*recipe.accept, *options.accept))
            train(recipe, options.data, options.run, options.minutes)
        else:
            from medvlsm_training.evaluate import package

            package(recipe, options.data, options.run, options.out)
    except (ValueError, OSError) as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
