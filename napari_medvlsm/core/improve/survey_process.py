"""The survey of a project in a process of its own, for the window: `medvlsm project next`. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from napari_medvlsm.core.exit_codes import ExitCode, exit_sentence
from napari_medvlsm.core.process import ChildProcess


def start_survey(project: Path, target: str, model: str | Path) -> ChildProcess:
    """Start the process and return at once; it ends with its stdin.

    Parameters
    ----------
    project : Path
    target : str
        Of the project.
    model : str or Path
        Name or folder.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    arguments = ["project", "next", str(project), "--target", target, "--model", str(model), "--events"]
    return ChildProcess("napari_medvlsm.cli", arguments, watches_stdin=False)


def follow_survey(process: ChildProcess, progress: Callable[[int, int], None]) -> None:
    """Wait until the order is written (`survey.read_order`).

    Parameters
    ----------
    process : ChildProcess
    progress : callable
        Gets the scans looked at, and all of them.

    Raises
    ------
    ValueError
        With the process's own words, if it could not be made.
    """
    for line in process.lines():
        done, of = json.loads(line)
        progress(done, of)
    code = process.wait()
    # Scans that could not be read are named in the order.
    if code not in (ExitCode.OK, ExitCode.SOME_FAILED):
        last = process.stderr_tail().splitlines()[-1:] or [exit_sentence(code)]
        raise ValueError(f"The scans could not be looked at. {last[0].removeprefix('medvlsm: ')}")
