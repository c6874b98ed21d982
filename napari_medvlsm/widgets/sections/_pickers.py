"""Editors of one attribute: a word from a list, years, or several findings.

Each has `set_value(words, value)`, which reports nothing, and a signal `picked` with the value that a person
chose; "" says nothing about the attribute.
"""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QMenu, QPushButton, QSizePolicy, QSpinBox, QWidget

from napari_medvlsm.core.prompts.english import NUMBER_WORDS
from napari_medvlsm.widgets.sections._section import fill_combo, keep_narrow, scroll_past

_ANY = "any"


class WordPicker(QComboBox):
    """One word of a list."""

    picked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        keep_narrow(self)
        self.activated.connect(lambda: self.picked.emit(self.currentData()))

    def set_value(self, words: Sequence[str], value: str) -> None:
        """Offer words and show one of them."""
        offered = [*words, *([value] if value and value not in words else [])]
        fill_combo(self, [(_ANY, ""), *((word, word) for word in offered)], value)


class AgePicker(QSpinBox):
    """Years of age; the value is in words, as prompts have it."""

    picked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, len(NUMBER_WORDS) - 1)
        self.setSpecialValueText(_ANY)
        self.setSuffix(" years")
        self.setKeyboardTracking(False)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        scroll_past(self)
        self.valueChanged.connect(lambda years: self.picked.emit(NUMBER_WORDS[years] if years else ""))

    def set_value(self, words: Sequence[str], value: str) -> None:
        """Show an age."""
        with QSignalBlocker(self):
            self.setValue(NUMBER_WORDS.index(value) if value in NUMBER_WORDS else 0)


class ListPicker(QPushButton):
    """Several words of a list, ticked in a menu that stays open."""

    picked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_ANY, parent)
        self._menu = _StayingMenu(self)
        self.setMenu(self._menu)
        self.setStyleSheet("text-align: left; padding-left: 6px;")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_value(self, words: Sequence[str], value: str) -> None:
        """Offer words and tick those of `value`, which are joined by ", "."""
        chosen = [word for word in value.split(", ") if word]
        if [action.text() for action in self._menu.actions()] != [*words]:
            self._menu.clear()
            for word in words:
                action = self._menu.addAction(word)
                action.setCheckable(True)
                action.toggled.connect(self._report)
        for action in self._menu.actions():
            with QSignalBlocker(action):
                action.setChecked(action.text() in chosen)
        self.setText(_ANY if not chosen else chosen[0] if len(chosen) == 1 else f"{len(chosen)} chosen")
        self.setToolTip("\n".join(chosen))

    def _report(self) -> None:
        self.picked.emit(", ".join(action.text() for action in self._menu.actions() if action.isChecked()))


class _StayingMenu(QMenu):
    """A menu in which several entries can be ticked one after the other."""

    def mouseReleaseEvent(self, event: object) -> None:
        """Tick without closing."""
        action = self.activeAction()
        if action is not None and action.isCheckable():
            action.trigger()
        else:
            super().mouseReleaseEvent(event)
