"""What to outline: a target, words that describe it, or a text of one's own."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QLineEdit, QMenu, QPushButton, QWidget

from napari_medvlsm.core.prompts import Attributes, Coverage, Prompt, Vocabulary
from napari_medvlsm.widgets.sections._section import Section, fill_combo, narrow_combo, quiet_label

_PICKERS = (
    ("number", "Number", "How many there are"),
    ("size", "Size", "Size against the whole image"),
    ("shape", "Shape", "Its outline"),
    ("color", "Colour", "Its colour in the scan"),
    ("location", "Place in image", "Side of the image as you see it, not of the patient"),
)


class PromptSection(Section):
    """Pickers that build the prompt, and the prompt itself, which can be typed over."""

    chosen = Signal(str, str)  # attribute, word
    typed = Signal(str)
    typingDropped = Signal()
    promptReused = Signal(object)

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__("What to outline")
        self._vocabulary = vocabulary
        self.target = narrow_combo()
        entries = [(t.label, t.phrase) for t in vocabulary.targets.values()]
        fill_combo(self.target, [("Choose…", ""), *entries], "")
        self.target.activated.connect(lambda: self.chosen.emit("target", self.target.currentData()))
        self.more = QPushButton("Describe ▾")
        self.more.setCheckable(True)
        self.more.setToolTip("Add words about number, size, shape, colour and place")
        self.more.toggled.connect(self._show_details)
        row = QHBoxLayout()
        row.addWidget(self.target, 1)
        row.addWidget(self.more)
        self.column.addLayout(row)

        self.details = QWidget()
        grid = QGridLayout(self.details)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(3)
        self.pickers = {}
        for i, (name, label, tip) in enumerate(_PICKERS):
            picker = narrow_combo()
            picker.setToolTip(tip)
            picker.activated.connect(lambda _, n=name, p=picker: self.chosen.emit(n, p.currentData()))
            self.pickers[name] = picker
            grid.addWidget(QLabel(label), i, 0)
            grid.addWidget(picker, i, 1)
        grid.setColumnStretch(1, 1)
        self.details.hide()
        self.column.addWidget(self.details)

        self.text = QLineEdit()
        self.text.setPlaceholderText("or type it, for example: small polyp")
        self.text.setToolTip("The words the model gets. Type here to use your own; they win over the choices above.")
        self.text.textEdited.connect(self.typed)
        self.back = QPushButton("Clear")
        self.back.setToolTip("Drop the typed words and use the choices again")
        self.back.clicked.connect(self.typingDropped)
        self.back.hide()
        self.recent = QPushButton("Recent")
        self.recent.setToolTip("Prompts used before")
        self.recent.setMenu(QMenu(self))
        self.recent.setEnabled(False)
        words = QHBoxLayout()
        words.addWidget(self.text, 1)
        words.addWidget(self.back)
        words.addWidget(self.recent)
        self.column.addLayout(words)
        self.warning = quiet_label()
        self.warning.linkActivated.connect(self.typed)
        self.warning.hide()
        self.column.addWidget(self.warning)
        self.set_prompt(Prompt("", "p0"), Attributes(), False)

    def set_prompt(self, prompt: Prompt, attributes: Attributes, typed: bool) -> None:
        """Show the prompt and the choices behind it."""
        shown = Attributes(target=prompt.attributes.target) if typed else attributes
        with QSignalBlocker(self.target):
            self.target.setCurrentIndex(max(0, self.target.findData(shown.target)))
        for name, picker in self.pickers.items():
            words = self._vocabulary.words(name, shown.target)
            fill_combo(picker, [("any", ""), *((word, word) for word in words)], getattr(shown, name))
            picker.setEnabled(bool(shown.target) and not typed)
        # A text that is being typed may end in a space; the prompt does not, and must not be written back then.
        if " ".join(self.text.text().split()) != prompt.text:
            self.text.setText(prompt.text)
            self.text.setCursorPosition(0)
        self.back.setVisible(typed)

    def set_coverage(self, coverage: Coverage, text: str, weak_dice: float | None) -> None:
        """Say which words the model does not know, with the nearest that it does, or that it is weak at the target."""
        if text and coverage.complete and weak_dice is not None:
            self.warning.setText(
                f'<span style="color: #ffb84d">⚠ This model is weak here: mean Dice {weak_dice:.2f} on test scans '
                "(1 is perfect). Expect to redraw.</span>"
            )
            self.warning.show()
            return
        if not text or coverage.complete:
            self.warning.hide()
            return
        if coverage.unknown:
            words = ", ".join(f"“{escape(word)}”" for word in coverage.unknown)
            first = f"This model never learned {words}; the outline may mean nothing."
        else:
            first = "This names nothing the model learned to outline."
        links = ", ".join(f'<a style="color: #7fb8ff" href="{escape(p)}">{escape(p)}</a>' for p in coverage.nearest)
        self.warning.setText(f'<span style="color: #ffb84d">⚠ {first}</span> Nearest it knows: {links}')
        self.warning.show()

    def set_history(self, prompts: list[Prompt]) -> None:
        """Offer earlier prompts."""
        menu = self.recent.menu()
        menu.clear()
        for prompt in prompts:
            menu.addAction(prompt.text, lambda p=prompt: self.promptReused.emit(p))
        self.recent.setEnabled(bool(prompts))

    def _show_details(self, shown: bool) -> None:
        self.details.setVisible(shown)
        self.more.setText("Describe ▴" if shown else "Describe ▾")
