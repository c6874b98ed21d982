"""The result: probability, threshold and clean-up."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QSlider

from napari_medvlsm.core.effect import Effect
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.widgets.sections._section import LINK, QUIET, WARNING, Section, quiet_label, scroll_past


class ResultSection(Section):
    """Threshold, clean-up and certainty overlay."""

    thresholdChanged = Signal(float)
    cleanupChanged = Signal(object)
    certaintyToggled = Signal(bool)
    compareRequested = Signal()
    anywayRequested = Signal()

    def __init__(self) -> None:
        super().__init__("Result")
        self.summary = quiet_label()
        self.column.addWidget(self.summary)
        self.anyway = QPushButton("Show anyway")
        self.anyway.setToolTip("Outline what the model found, though it is not sure that the scan shows it at all")
        self.anyway.clicked.connect(self.anywayRequested)
        self.anyway.hide()
        self.column.addWidget(self.anyway)
        self.measured = quiet_label()
        self.pixel_size = QPushButton("Pixel size")
        self.pixel_size.setToolTip("Give the size of a pixel, so that lengths are in mm; it is marked as given by you")
        beside = QHBoxLayout()
        beside.addWidget(self.measured, 1)
        beside.addWidget(self.pixel_size)
        self.column.addLayout(beside)
        row = QHBoxLayout()
        row.addWidget(QLabel("Certainty at least"))
        self.slider = QSlider(Qt.Orientation.Horizontal)
        scroll_past(self.slider)
        self.slider.setRange(1, 99)
        self.slider.setToolTip("Lower: the outline takes in more. Higher: only what the model is surest of.")
        self.slider.valueChanged.connect(self._on_slider)
        self.percent = QLabel()
        self.percent.setMinimumWidth(self.percent.fontMetrics().horizontalAdvance("100 %"))
        self.percent.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.slider, 1)
        row.addWidget(self.percent)
        self.column.addLayout(row)
        self.largest = QCheckBox("Keep largest part")
        self.holes = QCheckBox("Fill holes")
        self.specks = QCheckBox("Drop specks")
        self.specks.setToolTip("Parts of at most 0.01 % of the image")
        for box in (self.largest, self.holes, self.specks):
            box.toggled.connect(lambda: self.cleanupChanged.emit(self.cleanup()))
        self.certainty = QCheckBox("Certainty map")
        self.certainty.setToolTip("Colour the scan by how certain the model is: blue low, red high")
        self.certainty.toggled.connect(self.certaintyToggled)
        grid = QGridLayout()
        grid.setVerticalSpacing(3)
        for i, box in enumerate((self.largest, self.holes, self.specks, self.certainty)):
            grid.addWidget(box, i // 2, i % 2)
        self.column.addLayout(grid)
        self.badge = quiet_label(rich=True)
        self.badge.linkActivated.connect(lambda _: self.compareRequested.emit())
        self.badge.hide()
        self.column.addWidget(self.badge)
        self.compare = QPushButton("Compare wordings…")
        self.compare.setToolTip("Outline the scan with every level of detail, and with wrong words, side by side")
        self.compare.clicked.connect(self.compareRequested)
        self.column.addWidget(self.compare)
        self.set_threshold(0.5)
        self.set_summary("Nothing segmented yet.")
        self.set_comparable(False)

    def cleanup(self) -> Cleanup:
        """The clean-up that is ticked."""
        return Cleanup(self.holes.isChecked(), self.specks.isChecked(), self.largest.isChecked())

    def set_threshold(self, threshold: float) -> None:
        """Show a threshold (0 to 1)."""
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(threshold * 100))
        self.percent.setText(f"{round(threshold * 100)} %")

    def set_cleanup(self, cleanup: Cleanup) -> None:
        """Show a clean-up."""
        ticks = (
            (self.holes, cleanup.fill_holes),
            (self.specks, cleanup.drop_specks),
            (self.largest, cleanup.keep_largest),
        )
        for box, ticked in ticks:
            with QSignalBlocker(box):
                box.setChecked(ticked)

    def set_effect(self, effect: Effect | None) -> None:
        """Say how much the words change the outline; None, or no outline, says nothing."""
        shown = effect is not None and bool(effect.changes)
        self.badge.setVisible(shown)
        if effect is not None and shown:
            # About the words alone: no colour that reads as "the outline is good".
            color = QUIET if effect.steered else WARNING
            link = f'<a style="color: {LINK}" href="compare">Show</a>'
            self.badge.setText(f'<span style="color: {color}">Your words:</span> {effect.verdict} {link}')
            lines = [
                f"{contrast.value}: {change:.0%} of the outline changes" for contrast, change in effect.changes.items()
            ]
            self.badge.setToolTip("\n".join(lines))

    def set_comparable(self, comparable: bool) -> None:
        """Offer the comparison of wordings, or not."""
        self.compare.setEnabled(comparable)

    def set_anyway(self, offered: bool) -> None:
        """Offer to show what is probably not in the scan, or not."""
        self.anyway.setVisible(offered)

    def set_summary(self, text: str) -> None:
        """Say what was found."""
        self.summary.setText(text)

    def set_measurement(self, text: str) -> None:
        """Say what the outline measures; "" for none."""
        self.measured.setText(text or "No outline to measure.")

    def _on_slider(self, value: int) -> None:
        self.percent.setText(f"{value} %")
        self.thresholdChanged.emit(value / 100)
