"""Corrections that can be brought back: of a deleted layer, and what earlier sessions left. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.autosave import AutosaveStore, SavedCorrection
from napari_medvlsm.core.masks import Mask


@dataclass(eq=False)
class Deleted:
    """A correction whose layer was deleted, when, and its autosaved copy."""

    annotation: Annotation
    when: datetime
    copy: Path | None = None


@dataclass(frozen=True)
class Offer:
    """A correction that can be brought back.

    Attributes
    ----------
    target : str
    saved : datetime
        Local time.
    source : Deleted or SavedCorrection
        What is brought back.
    """

    target: str
    saved: datetime
    source: Deleted | SavedCorrection

    @property
    def deleted(self) -> bool:
        """Whether its layer was deleted in this session; else an earlier session left it."""
        return isinstance(self.source, Deleted)


class Offers:
    """Knows what can be brought back, for one scan after the other.

    Parameters
    ----------
    store : AutosaveStore
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window.
    """

    def __init__(self, store: AutosaveStore, run: Callable[..., None]) -> None:
        self._store, self._run = store, run
        # By the hash of the scan, the latest first.
        self._deleted: dict[str, list[Deleted]] = {}
        self._found: list[SavedCorrection] = []

    def first(self, scan_hash: str) -> Offer | None:
        """What is offered of a scan: a deleted correction first, then what `look` found."""
        for lost in self._deleted.get(scan_hash, ()):
            return Offer(lost.annotation.target, lost.when, lost)
        for found in self._found:
            return Offer(found.target, found.saved, found)
        return None

    def look(self, scan_hash: str) -> None:
        """Look for what earlier sessions left of the scan that is in view now; "" for none."""
        self._found = self._store.find(scan_hash) if scan_hash else []

    def keep(self, scan_hash: str, annotation: Annotation) -> None:
        """Keep a correction whose layer was deleted; its autosaved copy is set aside, for the next session too."""
        lost = Deleted(annotation, datetime.now())
        self._deleted.setdefault(scan_hash, []).insert(0, lost)
        self._run(partial(self._set_aside, lost, scan_hash))

    def note_present(self, scan_hash: str, target: str, mask: Mask) -> None:
        """A deleted correction that is there again, for instance by an undo of the viewer, needs no offer."""
        lost = self._deleted.get(scan_hash, [])
        there = [d for d in lost if d.annotation.target == target and np.array_equal(d.annotation.mask, mask)]
        for found in there:
            lost.remove(found)
            self._run(partial(self._let_go, found))

    def load(self, offer: Offer) -> Annotation:
        """The correction itself. Raises ValueError or OSError where its file cannot be read."""
        return offer.source.annotation if isinstance(offer.source, Deleted) else self._store.load(offer.source)

    def drop(self, offer: Offer) -> None:
        """Offer it no more, and delete its copy. Raises OSError where that cannot be deleted."""
        source = offer.source
        if not isinstance(source, Deleted):
            self._store.discard(source)
            return
        for entries in self._deleted.values():
            entries[:] = [entry for entry in entries if entry is not source]
        self._run(partial(self._delete_copy, source))

    # Within, beside the window, one after the other -----------------------------------------------------------------

    def _set_aside(self, lost: Deleted, scan_hash: str) -> None:
        # Whatever is drawn and saved of this target later: this was not.
        lost.copy = self._store.set_aside(scan_hash, lost.annotation.target, keep=True)

    def _let_go(self, lost: Deleted) -> None:
        if lost.copy is not None:
            self._store.let_go(lost.copy)

    def _delete_copy(self, lost: Deleted) -> None:
        self._let_go(lost)
        if lost.copy is not None:
            lost.copy.unlink(missing_ok=True)
