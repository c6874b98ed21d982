"""Scans named on the command line."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path


def add_foreground(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what the values of masks mean, where these could mean several things."""
    parser.add_argument(
        "--foreground",
        type=_foreground,
        default="",
        metavar="RULE",
        help="of masks whose values could mean several things: nonzero, half, dark, alpha, or values such as 1,3",
    )


def _foreground(text: str) -> str | tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        pass
    if text not in ("", "nonzero", "half", "dark", "alpha"):  # "" is the default
        raise argparse.ArgumentTypeError(f"nonzero, half, dark, alpha, or values such as 1,3, but not {text!r}")
    return text


def find_scans(names: Sequence[str]) -> Iterator[Path]:
    """Files in the order given; folders, but for their hidden files, and patterns in alphabetical order."""
    from napari_medvlsm.core.io.images import list_pictures
    from napari_medvlsm.core.plain_files import is_system_file

    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = list_pictures(path)
            if not inside:
                raise ValueError(f"The folder {path} holds no PNG, JPEG, BMP, GIF or TIFF scan.")
            yield from inside
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise ValueError(f"No file matches the pattern {name!r}.")
            yield from (Path(m) for m in matches if Path(m).is_file() and not is_system_file(m))
        else:
            yield path  # a missing file is reported when its turn comes, the others go on
