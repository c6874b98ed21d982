"""Corrections that survive a crash: one file for each scan, target and sitting, in the user's own data folder."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from platformdirs import user_data_path

from napari_medvlsm.core.io.labels import load_mask, read_description, save_mask


@dataclass(frozen=True)
class SavedCorrection:
    """A correction found on disk."""

    path: Path
    scan_hash: str
    target: str
    saved: datetime


class AutosaveStore:
    """Keeps the latest state of each correction of one sitting; those of earlier sittings are only read.

    Parameters
    ----------
    folder : Path, optional
        By default in the user's data folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_data_path("napari-medvlsm", appauthor=False) / "autosave"
        self._sitting = uuid.uuid4().hex[:8]
        # Held as long as this sitting lives, by the operating system's means: a crash releases it.
        self._lock = FileLock(self._lock_path(self._sitting), thread_local=False)

    def save(self, scan_hash: str, target: str, mask: npt.NDArray[np.generic], description: dict[str, Any]) -> None:
        """Replace the stored state of a correction; safe in a background thread.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        save_mask(self._path(scan_hash, target), mask, description | {"scan_hash": scan_hash, "target": target})

    def find(self, scan_hash: str) -> list[SavedCorrection]:
        """What earlier sittings left for a scan, the newest first.

        Those that still run elsewhere, and files that cannot be read, are passed over.
        """
        found = []
        for path in self.folder.glob(f"{scan_hash}-*.tif"):
            sitting = path.stem.rsplit("-", 1)[-1]
            if sitting == self._sitting or self._runs(sitting):
                continue
            try:
                target = str(read_description(path)["target"])
                saved = datetime.fromtimestamp(path.stat().st_mtime)
            except (ValueError, KeyError, OSError):
                continue
            found.append(SavedCorrection(path, scan_hash, target, saved))
        return sorted(found, key=lambda entry: entry.saved, reverse=True)

    def load(self, entry: SavedCorrection) -> tuple[npt.NDArray[np.bool_], dict[str, Any]]:
        """The mask of a stored correction, shape (H, W), and how it was made."""
        return load_mask(entry.path)

    def forget(self, scan_hash: str, target: str) -> None:
        """Drop this sitting's state of a correction, because it was saved elsewhere."""
        self._path(scan_hash, target).unlink(missing_ok=True)

    @staticmethod
    def discard(entry: SavedCorrection) -> None:
        """Drop what an earlier sitting left."""
        entry.path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the sitting: what it left is offered to the next."""
        self._lock.release(force=True)
        self._lock_path(self._sitting).unlink(missing_ok=True)

    def _runs(self, sitting: str) -> bool:
        lock = self._lock_path(sitting)
        if not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return True
        lock.unlink(missing_ok=True)
        return False

    def _lock_path(self, sitting: str) -> Path:
        return self.folder / f"{sitting}.lock"

    def _path(self, scan_hash: str, target: str) -> Path:
        name = hashlib.sha256(target.encode()).hexdigest()[:12]
        return self.folder / f"{scan_hash}-{name}-{self._sitting}.tif"
