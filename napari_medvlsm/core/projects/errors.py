"""What can go wrong with a project, as one sentence for people."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_medvlsm.core.io.disk_errors import is_denied, is_full, reason


class ProjectError(ValueError):
    """One sentence: what came, what was expected, and what to do."""


class ProjectInUse(ProjectError):
    """Another program has the project open for writing."""


@contextmanager
def told(folder: Path, doing: str) -> Iterator[None]:
    """Turn errors of the disk and the database into a `ProjectError`.

    Parameters
    ----------
    folder : Path
        Of the project.
    doing : str
        What could not be done, such as "saved".
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise ProjectError(sentence(folder, doing, error)) from error


def sentence(folder: Path, doing: str, error: OSError | sqlite3.Error) -> str:
    """What an error means for the project, and what to do."""
    text = str(error)
    if "closed database" in text:
        return f"Not {doing}: the project {folder} was closed; open it again."
    if not folder.is_dir():
        return f"Not {doing}: the project's folder {folder} cannot be reached any more; connect the drive again."
    if is_full(error) or "disk is full" in text:
        return f"Not {doing}: the disk of {folder} is full; make room and try again."
    if is_denied(error) or "readonly" in text:
        return f"Not {doing}: the folder {folder} cannot be written to; ask for the right to, or copy the project."
    if "locked" in text:
        return f"Not {doing}: another program is reading or writing {folder}; try again in a moment."
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return f"The project's database in {folder} is damaged ({text}); run 'medvlsm project repair {folder}'."
    return f"Not {doing}: {folder} could not be read or written ({reason(error)}); check the disk, then try again."
