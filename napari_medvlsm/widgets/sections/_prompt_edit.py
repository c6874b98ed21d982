"""A line of text that grows with what it holds, so that a long prompt can be read whole."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QKeyEvent, QResizeEvent
from qtpy.QtWidgets import QPlainTextEdit, QSizePolicy

_MOST_LINES = 6


class PromptEdit(QPlainTextEdit):
    """As a `QLineEdit`, on as many lines as the text needs."""

    textEdited = Signal(str)
    returnPressed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)
        # napari gives text areas no ground; this one is to look like the fields around it.
        self.setStyleSheet("PromptEdit { background: rgba(128, 140, 155, 90); border-radius: 2px; }")
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.textChanged.connect(self._on_text)
        # The lines are known only once the text is laid out, which is after `textChanged`.
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._fit()

    def text(self) -> str:
        """What is typed."""
        return self.toPlainText()

    def setText(self, text: str) -> None:
        """Show a text; nothing is reported."""
        with QSignalBlocker(self):
            self.setPlainText(text)
        self._fit()

    def event(self, event: QEvent) -> bool:
        """Leave the keys that leaf through the scans to the window: there are no pages here."""
        if event.type() == QEvent.Type.ShortcutOverride and event.key() in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
            event.ignore()
            return False
        return bool(super().event(event))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter reports instead of breaking the line."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            # With Ctrl too: a text area keeps the window's own shortcut from being heard.
            self.returnPressed.emit()
            return
        super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit the height to the new width."""
        super().resizeEvent(event)
        self._fit()

    def _on_text(self) -> None:
        # A pasted text may bring line breaks; a prompt has none.
        if "\n" in self.toPlainText():
            with QSignalBlocker(self):
                self.setPlainText(" ".join(self.toPlainText().split()))
                self.moveCursor(self.textCursor().MoveOperation.End)
        self._fit()
        self.textEdited.emit(self.toPlainText())

    def _fit(self) -> None:
        needed = max(1, int(self.document().size().height()))
        margins = 2 * (self.document().documentMargin() + self.frameWidth())
        self.setFixedHeight(int(min(_MOST_LINES, needed) * self.fontMetrics().lineSpacing() + margins + 4))
        if needed <= _MOST_LINES:
            # What was scrolled out of sight while the field was too low.
            self.verticalScrollBar().setValue(0)
