"""Corrections written beside the window, and written again where that failed. No Qt, no napari."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from psygnal import Signal

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.disk_errors import reason

# Wait this long before what could not be written is tried again.
RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)
# Hash of the scan, and target.
Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class _Unwritten:
    annotation: Annotation
    done: Callable[[], None]


class Autosave:
    """Hands states of corrections to the store, in the order in which they came.

    Parameters
    ----------
    store : AutosaveStore
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window, one after the other; `done` gets its
        result and `failed` its exception. Nothing else may keep it waiting.
    call_later : callable
        ``call_later(seconds, function)``.
    """

    failing = Signal(str)  # why the last state could not be written; "" when all are written again
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        store: AutosaveStore,
        run: Callable[..., None],
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._store, self._run, self._call_later = store, run, call_later
        # The newest state of each correction that could not be written.
        self._unwritten: dict[Key, _Unwritten] = {}
        # How many states of a correction were handed in: an answer about an older one is of no interest.
        self._count: dict[Key, int] = {}
        self._reason = ""
        self._retrying = False

    def save(self, annotation: Annotation, done: Callable[[], None]) -> None:
        """Write a state, again until it is on the disk or a newer one came; `done` is called when it is there."""
        key = annotation.provenance.scan_hash, annotation.target
        self._unwritten.pop(key, None)
        number = self._count[key] = self._count.get(key, 0) + 1

        def written(_: object) -> None:
            if number == self._count[key]:
                self._be_well()
            done()

        def failed(error: Exception) -> None:
            if number == self._count[key]:
                self._unwritten[key] = _Unwritten(annotation, done)
                self._fail(error)

        self._run(partial(self._store.save, annotation), written, failed)

    def forget(self, key: Key) -> None:
        """Drop the stored states of a correction, because it was saved elsewhere."""
        self._count[key] = self._count.get(key, 0) + 1
        self._unwritten.pop(key, None)
        self._be_well()
        self._run(partial(self._store.forget, *key))

    def close(self) -> None:
        """Try what is unwritten once more; what then fails is only logged, for there is no window any more."""
        for left in self._unwritten.values():
            self._run(partial(self._store.save, left.annotation), None, _log_lost)
        self._unwritten.clear()

    def _fail(self, error: Exception) -> None:
        why = reason(error)
        if why != self._reason:
            self._reason = why
            self.message.emit(
                f"The correction could not be autosaved: {why}. It is tried again by itself; to be sure, save it to a "
                "file.",
                True,
            )
        self.failing.emit(why)
        if not self._retrying:
            self._retrying = True
            self._call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        for left in list(self._unwritten.values()):
            self.save(left.annotation, left.done)

    def _be_well(self) -> None:
        if self._reason and not self._unwritten:
            self._reason = ""
            self.failing.emit("")
            self.message.emit("Corrections are autosaved again.", False)


def _log_lost(error: Exception) -> None:
    _log.error("A correction could not be autosaved when the panel was closed: %s.", reason(error))
