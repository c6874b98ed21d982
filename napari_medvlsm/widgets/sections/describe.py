"""The words that describe a target: one picker for each attribute that its kind of scan has, and how much to say."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_medvlsm.core.prompts import LABELS, Attributes, Prompt, Vocabulary
from napari_medvlsm.core.prompts.english import joined
from napari_medvlsm.widgets.sections._pickers import AgePicker, ListPicker, WordPicker
from napari_medvlsm.widgets.sections._section import fill_combo, narrow_combo, quiet_label

_TIPS = {
    "number": "How many there are",
    "size": "Size against the whole image",
    "shape": "Its outline",
    "color": "Its colour in the scan",
    "location": "Side of the image as you see it, not of the patient",
    "general": "A sentence about what it is",
    "view": "How the scan was taken",
    "cycle": "Phase of the heartbeat",
    "quality": "How well the scan can be read",
    "tumor_type": "What you take it for",
    "findings": "Everything that this X-ray shows",
}
# What is read from the outline is measured; these two are opinions.
_SUGGESTED = frozenset({"shape", "color"})


class DescribeBox(QWidget):
    """Pickers for the attributes of a target."""

    chosen = Signal(str, str)  # attribute, word
    levelChosen = Signal(object)  # "p1" to "p9", or None for all that is chosen

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self.pickers: dict[str, WordPicker | AgePicker | ListPicker] = {}
        self._labels: list[QLabel] = []
        self.origin = quiet_label()
        self.side = quiet_label()
        self.level = narrow_combo()
        self.level.setToolTip("P0 to P9 are the levels of detail of the study behind the models")
        self.level.activated.connect(lambda: self.levelChosen.emit(self.level.currentData()))
        self.explained = quiet_label()
        self._level_label = QLabel("How much to say")

    def set_words(
        self,
        attributes: Attributes,
        measured: frozenset[str],
        prompt: Prompt,
        level: str | None,
        vocabulary: Vocabulary,
    ) -> None:
        """Show what is said.

        Parameters
        ----------
        attributes : Attributes
            All that is chosen.
        measured : frozenset of str
            Those that were read from the outline.
        prompt : Prompt
            What is said of it.
        level : str or None
        vocabulary : Vocabulary
        """
        family = vocabulary.family(attributes.target)
        if tuple(self.pickers) != family.attributes:
            self._build(family.attributes)
        for label, (name, picker) in zip(self._labels, self.pickers.items(), strict=True):
            picker.set_value(vocabulary.words(name, attributes.target), getattr(attributes, name))
            picker.setEnabled(bool(attributes.target))
            label.setText(f"{LABELS[name].capitalize()}{' *' if name in measured else ''}")
        opinions = [LABELS[name] for name in family.attributes if name in measured & _SUGGESTED]
        self.origin.setText(
            "* read from your outline" + (f"; {joined(opinions)}: a suggestion" if opinions else "") + "."
        )
        self.origin.setVisible(bool(measured))
        levels = [(f"{key.upper()}: {family.explain(key)}", key) for key in family.levels]
        fill_combo(self.level, [("all that is chosen", None), *levels], level)
        self.level.setEnabled(bool(attributes.target))
        self.explained.setText(_explain(prompt, attributes, level, vocabulary))
        self.explained.setVisible(bool(attributes.target))
        target = vocabulary.target(attributes.target)
        self.side.setVisible(target.names_a_side and "location" in family.attributes)
        word = "left" if "left" in target.phrase.split() else "right"
        self.side.setText(
            f"“{target.name.capitalize()}” means the patient's {word}. "
            "The place is the side of the image as you see it."
        )

    def _build(self, attributes: tuple[str, ...]) -> None:
        """Make the pickers of another kind of scan."""
        for widget in (*self._labels, *self.pickers.values()):
            widget.setParent(None)
            widget.deleteLater()
        self._labels, self.pickers = [], {}
        for row, name in enumerate(attributes):
            picker = AgePicker() if name == "age" else ListPicker() if name == "findings" else WordPicker()
            picker.setToolTip(_TIPS.get(name, ""))
            picker.picked.connect(lambda word, n=name: self.chosen.emit(n, word))
            label = QLabel(LABELS[name].capitalize())
            self._grid.addWidget(label, row, 0)
            self._grid.addWidget(picker, row, 1)
            self._labels.append(label)
            self.pickers[name] = picker
        row = len(attributes)
        self._grid.addWidget(self.origin, row, 0, 1, 2)
        self._grid.addWidget(self.side, row + 1, 0, 1, 2)
        self._grid.addWidget(self._level_label, row + 2, 0)
        self._grid.addWidget(self.level, row + 2, 1)
        self._grid.addWidget(self.explained, row + 3, 0, 1, 2)
        previous: QWidget | None = None
        for picker in (*self.pickers.values(), self.level):
            if previous is not None:
                QWidget.setTabOrder(previous, picker)
            previous = picker


def _explain(prompt: Prompt, attributes: Attributes, level: str | None, vocabulary: Vocabulary) -> str:
    """The level in words, and what is chosen but not said, or said by the level but not chosen."""
    family = vocabulary.family(attributes.target)
    if prompt.level not in family.levels:
        return ""
    named = [LABELS[n] for n in family.attributes if n in prompt.attributes.named()]
    text = f"Says the {joined(['name', *named])} ({prompt.level.upper()})."
    if level is not None:
        silent = [LABELS[n] for n in family.attributes if n in attributes.named() - family.levels[level]]
        missing = [LABELS[n] for n in family.attributes if n in family.levels[level] - attributes.named()]
        if silent:
            text += f" Left out: {joined(silent)}."
        if missing:
            text += f" Not chosen yet: {joined(missing)}."
    return text
