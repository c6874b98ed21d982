"""The model's answers as layers: shown, binarized at another threshold, summed up."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medvlsm.controllers.session import Session
from napari_medvlsm.widgets._layers import LayerManager
from napari_medvlsm.widgets.sections import ResultSection

# Wait this long after the last move of a control before the mask is cleaned.
_SETTLE_MS = 120


class ResultPresenter(QObject):
    """Joins the session's results with their layers and with the section that sets the threshold.

    Parameters
    ----------
    layers : LayerManager
    session : Session
    section : ResultSection
    parent : QObject
    """

    settled = Signal()  # the mask rests after a move of the threshold or the clean-up

    def __init__(
        self,
        layers: LayerManager,
        session: Session,
        section: ResultSection,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._layers, self._session, self._section = layers, session, section
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._settle)
        section.thresholdChanged.connect(session.set_threshold)
        section.cleanupChanged.connect(session.set_cleanup)
        section.certaintyToggled.connect(self.show_certainty)
        session.result_changed.connect(self._show)
        session.mask_changed.connect(self._follow)

    def show_certainty(self, shown: bool) -> None:
        """Show the probability as a colour map, or no longer."""
        view, result = self._session.view.slice, self._session.result
        if view is not None and result is not None:
            self._layers.show_certainty(view, result.probability if shown else None)

    def close(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        self._closed = True

    def _show(self) -> None:
        session, view = self._session, self._session.view.slice
        if self._closed:
            return
        self._show_settings()
        if session.result is None or view is None:
            self._layers.hide_results()
            self._section.set_summary("Nothing segmented yet.")
            self._section.set_comparable(False)
            return
        targets = {session.vocabulary.target(name): session.mask(target=name) for name in session.results}
        self._layers.show_predictions(view, {t: mask for t, mask in targets.items() if mask is not None})
        self.show_certainty(self._section.certainty.isChecked())
        self._section.set_comparable(True)
        self._summarise()

    def _show_settings(self) -> None:
        self._section.set_threshold(self._session.threshold)
        self._section.set_cleanup(self._session.cleanup)

    def _follow(self) -> None:
        """Follow the threshold at once; clean up when it rests."""
        self._show_settings()
        if self._update(clean=False):
            self._timer.start()

    def _settle(self) -> None:
        if self._update(clean=True):
            self._summarise()
            self.settled.emit()

    def _update(self, clean: bool) -> bool:
        """Show the mask of the result at its present threshold; False without one."""
        view, result, mask = self._session.view.slice, self._session.result, self._session.mask(clean)
        if view is None or result is None or mask is None or self._closed:
            return False
        self._layers.update_prediction(view, result.target, mask)
        return True

    def _summarise(self) -> None:
        result, mask = self._session.result, self._session.mask()
        assert result is not None and mask is not None
        label = self._session.vocabulary.target(result.target).label
        share = 100 * np.count_nonzero(mask) / mask.size
        if share == 0:
            text = f"{label}: nothing reaches this certainty (highest anywhere: {result.peak:.0%})."
        else:
            text = f"{label}: {'under 0.1' if share < 0.1 else f'{share:.1f}'} % of the image."
        if result.probably_absent:
            text += " Probably not in this scan."
        if result.prompt.text.lower() != result.target.lower():
            text += f" Asked: “{result.prompt.text}”."
        others = len(self._session.results) - 1
        if others:
            text += f" {others} more {'target' if others == 1 else 'targets'} segmented; pick one above to see it here."
        self._section.set_summary(text)
