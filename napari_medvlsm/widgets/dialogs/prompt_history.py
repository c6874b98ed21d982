"""Favourites and the prompts used before, to search and to take again."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.core.io.prompt_history import Entry, PromptHistory
from napari_medvlsm.core.prompts import Target, Vocabulary

_ROLE = Qt.ItemDataRole.UserRole


class PromptHistoryDialog(QDialog):
    """A searchable list; a double click or Enter takes a prompt.

    Parameters
    ----------
    history : PromptHistory
    target : Target or None
        Only its prompts are shown at first.
    vocabulary : Vocabulary
    parent : QWidget, optional
    """

    chosen = Signal(object)  # Prompt
    changed = Signal()
    failed = Signal(str)

    def __init__(
        self, history: PromptHistory, target: Target | None, vocabulary: Vocabulary, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Favourites and earlier prompts")
        self._history, self._target, self._vocabulary = history, target, vocabulary
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search, for example: small left")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self.refresh)
        self.only = QCheckBox(f"Only {target.label}" if target is not None else "")
        self.only.setVisible(target is not None)
        self.only.setChecked(target is not None and bool(history.entries(target.phrase)))
        self.only.toggled.connect(self.refresh)
        self.list = QListWidget()
        self.list.itemActivated.connect(self._take)
        self.list.currentItemChanged.connect(self._show_buttons)
        self.nothing = QLabel("Nothing found.")
        self.use = QPushButton("Use")
        self.use.setDefault(True)
        self.use.clicked.connect(lambda: self._take(self.list.currentItem()))
        self.star = QPushButton("☆ Favourite")
        self.star.clicked.connect(self._toggle)
        self.forget = QPushButton("Forget")
        self.forget.setToolTip("Take this prompt off the list for good")
        self.forget.clicked.connect(self._forget)
        close = QPushButton("Close")
        close.clicked.connect(self.reject)
        top = QHBoxLayout()
        top.addWidget(self.search, 1)
        top.addWidget(self.only)
        bottom = QHBoxLayout()
        for button in (self.use, self.star, self.forget):
            bottom.addWidget(button)
        bottom.addStretch(1)
        bottom.addWidget(close)
        column = QVBoxLayout(self)
        column.addLayout(top)
        column.addWidget(self.list, 1)
        column.addWidget(self.nothing)
        column.addLayout(bottom)
        self.resize(560, 420)
        self.refresh()
        self.search.setFocus()

    def refresh(self) -> None:
        """Show what the search finds."""
        kept = self._current()
        target = self._target.phrase if self._target is not None and self.only.isChecked() else ""
        self.list.clear()
        for entry in self._history.entries(target, self.search.text(), self._vocabulary.shown):
            item = QListWidgetItem(f"{'★' if entry.favourite else '    '} {self._vocabulary.shown(entry.prompt)}")
            item.setData(_ROLE, entry)
            item.setToolTip(f"Last used {entry.used[:10]}")
            self.list.addItem(item)
            if kept is not None and entry.prompt.text == kept.prompt.text:
                self.list.setCurrentItem(item)
        if self.list.currentRow() < 0 and self.list.count():
            self.list.setCurrentRow(0)
        empty = self.list.count() == 0
        self.nothing.setVisible(empty)
        self.nothing.setText("Nothing found." if self.search.text() else "No prompt was used yet.")
        self._show_buttons()

    def _current(self) -> Entry | None:
        item = self.list.currentItem()
        return None if item is None else item.data(_ROLE)

    def _show_buttons(self) -> None:
        entry = self._current()
        for button in (self.use, self.star, self.forget):
            button.setEnabled(entry is not None)
        self.star.setText("★ No favourite" if entry is not None and entry.favourite else "☆ Favourite")

    def _take(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.chosen.emit(item.data(_ROLE).prompt)
            self.accept()

    def _toggle(self) -> None:
        entry = self._current()
        if entry is not None:
            self._change(lambda: self._history.set_favourite(entry.prompt, not entry.favourite))

    def _forget(self) -> None:
        entry = self._current()
        if entry is not None:
            self._change(lambda: self._history.forget(entry.prompt.text))

    def _change(self, function: Callable[[], None]) -> None:
        try:
            function()
        except OSError as error:
            self.failed.emit(f"The list of prompts could not be changed ({error}).")
        self.refresh()
        self.changed.emit()
