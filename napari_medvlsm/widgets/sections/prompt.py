"""What to outline: a target, words that describe it, or a text of one's own; and a list of several."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_medvlsm.controllers.familiarity import Familiarity
from napari_medvlsm.core.describe import Contradiction
from napari_medvlsm.core.prompts import Attributes, Prompt, Target, Vocabulary
from napari_medvlsm.core.prompts.english import joined
from napari_medvlsm.widgets.sections._prompt_edit import PromptEdit
from napari_medvlsm.widgets.sections._section import LINK, WARNING, Section, narrow_combo, quiet_label
from napari_medvlsm.widgets.sections.describe import DescribeBox


class PromptSection(Section):
    """Pickers that build the prompt, the prompt itself, which can be typed over, and the list of prompts."""

    chosen = Signal(str, str)  # attribute, word
    levelChosen = Signal(object)
    typed = Signal(str)
    nearestChosen = Signal(str)  # phrase of a target that the model knows
    typingDropped = Signal()
    historyRequested = Signal()
    favouriteToggled = Signal(bool)
    ownWordsRequested = Signal()
    enqueued = Signal()
    dequeued = Signal(object)  # place on the list, or None for all

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__("What to outline")
        self._vocabulary = vocabulary
        self.target = narrow_combo()
        self.target.setMaxVisibleItems(30)
        self.target.activated.connect(lambda: self.chosen.emit("target", self.target.currentData()))
        self.more = QPushButton("Describe ▾")
        self.more.setCheckable(True)
        self.more.setToolTip(
            "Add words about number, size, shape, colour and place, or what else this kind of scan has"
        )
        self.more.toggled.connect(self._show_details)
        row = QHBoxLayout()
        row.addWidget(self.target, 1)
        row.addWidget(self.more)
        self.column.addLayout(row)

        self.describe = DescribeBox()
        self.describe.chosen.connect(self.chosen)
        self.describe.levelChosen.connect(self.levelChosen)
        self.own_words = QPushButton("Your own words…")
        self.own_words.setToolTip("Add targets, words and descriptions of your own to these lists")
        self.own_words.clicked.connect(self.ownWordsRequested)
        self.details = QWidget()
        inside = QVBoxLayout(self.details)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(4)
        inside.addWidget(self.describe)
        inside.addWidget(self.own_words)
        self.details.hide()
        self.column.addWidget(self.details)

        self.text = PromptEdit()
        self.text.setPlaceholderText("or type it, for example: small polyp")
        self.text.setToolTip("The words the model gets. Type here to use your own; they win over the choices above.")
        self.text.textEdited.connect(self.typed)
        self.back = QPushButton("Clear")
        self.back.setToolTip("Drop the typed words and use the choices again")
        self.back.clicked.connect(self.typingDropped)
        self.back.hide()
        self.star = QPushButton("☆")
        self.star.setCheckable(True)
        self.star.setToolTip("Keep this prompt as a favourite")
        self.star.clicked.connect(self.favouriteToggled)
        self.history = QPushButton("Earlier…")
        self.history.setToolTip("Your favourites and the prompts used before, to search")
        self.history.clicked.connect(self.historyRequested)
        self.column.addWidget(self.text)
        self.add = QPushButton("Add to list")
        self.add.setToolTip("Collect several targets, then segment them all in one go")
        self.add.clicked.connect(self.enqueued)
        words = QHBoxLayout()
        words.addWidget(self.star)
        words.addWidget(self.history)
        words.addStretch(1)
        words.addWidget(self.back)
        words.addWidget(self.add)
        self.column.addLayout(words)

        self.reading = quiet_label()
        self.unplaced = quiet_label()
        self.warning = quiet_label(rich=True)
        self.warning.linkActivated.connect(self.nearestChosen)
        self.flags = quiet_label(rich=True)
        self.flags.linkActivated.connect(self._on_flag)
        for label in (self.reading, self.unplaced, self.warning, self.flags):
            label.hide()
            self.column.addWidget(label)

        self.queue = QVBoxLayout()
        self.queue.setSpacing(2)
        self.column.addLayout(self.queue)
        self.clear = QPushButton("Empty the list")
        self.clear.clicked.connect(lambda: self.dequeued.emit(None))
        self.column.addWidget(self.clear)
        self.set_targets(vocabulary, ())
        self.set_queue([])

    def set_targets(self, vocabulary: Vocabulary, known: Collection[str]) -> None:
        """Offer the targets, those that the model learned first; with nothing in `known`, all alike."""
        self._vocabulary = vocabulary
        current = self.target.currentData()
        with QSignalBlocker(self.target):
            self.target.clear()
            self.target.addItem("Choose…", "")
            learned = [t for t in vocabulary.targets.values() if t.phrase in known or not known]
            rest = [t for t in vocabulary.targets.values() if t not in learned]
            for heading, targets in (("", learned), ("This model never learned:", rest)):
                if heading and targets:
                    self.target.addItem(heading)
                    # A heading, not a choice.
                    self.target.model().item(self.target.count() - 1).setEnabled(False)
                for target in targets:
                    self.target.addItem(target.label, target.phrase)
            self.target.setCurrentIndex(max(0, self.target.findData(current)))

    def set_prompt(
        self,
        prompts: Sequence[Prompt],
        typed: str | None,
        attributes: Attributes,
        measured: frozenset[str],
        level: str | None,
    ) -> None:
        """Show the prompt and the choices behind it.

        `prompts` are what the model reads, one for each target; `attributes` all that is chosen, or what the typed
        words say.
        """
        prompt = prompts[0]
        with QSignalBlocker(self.target):
            self.target.setCurrentIndex(max(0, self.target.findData(attributes.target)))
        self.describe.set_words(attributes, measured, prompt, level, self._vocabulary)
        # A text that is being typed may end in a space, and must not be written back without it.
        shown = typed if typed is not None else self._vocabulary.shown(prompt)
        if " ".join(self.text.text().split()) != " ".join(shown.split()):
            self.text.setText(shown)
        self._show_reading(shown, prompts)
        self.back.setVisible(typed is not None)
        self.star.setEnabled(bool(prompt.text))
        self.add.setEnabled(bool(prompt.text))

    def set_unplaced(self, unplaced: Sequence[str]) -> None:
        """Say which parts of typed words are in no list."""
        self.unplaced.setVisible(bool(unplaced))
        self.unplaced.setText("Not in the lists, sent as typed: " + ", ".join(f"“{w}”" for w in unplaced) + ".")

    def set_familiarity(self, known: Familiarity) -> None:
        """Say which words the model does not know, with the nearest that it does, and that it is weak at the target."""
        lines = []
        if not known.complete:
            first = f'<span style="color: {WARNING}">⚠ {escape(known.sentence)}</span>'
            lines.append(first + self._offer(known.nearest))
        if known.weak_dice is not None:
            lines.append(f'<span style="color: {WARNING}">⚠ {known.weak_sentence}</span>')
        self.warning.setText("<br>".join(lines))
        self.warning.setVisible(bool(lines))

    def set_contradictions(self, found: Sequence[Contradiction]) -> None:
        """Flag where the words and the outline disagree, each with a way to take what the outline shows."""
        lines = [
            f'<span style="color: {WARNING}">⚠ {escape(c.sentence)}</span> '
            f'<a style="color: {LINK}" href="{escape(c.attribute)}={escape(c.seen)}">Write “{escape(c.seen)}”</a>'
            for c in found
        ]
        self.flags.setText("<br>".join(lines))
        self.flags.setVisible(bool(found))

    def set_favourite(self, favourite: bool) -> None:
        """Show whether the prompt is a favourite."""
        with QSignalBlocker(self.star):
            self.star.setChecked(favourite)
        self.star.setText("★" if favourite else "☆")

    def follow_font(self) -> None:
        """Be as wide as the font asks for, where a button would be wider than its sign."""
        self.star.setFixedWidth(self.star.fontMetrics().horizontalAdvance("★") + 16)

    def set_queue(self, prompts: Sequence[Prompt]) -> None:
        """Show the prompts that are segmented in one go."""
        while self.queue.count():
            item = self.queue.takeAt(0)
            row = item.widget() if item is not None else None
            if row is not None:
                # Taken out of the panel at once: until it is deleted it would lie over the other controls.
                row.setParent(None)
                row.deleteLater()
        for place, prompt in enumerate(prompts):
            self.queue.addWidget(self._queued(place, prompt))
        self.clear.setVisible(bool(prompts))

    def _queued(self, place: int, prompt: Prompt) -> QWidget:
        row = QWidget()
        line = QHBoxLayout(row)
        line.setContentsMargins(4, 0, 0, 0)
        color = self._vocabulary.target(prompt.attributes.target or prompt.text).display_color
        shown = escape(self._vocabulary.shown(prompt))
        text = quiet_label(f'<span style="color: {color}">■</span> {shown}', rich=True)
        remove = QPushButton("✕")
        remove.setFixedWidth(remove.fontMetrics().horizontalAdvance("✕") + 16)
        remove.setToolTip("Take it off the list")
        remove.clicked.connect(lambda: self.dequeued.emit(place))
        line.addWidget(text, 1)
        line.addWidget(remove)
        return row

    def _show_reading(self, shown: str, prompts: Sequence[Prompt]) -> None:
        """Say what the model reads, where it is not what stands in the field."""
        texts = [prompt.text for prompt in prompts]
        self.reading.setVisible(texts != [" ".join(shown.split())])
        if len(texts) > 1:
            several = joined([f"“{self._vocabulary.shown(prompt)}”" for prompt in prompts])
            self.reading.setText(f"{len(texts)} targets, each outlined by itself: {several}.")
        else:
            self.reading.setText(f"The model's words for it: “{texts[0]}”.")

    def _offer(self, targets: Sequence[Target]) -> str:
        """Links to targets that the model knows, with the kind of scan that shows them."""
        kinds = [self._vocabulary.modalities[t.modality].label if t.modality else "" for t in targets]
        links = [f'<a style="color: {LINK}" href="{escape(t.phrase)}">{escape(t.name)}</a>' for t in targets]
        links = [f"{link} ({escape(kind)})" if kind else link for link, kind in zip(links, kinds, strict=True)]
        return f" Nearest it knows: {', '.join(links)}." if links else ""

    def _on_flag(self, link: str) -> None:
        attribute, _, word = link.partition("=")
        self.chosen.emit(attribute, word)

    def _show_details(self, shown: bool) -> None:
        self.details.setVisible(shown)
        self.more.setText("Describe ▴" if shown else "Describe ▾")
