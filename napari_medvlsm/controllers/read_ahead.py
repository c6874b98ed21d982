"""The scan that comes next, read and encoded while the present one is worked on. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.images import ImageFile, read_image, to_scan
from napari_medvlsm.core.projects.store import ProjectStore

# A scan that takes more memory is not held beside the one in view.
MAX_BYTES = 256 << 20


class ReadAhead:
    """Holds one scan at a time.

    Parameters
    ----------
    session : Session
        Whose engine encodes it.
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window.
    """

    def __init__(self, session: Session, run: Callable[..., None]) -> None:
        self._session, self._run = session, run
        self._case_id: int | None = None
        self._found: ImageFile | None = None

    def start(self, store: ProjectStore, case_id: int) -> None:
        """Read this scan, unless it is the one that is held; what cannot be read is said when it is opened."""
        if case_id == self._case_id:
            return
        self._case_id, self._found = case_id, None
        self._run(partial(_read, store, case_id), partial(self._on_read, case_id), lambda error: None)

    def take(self, case_id: int) -> ImageFile | None:
        """What was read of a scan, which is not held any more; None where it is another or not there yet."""
        if case_id != self._case_id:
            return None
        found = self._found
        self.clear()
        return found

    def clear(self) -> None:
        """Hold nothing."""
        self._case_id = self._found = None

    def _on_read(self, case_id: int, found: ImageFile | None) -> None:
        if case_id != self._case_id or found is None:
            return
        self._found = found
        try:
            pixels = to_scan(found, "").pixels
        except ValueError:
            return  # a stack: what is encoded of it depends on the slice
        self._session.prepare_ahead(content_hash(pixels), pixels)


def _read(store: ProjectStore, case_id: int) -> ImageFile | None:
    found = read_image(store.scan_path(case_id))
    return found if found.pixels.nbytes <= MAX_BYTES else None
