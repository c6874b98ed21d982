"""Mends what `check` finds. What cannot be used is set aside, never deleted; what is lost is said, never hidden."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.projects import outlines
from napari_medvlsm.core.projects.adding import relative_path
from napari_medvlsm.core.projects.check import (
    Finding,
    check_project,
    database_problem,
    digest,
    mask_findings,
    scan_findings,
    state_findings,
)
from napari_medvlsm.core.projects.database import BACKUP_FILE, Database
from napari_medvlsm.core.projects.errors import ProjectError, told
from napari_medvlsm.core.projects.files import BACKUP_FOLDER, MASKS_FOLDER, case_of, file_digest, files_below, remove
from napari_medvlsm.core.projects.lock import ProjectLock
from napari_medvlsm.core.projects.outlines import Did
from napari_medvlsm.core.projects.recovery import adopt, unnamed
from napari_medvlsm.core.projects.schema import DATABASE_FILE
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.prompts import target_name

ASIDE_FOLDER = "set-aside"


@dataclass
class RepairReport:
    """What was done, in sentences, and what is left to a person."""

    done: list[str] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)


def repair_project(folder: Path, find: Sequence[Path] = ()) -> RepairReport:
    """Mend a project's folder.

    - A database that is gone or damaged comes back from its copy; the masks that are newer are taken in.
    - Masks that were moved within the project go back; unknown ones become versions, or are set aside.
    - A mask that was changed by another program becomes a version of its own, to be looked at again.
    - Where a mask is lost, the outline goes back to its last version that is there, as a draft.
    - Scans that moved are looked for by their content.

    Parameters
    ----------
    folder : Path
    find : sequence of Path
        Folders in which to look for scans that are gone.

    Raises
    ------
    ProjectInUse
        If another program has the project open.
    ProjectError
        If there is no project, no copy of a damaged database, or the disk fails.
    """
    folder, report = folder.resolve(), RepairReport()
    problem = database_problem(folder)
    if problem and not (folder / BACKUP_FOLDER / BACKUP_FILE).is_file():
        raise ProjectError(f"{problem.sentence} There is no copy of it in {folder / BACKUP_FOLDER}, either.")
    with told(folder, "repaired"):
        lock = ProjectLock(folder)
        mended = False
        try:
            if problem:
                report.done.append(_restore_database(folder))
            database = Database(folder)
            try:
                _Repair(database, report).run(find)
                database.back_up()
                mended = True
            finally:
                database.close()
        finally:
            lock.release(closed=mended or lock.left_by is None)
    report.left = check_project(folder)
    return report


class _Repair:
    """One repair of an open database."""

    def __init__(self, database: Database, report: RepairReport) -> None:
        self.database, self.report = database, report
        self.folder = database.folder
        self.sitting = uuid.uuid4().hex[:12]

    def run(self, find: Sequence[Path]) -> None:
        self._remove_listed()
        masks = list(mask_findings(self.database))
        for finding in _of(masks, "unfinished file"):
            remove(self.folder, finding.file)
            self._tell(f"Removed {finding.file}, which was never complete.")
        self._put_back(_of(masks, "mask missing"))
        for finding in _of(masks, "mask changed"):
            self._take_changed(finding)
        for finding in _of(masks, "mask missing"):
            if not (self.folder / finding.file).is_file():
                self._lose(finding.id)
        for file in unnamed(self.database):
            self._take_unknown(file)
        for finding in list(state_findings(self.database)):
            self._mend_state(finding.id)
        for finding in list(scan_findings(self.database)):
            if finding.kind == "scan missing":
                self._find_scan(finding.id, find)
            elif finding.kind == "scan changed":
                self._look_at_scan(finding.id)

    def _tell(self, sentence: str) -> None:
        self.report.done.append(sentence)

    def _remove_listed(self) -> None:
        for table in ("unwanted", "incoming"):
            gone = [(r["file"],) for r in self.database.query(f"SELECT file FROM {table}") if remove(self.folder, r[0])]
            with self.database.transaction() as connection:
                connection.executemany(f"DELETE FROM {table} WHERE file = ?", gone)

    def _put_back(self, missing: Sequence[Finding]) -> None:
        """Masks that were moved or renamed within the project, by their content."""
        if not missing:
            return
        named = {row["file"] for row in self.database.query("SELECT file FROM version")}
        elsewhere = {
            digest(self.folder / file): file
            for file in files_below(self.folder, "")
            if file.endswith(".tif") and file not in named
        }
        for finding in missing:
            wanted = self.database.value("SELECT file_hash FROM version WHERE id = ?", finding.id)
            if (file := elsewhere.get(wanted)) is not None:
                path = self.folder / finding.file
                path.parent.mkdir(parents=True, exist_ok=True)
                (self.folder / file).replace(path)
                self._tell(f"Put {file} back to {finding.file}.")

    def _take_changed(self, finding: Finding) -> None:
        """A mask that something else wrote over: a version of its own, under another name."""
        old = self.folder / finding.file
        new = old.with_name(f"{uuid.uuid4().hex[:16]}.tif")
        old.replace(new)
        self._lose(finding.id)
        file = new.relative_to(self.folder).as_posix()
        if adopt(self.database, file, self.sitting, "was changed by another program") is None:
            self._set_aside(file)
        else:
            self._tell(f"What another program made of {finding.file} is a version of its own now; look at it.")

    def _lose(self, version_id: int) -> None:
        with self.database.transaction() as connection:
            connection.execute("UPDATE version SET lost = 1 WHERE id = ?", (version_id,))
            row = connection.execute(
                "SELECT scan_id, phrase, number, name FROM version JOIN task ON task.id = task_id "
                "JOIN target ON target.id = target_id JOIN scan ON scan.id = scan_id WHERE version.id = ?",
                (version_id,),
            ).fetchone()
            task = outlines.find_task(connection, row["scan_id"], row["phrase"])
            assert task is not None
            outlines.note(connection, task, task.state, version_id, Did("lost", "", self.sitting))
            connection.execute("UPDATE task SET prediction_id = NULL WHERE prediction_id = ?", (version_id,))
            if task.current == version_id:
                self._fall_back(connection, task)
        self._tell(f"Version {row['number']} of {row['phrase']} in {row['name']} is lost.")

    def _fall_back(self, connection: sqlite3.Connection, task: outlines.Task) -> None:
        drawn = outlines.last_drawn(connection, task)
        state = State.UNSEEN if drawn is None else State.DRAFT
        outlines.set_state(connection, task, state, drawn, Did("lost", "", self.sitting, f"was {task.state}"))
        self._tell(f"{target_name(task.target)} in {task.case} was {task.state} and is {state} now.")

    def _take_unknown(self, file: str) -> None:
        taken = adopt(self.database, file, self.sitting, "was not in the database")
        if taken is None:
            self._set_aside(file)
        else:
            self._tell(taken)

    def _set_aside(self, file: str) -> None:
        aside = self.folder / ASIDE_FOLDER / file.removeprefix(f"{MASKS_FOLDER}/").replace("/", "-")
        aside.parent.mkdir(exist_ok=True)
        while aside.exists():
            aside = aside.with_name(f"{aside.stem}-{uuid.uuid4().hex[:4]}{aside.suffix}")
        (self.folder / file).replace(aside)
        why = "" if case_of(file) else ", since it is not with a scan"
        self._tell(f"Set {file} aside to {ASIDE_FOLDER}/{aside.name}{why}.")

    def _mend_state(self, task_id: int) -> None:
        row = self.database.one(
            "SELECT scan_id, phrase, absent, lost, version.task_id AS of_task FROM task "
            "JOIN target ON target.id = target_id JOIN version ON version.id = current_id WHERE task.id = ?",
            task_id,
        )
        assert row is not None
        with self.database.transaction() as connection:
            task = outlines.find_task(connection, row["scan_id"], row["phrase"])
            assert task is not None
            if row["lost"] or row["of_task"] != task_id:
                self._fall_back(connection, task)
            else:
                state = State.ABSENT if row["absent"] else State.DRAFT
                outlines.set_state(connection, task, state, task.current, Did("repaired", "", self.sitting))
                self._tell(f"{target_name(task.target)} in {task.case} was {task.state} and is {state} now.")

    def _find_scan(self, scan_id: int, find: Iterable[Path]) -> None:
        row = self.database.one("SELECT * FROM scan WHERE id = ?", scan_id)
        assert row is not None
        for folder in find:
            for path in sorted(folder.rglob("*")):
                alike = path.is_file() and path.stat().st_size == row["file_bytes"]
                if alike and digest(path) == row["file_hash"]:
                    self._move_scan(scan_id, path.resolve())
                    self._tell(f"The scan {row['name']} is at {path} now.")
                    return

    def _move_scan(self, scan_id: int, path: Path) -> None:
        place = relative_path(self.folder, path)
        with self.database.transaction() as connection:
            connection.execute(
                "UPDATE scan SET path = ?, absolute = ?, file_mtime_ns = ?, copied = ? WHERE id = ?",
                (place, str(path), path.stat().st_mtime_ns, path.is_relative_to(self.folder), scan_id),
            )

    def _look_at_scan(self, scan_id: int) -> None:
        """A file that is another one, but of the same pixels, is as good."""
        row = self.database.one("SELECT * FROM scan WHERE id = ?", scan_id)
        assert row is not None
        path = next(p for p in (self.folder / row["path"], Path(row["absolute"])) if p.is_file())
        try:
            same = content_hash(read_scan(path).pixels) == row["pixels_hash"]
        except ValueError:
            return
        if same:
            facts = path.stat()
            with self.database.transaction() as connection:
                connection.execute(
                    "UPDATE scan SET file_hash = ?, file_bytes = ?, file_mtime_ns = ? WHERE id = ?",
                    (file_digest(path), facts.st_size, facts.st_mtime_ns, scan_id),
                )
            self._tell(f"The scan {row['name']} was saved anew, with the same pixels.")


def _of(findings: Iterable[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def _restore_database(folder: Path) -> str:
    """Put the copy in the place of the database, which is set aside with its journal."""
    number = uuid.uuid4().hex[:6]
    (folder / ASIDE_FOLDER).mkdir(exist_ok=True)
    for suffix in ("-journal", ""):  # a journal must never be applied to another database
        path = folder / f"{DATABASE_FILE}{suffix}"
        if path.exists():
            path.replace(folder / ASIDE_FOLDER / f"project-{number}.sqlite{suffix}")
    with replacing(folder / DATABASE_FILE) as temporary:
        shutil.copyfile(folder / BACKUP_FOLDER / BACKUP_FILE, temporary)
    if problem := database_problem(folder):
        raise ProjectError(f"The copy of the database is damaged, too: {problem.sentence}")
    return "The database came back from the copy that was made when the project was last closed."
