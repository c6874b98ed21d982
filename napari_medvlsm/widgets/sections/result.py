"""The result: how certain, where to cut, and clean-up."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QSlider

from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.widgets.sections._section import Section, quiet_label


class ResultSection(Section):
    """Threshold, clean-up and certainty overlay."""

    thresholdChanged = Signal(float)
    cleanupChanged = Signal(object)
    certaintyToggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Result")
        self.summary = quiet_label()
        self.column.addWidget(self.summary)
        row = QHBoxLayout()
        row.addWidget(QLabel("Certainty at least"))
        self.slider = QSlider(Qt.Orientation.Horizontal)
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
        self.set_threshold(0.5)
        self.set_summary("Nothing outlined yet.")

    def cleanup(self) -> Cleanup:
        """The clean-up that is ticked."""
        return Cleanup(self.holes.isChecked(), self.specks.isChecked(), self.largest.isChecked())

    def set_threshold(self, threshold: float) -> None:
        """Show a threshold (0 to 1)."""
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(threshold * 100))
        self.percent.setText(f"{round(threshold * 100)} %")

    def set_summary(self, text: str) -> None:
        """Say what was found."""
        self.summary.setText(text)

    def _on_slider(self, value: int) -> None:
        self.percent.setText(f"{value} %")
        self.thresholdChanged.emit(value / 100)
