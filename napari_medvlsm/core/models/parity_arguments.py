"""The arguments of a comparison with the reference, for both ways to start it. Imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

# The images' waves: per column, per image, per row.
IMAGE_CONSTANTS = (0.05, 0.3, 0.03)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two files, the models and the constants of the images."""
    parser.add_argument("keys", type=Path, help="JSON: tag -> entry of the reference's state dict -> shape")
    parser.add_argument("expected", type=Path, help="npz: the reference's answers")
    parser.add_argument("--tags", nargs="+", help="only these models (default: all in the JSON file)")
    parser.add_argument(
        "--image-constants",
        nargs=3,
        type=float,
        default=IMAGE_CONSTANTS,
        metavar=("COLUMN", "IMAGE", "ROW"),
        help="of the images' formula",
    )
