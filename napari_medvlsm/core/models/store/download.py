"""Public weights to a model, from the plan on: what the window and the command line both do. Imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from napari_medvlsm.core.io.atomic import require_space
from napari_medvlsm.core.models.store.hub import Plan, Progress, fetch
from napari_medvlsm.core.models.store.naming import target_dir


class Import(Protocol):
    """Makes a model of a folder of fetched files: `import_process.import_in_process`, or one that stays in here."""

    def __call__(self, path: Path, name: str, /, *, replace_existing: bool, check: Callable[[], None] | None) -> Path:
        """Give the new model folder."""


def download_and_import(
    plan: Plan,
    import_: Import,
    name: str | None = None,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
    replace: bool = False,
) -> Path:
    """Fetch what is planned, make a model of it, and remove the fetched files.

    Parameters
    ----------
    plan : Plan
    import_ : Import
    name : str, optional
        Of the model; by default that of the source.
    progress : callable, optional
        Called with the bytes that are fetched and those of all files.
    check : callable, optional
        Called often; whatever it raises ends the work, and what is fetched stays for the next time.
    replace : bool
        Whether a model of this name may be replaced.

    Returns
    -------
    Path
        The new model folder.

    Raises
    ------
    ModelExists
        If there is a model of this name, and it is not to be replaced; nothing is fetched then.
    ValueError
        As `hub.fetch` and the import do, or if the disk has no room for the files and the model.
    """
    name = name or plan.source.name
    target_dir(name, replace=replace)
    # The model is written while the fetched files are still there.
    require_space(plan.folder, plan.left + plan.total)
    folder = fetch(plan, progress, check)
    made = import_(folder, name, replace_existing=replace, check=check)
    shutil.rmtree(folder, ignore_errors=True)
    return made
