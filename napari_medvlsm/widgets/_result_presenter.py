"""The model's answers as layers: shown, binarized at another threshold, summed up."""

from __future__ import annotations

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medvlsm.controllers.outlines import Outlines, percent
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.widgets._layers import LayerManager
from napari_medvlsm.widgets.sections import OutlinesSection, ResultSection

# Wait this long after the last move of a control before the mask is cleaned.
_SETTLE_MS = 120


class ResultPresenter(QObject):
    """Joins the session's results with their layers and with the section that sets the threshold.

    Parameters
    ----------
    layers : LayerManager
    session : Session
    outlines : Outlines
    section : ResultSection
    listed : OutlinesSection
    parent : QObject
    """

    settled = Signal()  # the mask rests after a move of the threshold or the clean-up

    def __init__(
        self,
        layers: LayerManager,
        session: Session,
        outlines: Outlines,
        section: ResultSection,
        listed: OutlinesSection,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._layers, self._session, self._section = layers, session, section
        self._outlines, self._listed = outlines, listed
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._settle)
        section.thresholdChanged.connect(session.set_threshold)
        section.cleanupChanged.connect(session.set_cleanup)
        section.certaintyToggled.connect(self.show_certainty)
        section.anywayRequested.connect(session.show_anyway)
        session.result_changed.connect(self._show)
        session.mask_changed.connect(self._follow)
        outlines.changed.connect(self._show_list)
        listed.targetChosen.connect(outlines.choose)
        self._show_list()

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
            self._section.set_comparable(False)
        else:
            targets = {session.vocabulary.target(name): session.mask(target=name) for name in session.results}
            seen = {name for name in session.together if not self._corrected(name)}
            self._layers.show_predictions(view, {t: mask for t, mask in targets.items() if mask is not None}, seen)
            self.show_certainty(self._section.certainty.isChecked())
            self._section.set_comparable(True)
        self._summarise()

    def _corrected(self, target: str) -> bool:
        entry = self._outlines.entry(target)
        return entry is not None and entry.corrected

    def _show_list(self) -> None:
        if not self._closed:
            self._listed.set_outlines(self._outlines.entries(), self._outlines.current)
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
            self._show_list()
            self.settled.emit()

    def _update(self, clean: bool) -> bool:
        """Show the mask of the result at its present threshold; False without one."""
        view, result, mask = self._session.view.slice, self._session.result, self._session.mask(clean)
        if view is None or result is None or mask is None or self._closed:
            return False
        self._layers.update_prediction(view, result.target, mask)
        return True

    def _summarise(self) -> None:
        """Say what there is of the target in view: the person's outline, or else the model's."""
        target = self._session.target_in_view
        entry = self._outlines.entry(target.phrase)
        result = self._session.results.get(target.phrase)
        corrected = entry is not None and (entry.corrected or entry.absent)
        withheld = result is not None and result.withheld and not corrected
        self._section.set_anyway(withheld)
        if entry is None:
            self._section.set_summary("Nothing segmented yet.")
            return
        if entry.absent:
            text = f"{target.label}: you answered that this scan does not show it."
        elif entry.corrected:
            text = f"{target.label}: your outline covers {percent(entry.area)} of the image."
        elif withheld:
            text = f"{target.label}: probably not in this scan, so nothing is outlined."
        elif entry.area:
            text = f"{target.label}: the model outlined {percent(entry.area)} of the image."
        else:
            assert result is not None, "there is an outline of the person's or an answer of the model"
            text = f"{target.label}: nothing reaches this certainty (highest anywhere: {result.peak:.0%})."
        if result is not None and not entry.corrected and result.probably_absent and result.anyway:
            text += " Probably not in this scan."
        if result is not None and result.prompt.text.lower() != result.target.lower():
            text += f" Asked: “{self._session.vocabulary.shown(result.prompt)}”."
        if result is not None and result.trained_on:
            text += f" {result.model.card.title} was trained on this very scan: how well it does here proves nothing."
        self._section.set_summary(text)
