"""A project's folder: made, opened, looked over after a crash, changed in transactions, closed.

It holds:

- `project.sqlite`, the database (`schema`);
- `project.lock`, the lock of the program that writes, and `project.open`, which says who that is (`lock`);
- `masks/CASE/*.tif`, a label file for each version with its whole record (`files`);
- `scans/`, scans that were copied in;
- `backup/`, a copy of the database from when the project was last closed.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from napari_medvlsm import __version__
from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.projects import outlines
from napari_medvlsm.core.projects.database import Database, make, require_database
from napari_medvlsm.core.projects.errors import ProjectError, told
from napari_medvlsm.core.projects.files import MASKS_FOLDER, remove
from napari_medvlsm.core.projects.lock import ProjectLock
from napari_medvlsm.core.projects.recovery import clock_sentence, look_over


def create_project(folder: Path, targets: Sequence[str], title: str = "") -> None:
    """Make an empty project: all of it or nothing.

    Parameters
    ----------
    folder : Path
        Does not exist yet.
    targets : sequence of str
        Phrases that are asked of every scan; more can be added later.
    title : str
        By default the folder's name.

    Raises
    ------
    ProjectError
        If the folder exists, cannot be written, or there is no target.
    """
    phrases = list(dict.fromkeys(phrase.strip() for phrase in targets if phrase.strip()))
    if not phrases:
        raise ProjectError("A project needs at least one target: what to outline, such as 'polyp'.")
    try:
        with told(folder.parent, "made"), making_folder(folder) as temporary:
            (temporary / MASKS_FOLDER).mkdir()
            make(temporary)
            database = Database(temporary)
            try:
                with database.transaction() as connection:
                    values = {
                        "project": uuid.uuid4().hex,
                        "salt": uuid.uuid4().hex[:16],
                        "title": title or folder.absolute().name,
                        "created": outlines.now(),
                        "software": f"napari-medvlsm {__version__}",
                    }
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", list(values.items()))
                    for phrase in phrases:
                        outlines.ensure_target(connection, phrase, asked=True)
            finally:
                database.close()
    except ProjectError:
        raise
    except ValueError as error:
        raise ProjectError(str(error)) from error


class ProjectFolder:
    """An open project's folder: its database, its lock, and what happened before.

    Parameters
    ----------
    folder : Path
    person : str
        Who works, as entered; written into what is done.
    read_only : bool
        For looking, beside a program that writes or in a folder that cannot be written.

    Attributes
    ----------
    folder : Path
        Absolute, without symbolic links.
    person : str
        May change: somebody else goes on.
    read_only : bool
    sitting : str
        Of this opening; no other has it.
    database : Database
    notices : list of str
        What happened before, in sentences: what a killed program left, a clock that was set back.

    Raises
    ------
    ProjectInUse
        If another program writes it.
    ProjectError
        If there is no project, it is damaged, or of a newer version.
    """

    def __init__(self, folder: Path, person: str = "", read_only: bool = False) -> None:
        self.folder, self.person, self.read_only = folder.resolve(), person, read_only
        self.sitting = uuid.uuid4().hex[:12]
        self.notices: list[str] = []
        self._mutex = threading.RLock()
        self._interrupted = self._closed = False
        self._gone: list[str] = []
        self.database, self._lock = self._open()
        try:
            if not read_only:
                self._remove_unwanted()
                self._remove_incoming()
            self._project = self.meta("project")
        except BaseException:
            self._interrupted = True
            self.close()
            raise

    def meta(self, key: str) -> str:
        """A value that the project remembers; "" where there is none."""
        return self.database.value("SELECT value FROM meta WHERE key = ?", key) or ""

    def remember(self, key: str, value: str) -> None:
        """Let the project remember a value, such as the scan that was worked on last."""
        with self.changing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around whatever writes: after an error of the disk, or without its lock, the project is opened anew first.

        Raises
        ------
        ProjectError
            If the project cannot be written.
        """
        if self.read_only:
            raise ProjectError(f"The project {self.folder} was opened read-only, so nothing can be changed in it.")
        if self._closed:
            raise ProjectError(f"The project {self.folder} was closed; open it again.")
        with self._mutex:  # one after the other, in the order in which they are asked for
            if self._interrupted or self._lock is None or not self._lock.is_held:
                self._open_again()
            try:
                yield
            except ProjectError as error:
                if isinstance(error.__cause__, (OSError, sqlite3.Error)):
                    self._interrupted = True
                raise

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction. Files that it put on the list of unwanted ones are removed after it."""
        with self.writing():
            with self.database.transaction() as connection:
                gone, self._gone = self._gone, []
                connection.executemany("DELETE FROM unwanted WHERE file = ?", [(file,) for file in gone])
                yield connection
            self._remove_unwanted()

    def close(self) -> None:
        """Let another program write. What was saved is on disk since it was saved."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._lock is not None and not self._interrupted:
                _backed_up(self.database)
        finally:
            self.database.close()
            if self._lock is not None:
                self._lock.release(closed=not self._interrupted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, again: bool = False) -> tuple[Database, ProjectLock | None]:
        if self.read_only:
            return Database(self.folder, read_only=True), None
        require_database(self.folder)
        with told(self.folder, "opened for writing"):
            lock = ProjectLock(self.folder, self.person)
        try:
            database = Database(self.folder)
        except BaseException:
            lock.release(closed=lock.left_by is None)
            raise
        try:
            (self.folder / MASKS_FOLDER).mkdir(exist_ok=True)  # which somebody may have taken away
            if lock.left_by is not None:
                self.notices += look_over(database, None if again else lock.left_by, self.sitting)
                self.notices += _backed_up(database)
            if late := clock_sentence(database):
                self.notices.append(late)
        except BaseException:
            database.close()
            lock.release(closed=False)
            raise
        return database, lock

    def _open_again(self) -> None:
        """Open the project anew; until that succeeds, the old connection answers what it can."""
        self._interrupted = True
        if self._lock is not None:
            self._lock.release(closed=False)
            self._lock = None
        database, lock = self._open(again=True)
        if database.value("SELECT value FROM meta WHERE key = 'project'") != self._project:
            database.close()
            if lock is not None:
                lock.release()
            raise ProjectError(f"Another project lies in {self.folder} now; close this one and open that.")
        self.database.close()
        self.database, self._lock, self._interrupted = database, lock, False

    def _remove_incoming(self) -> None:
        """Remove the copies of scans that a killed program was making."""
        files = [row["file"] for row in self.database.query("SELECT file FROM incoming")]
        if gone := [file for file in files if remove(self.folder, file)]:
            with self.changing() as connection:
                connection.executemany("DELETE FROM incoming WHERE file = ?", [(file,) for file in gone])

    def _remove_unwanted(self) -> None:
        """Remove the files that no row names; the list forgets them with the next change."""
        files = [row["file"] for row in self.database.query("SELECT file FROM unwanted")]
        self._gone = [file for file in files if remove(self.folder, file)]


def _backed_up(database: Database) -> list[str]:
    """Copy the database; where that fails, as on a full disk, a sentence: the project is usable all the same."""
    try:
        database.back_up()
    except ProjectError as error:
        return [str(error)]
    return []
