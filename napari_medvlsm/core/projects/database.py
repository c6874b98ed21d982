"""The project's SQLite database: opened safely, changed in transactions, read by any thread.

Rollback journal with `synchronous=FULL`: a committed row survives a power cut, and no write-ahead log is left that a
network drive or a read-only folder could not serve.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import pathname2url

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.projects.errors import ProjectError, sentence, told
from napari_medvlsm.core.projects.files import BACKUP_FOLDER
from napari_medvlsm.core.projects.schema import DATABASE_FILE, VERSION, migrate, version_of

BACKUP_FILE = "project.sqlite"
# Wait so long for a program that reads at the moment.
_BUSY_SECONDS = 10.0

Row = sqlite3.Row


class Database:
    """The database of a project's folder.

    Parameters
    ----------
    folder : Path
    read_only : bool
        Nothing on disk is changed, also where the database is of an older version or was left in the middle of a write.

    Raises
    ------
    ProjectError
        If there is none, it is damaged, or of a newer version.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self.folder, self.read_only = folder, read_only
        self._mutex = threading.RLock()
        require_database(folder)
        with told(folder, "opened"):
            self.connection = _open_copy(folder) if read_only else _open(folder)

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for several questions that no other thread comes between."""
        with self._mutex, told(self.folder, "read"):
            yield self.connection

    def query(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a question."""
        with self._mutex, told(self.folder, "read"):
            return self.connection.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a question."""
        rows = self.query(sql, *values)
        return rows[0] if rows else None

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row; None without one."""
        row = self.one(sql, *values)
        return None if row is None else row[0]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that are made together or not at all.

        Raises
        ------
        ProjectError
            If the project was opened read-only, or the disk fails; nothing is changed then.
        """
        if self.read_only:
            raise ProjectError(f"The project {self.folder} was opened read-only, so nothing can be changed in it.")
        with self._mutex:
            nested = self.connection.in_transaction
            try:
                if not nested:
                    self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                if not nested:
                    self.connection.execute("COMMIT")
            except BaseException as error:
                if not nested and self.connection.in_transaction:
                    self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise ProjectError(sentence(self.folder, "saved", error)) from error
                raise

    def back_up(self) -> None:
        """Keep a copy of the database, for the case that somebody deletes or damages it; where it was changed."""
        folder = self.folder / BACKUP_FOLDER
        if not self.connection.total_changes and (folder / BACKUP_FILE).is_file():
            return
        with self._mutex, told(self.folder, "backed up"):
            folder.mkdir(exist_ok=True)
            _copy(self.connection, folder / BACKUP_FILE)

    def close(self) -> None:
        """Close the connection."""
        with self._mutex:
            self.connection.close()

    def _roll_back(self) -> None:
        try:
            self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the disk is gone; the journal is rolled back when it is back


def require_database(folder: Path) -> None:
    """Check that a folder holds a project's database.

    Raises
    ------
    ProjectError
        If not; the sentence says what to do.
    """
    if (folder / DATABASE_FILE).is_file():
        return
    if not folder.is_dir():
        raise ProjectError(f"There is no folder {folder}.")
    if (folder / BACKUP_FOLDER / BACKUP_FILE).is_file():
        raise ProjectError(f"{folder} lacks {DATABASE_FILE}; 'medvlsm project repair {folder}' takes its copy.")
    raise ProjectError(f"{folder} is no project (no {DATABASE_FILE} in it); 'medvlsm project new' makes one.")


def make(folder: Path) -> None:
    """Make the database of the present version in an empty folder."""
    connection = _connect(folder / DATABASE_FILE)
    try:
        migrate(connection, folder, 0)
    finally:
        connection.close()


def _open(folder: Path) -> sqlite3.Connection:
    connection = _connect(folder / DATABASE_FILE)
    try:
        version = version_of(connection, folder)
        if version < VERSION:
            # What an older version of the program can read again.
            _copy(connection, folder / f"project.version-{version}.sqlite")
            migrate(connection, folder, version)
    except BaseException:
        connection.close()
        raise
    return connection


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """A copy of a database in a file, which is replaced at once or not at all."""
    with replacing(path) as temporary:
        copy = sqlite3.connect(temporary)
        try:
            copy.execute("PRAGMA journal_mode = MEMORY")  # of a temporary file, nothing has to be taken back
            connection.backup(copy)
        finally:
            copy.close()


def _open_copy(folder: Path) -> sqlite3.Connection:
    """The database as it is, for reading; brought to the present version in memory where it is older."""
    # A question mark or a number sign in the path would end it in the address.
    address = f"file:{pathname2url(str((folder / DATABASE_FILE).absolute()))}?mode=ro"
    connection = _connect(address, uri=True)
    try:
        if _version_if_readable(connection, folder) == VERSION:
            return connection
        copy = _in_memory(folder)
    except BaseException:
        connection.close()
        raise
    connection.close()
    return copy


def _version_if_readable(connection: sqlite3.Connection, folder: Path) -> int | None:
    try:
        return version_of(connection, folder)
    except sqlite3.OperationalError:
        # A write that was interrupted has to be taken back before anything is read, which needs a place to write.
        if (folder / f"{DATABASE_FILE}-journal").exists():
            return None
        raise


def _in_memory(folder: Path) -> sqlite3.Connection:
    memory = _connect(":memory:")
    with tempfile.TemporaryDirectory(prefix="medvlsm-") as temporary:
        for path in (folder / DATABASE_FILE, folder / f"{DATABASE_FILE}-journal"):
            if path.exists():
                shutil.copyfile(path, Path(temporary) / path.name)
        source = _connect(Path(temporary) / DATABASE_FILE)
        try:
            version = version_of(source, folder)
            source.backup(memory)
        finally:
            source.close()
    migrate(memory, folder, version)
    return memory


def _connect(database: Path | str, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=uri
    )
    connection.row_factory = sqlite3.Row
    if not uri:  # these look into the file, where a write may have to be taken back first
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    return connection
