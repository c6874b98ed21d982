"""Corrections that survive a crash: one file for each scan, target and session, in the user's own data folder.

A session is one run of the panel. Its file for a correction is replaced with every change; an earlier state that the
new one would replace by much less is kept beside it under a numbered name. Each state has a revision, a number that
grows for each scan from session to session: what is newer does not depend on the clock, which may be set back.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from platformdirs import user_data_path

from napari_medvlsm.core.annotation import Annotation, record_revision, record_target
from napari_medvlsm.core.io.atomic import unfinished_files
from napari_medvlsm.core.io.labels import load_mask, read_record, save_mask

# Earlier states kept of one correction; the oldest goes first.
EARLIER_STATES = 5
# A change that leaves less than this fraction of the foreground keeps the state before it.
_LESS = 0.5
# Seconds to wait for the session's lock, which is free unless the disk cannot lock files.
_LOCK_SECONDS = 2.0
# Only this user may look into the folder and read its files: scans and outlines are those of patients.
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_SESSION = re.compile("[0-9a-f]{8}")


@dataclass(frozen=True)
class SavedCorrection:
    """A correction found on disk."""

    path: Path
    scan_hash: str
    target: str
    saved: datetime
    revision: int = 0


class AutosaveStore:
    """Keeps the latest state of each correction of one session; those of earlier sessions are only read.

    Parameters
    ----------
    folder : Path, optional
        By default in the user's data folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_data_path("napari-medvlsm", appauthor=False) / "autosave"
        self.session_id = uuid.uuid4().hex[:8]
        # Held as long as this session lives, by the operating system's means: a crash releases it.
        self._lock = FileLock(self._lock_path(self.session_id), thread_local=False, mode=_PRIVATE_FILE)
        self._can_lock = True
        self._tidy = False
        # States set aside that `forget` leaves alone.
        self._kept: set[Path] = set()
        # The last revision of each scan.
        self._revisions: dict[str, int] = {}

    def save(self, annotation: Annotation) -> None:
        """Replace the stored state of a correction; safe in a background thread.

        A state with a person's work in it, of which less than half would be left, is kept as an earlier state. An
        empty mask that is no answer ("absent") is not stored: there is nothing to offer after a crash.

        Raises
        ------
        OSError
            If the folder cannot be written; what was stored of the correction is still there.
        """
        self._begin()
        scan_hash, target = annotation.provenance.scan_hash, annotation.target
        path = self._path(scan_hash, target)
        if self._loses(path, annotation):
            self.set_aside(scan_hash, target)
        if annotation.absent or annotation.mask.any():
            save_mask(path, annotation, revision=self._next_revision(scan_hash), private=True)
        else:
            path.unlink(missing_ok=True)

    def set_aside(self, scan_hash: str, target: str, keep: bool = False) -> Path | None:
        """Keep the stored state of a correction, if there is one, under a name that no later state replaces.

        With `keep`, it outlives what is saved of the correction later, until it is deleted or `let_go`.
        """
        path = self._path(scan_hash, target)
        if not path.exists():
            return None
        earlier = self._earlier(scan_hash, target)
        number = 1 + max((_number(p) for p in earlier), default=0)
        kept = path.replace(path.with_name(f"{path.stem}.{number}{path.suffix}"))
        (self._kept.add if keep else self._kept.discard)(kept)
        earlier = [old for old in earlier if old not in self._kept]
        for old in earlier[: max(0, len(earlier) + 1 - EARLIER_STATES)]:
            old.unlink(missing_ok=True)
        return kept

    def let_go(self, kept: Path) -> None:
        """Let a state that was set aside to be kept be one like any other."""
        self._kept.discard(kept)

    def find(self, scan_hash: str) -> list[SavedCorrection]:
        """What earlier sessions left for a scan, the newest first.

        Those that still run elsewhere, and files that cannot be read, are passed over.
        """
        self._tidy_up()
        found = []
        for path in self.folder.glob(f"{scan_hash}-*.tif"):
            session_id = path.stem.rsplit("-", 1)[-1].split(".")[0]
            if self._runs(session_id):
                continue
            record = read_record(path)
            target = record_target(record)
            try:
                saved = datetime.fromtimestamp(path.stat().st_mtime)
            except (OSError, OverflowError, ValueError):  # gone meanwhile, or a time that no calendar has
                continue
            if target:
                found.append(SavedCorrection(path, scan_hash, target, saved, record_revision(record)))
        # Files of versions before revisions have none, and are the oldest.
        return sorted(found, key=lambda entry: (entry.revision, entry.saved), reverse=True)

    def load(self, entry: SavedCorrection) -> Annotation:
        """A stored correction.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        return load_mask(entry.path)

    def forget(self, scan_hash: str, target: str) -> None:
        """Drop this session's states of a correction, because it was saved elsewhere; those to be kept stay."""
        for path in (self._path(scan_hash, target), *self._earlier(scan_hash, target)):
            if path not in self._kept:
                path.unlink(missing_ok=True)

    @staticmethod
    def discard(entry: SavedCorrection) -> None:
        """Drop what an earlier session left; raises OSError if it cannot be deleted."""
        entry.path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the session: what it left is offered to the next."""
        self._lock.release(force=True)
        with suppress(OSError):
            self._lock_path(self.session_id).unlink(missing_ok=True)

    def _begin(self) -> None:
        """Have the folder, private, and this session's lock in it, also where someone deleted them meanwhile."""
        self.folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        if self._can_lock and not (self._lock.is_locked and self._lock_path(self.session_id).exists()):
            self._lock.release(force=True)
            try:
                self._lock.acquire(timeout=_LOCK_SECONDS)
            except (Timeout, NotImplementedError):
                # A disk that cannot lock files. Corrections are worth more than knowing which sessions run.
                self._can_lock = False
        self._tidy_up()

    def _tidy_up(self) -> None:
        """Once a session: make private what earlier versions left readable, and delete what killed writers left."""
        if self._tidy or not self.folder.is_dir():
            return
        self._tidy = True
        with suppress(OSError):  # a disk without modes, or a folder of someone else's
            self.folder.chmod(_PRIVATE_FOLDER)
            for path in self.folder.glob("*.tif"):
                if path.stat().st_mode & 0o077:
                    path.chmod(_PRIVATE_FILE)
        with suppress(OSError):
            self._delete_unfinished()

    def _delete_unfinished(self) -> None:
        running = {lock.stem for lock in self.folder.glob("*.lock") if self._runs(lock.stem)} | {self.session_id}
        for path, stem in unfinished_files(self.folder, ".tif").items():
            session_id = stem.rsplit("-", 1)[-1]
            # Earlier versions did not name the session.
            named = bool(_SESSION.fullmatch(session_id))
            if session_id not in running if named else running == {self.session_id}:
                path.unlink(missing_ok=True)

    def _next_revision(self, scan_hash: str) -> int:
        last = self._revisions.get(scan_hash)
        if last is None:
            stored = self.folder.glob(f"{scan_hash}-*.tif")
            last = max((record_revision(read_record(path)) for path in stored), default=0)
        self._revisions[scan_hash] = last + 1
        return last + 1

    def _loses(self, path: Path, new: Annotation) -> bool:
        """Whether much of a person's work in a stored state is not in the new one."""
        if not path.exists():
            return False
        try:
            old = load_mask(path)
        except ValueError:
            return True  # whatever it is, it is not ours to replace
        if old.mask.shape != new.mask.shape:
            return True
        untouched = old.prediction is not None and np.array_equal(old.mask, old.prediction)
        left = np.count_nonzero(old.mask & new.mask)
        return not untouched and bool(left < _LESS * np.count_nonzero(old.mask))

    def _runs(self, session_id: str) -> bool:
        if session_id == self.session_id:
            return True
        lock = self._lock_path(session_id)
        if not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return True
        except (OSError, NotImplementedError):
            return False  # a folder that can only be read, or a disk that cannot lock
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        return False

    def _lock_path(self, session_id: str) -> Path:
        return self.folder / f"{session_id}.lock"

    def _path(self, scan_hash: str, target: str) -> Path:
        name = hashlib.sha256(target.encode()).hexdigest()[:12]
        return self.folder / f"{scan_hash}-{name}-{self.session_id}.tif"

    def _earlier(self, scan_hash: str, target: str) -> list[Path]:
        """Earlier states, the oldest first."""
        path = self._path(scan_hash, target)
        return sorted(self.folder.glob(f"{path.stem}.*{path.suffix}"), key=_number)


def _number(path: Path) -> int:
    number = path.stem.rsplit(".", 1)[-1]
    return int(number) if number.isdecimal() else 0
