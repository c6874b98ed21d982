"""`medvlsm models`."""

from __future__ import annotations

import argparse
from typing import Any

from napari_medvlsm.cli._codes import OK
from napari_medvlsm.core.models.registry import available_models


def add_to(commands: Any) -> None:
    """Add the command to the subparsers of `medvlsm`."""
    models = commands.add_parser("models", help="list the models")
    models.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> int:
    for name, entry in available_models().items():
        targets = ", ".join(entry.card.targets) or "any words"
        print(f"{name:16} {'shipped' if entry.shipped else 'yours':8} {entry.card.licence:34} {targets}")
    return OK
