"""The mask files of a project: a label TIFF for each version of an outline, with its whole record inside.

`masks/CASE/NAME.tif`; names are never used twice, and a file is never changed. What the database says of an outline can
be read from its file again.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.atomic import sync_folder
from napari_medvlsm.core.io.labels import load_mask, save_mask
from napari_medvlsm.core.projects.errors import ProjectError, told

MASKS_FOLDER = "masks"
SCANS_FOLDER = "scans"
BACKUP_FOLDER = "backup"
_NAME = re.compile(r"[0-9a-f]{16}\.tif")
_CASE = re.compile(r"\d{6,}")
# Of `core.io.atomic.replacing`; not the "._" files of macOS.
_UNFINISHED = re.compile(r"\.(?!_).+-[a-z0-9_]{8}\.\w+")


@dataclass(frozen=True)
class StoredMask:
    """A mask file that is on disk as a whole; `file` is relative to the project, `digest` its SHA-256."""

    file: str
    digest: str


def write_mask(project: Path, case_id: int, annotation: Annotation) -> StoredMask:
    """Write a new mask file: complete and synced when this returns.

    Raises
    ------
    ProjectError
        If the disk fails; there is no new file then.
    """
    with told(project, "saved"):
        # Not its parents: where a drive is gone, nothing may be written into the place it was mounted on.
        folder = project / MASKS_FOLDER / f"{case_id:06d}"
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        path = folder / f"{uuid.uuid4().hex[:16]}.tif"
        save_mask(path, annotation)
        return StoredMask(relative(project, path), file_digest(path))


def read_mask(project: Path, file: str) -> Annotation:
    """The annotation of a mask file.

    Raises
    ------
    ProjectError
        If it is gone or damaged.
    """
    path = project / file
    if not path.is_file():
        raise ProjectError(f"The mask file {path} is gone; run 'medvlsm project repair {project}'.")
    try:
        return load_mask(path)
    except ValueError as error:
        raise ProjectError(f"{error} Run 'medvlsm project repair {project}'.") from error


def relative(project: Path, path: Path) -> str:
    """A path inside the project, as its database has it."""
    return path.relative_to(project).as_posix()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(project: Path, file: str) -> bool:
    """Remove a file that no row names; whether it is gone."""
    try:
        (project / file).unlink(missing_ok=True)
    except OSError:
        return False  # it stays on the list of unwanted files
    return True


def case_of(file: str) -> int | None:
    """The id of the case that a mask file lies with; None for a file elsewhere."""
    parts = file.split("/")
    return int(parts[1]) if len(parts) == 3 and parts[0] == MASKS_FOLDER and _CASE.fullmatch(parts[1]) else None


def is_own_name(file: str) -> bool:
    """Whether a file has a name that `write_mask` gives."""
    return case_of(file) is not None and bool(_NAME.fullmatch(file.rsplit("/", 1)[-1]))


def files_below(project: Path, folder: str) -> Iterator[str]:
    """All files below a folder of the project, hidden ones too."""
    for where, _, names in os.walk(project / folder):
        inside = Path(where).relative_to(project)
        yield from ((inside / name).as_posix() for name in names)


def unfinished_files(project: Path) -> list[str]:
    """What killed programs left of files that they were writing."""
    beside = [path.name for path in project.iterdir() if path.is_file()]
    below = (file for folder in (MASKS_FOLDER, SCANS_FOLDER, BACKUP_FOLDER) for file in files_below(project, folder))
    return sorted(file for file in (*beside, *below) if is_unfinished(file))


def is_unfinished(file: str) -> bool:
    """Whether a file's name is one that files have until they are complete."""
    return bool(_UNFINISHED.fullmatch(file.rsplit("/", 1)[-1]))
