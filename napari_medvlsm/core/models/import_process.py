"""An import in a process of its own, for the window, which imports no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def import_in_process(
    path: Path, name: str | None = None, family: str | None = None, tokenizer: Path | None = None
) -> None:
    """Make a model of a checkpoint, a folder or fetched files, as ``medvlsm models import`` does.

    Parameters
    ----------
    path : Path
    name : str, optional
        Of the new model; by default that of the weights.
    family : str, optional
        What it is, where its names do not tell.
    tokenizer : Path, optional
        Folder with the tokenizer.

    Raises
    ------
    ValueError
        With the import's own sentence.
    """
    options = {"--name": name, "--family": family, "--tokenizer": tokenizer}
    said = [part for option, value in options.items() if value for part in (option, str(value))]
    # -P keeps a stray folder in the working directory from being imported instead of ours.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "napari_medvlsm.cli", "models", "import", *said, "--", str(path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONIOENCODING": "utf-8", "TOKENIZERS_PARALLELISM": "false"},
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with code {done.returncode}"]
        raise ValueError(last[0].removeprefix("medvlsm: "))
