"""Always in sight: Segment, Cancel, what is going on, and what this is not."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_medvlsm.controllers.status import Sentence
from napari_medvlsm.widgets.sections._section import PROBLEM, quiet_label

SEGMENT_KEYS = "Ctrl+Return"
CANCEL_KEYS = "Ctrl+."
HELP_KEYS = "F1"
# Of the status line, always in sight.
_LINES = 3


class Footer(QWidget):
    """The main button and the status line."""

    segmentRequested = Signal()
    cancelRequested = Signal()
    helpRequested = Signal()

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 6)
        column.setSpacing(4)
        self.segment = QPushButton("Segment  (Ctrl+Enter)")
        self.segment.setToolTip("Outline what the prompt says in the scan in view")
        self.segment.setMinimumHeight(34)
        self.segment.setStyleSheet(
            "QPushButton { background: #2f6fb5; color: white; font-weight: bold; border-radius: 4px; }"
            "QPushButton:hover { background: #3a80cc; }"
            "QPushButton:disabled { background: #4a4f57; color: #9a9fa6; }"
        )
        self.segment.clicked.connect(self.segmentRequested)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop this request (Ctrl+.)")
        self.cancel.setMinimumHeight(34)
        self.cancel.clicked.connect(self.cancelRequested)
        keep = self.cancel.sizePolicy()
        # Segment stays as wide as it is.
        keep.setRetainSizeWhenHidden(True)
        self.cancel.setSizePolicy(keep)
        self.cancel.hide()
        row = QHBoxLayout()
        row.addWidget(self.segment, 1)
        row.addWidget(self.cancel)
        column.addLayout(row)
        self.busy = QProgressBar()
        self.busy.setRange(0, 0)
        self.busy.setTextVisible(False)
        self.busy.setFixedHeight(4)
        keep = self.busy.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self.busy.setSizePolicy(keep)
        column.addWidget(self.busy)
        self.status = quiet_label()
        column.addWidget(self.status)
        disclaimer = quiet_label("For research use, not a medical device")
        disclaimer.setStyleSheet("color: #9aa0a8;")
        self.help = QPushButton("Help")
        self.help.setToolTip("How to work with this panel, in words and pictures (F1)")
        self.help.clicked.connect(self.helpRequested)
        last = QHBoxLayout()
        last.addWidget(disclaimer, 1)
        last.addWidget(self.help)
        column.addLayout(last)
        self.set_busy(False, False)
        self.follow_font()

    def follow_font(self) -> None:
        """Hold the room of most sentences: nothing above moves when another one comes."""
        self.status.setMinimumHeight(_LINES * self.status.fontMetrics().lineSpacing())

    def set_count(self, count: int) -> None:
        """Say how many targets are on the list; 0 for none."""
        what = f"Segment {count} targets" if count > 1 else "Segment the list" if count else "Segment"
        self.segment.setText(f"{what}  (Ctrl+Enter)")

    def set_busy(self, working: bool, cancellable: bool) -> None:
        """Show that something is going on, and whether it can be cancelled."""
        self.busy.setVisible(working)
        self.busy.setRange(0, 0)
        self.cancel.setVisible(cancellable)

    def set_fraction(self, fraction: float) -> None:
        """Show how much of what is going on is done (0 to 1)."""
        self.busy.setRange(0, 1000)
        self.busy.setValue(round(1000 * fraction))

    def show_sentence(self, sentence: Sentence) -> None:
        """Show what the status line says."""
        self.status.setText(sentence.text)
        self.status.setStyleSheet(f"color: {PROBLEM};" if sentence.problem else "")
