"""A project: its scans, the outlines of these, and every version of each.

An outline is a target in a scan. Every change is one transaction; the mask file that it names is complete before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.projects import outlines, reading
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.files import StoredMask, file_digest, read_mask, remove, write_mask
from napari_medvlsm.core.projects.folder import ProjectFolder
from napari_medvlsm.core.projects.outlines import Did, Task
from napari_medvlsm.core.projects.states import State, require_next
from napari_medvlsm.core.projects.values import EVERYTHING, Case, CaseQuery, Counts, Event, Version
from napari_medvlsm.core.prompts import target_name


class ProjectStore(ProjectFolder):
    """An open project; reading and writing are safe from any thread. Parameters and errors as `ProjectFolder`."""

    # What the last draft of this sitting held, by its file: the next one is compared with it.
    _last: tuple[str, Mask] | None = None

    # The project ----------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.meta("title")

    @property
    def salt(self) -> str:
        """From which choices by chance follow; never changes."""
        return self.meta("salt")

    @property
    def targets(self) -> tuple[str, ...]:
        """What every scan is asked for."""
        return tuple(row["phrase"] for row in self.database.query("SELECT phrase FROM target WHERE asked ORDER BY id"))

    @property
    def all_targets(self) -> tuple[str, ...]:
        """These, and what some scans hold besides."""
        return tuple(row["phrase"] for row in self.database.query("SELECT phrase FROM target ORDER BY asked DESC, id"))

    def add_target(self, phrase: str) -> None:
        """Ask every scan for one more target."""
        if not phrase.strip():
            raise ProjectError("A target needs a name, such as 'polyp'.")
        with self.changing() as connection:
            outlines.ensure_target(connection, phrase.strip(), asked=True)

    # Scans ----------------------------------------------------------------------------------------------------------

    def case_ids(self, query: CaseQuery = EVERYTHING) -> list[int]:
        """The ids of the scans that a query finds, in its order."""
        return reading.case_ids(self.database, query)

    def cases(self, ids: Sequence[int] | None = None, query: CaseQuery = EVERYTHING) -> list[Case]:
        """Scans by id, or those that a query finds."""
        return reading.cases(self.database, self.case_ids(query) if ids is None else ids)

    def case(self, case_id: int) -> Case:
        """One scan. Raises ProjectError if there is none of this id."""
        found = reading.cases(self.database, [case_id])
        if not found:
            raise ProjectError(f"The project {self.folder} has no scan with the number {case_id}.")
        return found[0]

    def find_case(self, pixels_hash: str) -> Case | None:
        """The scan with these pixels (`core.images.content_hash`)."""
        found = self.database.value("SELECT id FROM scan WHERE pixels_hash = ?", pixels_hash)
        return None if found is None else self.case(found)

    def neighbour(self, case_id: int | None, step: int, query: CaseQuery = EVERYTHING) -> int | None:
        """The next scan (`step` 1) or the previous one (-1) in a query's order; None at the end.

        A scan that the query does not find any more, since it was just submitted for instance, keeps its place in the
        order. Without a scan: the first or the last.
        """
        return reading.neighbour(self.database, case_id, step, query)

    def counts(self, query: CaseQuery = EVERYTHING) -> Counts:
        """How far the scans of a query are."""
        return reading.counts(self.database, query)

    def groups(self) -> dict[str, int]:
        """The groups that have a name, and how many scans each has."""
        return reading.groups(self.database)

    def scan_path(self, case_id: int) -> Path:
        """Where a scan is now: relative to the project, or where it was when it entered; it need not exist."""
        row = self.database.one("SELECT path, absolute FROM scan WHERE id = ?", case_id)
        if row is None:
            raise ProjectError(f"The project {self.folder} has no scan with the number {case_id}.")
        beside = (self.folder / row["path"]).resolve()
        return beside if beside.exists() or not Path(row["absolute"]).exists() else Path(row["absolute"])

    # Outlines -------------------------------------------------------------------------------------------------------

    def versions(self, case_id: int, target: str) -> list[Version]:
        """All versions of an outline, the oldest first."""
        return reading.versions(self.database, case_id, target)

    def version(self, version_id: int) -> Version:
        """One version. Raises ProjectError if there is none of this id."""
        found = reading.version(self.database, version_id)
        if found is None:
            raise ProjectError(f"The project {self.folder} has no version with the number {version_id}.")
        return found

    def current(self, case_id: int, target: str) -> Version | None:
        """What an outline is now; None where no person answered yet."""
        return next((v for v in self.versions(case_id, target) if v.current), None)

    def prediction(self, case_id: int, target: str) -> Version | None:
        """The latest prediction of an outline."""
        found = [v for v in self.versions(case_id, target) if v.origin == outlines.PREDICTION and not v.lost]
        return found[-1] if found else None

    def load(self, version: Version) -> Annotation:
        """The mask of a version, with its whole record. Raises ProjectError if its file is gone or damaged."""
        try:
            return read_mask(self.folder, version.file)
        except ProjectError:
            now = self.version(version.id)  # a draft is written anew with every stroke
            if now.file == version.file:
                raise
            return read_mask(self.folder, now.file)

    def events(self, case_id: int, target: str = "") -> list[Event]:
        """What was done to the outlines of a scan, in its order."""
        return reading.events(self.database, case_id, target)

    # Work -----------------------------------------------------------------------------------------------------------

    def save_draft(self, case_id: int, annotation: Annotation) -> Version:
        """Save an outline that is being worked on; on disk when this returns.

        Within a sitting (from opening to closing), a draft is written over the one before, unless much of that would be
        lost, or somebody else drew it.

        Raises
        ------
        ProjectError
            If the outline is submitted, approved or absent (reopen it first), its size is not the scan's, or the disk
            fails. What was on disk is as it was then.
        """
        with self._stored(case_id, annotation, _require_open) as (connection, task, stored):
            version = self._write_draft(connection, task, annotation, stored)
        self._last = (stored.file, annotation.mask.copy())
        return self.version(version)

    def save_prediction(self, case_id: int, annotation: Annotation) -> Version:
        """Keep what a model says beside what a person drew, which stays as it is."""
        if annotation.corrected:
            raise ProjectError("A prediction is what no person changed; save this as a draft.")
        with self._stored(case_id, annotation) as (connection, task, stored):
            version = outlines.add_version(connection, task, annotation, stored, outlines.PREDICTION, self.sitting)
            connection.execute("UPDATE task SET prediction_id = ? WHERE id = ?", (version, task.id))
            outlines.note(connection, task, task.state, version, self._did("predicted"))
        return self.version(version)

    def submit(self, case_id: int, target: str, annotation: Annotation | None = None, remark: str = "") -> Version:
        """Hand an outline over to a second person: the draft as it is, or another mask instead.

        Raises
        ------
        ProjectError
            If there is no draft, or it is empty and so no answer (`mark_absent` is one), or as `save_draft`.
        """
        if annotation is None:
            annotation = self._unconfirmed(case_id, target)
        if annotation is not None:
            _require_foreground(annotation.mask.any(), target)
            with self._stored(case_id, replace(annotation, target=target), _require_open) as (connection, task, stored):
                version = outlines.add_version(connection, task, annotation, stored, "submitted", self.sitting)
                outlines.set_state(connection, task, State.SUBMITTED, version, self._did("submitted", remark))
            return self.version(version)
        with self.changing() as connection:
            task = self._task(connection, case_id, target)
            if task.current is None or task.state is not State.DRAFT:
                require_next(task.state, State.SUBMITTED, task.case, target)
                raise ProjectError(
                    f"Nothing is outlined as {target_name(target)} in {task.case} yet, so it cannot be submitted."
                )
            _require_foreground(self._intact(connection, task.current)["foreground"], target)
            # What was submitted is not written over by a later draft.
            connection.execute("UPDATE version SET origin = 'submitted' WHERE id = ?", (task.current,))
            outlines.set_state(connection, task, State.SUBMITTED, task.current, self._did("submitted", remark))
        return self.version(task.current)

    def mark_absent(self, case_id: int, target: str, annotation: Annotation | None = None, remark: str = "") -> Version:
        """Answer that the scan does not show the target; what was drawn before stays as a version."""
        if annotation is None:
            annotation = self._nothing(case_id, target)
        with self._stored(case_id, annotation, _require_open) as (connection, task, stored):
            version = outlines.add_version(connection, task, annotation, stored, "absent", self.sitting)
            outlines.set_state(connection, task, State.ABSENT, version, self._did("absent", remark))
        return self.version(version)

    def import_outline(self, case_id: int, annotation: Annotation, state: State) -> Version | None:
        """Take in an outline that was made elsewhere; None where the outline has a version with this mask.

        Where no person answered yet, it becomes the present one and gets the state (draft, submitted or approved; an
        answer "absent" stays absent unless it is approved); else it is a version that can be restored. What no person
        changed is a prediction.
        """
        if not annotation.corrected and not annotation.absent:
            return None if self._has(case_id, annotation) else self.save_prediction(case_id, annotation)
        if state not in (State.DRAFT, State.SUBMITTED, State.APPROVED):
            raise ProjectError(f"An outline can be taken in as draft, submitted or approved, not as {state}.")
        if self._has(case_id, annotation):
            return None
        if annotation.absent:
            state = State.APPROVED if state is State.APPROVED else State.ABSENT
        elif state is not State.DRAFT:
            _require_foreground(annotation.mask.any(), annotation.target)
        with self._stored(case_id, annotation) as (connection, task, stored):
            version = outlines.add_version(connection, task, annotation, stored, "imported", self.sitting)
            if task.state is State.UNSEEN:
                outlines.set_state(connection, task, state, version, self._did("imported"))
            else:
                outlines.note(connection, task, task.state, version, self._did(f"imported{outlines.ASIDE}"))
        return self.version(version)

    # Review ---------------------------------------------------------------------------------------------------------

    def approve(self, case_id: int, target: str, remark: str = "", looked_at: int | None = None) -> Version:
        """Accept a submitted outline, or the answer that there is none.

        Parameters
        ----------
        case_id : int
        target, remark : str
        looked_at : int, optional
            Id of the version that was looked at: no other one is accepted.

        Raises
        ------
        ProjectError
            If it does not wait, is another version by now, or its file was changed.
        """
        with self.changing() as connection:
            task = self._task(connection, case_id, target)
            require_next(task.state, State.APPROVED, task.case, target)
            assert task.current is not None
            if looked_at not in (None, task.current):
                raise ProjectError(
                    f"{target_name(target)} in {task.case} was handed over anew since you looked at it; look at it "
                    "again, then approve it."
                )
            self._intact(connection, task.current)
            outlines.set_state(connection, task, State.APPROVED, task.current, self._did("approved", remark))
        return self.version(task.current)

    def send_back(self, case_id: int, target: str, remark: str) -> None:
        """Return a submitted outline, or the answer that there is none, to its author with a remark."""
        self._reopen(case_id, target, self._did("sent back", remark))

    def reopen(self, case_id: int, target: str, remark: str = "") -> None:
        """Make an answered outline one to work on again; the answer stays as a version."""
        self._reopen(case_id, target, self._did("reopened", remark))

    def restore(self, version_id: int, remark: str = "") -> Version:
        """Make an earlier version the outline to work on, as a new version; what was there stays one, too.

        A prediction becomes a draft this way.
        """
        version = self.version(version_id)
        annotation = self.load(version)
        if annotation.absent:
            raise ProjectError(f"Version {version.number} is the answer that there is nothing; say so again instead.")
        if version.origin == outlines.PREDICTION:
            annotation = replace(annotation, prediction=annotation.mask)
        with self._stored(version.case_id, annotation) as (connection, task, stored):
            new = outlines.add_version(connection, task, annotation, stored, "restored", self.sitting)
            outlines.set_state(connection, task, State.DRAFT, new, self._did("restored", remark))
        return self.version(new)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _has(self, case_id: int, annotation: Annotation) -> bool:
        """Whether an outline has a version with this mask and this answer."""
        area = int(np.count_nonzero(annotation.mask))
        for version in self.versions(case_id, annotation.target):
            alike = (version.foreground, version.absent, version.corrected) == (
                area,
                annotation.absent,
                annotation.corrected,
            )
            if alike and not version.lost and np.array_equal(self.load(version).mask, annotation.mask):
                return True
        return False

    def _unconfirmed(self, case_id: int, target: str) -> Annotation | None:
        """A draft that no person changed, with the confirmation that submitting it is."""
        draft = self.current(case_id, target)
        if draft is None or draft.corrected:
            return None
        untouched = self.load(draft)
        made = replace(untouched.provenance, author=untouched.provenance.author or self.person)
        return replace(untouched, corrected=True, provenance=made)

    def _nothing(self, case_id: int, target: str) -> Annotation:
        """The answer that there is nothing, which keeps what the model said, and the work that went before it."""
        case, before = self.case(case_id), self.current(case_id, target) or self.prediction(case_id, target)
        mask = np.zeros(case.size, bool)
        made = new_provenance(scan_hash=case.pixels_hash, scan_size=case.size, spacing=case.spacing, author=self.person)
        if before is None or before.lost:
            return Annotation(target, mask, corrected=True, absent=True, provenance=made)
        old = self.load(before)
        prediction = old.mask if before.origin == outlines.PREDICTION else old.prediction
        kept = replace(old.provenance, author=self.person, created=made.created, software=made.software)
        return replace(old, mask=mask, corrected=True, absent=True, provenance=kept, prediction=prediction)

    def _reopen(self, case_id: int, target: str, did: Did) -> None:
        with self.changing() as connection:
            task = self._task(connection, case_id, target)
            if task.state in (State.UNSEEN, State.DRAFT):
                raise ProjectError(f"{target_name(target)} in {task.case} is {task.state}; there is nothing to reopen.")
            drawn = outlines.last_drawn(connection, task)
            outlines.set_state(connection, task, State.UNSEEN if drawn is None else State.DRAFT, drawn, did)

    def _write_draft(
        self, connection: sqlite3.Connection, task: Task, annotation: Annotation, stored: StoredMask
    ) -> int:
        version, new = outlines.write_draft(connection, task, annotation, stored, self.sitting, self._mask_of)
        if new:
            outlines.set_state(connection, task, State.DRAFT, version, self._did("drawn"))
        else:
            connection.execute("UPDATE task SET changed = ? WHERE id = ?", (outlines.now(), task.id))
        return version

    @contextmanager
    def _stored(
        self, case_id: int, annotation: Annotation, require: Callable[[Task], None] | None = None
    ) -> Iterator[tuple[sqlite3.Connection, Task, StoredMask]]:
        """A mask that is on disk, and a transaction for the rows that name it; the file goes where that fails.

        `require` is asked before the file is written, and again within the transaction.
        """
        with self.writing():
            case = self.case(case_id)
            if annotation.mask.shape != case.size:
                raise ProjectError(
                    f"The mask has {annotation.mask.shape[0]} x {annotation.mask.shape[1]} pixels but {case.name} "
                    f"{case.size[0]} x {case.size[1]}; they must have one size."
                )
            if not annotation.target:
                raise ProjectError("Choose what is outlined before it is saved.")
            with self.database.using() as connection:
                before = outlines.find_task(connection, case_id, annotation.target)
            if require and before:
                require(before)
            stored = write_mask(self.folder, case_id, annotation)
            try:
                with self.changing() as connection:
                    task = outlines.ensure_task(connection, case_id, annotation.target)
                    if require:
                        require(task)
                    yield connection, task, stored
            except BaseException:
                self._remove_unnamed(stored.file)
                raise

    def _remove_unnamed(self, file: str) -> None:
        """Remove the file of a transaction that failed; where nobody knows whether it did, the file stays."""
        try:
            if self.database.one("SELECT 1 FROM version WHERE file = ?", file) is None:
                remove(self.folder, file)
        except ProjectError:
            pass

    def _task(self, connection: sqlite3.Connection, case_id: int, target: str) -> Task:
        task = outlines.find_task(connection, case_id, target)
        if task is None:
            raise ProjectError(f"{self.case(case_id).name} has no outline of {target_name(target)!r}.")
        return task

    def _intact(self, connection: sqlite3.Connection, version: int) -> sqlite3.Row:
        """The row of a version whose file is as it was written: nothing else is submitted or approved."""
        row: sqlite3.Row = connection.execute("SELECT * FROM version WHERE id = ?", (version,)).fetchone()
        path = self.folder / row["file"]
        if not path.is_file() or file_digest(path) != row["file_hash"]:
            raise ProjectError(
                f"The mask file {path} is gone, or another program changed it; run 'medvlsm project repair "
                f"{self.folder}'."
            )
        return row

    def _mask_of(self, file: str) -> Mask | None:
        if self._last is not None and self._last[0] == file:
            return self._last[1]
        try:
            return read_mask(self.folder, file).mask
        except ProjectError:
            return None

    def _did(self, what: str, remark: str = "") -> Did:
        return Did(what, self.person, self.sitting, remark)


def _require_open(task: Task) -> None:
    if task.state not in (State.UNSEEN, State.DRAFT):
        raise ProjectError(
            f"{target_name(task.target)} in {task.case} is {task.state}; reopen it before it is changed."
        )


def _require_foreground(foreground: object, target: str) -> None:
    if not foreground:
        raise ProjectError(
            f"The outline of {target_name(target)} is empty, which says neither yes nor no; draw it, or answer that "
            "there is none."
        )
