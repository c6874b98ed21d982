"""The tables of a project's database, and how older versions become the present one.

Version N of the schema is what the first N entries of `MIGRATIONS` make. An entry that was published is never changed:
a new one is added. `PRAGMA user_version` holds the version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.projects.effort import distance
from napari_medvlsm.core.projects.errors import ProjectError

DATABASE_FILE = "project.sqlite"
# "mvpj" in `PRAGMA application_id`: tells a project from other databases.
APPLICATION_ID = 0x6D76706A

_VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Those that are asked of every scan, and others that some scans have.
CREATE TABLE target (id INTEGER PRIMARY KEY, phrase TEXT NOT NULL UNIQUE, asked INTEGER NOT NULL);

-- Patients or sequences. One of which nothing is known has no name, and one case.
CREATE TABLE scan_group (
  id INTEGER PRIMARY KEY,
  name TEXT UNIQUE,
  split TEXT NOT NULL CHECK (split IN ('train', 'val', 'test'))
);
CREATE TRIGGER a_split_never_changes BEFORE UPDATE OF split ON scan_group WHEN old.split <> new.split
BEGIN SELECT RAISE(ABORT, 'a split never changes'); END;

CREATE TABLE scan (
  id INTEGER PRIMARY KEY,
  group_id INTEGER NOT NULL REFERENCES scan_group (id),
  name TEXT NOT NULL,
  sort_key TEXT NOT NULL,
  search TEXT NOT NULL,
  path TEXT NOT NULL,
  absolute TEXT NOT NULL,
  copied INTEGER NOT NULL,
  pixels_hash TEXT NOT NULL UNIQUE,
  file_hash TEXT NOT NULL,
  file_bytes INTEGER NOT NULL,
  file_mtime_ns INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  columns INTEGER NOT NULL,
  row_mm REAL,
  column_mm REAL,
  modality TEXT NOT NULL DEFAULT '',
  added TEXT NOT NULL
);
CREATE INDEX scan_of_group ON scan (group_id);
CREATE INDEX scan_by_name ON scan (sort_key, id);
CREATE TRIGGER a_scan_never_changes_its_split BEFORE UPDATE OF group_id ON scan
WHEN (SELECT split FROM scan_group WHERE id = old.group_id) <> (SELECT split FROM scan_group WHERE id = new.group_id)
BEGIN SELECT RAISE(ABORT, 'a split never changes'); END;

CREATE TABLE task (
  id INTEGER PRIMARY KEY,
  scan_id INTEGER NOT NULL REFERENCES scan (id),
  target_id INTEGER NOT NULL REFERENCES target (id),
  state TEXT NOT NULL DEFAULT 'unseen' CHECK (state IN ('unseen', 'draft', 'submitted', 'approved', 'absent')),
  current_id INTEGER REFERENCES version (id),
  prediction_id INTEGER REFERENCES version (id),
  changed TEXT NOT NULL,
  UNIQUE (scan_id, target_id),
  CHECK ((state = 'unseen') = (current_id IS NULL))
);
CREATE INDEX task_of_state ON task (target_id, state);

CREATE TABLE version (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id INTEGER NOT NULL REFERENCES task (id),
  number INTEGER NOT NULL,
  origin TEXT NOT NULL,
  sitting TEXT NOT NULL,
  file TEXT NOT NULL UNIQUE,
  file_hash TEXT NOT NULL,
  created TEXT NOT NULL,
  author TEXT NOT NULL,
  prompt TEXT NOT NULL,
  model TEXT NOT NULL,
  weights_hash TEXT NOT NULL,
  corrected INTEGER NOT NULL,
  absent INTEGER NOT NULL,
  predicted INTEGER NOT NULL,
  foreground INTEGER NOT NULL,
  seconds REAL NOT NULL,
  strokes INTEGER NOT NULL,
  lost INTEGER NOT NULL DEFAULT 0,
  UNIQUE (task_id, number)
);
CREATE TRIGGER a_version_is_never_deleted BEFORE DELETE ON version
BEGIN SELECT RAISE(ABORT, 'a version is never deleted'); END;

CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id INTEGER NOT NULL REFERENCES task (id),
  version_id INTEGER REFERENCES version (id),
  what TEXT NOT NULL,
  state TEXT NOT NULL,
  person TEXT NOT NULL,
  remark TEXT NOT NULL,
  at TEXT NOT NULL
);
CREATE INDEX event_of_task ON event (task_id);
CREATE TRIGGER an_event_is_never_deleted BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never deleted'); END;
CREATE TRIGGER an_event_is_never_changed BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;

-- Files that no row names any more, to be removed.
CREATE TABLE unwanted (file TEXT PRIMARY KEY) WITHOUT ROWID;

-- Copies of scans that are being made; what is left of them is removed when the project is opened.
CREATE TABLE incoming (file TEXT PRIMARY KEY) WITHOUT ROWID;
"""


def _to_1(connection: sqlite3.Connection, folder: Path) -> None:
    _run(connection, _VERSION_1)


def _to_2(connection: sqlite3.Connection, folder: Path) -> None:
    """What an outline cost: clicks, and how far it is from the prediction that it began from."""
    _run(
        connection,
        """
        ALTER TABLE version ADD COLUMN clicks INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE version ADD COLUMN pixels_changed INTEGER;
        ALTER TABLE version ADD COLUMN dice REAL;
        """,
    )
    for row in connection.execute("SELECT id, file FROM version").fetchall():
        try:
            changed, dice = distance(load_mask(folder / row["file"]))
        except (ValueError, OSError):
            continue  # a file that is gone says nothing; `check` names it
        connection.execute("UPDATE version SET pixels_changed = ?, dice = ? WHERE id = ?", (changed, dice, row["id"]))


#: Each makes the schema's next version, within a transaction, in the database of the folder.
MIGRATIONS: tuple[Callable[[sqlite3.Connection, Path], None], ...] = (_to_1, _to_2)
VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection, folder: Path) -> int:
    """The schema version of an existing database.

    Raises
    ------
    ProjectError
        If it is no project, or one of a newer version of the program.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID or version < 1:
        raise ProjectError(f"{folder / DATABASE_FILE} is not the database of a napari-medvlsm project.")
    if version > VERSION:
        raise ProjectError(
            f"The project {folder} has schema version {version}, but this program knows versions up to {VERSION}; "
            "update napari-medvlsm."
        )
    return version


def migrate(connection: sqlite3.Connection, folder: Path, version: int) -> None:
    """Bring a database from a version (0 for an empty one) to the present one, all of it or nothing."""
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[version:]:
            step(connection, folder)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _run(connection: sqlite3.Connection, script: str) -> None:
    # Not `executescript`, which commits the transaction that is open.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
