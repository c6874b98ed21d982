"""Drafts of a project written beside the window, the newest state of each outline alone. No Qt, no napari."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from functools import partial

from psygnal import Signal

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.store import ProjectStore

# Wait this long before what the disk refused is tried again.
RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)
# Number of the scan in the project, and target.
Key = tuple[int, str]


class Drafts:
    """Hands states of outlines to a project's store, one after the other.

    While one is written, newer states of the same outline take the place of older ones: strokes that follow one another
    faster than the disk never pile up.

    Parameters
    ----------
    store : ProjectStore
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window, one after the other.
    call_later : callable
        ``call_later(seconds, function)``.
    """

    saved = Signal(int, object)  # number of the scan, and the Annotation that is on disk now
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        store: ProjectStore,
        run: Callable[..., None],
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._store, self._run, self._call_later = store, run, call_later
        self._waiting: dict[Key, Annotation] = {}
        self._refused: dict[Key, Annotation] = {}
        self._writing: Key | None = None
        self._said = ""
        self._retrying = self._closed = False

    def save(self, case_id: int, annotation: Annotation) -> None:
        """Write a state, again until it is on disk or a newer one came."""
        key = case_id, annotation.target
        self._refused.pop(key, None)
        self._waiting[key] = annotation
        self._go_on()

    def drop(self, case_id: int, target: str) -> None:
        """Write no state of an outline that waits, because it is written in another way."""
        self._waiting.pop((case_id, target), None)
        self._refused.pop((case_id, target), None)

    def pending(self, case_id: int) -> bool:
        """Whether something of a scan is not on disk yet."""
        keys = {*self._waiting, *self._refused, *([self._writing] if self._writing else [])}
        return any(key[0] == case_id for key in keys)

    def close(self) -> None:
        """Hand over what waits, and what was refused once more; what then fails is only logged."""
        self._closed = True
        for (case_id, _), annotation in (self._refused | self._waiting).items():
            self._run(partial(self._store.save_draft, case_id, annotation), None, _log_lost)
        self._waiting, self._refused = {}, {}

    def _go_on(self) -> None:
        if self._writing is not None or not self._waiting or self._closed:
            return
        key = next(iter(self._waiting))
        annotation = self._waiting.pop(key)
        self._writing = key
        self._run(
            partial(self._store.save_draft, key[0], annotation),
            lambda version: self._on_saved(key, annotation),
            lambda error: self._on_failed(key, annotation, error),
        )

    def _on_saved(self, key: Key, annotation: Annotation) -> None:
        self._writing = None
        if self._said and not self._refused:
            self._said = ""
            self.message.emit("The project is written again; nothing is missing.", False)
        self.saved.emit(key[0], annotation)
        self._go_on()

    def _on_failed(self, key: Key, annotation: Annotation, error: Exception) -> None:
        self._writing = None
        self._refused.setdefault(key, annotation)
        if key in self._waiting:
            del self._refused[key]
        if str(error) != self._said:
            self._said = str(error)
            self.message.emit(f"{error} Until then your drawing is kept on this computer.", True)
        if _of_the_disk(error) and not self._retrying:
            self._retrying = True
            self._call_later(RETRY_SECONDS, self._retry)
        self._go_on()

    def _retry(self) -> None:
        self._retrying = False
        if not self._closed:
            self._waiting = self._refused | self._waiting
            self._refused = {}
            self._go_on()


def _of_the_disk(error: Exception) -> bool:
    """Whether another try may succeed: not where the outline is submitted, or the project read-only."""
    return not isinstance(error, ProjectError) or isinstance(error.__cause__, (OSError, sqlite3.Error))


def _log_lost(error: Exception) -> None:
    _log.error("An outline could not be saved in the project when it was closed: %s", error)
