"""Segment, Cancel and the status line, joined with the engine."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.controllers.outlines import Outlines
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.status import Status
from napari_medvlsm.core.options import SegmentOptions
from napari_medvlsm.core.prompts.english import joined
from napari_medvlsm.widgets.sections import Footer

_WORDS = {
    EngineState.STARTING: "Starting the engine…",
    EngineState.PREPARING: "Preparing the scan…",
    EngineState.SEGMENTING: "Segmenting…",
    EngineState.CANCELLING: "Cancelling…",
}
_CANCELLABLE = (EngineState.SEGMENTING, EngineState.COMPARING, EngineState.CANCELLING)
# Causes of problems: what could not be asked for want of a scan or words, and what the engine said.
_ASKED, _ENGINE = "asked", "engine"


class SegmentPresenter(QObject):
    """Asks the model about the scan in view, and shows what the engine is doing.

    Parameters
    ----------
    session : Session
    outlines : Outlines
    status : Status
    footer : Footer
    options : callable
        The region that the model is to see; raises ValueError with a sentence.
    parent : QObject
    """

    def __init__(
        self,
        session: Session,
        outlines: Outlines,
        status: Status,
        footer: Footer,
        options: Callable[[], SegmentOptions],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session, self._outlines, self._status = session, outlines, status
        self._footer, self._options = footer, options
        engine = session.engine
        footer.segmentRequested.connect(self.segment)
        footer.cancelRequested.connect(engine.cancel)
        engine.state_changed.connect(self._on_engine_state)
        engine.progressed.connect(lambda text: status.say(f"{text}…", passing=True))
        engine.advanced.connect(footer.set_fraction)
        engine.cancelled.connect(self._on_cancelled)
        session.interrupted.connect(self._on_interrupted)
        engine.noticed.connect(lambda text: status.say(text, problem=True))
        engine.failed.connect(lambda text: status.say(text, problem=True, cause=_ENGINE))
        session.failed.connect(lambda text: status.say(text, problem=True))
        for signal in (session.queue_changed, session.prompt_changed):
            signal.connect(self._on_prompt)
        session.view.image_changed.connect(self._on_scan)
        session.view.changed.connect(self._on_scan)
        session.model_changed.connect(lambda: status.over(_ENGINE))
        session.segmented.connect(self._on_segmented)
        # What is said of a request that another scan interrupted, until the engine has ended it.
        self._interrupted = ""
        self._on_scan()

    def segment(self) -> None:
        """Ask the model about the scan in view."""
        self._status.say("")
        self._interrupted = ""
        try:
            self._session.segment(self._options())
        except ValueError as error:
            self._status.say(str(error), problem=True, cause=_ASKED)
        else:
            self._on_engine_state(self._session.engine.state)

    def _on_scan(self) -> None:
        # The slice need not have been read: `segment` reads it.
        view = self._session.view
        self._footer.segment.setEnabled(view.image is not None and not view.problem)
        self._status.over(_ASKED)

    def _on_prompt(self) -> None:
        self._status.over(_ASKED)
        self._show_count()

    def _show_count(self) -> None:
        """Say how many targets are segmented in one go, if there is a list or a prompt for several."""
        several = self._session.queue or len(self._session.prompts) > 1
        try:
            self._footer.set_count(len(self._session.asked()) if several else 0)
        except ValueError:
            self._footer.set_count(len(self._session.queue))

    def _on_segmented(self) -> None:
        """Say what was outlined, or what was found instead and what to do."""
        entries = [self._outlines.entry(target) for target in sorted(self._session.together)]
        asked = [entry for entry in entries if entry is not None]
        # A correction stays what it was; what the model found is told of its own mask.
        found = {e.target.label: self._session.mask(target=e.target.phrase) for e in asked}
        outlined = [label for label, mask in found.items() if mask is not None and mask.any()]
        withheld = [e.target.label for e in asked if self._session.results[e.target.phrase].withheld]
        nothing = [label for label in found if label not in outlined and label not in withheld]
        text = f"Done: {joined(outlined)} outlined. Check the outline before you use it." if outlined else ""
        if nothing:
            peaks = [self._session.results[e.target.phrase].peak for e in asked if e.target.label in nothing]
            text += f"{' ' if text else ''}Nothing was outlined as {joined(nothing)}: the model is at most "
            text += f"{max(peaks):.0%} certain anywhere. Lower “Certainty at least”, use other words, or draw by hand."
        if withheld:
            text += f"{' ' if text else ''}Nothing was outlined as {joined(withheld)}: probably not in this scan. "
            text += "“Show anyway” outlines what the model found."
        self._status.say(text)

    def _on_cancelled(self) -> None:
        self._status.say(self._interrupted or "Cancelled.")
        self._interrupted = ""

    def _on_interrupted(self) -> None:
        self._interrupted = "Cancelled: another scan is in view. Press Segment to ask about this one."
        self._status.say(self._interrupted)

    def _on_engine_state(self, state: EngineState) -> None:
        waiting = self._session.engine.waiting
        self._footer.set_busy(state in _WORDS or state is EngineState.COMPARING, state in _CANCELLABLE or waiting)
        if state is EngineState.CANCELLING and self._interrupted:
            return
        if waiting:
            self._status.say("The engine is starting; your request waits for it.", passing=True)
        elif state in _WORDS:
            self._status.say(_WORDS[state], passing=True)
        elif state is EngineState.READY:
            self._status.passed("Ready.")
