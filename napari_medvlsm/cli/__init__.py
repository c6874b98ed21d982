"""`medvlsm`: the command line, a module a command. Knows no Qt; the window's entry point is `widgets.app`."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from medvlsm_training import command as training
from napari_medvlsm import __version__
from napari_medvlsm.cli import data, evaluate, improve, models, project, project_next, prompts, segment
from napari_medvlsm.core.exit_codes import carry_out
from napari_medvlsm.core.process import ensure_temporary_folder

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `core.exit_codes`)."""
    options = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text of any encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    ensure_temporary_folder()
    return carry_out("medvlsm", lambda: options.run(options))


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `options.run(options)` carries one out."""
    made = training.Parser(
        prog="medvlsm", description="Outline medical scans with words. For research use, not a medical device."
    )
    made.add_argument("--version", action="version", version=f"medvlsm {__version__}")
    commands = made.add_subparsers(dest="command", required=True)
    for module in (segment, models, prompts, data):
        module.add_to(commands)
    project_next.add_to(project.add_to(commands))
    for module in (improve, training, evaluate):
        module.add_to(commands)
    return made
