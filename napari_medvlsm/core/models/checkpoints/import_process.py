"""An import in a process of its own, for the window, which imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from napari_medvlsm.core.exit_codes import exit_sentence
from napari_medvlsm.core.io.atomic import unfinished
from napari_medvlsm.core.models.store.naming import free_target_dir, target_dir
from napari_medvlsm.core.process import ChildProcess

# Between two calls of `check`.
_SECONDS = 0.2


def import_in_process(
    path: Path,
    name: str | None = None,
    family: str | None = None,
    tokenizer: Path | None = None,
    *,
    replace_existing: bool = False,
    check: Callable[[], None] | None = None,
) -> Path:
    """Make a model of a checkpoint, a folder or fetched files, as ``medvlsm models import`` does.

    Parameters
    ----------
    path : Path
    name : str, optional
        Of the new model; by default that of the weights, or a free one like it.
    family : str, optional
        What it is, where its names do not tell.
    tokenizer : Path, optional
        Folder with the tokenizer.
    replace_existing : bool
        Whether a model of this name may be replaced.
    check : callable, optional
        Called while the process runs; whatever it raises ends the process and is raised here.

    Returns
    -------
    Path
        The new model folder.

    Raises
    ------
    ModelExists
        If there is a model of the name that was given, and it is not to be replaced.
    ValueError
        With the import's own sentence.
    """
    replace = replace_existing
    place = target_dir(name, replace=replace) if name else free_target_dir(path, replace=replace)
    options = {"--name": place.name, "--family": family, "--tokenizer": tokenizer}
    said = [part for option, value in options.items() if value for part in (option, str(value))]
    before = unfinished(place)
    arguments = ["models", "import", *said, *(["--replace"] if replace else []), "--", str(path)]
    with ChildProcess("napari_medvlsm.cli", arguments, watches_stdin=False, output=False) as child:
        try:
            code = _wait(child, check)
        except BaseException:
            child.kill()
            for folder in unfinished(place) - before:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if code:
            last = child.stderr_tail().splitlines()[-1:] or [exit_sentence(code)]
            raise ValueError(last[0].removeprefix("medvlsm: "))
    return place


def _wait(child: ChildProcess, check: Callable[[], None] | None) -> int:
    """The exit code of a process, when it has ended."""
    while True:
        if check is not None:
            check()
        try:
            return child.wait(_SECONDS)
        except TimeoutError:
            continue
