"""Changes of one outline (a scan and a target) within a transaction: versions, states, and what was done.

Versions are added and never removed. Only a person's own draft of the present sitting is written again in place, stroke
by stroke; its file before is on the list of unwanted files then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.projects.effort import distance
from napari_medvlsm.core.projects.files import StoredMask
from napari_medvlsm.core.projects.states import State

DRAFT, PREDICTION = "draft", "prediction"
# Behind what was done with a version that did not become the outline.
ASIDE = " aside"
# A change that leaves less than this fraction of the foreground keeps the version before it.
_LESS = 0.5


@dataclass(frozen=True)
class Task:
    """An outline as the database has it."""

    id: int
    case_id: int
    case: str
    target: str
    state: State
    current: int | None
    prediction: int | None


@dataclass(frozen=True)
class Did:
    """What was done to an outline, by whom, in which sitting, with which remark."""

    what: str
    person: str
    sitting: str
    remark: str = ""


def now() -> str:
    """The time of this computer's clock in UTC, as it is stored."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def find_task(connection: sqlite3.Connection, case_id: int, target: str) -> Task | None:
    """The outline of a target in a scan, if the project asks for it or has one."""
    row = connection.execute(
        "SELECT task.*, scan.name AS name, phrase FROM task JOIN scan ON scan.id = scan_id "
        "JOIN target ON target.id = target_id WHERE scan_id = ? AND phrase = ?",
        (case_id, target),
    ).fetchone()
    if row is None:
        return None
    return Task(row["id"], case_id, row["name"], target, State(row["state"]), row["current_id"], row["prediction_id"])


def ensure_task(connection: sqlite3.Connection, case_id: int, target: str) -> Task:
    """The outline of a target in a scan, made where there is none."""
    found = find_task(connection, case_id, target)
    if found is not None:
        return found
    target_id = ensure_target(connection, target, asked=False)
    connection.execute("INSERT INTO task (scan_id, target_id, changed) VALUES (?, ?, ?)", (case_id, target_id, now()))
    made = find_task(connection, case_id, target)
    assert made is not None
    return made


def ensure_target(connection: sqlite3.Connection, phrase: str, asked: bool) -> int:
    """The id of a target; with `asked`, every scan of the project gets an outline of it."""
    connection.execute("INSERT OR IGNORE INTO target (phrase, asked) VALUES (?, 0)", (phrase,))
    row = connection.execute("SELECT id, asked FROM target WHERE phrase = ?", (phrase,)).fetchone()
    if asked and not row["asked"]:
        connection.execute("UPDATE target SET asked = 1 WHERE id = ?", (row["id"],))
        connection.execute(
            "INSERT OR IGNORE INTO task (scan_id, target_id, changed) SELECT id, ?, ? FROM scan", (row["id"], now())
        )
    return int(row["id"])


def add_version(
    connection: sqlite3.Connection, task: Task, annotation: Annotation, stored: StoredMask, origin: str, sitting: str
) -> int:
    """Add a version to an outline; its id."""
    number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM version WHERE task_id = ?", (task.id,))
    values = _columns(annotation, stored) | {
        "task_id": task.id,
        "number": number.fetchone()[0],
        "origin": origin,
        "sitting": sitting,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    made = connection.execute(f"INSERT INTO version ({names}) VALUES ({marks})", tuple(values.values()))
    assert made.lastrowid is not None
    return made.lastrowid


def write_draft(
    connection: sqlite3.Connection,
    task: Task,
    annotation: Annotation,
    stored: StoredMask,
    sitting: str,
    read: Callable[[str], Mask | None],
) -> tuple[int, bool]:
    """Make a mask the draft of an outline: (id of its version, whether that is a new one).

    `read` gives the mask of a file, or None where it cannot be read.
    """
    before = connection.execute(
        "SELECT * FROM version WHERE id = ? AND origin = ? AND sitting = ? AND author = ?",
        (task.current, DRAFT, sitting, annotation.provenance.author),
    ).fetchone()
    if before is None or task.state is not State.DRAFT or _loses(before, annotation.mask, read):
        return add_version(connection, task, annotation, stored, DRAFT, sitting), True
    values = _columns(annotation, stored)
    assigned = ", ".join(f"{name} = ?" for name in values)
    connection.execute(f"UPDATE version SET {assigned} WHERE id = ?", (*values.values(), before["id"]))
    discard(connection, before["file"])
    return int(before["id"]), False


def set_state(connection: sqlite3.Connection, task: Task, state: State, version: int | None, did: Did) -> None:
    """Give an outline a state and its current version, and note what was done."""
    connection.execute(
        "UPDATE task SET state = ?, current_id = ?, changed = ? WHERE id = ?", (state.value, version, now(), task.id)
    )
    note(connection, task, state, version, did)


def note(connection: sqlite3.Connection, task: Task, state: State, version: int | None, did: Did) -> None:
    """Note what was done to an outline."""
    connection.execute(
        "INSERT INTO event (task_id, version_id, what, state, person, remark, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (task.id, version, did.what, state.value, did.person, did.remark, now()),
    )


def discard(connection: sqlite3.Connection, *files: str) -> None:
    """Put files on the list of those to be removed once the transaction is through."""
    connection.executemany("INSERT OR IGNORE INTO unwanted VALUES (?)", [(file,) for file in files])


def last_drawn(connection: sqlite3.Connection, task: Task) -> int | None:
    """The last version that the outline was and that is still there; None where it was never drawn.

    Predictions, answers that there is nothing, and versions that only lie beside it do not count.
    """
    row = connection.execute(
        "SELECT version_id FROM event JOIN version ON version.id = version_id WHERE event.task_id = ? "
        "AND what NOT LIKE ? AND origin <> ? AND absent = 0 AND lost = 0 ORDER BY event.id DESC LIMIT 1",
        (task.id, f"%{ASIDE}", PREDICTION),
    ).fetchone()
    return None if row is None else int(row[0])


def _loses(before: sqlite3.Row, mask: Mask, read: Callable[[str], Mask | None]) -> bool:
    if not before["foreground"]:
        return False
    old = read(before["file"])
    return old is None or old.shape != mask.shape or bool(np.count_nonzero(old & mask) < _LESS * before["foreground"])


def _columns(annotation: Annotation, stored: StoredMask) -> dict[str, object]:
    made = annotation.provenance
    changed, dice = distance(annotation)
    return {
        "file": stored.file,
        "file_hash": stored.digest,
        "created": now(),
        "author": made.author,
        "prompt": made.prompt.text if made.prompt else "",
        "model": made.model,
        "weights_hash": made.weights_hash,
        "corrected": annotation.corrected,
        "absent": annotation.absent,
        "predicted": annotation.prediction is not None,
        "foreground": int(np.count_nonzero(annotation.mask)),
        "seconds": made.seconds,
        "strokes": made.strokes,
        "clicks": made.clicks,
        "pixels_changed": changed,
        "dice": dice,
    }
