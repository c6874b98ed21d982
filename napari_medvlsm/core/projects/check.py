"""What is wrong with a project's folder: files that somebody moved, changed or removed by hand, scans that are gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.projects.database import Database, Row
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.files import SCANS_FOLDER, file_digest, files_below, is_unfinished, unfinished_files
from napari_medvlsm.core.projects.lock import read_holder
from napari_medvlsm.core.projects.recovery import unnamed
from napari_medvlsm.core.projects.schema import DATABASE_FILE

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : str
        "database", "mask missing", "mask changed", "mask unknown", "unfinished file", "state", "scan missing",
        "scan changed" or "scan unknown".
    sentence : str
        For people.
    mended : bool
        Whether `repair_project` mends it by itself.
    file : str
        That it is about, relative to the project; "" where it is about none.
    id : int
        Of the version, task or scan; 0 where it is about none.
    """

    kind: str
    sentence: str
    mended: bool
    file: str = ""
    id: int = 0


def check_project(folder: Path, deep: bool = False, progress: Progress | None = None) -> list[Finding]:
    """Compare a project's database with its files. Nothing is changed, and another program may work on it.

    Parameters
    ----------
    folder : Path
    deep : bool
        Read every scan, also those whose size and time are as they were.
    progress : callable, optional
        ``progress(done, of)``.

    Raises
    ------
    ProjectError
        If there is no project, or one of a newer version.
    """
    folder = folder.resolve()
    if problem := database_problem(folder):
        return [problem]
    found = _findings(folder, deep, progress)
    if found and read_holder(folder) is not None:
        # Something that another program was just doing is not there the second time.
        again = {finding.sentence for finding in _findings(folder, deep, None)}
        found = [finding for finding in found if finding.sentence in again]
    return found


def database_problem(folder: Path) -> Finding | None:
    """Why the database cannot be used, if so.

    Raises
    ------
    ProjectError
        If there is no folder, or the database is one of a newer version.
    """
    if not folder.is_dir():
        raise ProjectError(f"There is no folder {folder}.")
    try:
        database = Database(folder, read_only=True)
    except ProjectError as error:
        if (folder / DATABASE_FILE).is_file() and not isinstance(error.__cause__, sqlite3.Error):
            raise  # another database, or a newer program's
        return Finding("database", str(error), True)
    try:
        told = [row[0] for row in database.query("PRAGMA integrity_check")]
        broken = database.query("PRAGMA foreign_key_check")
    except ProjectError as error:
        return Finding("database", str(error), True)
    finally:
        database.close()
    if told != ["ok"] or broken:
        return Finding("database", f"{DATABASE_FILE} is damaged ({told[0] if told != ['ok'] else 'loose rows'}).", True)
    return None


def _findings(folder: Path, deep: bool, progress: Progress | None) -> list[Finding]:
    database = Database(folder, read_only=True)
    try:
        return [*mask_findings(database), *state_findings(database), *scan_findings(database, deep, progress)]
    finally:
        database.close()


def mask_findings(database: Database) -> Iterator[Finding]:
    """Masks that are gone or changed, and files among them that no row names."""
    folder = database.folder
    for row in database.query(
        "SELECT version.id, file, version.file_hash, number, phrase, name, state, current_id FROM version "
        "JOIN task ON task.id = task_id JOIN target ON target.id = target_id JOIN scan ON scan.id = scan_id "
        "WHERE NOT lost ORDER BY version.id"
    ):
        what = f"Version {row['number']} of {row['phrase']} in {row['name']}"
        if row["current_id"] == row["id"]:
            what += f" ({row['state']}, the present one)"
        if not (folder / row["file"]).is_file():
            yield Finding("mask missing", f"{what} is gone: {row['file']}.", True, row["file"], row["id"])
        elif digest(folder / row["file"]) != row["file_hash"]:
            sentence = f"{what} was changed by something else than this program: {row['file']}."
            yield Finding("mask changed", sentence, True, row["file"], row["id"])
    for file in unnamed(database):
        yield Finding("mask unknown", f"{file} is no mask that the project knows.", True, file)
    for file in unfinished_files(folder):
        yield Finding("unfinished file", f"{file} is what is left of a file that was being written.", True, file)


def state_findings(database: Database) -> Iterator[Finding]:
    """Outlines whose state does not fit their present version."""
    for row in database.query(
        "SELECT task.id, state, phrase, name, lost, absent, version.task_id AS of_task FROM task "
        "JOIN target ON target.id = target_id JOIN scan ON scan.id = scan_id JOIN version ON version.id = current_id"
    ):
        what = f"{row['phrase']} in {row['name']} is {row['state']}"
        if row["lost"] or row["of_task"] != row["id"]:
            yield Finding("state", f"{what}, but its mask is lost.", True, id=row["id"])
        elif row["absent"] and row["state"] in ("draft", "submitted"):
            yield Finding("state", f"{what}, but its present version says that there is nothing.", True, id=row["id"])
        elif row["state"] == "absent" and not row["absent"]:
            yield Finding("state", f"{what}, but its present version is an outline.", True, id=row["id"])


def scan_findings(database: Database, deep: bool = False, progress: Progress | None = None) -> Iterator[Finding]:
    """Scans that are gone or changed, and files among the copies that are none."""
    rows = database.query("SELECT * FROM scan ORDER BY sort_key, id")
    for number, row in enumerate(rows, 1):
        path = located_scan(database.folder, row)
        if path is None:
            where = (database.folder / row["path"]).resolve()
            sentence = f"The scan {row['name']} is gone from {where}; 'repair --find FOLDER' looks for it there."
            yield Finding("scan missing", sentence, False, row["path"], row["id"])
        elif scan_changed(row, path, deep):
            sentence = f"The scan {row['name']} has changed since it was added ({path}); its outlines may not fit."
            yield Finding("scan changed", sentence, False, row["path"], row["id"])
        if progress:
            progress(number, len(rows))
    known = {row["path"] for row in rows} | {row["file"] for row in database.query("SELECT file FROM incoming")}
    for file in files_below(database.folder, SCANS_FOLDER):
        if file not in known and not is_unfinished(file):
            sentence = f"{file} is no scan of the project; add it, or take it away."
            yield Finding("scan unknown", sentence, False, file)


def located_scan(folder: Path, row: Row) -> Path | None:
    """Where a scan's file is; None where it is gone."""
    places = (folder / row["path"], Path(row["absolute"]))
    return next((path.resolve() for path in places if path.is_file()), None)


def scan_changed(row: Row, path: Path, deep: bool) -> bool:
    """Whether a scan's file is not the one that was added."""
    facts = path.stat()
    if not deep and (facts.st_size, facts.st_mtime_ns) == (row["file_bytes"], row["file_mtime_ns"]):
        return False
    return digest(path) != row["file_hash"]


def digest(path: Path) -> str:
    """SHA-256 of a file; "" where it cannot be read."""
    try:
        return file_digest(path)
    except OSError:
        return ""
