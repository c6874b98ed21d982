"""The model's answers as layers: shown, cut at another certainty, summed up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.widgets._layers import LayerManager, SliceInView
from napari_medvlsm.widgets.sections import ResultSection

# Wait this long after the last move of a control before the mask is cleaned.
_SETTLE_MS = 120


class ResultPresenter(QObject):
    """Joins the session's results with their layers and with the section that cuts them.

    Parameters
    ----------
    book : LayerManager
    session : Session
    section : ResultSection
    view : callable
        The slice in view.
    parent : QObject
    """

    changed = Signal()  # other results are shown, or none
    settled = Signal()  # the mask rests after a move of the threshold or the clean-up

    def __init__(
        self,
        book: LayerManager,
        session: Session,
        section: ResultSection,
        view: Callable[[], SliceInView | None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._book, self._session, self._section, self._view = book, session, section, view
        self._shown: SliceInView | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._settle)
        section.thresholdChanged.connect(session.set_threshold)
        section.cleanupChanged.connect(session.set_cleanup)
        section.certaintyToggled.connect(self.show_certainty)
        session.result_changed.connect(self._show)
        session.mask_changed.connect(self._follow)

    def mask_of(self, target: str) -> Mask | None:
        """The cleaned mask of a target, if it belongs to the slice in view."""
        view, shown = self._view(), self._shown
        if view is None or shown is None or (view.layer, view.index) != (shown.layer, shown.index):
            return None
        return self._session.mask(target=target)

    def show_certainty(self, shown: bool) -> None:
        """Show how certain the model is, or no longer."""
        if self._shown is not None and self._session.result is not None:
            self._book.show_certainty(self._shown, self._session.result.probability if shown else None)

    def close(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        self._shown = None

    def _show(self) -> None:
        session, view = self._session, self._view()
        self._show_cut()
        if session.result is None or view is None:
            self._shown = None
            self._book.hide_results()
            self._section.set_summary("Nothing outlined yet.")
            self.changed.emit()
            return
        self._shown = view
        targets = {session.vocabulary.target(name): session.mask(target=name) for name in session.results}
        self._book.show_predictions(view, {t: mask for t, mask in targets.items() if mask is not None})
        self.show_certainty(self._section.certainty.isChecked())
        self._summarise()
        self.changed.emit()

    def _show_cut(self) -> None:
        self._section.set_threshold(self._session.threshold)
        self._section.set_cleanup(self._session.cleanup)

    def _follow(self) -> None:
        """Follow the threshold at once; clean up when it rests."""
        self._show_cut()
        mask, result = self._session.mask(clean=False), self._session.result
        if mask is None or result is None or self._shown is None:
            return
        self._book.update_prediction(self._shown, result.target, mask)
        self._timer.start()

    def _settle(self) -> None:
        mask, result = self._session.mask(), self._session.result
        if mask is None or result is None or self._shown is None:
            return
        if not self._session.cleanup.nothing:
            self._book.update_prediction(self._shown, result.target, mask)
        self._summarise()
        self.settled.emit()

    def _summarise(self) -> None:
        result, mask = self._session.result, self._session.mask()
        assert result is not None and mask is not None
        label = self._session.vocabulary.target(result.target).label
        share = 100 * np.count_nonzero(mask) / mask.size
        if share == 0:
            text = f"{label}: nothing reaches this certainty (highest anywhere: {result.peak:.0%})."
        else:
            text = f"{label}: {'under 0.1' if share < 0.1 else f'{share:.1f}'} % of the image."
        if result.prompt.text.lower() != result.target.lower():
            text += f" Asked: “{result.prompt.text}”."
        others = len(self._session.results) - 1
        if others:
            text += f" {others} more {'target' if others == 1 else 'targets'} outlined; pick one above to see it here."
        self._section.set_summary(text)
