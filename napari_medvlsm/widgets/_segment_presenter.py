"""Segment, Cancel and the status line, joined with the engine."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.options import SegmentOptions
from napari_medvlsm.widgets.sections import Footer

_WORDS = {
    EngineState.STARTING: "Starting the engine…",
    EngineState.PREPARING: "Preparing the scan…",
    EngineState.SEGMENTING: "Segmenting…",
    EngineState.CANCELLING: "Cancelling…",
}
_CANCELLABLE = (EngineState.SEGMENTING, EngineState.COMPARING, EngineState.CANCELLING)


class SegmentPresenter(QObject):
    """Asks the model about the scan in view, and shows what the engine is doing.

    Parameters
    ----------
    session : Session
    footer : Footer
    options : callable
        The region that the model is to see; raises ValueError with a sentence.
    parent : QObject
    """

    def __init__(
        self, session: Session, footer: Footer, options: Callable[[], SegmentOptions], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._session, self._footer, self._options = session, footer, options
        engine = session.engine
        footer.segmentRequested.connect(self.segment)
        footer.cancelRequested.connect(engine.cancel)
        engine.state_changed.connect(self._on_engine_state)
        engine.progressed.connect(lambda text: footer.set_status(f"{text}…", passing=True))
        engine.advanced.connect(footer.set_fraction)
        engine.cancelled.connect(lambda: footer.set_status("Cancelled."))
        for signal in (engine.noticed, engine.failed, session.failed):
            signal.connect(lambda text: footer.set_status(text, problem=True))
        for signal in (session.queue_changed, session.prompt_changed):
            signal.connect(self._show_count)
        session.view.image_changed.connect(self._show_enabled)
        session.segmented.connect(lambda: footer.set_status("Done. Check the outline before you use it."))
        self._show_enabled()

    def segment(self) -> None:
        """Ask the model about the scan in view."""
        self._footer.set_status("")
        try:
            self._session.segment(self._options())
        except ValueError as error:
            self._footer.set_status(str(error), problem=True)

    def _show_enabled(self) -> None:
        # The slice need not have been read: `segment` reads it.
        self._footer.segment.setEnabled(self._session.view.image is not None)

    def _show_count(self) -> None:
        """Say how many targets are segmented in one go, if there is a list."""
        try:
            self._footer.set_count(len(self._session.asked()) if self._session.queue else 0)
        except ValueError:
            self._footer.set_count(len(self._session.queue))

    def _on_engine_state(self, state: EngineState) -> None:
        self._footer.set_busy(state in _WORDS or state is EngineState.COMPARING, state in _CANCELLABLE)
        if state in _WORDS:
            self._footer.set_status(_WORDS[state], passing=True)
        elif state is EngineState.READY and self._footer.passing:
            self._footer.set_status("Ready.")
