"""What the words change, and what an outline measures: comparisons, measured attributes, contradictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_medvlsm.controllers.comparison import Comparer, Comparison
from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.describe import Description, describe
from napari_medvlsm.core.effect import compare_size
from napari_medvlsm.core.images import resize, to_unit_rgb
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Prompt
from napari_medvlsm.widgets import dialogs
from napari_medvlsm.widgets._prompt_presenter import open_dialog
from napari_medvlsm.widgets._result_presenter import ResultPresenter
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.sections import PromptSection, ResultSection


class ComparisonPresenter(QObject):
    """Reads outlines back into words, and shows how other words would change them.

    Parameters
    ----------
    session : Session
    prompts : PromptSection
        Shows contradictions.
    section : ResultSection
        Shows the effect of the words.
    results : ResultPresenter
        Tells when a mask has settled.
    corrections : Corrections
    background : Background
        Reads outlines beside the window.
    parent : QWidget
        Of the dialog.
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        session: Session,
        prompts: PromptSection,
        section: ResultSection,
        results: ResultPresenter,
        corrections: Corrections,
        background: Background,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._session, self._prompts, self._parent = session, prompts, parent
        self._corrections, self._background = corrections, background
        self.comparer = Comparer(session)
        # What an outline was last read as: whose it is, and what it says.
        self._seen: tuple[object, Description] | None = None
        self._reading: object = None
        self.comparer.effect_changed.connect(lambda: section.set_effect(self.comparer.effect))
        self.comparer.compared.connect(self._show_comparison)
        self.comparer.failed.connect(lambda text: self.message.emit(text, True))
        section.compareRequested.connect(self.comparer.compare)
        corrections.outlined.connect(self._on_outlined)
        for signal in (session.result_changed, results.settled, corrections.changed):
            signal.connect(self._read_prediction)
        session.prompt_changed.connect(self._flag)

    def _on_outlined(self, scan_hash: str, mask: Mask) -> None:
        """Fill in what the person's outline says."""
        if scan_hash == self._session.scan_hash:
            self._read(mask, self._session.measure)

    def _read_prediction(self) -> None:
        """Read the model's outline, as long as the person has none."""
        if self._corrections.current is None:
            mask = self._session.mask(target=self._session.target_in_view.phrase)
            if mask is not None:
                self._read(mask)
        self._flag()

    def _read(self, mask: Mask, then: Callable[[Description], None] | None = None) -> None:
        whose = (self._session.scan_hash, self._session.target_in_view.phrase, then is not None)
        scan = self._session.scan
        if scan is None:
            return
        self._reading = request = object()

        def done(seen: Description) -> None:
            # A later outline takes the place of one that is still being read.
            target = self._session.target_in_view.phrase
            if self._reading is request and whose[:2] == (self._session.scan_hash, target):
                self._seen = (whose, seen)
                if then is not None:
                    then(seen)
                self._flag()

        self._background.run(partial(describe, mask, scan.pixels, scan.spacing), done)

    def _flag(self) -> None:
        """Show where the words disagree with the outline in view."""
        target = self._session.target_in_view.phrase
        own = self._corrections.current is not None
        current = self._seen is not None and self._seen[0] == (self._session.scan_hash, target, own)
        found = self._session.contradictions(self._seen[1]) if self._seen is not None and current else ()
        self._prompts.set_contradictions(found)

    def _show_comparison(self, comparison: Comparison) -> None:
        scan, result = self._session.scan, self._session.result
        if scan is None or result is None:
            return
        small = np.rint(resize(to_unit_rgb(scan.pixels), compare_size(scan.size)) * 255).astype(np.uint8)
        color = self._session.vocabulary.target(result.target).display_color
        dialog = dialogs.ComparisonDialog(small, comparison, color, self._parent)
        whose = self._session.scan_hash
        dialog.chosen.connect(lambda prompt: self._take_wording(prompt, whose))
        open_dialog(dialog)

    def _take_wording(self, prompt: Prompt, scan_hash: str) -> None:
        if scan_hash != self._session.scan_hash:
            # The dialog stayed open: what was read from the outline of another scan is not measured in this one.
            prompt = replace(prompt, measured=())
        self._session.use(prompt)
        self.message.emit("The words are taken over. Press Segment to use them.", False)
