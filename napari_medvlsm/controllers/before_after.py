"""A case of the hold-out outlined by two models beside the person's own outline. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.controllers.project import Project
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.effect import compare_size
from napari_medvlsm.core.images import resize, to_unit_rgb
from napari_medvlsm.core.improve.verdict import CasePair
from napari_medvlsm.core.improve.versions import ProjectModel
from napari_medvlsm.core.masks import Bytes, Mask, binarize

_IDLE = (EngineState.READY, EngineState.PREPARING, EngineState.OFF, EngineState.STARTING)


@dataclass(frozen=True, eq=False)
class BothOutlines:
    """A case with the outlines of both models and the person's, all at one small size.

    Attributes
    ----------
    pair : CasePair
    scan : uint8 array of shape (H, W, 3)
    truth, first, second : bool arrays of shape (H, W)
        Of the person, the model before, and the new one.
    """

    pair: CasePair
    scan: npt.NDArray[np.uint8]
    truth: Mask
    first: Mask
    second: Mask


class BeforeAfter:
    """Opens a case in the window and asks the engine for both outlines.

    Parameters
    ----------
    project : Project
    session : Session
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window.
    """

    found = Signal(object)  # BothOutlines
    failed = Signal(str)

    def __init__(self, project: Project, session: Session, run: Callable[..., None]) -> None:
        self._project, self._session, self._run = project, session, run
        self._wanted: tuple[CasePair, Sequence[ProjectModel]] | None = None
        session.view.changed.connect(self._on_view)
        session.engine.state_changed.connect(lambda _: self._on_view())

    def show(self, pair: CasePair, models: Sequence[ProjectModel]) -> None:
        """Open a case; `found` tells the outlines of both models, the one before first, when they are there."""
        self._wanted = pair, models
        self._project.open_case(pair.case.case_id, pair.case.target)
        self._on_view()

    def forget(self) -> None:
        """Nobody waits for the outlines any more."""
        self._wanted = None

    def _on_view(self) -> None:
        """Ask as soon as the case is in view and the engine is free."""
        session, store = self._session, self._project.store
        if self._wanted is None or session.scan is None or store is None:
            return
        pair, models = self._wanted
        if session.scan_hash != pair.case.pixels_hash or session.engine.state not in _IDLE:
            return
        self._wanted = None
        version = store.version(pair.case.version)
        self._run(partial(store.load, version), lambda kept: self._ask(pair, models, kept.mask), self._fail)

    def _ask(self, pair: CasePair, models: Sequence[ProjectModel], truth: Mask, *maps: Bytes) -> None:
        session, scan = self._session, self._session.scan
        if scan is None or session.scan_hash != pair.case.pixels_hash:
            return
        size = compare_size(scan.size)
        if len(maps) < len(models):
            model = models[len(maps)]
            try:
                session.ask(
                    model.folder, [pair.case.target], size, lambda got: self._ask(pair, models, truth, *maps, *got)
                )
            except ValueError as error:
                self.failed.emit(str(error))
            return
        session.prepare()
        small = np.rint(resize(to_unit_rgb(scan.pixels), size) * 255).astype(np.uint8)
        own = resize(truth.astype(np.float32), size) > 0.5
        masks = [binarize(found, model.card.threshold) for found, model in zip(maps, models, strict=True)]
        self.found.emit(BothOutlines(pair, small, own, *masks))

    def _fail(self, error: Exception) -> None:
        self.failed.emit(str(error))
