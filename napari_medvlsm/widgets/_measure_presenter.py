"""What the outline in view measures, and the size of a pixel where the file does not give it."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QInputDialog, QMenu, QWidget

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.measurements import Measurement, measure, spacing_from_length
from napari_medvlsm.widgets._layers import LayerManager, enter_spacing
from napari_medvlsm.widgets._result_presenter import ResultPresenter
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.sections import ResultSection

BY_HAND, DRAWN = "entered by hand", "from a drawn length"
# Of the numbers that a person enters: mm of a pixel, and of a drawn length.
_LEAST_MM, _MOST_PIXEL_MM, _MOST_MM, _DECIMALS = 0.0001, 100.0, 10000.0, 4


class MeasurePresenter(QObject):
    """Measures the outline in view beside the window, and lets a person enter the size of a pixel.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    results : ResultPresenter
        Tells when a mask has settled.
    layers : LayerManager
    section : ResultSection
    background : Background
    parent : QWidget
        Of the dialogs.
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        results: ResultPresenter,
        layers: LayerManager,
        section: ResultSection,
        background: Background,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._session, self._corrections, self._layers = session, corrections, layers
        self._section, self._background, self._parent = section, background, parent
        self._asked: object = None
        self._closed = False
        self._line: Shapes | None = None
        menu = QMenu(section.pixel_size)
        menu.addAction("Enter by hand…", self._ask_pixel)
        menu.addAction("Draw something of known length", self._draw)
        section.pixel_size.setMenu(menu)
        corrections.outlined.connect(lambda *_: self.show())
        results.settled.connect(self.show)
        for signal in (corrections.changed, session.result_changed, session.prompt_changed):
            signal.connect(self.show)
        self.show()

    def show(self) -> None:
        """Measure the outline in view: the person's or, without one, the model's."""
        if self._closed:
            return
        scan, current = self._session.scan, self._corrections.current
        self._section.pixel_size.setEnabled(scan is not None)
        mask = current.mask if current is not None else self._session.mask(target=self._session.target_in_view.phrase)
        self._asked = asked = object()
        if scan is None or mask is None:
            self._section.set_measurement("")
            return
        made = scan.spacing_from

        def done(found: Measurement | None) -> None:
            # A later outline takes the place of one that is still being measured.
            if self._asked is asked:
                told = f" Pixel size {made}." if made and found is not None else ""
                self._section.set_measurement(f"{found}.{told}" if found is not None else "")

        self._background.run(partial(measure, mask, scan.spacing), done)

    def close(self) -> None:
        """Measure nothing any more."""
        self._closed = True
        self._asked = None

    def _ask_pixel(self) -> None:
        scan = self._session.scan
        if scan is not None:
            now = scan.spacing[1] if scan.spacing is not None else 0.1
            question = "Side of a pixel in mm:"
            limits = now, _LEAST_MM, _MOST_PIXEL_MM, _DECIMALS
            value, given = QInputDialog.getDouble(self._parent, "Pixel size", question, *limits)
            if given:
                self._enter((value, value), BY_HAND)

    def _draw(self) -> None:
        view = self._session.view.slice
        if view is not None:
            self._line = self._layers.draw_line(view)
            self._line.events.data.connect(self._on_line)
            self.message.emit("Drag along something whose length you know, such as a scale.", False)

    def _on_line(self, event: Any) -> None:
        # napari tells of a shape when its drawing is done, from within the mouse's event.
        if str(getattr(event, "action", "")) in ("added", "ActionType.ADDED") and len(event.source.data):
            line = event.source
            line.events.data.disconnect(self._on_line)
            QTimer.singleShot(0, partial(self._ask_length, line))

    def _ask_length(self, line: Shapes) -> None:
        (row0, col0), (row1, col1) = line.data[-1][:2, -2:]
        self._layers.remove_line(line)
        limits = 10.0, _LEAST_MM, _MOST_MM, _DECIMALS
        value, given = QInputDialog.getDouble(self._parent, "Known length", "Its length in mm:", *limits)
        if given:
            try:
                self._enter(spacing_from_length((row0, col0), (row1, col1), value), DRAWN)
            except ValueError as error:
                self.message.emit(str(error), True)

    def _enter(self, spacing: tuple[float, float], made: str) -> None:
        image = self._session.view.image
        if image is not None:
            enter_spacing(image, spacing, made)
            self._session.view.read_again()
            self.message.emit(f"A pixel is {spacing[1]:.4g} mm wide, {made}; it is kept with what you save.", False)
