"""What all sections share: a heading, a column, quiet text, combo boxes that do not widen the panel, and the wheel."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFrame, QLabel, QSizePolicy, QVBoxLayout, QWidget

# Colours of text on napari's dark theme.
WARNING, PROBLEM, LINK, QUIET = "#ffb84d", "#ff8f80", "#7fb8ff", "#9aa0a8"


class Section(QWidget):
    """A heading over a column of controls."""

    def __init__(self, heading: str) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(8, 6, 8, 4)
        self.column.setSpacing(5)
        title = QLabel(heading)
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        self.column.addWidget(title)


def quiet_label(text: str = "", rich: bool = False) -> QLabel:
    """A wrapped line of information; with `rich`, the text is HTML, and else what a person typed stays as typed."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.RichText if rich else Qt.TextFormat.PlainText)
    label.setText(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def rule() -> QFrame:
    """A thin line between sections."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFixedHeight(1)
    line.setStyleSheet("background: rgba(128, 128, 128, 90); border: none;")
    return line


def narrow_combo() -> QComboBox:
    """A combo box that shrinks with the panel; long entries show in its list."""
    combo = QComboBox()
    keep_narrow(combo)
    return combo


def keep_narrow(combo: QComboBox) -> None:
    """Let a combo box shrink with the panel, which the wheel scrolls over it."""
    scroll_past(combo)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def scroll_past(widget: QWidget) -> None:
    """Let the wheel scroll the panel over a control, instead of changing a value that nobody looks at."""
    widget.installEventFilter(_WheelPast(widget))


class _WheelPast(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Leave a turn of the wheel to what lies beneath."""
        if event.type() != QEvent.Type.Wheel:
            return False
        event.ignore()
        return True


def fill_combo(combo: QComboBox, entries: Sequence[tuple[str, object]], current: object) -> None:
    """Replace a combo box's entries (text, value) without reporting a change."""
    with QSignalBlocker(combo):
        combo.clear()
        for text, value in entries:
            combo.addItem(text, value)
        select(combo, current)


def select(combo: QComboBox, value: object) -> None:
    """Show the entry with `value` without reporting a change; the first entry if there is none."""
    with QSignalBlocker(combo):
        index = next((i for i in range(combo.count()) if combo.itemData(i) == value), 0)
        combo.setCurrentIndex(index)
