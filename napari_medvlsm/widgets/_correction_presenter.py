"""Corrections, joined with their section."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.widgets._layers import LayerManager
from napari_medvlsm.widgets.sections import CorrectionSection


class CorrectionPresenter(QObject):
    """Shows what can be done with the correction in view, and passes on what the section asks for.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    layers : LayerManager
    section : CorrectionSection
    parent : QObject
    """

    started = Signal()  # a correction was begun, and is to be seen instead of the prediction

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        layers: LayerManager,
        section: CorrectionSection,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._corrections, self._layers, self._section = session, corrections, layers, section
        # What was shown last: scan, target, and whether it had a correction.
        self._shown: tuple[str, str, bool] | None = None
        section.startRequested.connect(self.start)
        section.takePredictionRequested.connect(corrections.take_prediction)
        section.undoRequested.connect(corrections.undo)
        section.redoRequested.connect(corrections.redo)
        section.absentRequested.connect(corrections.declare_absent)
        section.absentRetracted.connect(corrections.retract_absent)
        section.adoptRequested.connect(corrections.adopt)
        section.restoreRequested.connect(corrections.restore)
        section.discardRequested.connect(corrections.discard)
        corrections.changed.connect(self.show)
        corrections.autosaved.connect(section.set_saved)
        session.prompt_changed.connect(self.show)
        session.result_changed.connect(self.show)
        self.show()

    def start(self) -> None:
        """Give the target a correction, from the prediction if there is one, and paint on it."""
        self._corrections.begin()
        self._show_prediction(False)
        self.started.emit()

    def show(self) -> None:
        """Show what can be done."""
        session, current, offer = self._session, self._corrections.current, self._corrections.offer
        target = session.target_in_view
        shown = session.scan_hash, target.phrase, current is not None
        if self._shown is not None and self._shown[:2] == shown[:2] and self._shown[2] != shown[2]:
            # What is seen is what is saved: the correction or, once there is none any more, the prediction.
            self._show_prediction(current is None)
        self._shown = shown
        chosen = bool(session.prompt.text) or session.result is not None
        self._section.set_state(
            target.label if session.view.image is not None else None,
            has_correction=current is not None,
            has_prediction=target.phrase in session.results,
            absent=current is not None and current.absent,
            has_target=chosen,
        )
        self._section.set_adoptable(self._corrections.adoptable())
        if offer is None:
            self._section.set_offer("")
        else:
            label = session.vocabulary.target(offer.target).label
            when = f"{offer.saved:%d %b, %H:%M}"
            self._section.set_offer(
                f"The layer of your correction of {label} was deleted."
                if offer.deleted
                else f"Unsaved correction of {label} from {when}."
            )

    def _show_prediction(self, shown: bool) -> None:
        view, target = self._session.view.slice, self._session.target_in_view.phrase
        prediction = self._layers.prediction(view.image, target) if view is not None else None
        if prediction is not None and target in self._session.results:
            prediction.visible = shown
