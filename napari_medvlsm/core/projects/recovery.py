"""What a program that was killed left in a project: looked over when the project is opened next.

A mask file is complete before the row that names it, so a complete file without a row is the last thing that was being
saved: it becomes a version. Files that were being written are removed; the database takes back its own.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.projects import outlines
from napari_medvlsm.core.projects.database import Database
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.files import (
    MASKS_FOLDER,
    StoredMask,
    case_of,
    file_digest,
    files_below,
    is_own_name,
    is_unfinished,
    read_mask,
    remove,
    unfinished_files,
)
from napari_medvlsm.core.projects.lock import Holder
from napari_medvlsm.core.projects.outlines import Did, Task
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.prompts import target_name

# Clocks of computers differ a little.
_CLOCK_TOLERANCE = timedelta(minutes=2)


def look_over(database: Database, left_by: Holder | None, sitting: str) -> list[str]:
    """Take in or remove what a program left that was killed, or (`left_by` None) what this one did before the disk was
    gone; sentences that say what happened.
    """
    if left_by is None:
        told = ["The project's disk could not be written, or its lock file was gone; it was opened anew."]
    else:
        told = [f"The project was not closed the last time it was open ({left_by.words}); what was saved is there."]
    recovered = 0
    with database.transaction() as connection:  # a change, so that no journal is left, not even an empty one
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('looked over', ?)", (outlines.now(),))
    for file in unfinished_files(database.folder):
        remove(database.folder, file)
    for file in unnamed(database):
        if _is_own_copy(database, file):  # of a version that was being restored
            remove(database.folder, file)
        elif (taken := adopt(database, file, sitting, "was being saved when the program ended")) is not None:
            told.append(taken)
            recovered += 1
    if not recovered and left_by is not None:
        told.append("If a stroke was being saved at that moment, it may be missing.")
    return told


def unnamed(database: Database) -> list[str]:
    """Complete files among the masks that no row names."""
    named = {row["file"] for row in database.query("SELECT file FROM version UNION SELECT file FROM unwanted")}
    found = (file for file in files_below(database.folder, MASKS_FOLDER) if not is_unfinished(file))
    return sorted(file for file in found if file not in named)


def _is_own_copy(database: Database, file: str) -> bool:
    """Whether a mask file of this program is, byte for byte, one that a row names and that is there."""
    if not is_own_name(file):
        return False
    try:
        digest = file_digest(database.folder / file)
        named = database.query("SELECT file FROM version WHERE file_hash = ? AND NOT lost", digest)
        return any(file_digest(database.folder / row["file"]) == digest for row in named)
    except OSError:
        return False


def adopt(database: Database, file: str, sitting: str, why: str) -> str | None:
    """Make a complete mask file without a row a version of its outline; a sentence that says so.

    It becomes the present outline only where that is unseen, or a draft whose file is older. None where the file is not
    a mask of this program for a scan of the project.
    """
    case_id = case_of(file)
    try:
        annotation = read_mask(database.folder, file)
        digest = file_digest(database.folder / file)
    except (ProjectError, OSError):
        return None
    row = database.one("SELECT name, rows, columns FROM scan WHERE id = ?", case_id)
    if row is None or annotation.mask.shape != (row["rows"], row["columns"]) or not annotation.target:
        return None
    if database.one("SELECT 1 FROM version WHERE file_hash = ? AND NOT lost", digest) is not None:
        return None  # a copy of a version
    with database.transaction() as connection:
        assert case_id is not None
        task = outlines.ensure_task(connection, case_id, annotation.target)
        _add(connection, database, task, annotation, StoredMask(file, digest), Did("recovered", "", sitting, why))
    return f"An outline of {target_name(annotation.target)} in {row['name']} {why}; it was recovered."


def _add(
    connection: sqlite3.Connection, database: Database, task: Task, annotation: Annotation, stored: StoredMask, did: Did
) -> None:
    predicted = not annotation.corrected and not annotation.absent
    origin = outlines.PREDICTION if predicted else "recovered"
    version = outlines.add_version(connection, task, annotation, stored, origin, did.sitting)
    if predicted:
        if task.prediction is None:
            connection.execute("UPDATE task SET prediction_id = ? WHERE id = ?", (version, task.id))
        outlines.note(connection, task, task.state, version, did)
    elif task.state is State.UNSEEN or (task.state is State.DRAFT and _is_newer(connection, database, task, stored)):
        outlines.set_state(connection, task, State.ABSENT if annotation.absent else State.DRAFT, version, did)
    else:
        aside = replace(did, what=f"{did.what}{outlines.ASIDE}")
        outlines.note(connection, task, task.state, version, aside)


def _is_newer(connection: sqlite3.Connection, database: Database, task: Task, stored: StoredMask) -> bool:
    row = connection.execute("SELECT file FROM version WHERE id = ?", (task.current,)).fetchone()
    try:
        times = [(database.folder / file).stat().st_mtime_ns for file in (row["file"], stored.file)]
    except OSError:
        return True  # the present one is gone
    return times[1] >= times[0]


def clock_sentence(database: Database) -> str:
    """A sentence where this computer's clock is behind what was written last; "" otherwise."""
    latest = database.value("SELECT max(at) FROM event")
    if latest is None:
        return ""
    behind = datetime.fromisoformat(latest) - datetime.now(UTC)
    if behind < _CLOCK_TOLERANCE:
        return ""
    minutes = round(behind.total_seconds() / 60)
    return (
        f"This computer's clock is {minutes} minutes behind the project's last entry ({latest[:16].replace('T', ' ')} "
        "UTC). Entries keep the order in which they were made; set the clock right, so that their times are, too."
    )
