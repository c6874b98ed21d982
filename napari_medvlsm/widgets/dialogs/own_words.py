"""A small editor of the user's vocabulary file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Qt, QUrl, Signal
from qtpy.QtGui import QColor, QDesktopServices
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.core.prompts import ATTRIBUTES, LABELS, load_families, load_vocabulary
from napari_medvlsm.core.prompts.own_words import OwnWords
from napari_medvlsm.widgets.sections._section import PROBLEM

_NEW = "New target…"
_DEFAULT_COLOR = "#ff4d4d"
# napari gives text areas no ground; these are to look like the fields around them.
_GROUND = "QPlainTextEdit { background: rgba(128, 140, 155, 90); border-radius: 2px; }"


class OwnWordsDialog(QDialog):
    """Adds targets and words; what is saved is used at once.

    Parameters
    ----------
    path : Path
        The vocabulary file; it may not exist yet.
    target : str
        Phrase of the target to begin with.
    parent : QWidget, optional
    """

    saved = Signal(object)  # the Vocabulary as it is now

    def __init__(self, path: Path, target: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Your own words")
        self._path = path
        self._words = OwnWords(path, {})
        self._vocabulary = load_vocabulary()
        self.problem = QLabel()
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.problem.setWordWrap(True)
        self.problem.setStyleSheet(f"color: {PROBLEM};")
        self.tabs = QTabWidget()
        self.tabs.addTab(self._build_targets(), "Targets")
        self.tabs.addTab(self._build_words(), "Words")
        where = QLabel(f"Kept in {path}")
        where.setWordWrap(True)
        reload = QPushButton("Reload the file")
        reload.setToolTip("Take over what was changed in the file itself")
        reload.clicked.connect(self.reload)
        self.open = QPushButton("Open the folder")
        self.open.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.parent))))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        row = QHBoxLayout()
        row.addWidget(reload)
        row.addWidget(self.open)
        row.addStretch(1)
        row.addWidget(buttons)
        column = QVBoxLayout(self)
        column.addWidget(self.tabs, 1)
        column.addWidget(self.problem)
        column.addWidget(where)
        column.addLayout(row)
        self.resize(520, 560)
        self.reload()
        self._pick(target)

    def reload(self) -> None:
        """Read the file again; a broken one is named and left alone."""
        try:
            self._take(OwnWords.read(self._path))
        except ValueError as error:
            self._say(str(error), problem=True)

    def save_target(self) -> None:
        """Write the target as it stands in the form."""
        typed = self.which.currentData() or " ".join(self.phrase.text().split())
        # A name that is there already keeps its capitals.
        phrase = next((t for t in self._vocabulary.targets if t.lower() == typed.lower()), typed.lower())
        if not phrase:
            self._say("Give the target a name: it is what the model reads, for example “gallstone”.", problem=True)
            return
        if self.phrase.isEnabled() and phrase in self._vocabulary.targets:
            self._say(f"There is a target “{phrase}” already; pick it from the list above to change it.", problem=True)
            return
        shipped = load_vocabulary().targets.get(phrase)
        entry: dict[str, object] = {}
        texts = {"label": self.label.text(), "plural": self.plural.text(), "modality": self.modality.currentText()}
        for key, text in texts.items():
            clean = " ".join(text.split())
            if clean and (shipped is None or shipped.shown(getattr(shipped, key)) != clean):
                entry[key] = clean.lower() if key == "modality" else clean
        if self.family.currentData() != (shipped.family if shipped else "photographic"):
            entry["family"] = self.family.currentData()
        lists = {
            "synonyms": self.synonyms.text().split(","),
            "general": [line.removeprefix("which is ") for line in self.general.toPlainText().splitlines()],
        }
        for key, values in lists.items():
            clean_list = [" ".join(v.split()) for v in values if v.strip()]
            new = [v for v in clean_list if shipped is None or v not in getattr(shipped, key)]
            if new:
                entry[key] = new
        if self.lateralised.isChecked() != (shipped.lateralised if shipped else False):
            entry["lateralised"] = self.lateralised.isChecked()
        if self._color != (shipped.display_color if shipped else _DEFAULT_COLOR):
            entry["display_color"] = self._color
        # What the form does not show (spoken name, shapes, colours) stays as it is in the file.
        before = self._words.content.get("targets", {}).get(phrase) or {}
        entry |= {key: before[key] for key in ("spoken", "shapes", "colors") if key in before}
        self._write(
            lambda file: file.changed(phrase, entry if entry or shipped is None else None),
            f"Saved {self._name(phrase)}.",
        )
        self._pick(phrase)

    def remove_target(self) -> None:
        """Take the user's own entry out of the file."""
        phrase = self.which.currentData()
        if phrase:
            self._write(lambda file: file.changed(phrase, None), f"Took your words about {self._name(phrase)} out.")
            self._pick(phrase)

    def save_words(self) -> None:
        """Write the own words of one attribute."""
        name = self.attribute.currentData()
        words = [" ".join(line.split()) for line in self.words.toPlainText().splitlines() if line.strip()]
        # Synonyms of shipped words are in the file alone.
        own = self._words.content.get("attributes", {}).get(name, {})
        words += [word for word in own if word in load_vocabulary().attributes.get(name, {})]
        self._write(lambda file: file.with_attribute(name, words), f"Saved the words for {LABELS[name]}.")

    # Building -------------------------------------------------------------------------------------------------

    def _build_targets(self) -> QWidget:
        page = QWidget()
        form = QFormLayout(page)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.which = QComboBox()
        self.which.activated.connect(lambda: self._show_target(self.which.currentData()))
        self.phrase = QLineEdit()
        self.phrase.setPlaceholderText("gallstone")
        self.label = QLineEdit()
        self.label.setPlaceholderText("as it shows in the list; by default the name")
        self.plural = QLineEdit()
        self.plural.setPlaceholderText("by default the name with an s")
        self.modality = QComboBox()
        self.modality.setEditable(True)
        self.family = QComboBox()
        for family in load_families().values():
            self.family.addItem(family.title, family.name)
        self.family.setToolTip("Decides which attributes are asked for and how the prompt is written")
        self.synonyms = QLineEdit()
        self.synonyms.setPlaceholderText("biliary stone, gall bladder stone")
        self.general = QPlainTextEdit()
        self.general.setStyleSheet(_GROUND)
        self.general.setPlaceholderText("One on each line, completing “which is …”:\na hard lump in the gall bladder")
        self.general.setFixedHeight(5 * self.general.fontMetrics().lineSpacing())
        self.color = QPushButton()
        self.color.clicked.connect(self._ask_color)
        self.lateralised = QCheckBox("has a left and a right that must not be swapped")
        self.lateralised.setToolTip("Scans of it are never mirrored in training")
        save = QPushButton("Save target")
        save.clicked.connect(self.save_target)
        self.remove = QPushButton("Remove your entry")
        self.remove.clicked.connect(self.remove_target)
        buttons = QHBoxLayout()
        buttons.addWidget(save)
        buttons.addWidget(self.remove)
        buttons.addStretch(1)
        rows: list[tuple[str, QWidget]] = [
            ("Target", self.which),
            ("Name (the model reads it)", self.phrase),
            ("Label (you read it)", self.label),
            ("Plural", self.plural),
            ("Kind of scan", self.modality),
            ("Form of prompt", self.family),
            ("Other names", self.synonyms),
            ("Descriptions", self.general),
            ("Colour of its outline", self.color),
            ("Side", self.lateralised),
        ]
        for combo in (self.which, self.modality, self.family):
            combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for text, widget in rows:
            form.addRow(text, widget)
        form.addRow(buttons)
        return page

    def _build_words(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        self.attribute = QComboBox()
        for name in ATTRIBUTES:
            if name not in ("general", "age"):
                self.attribute.addItem(LABELS[name].capitalize(), name)
        self.attribute.activated.connect(self._show_words)
        self.known = QLabel()
        self.known.setWordWrap(True)
        self.words = QPlainTextEdit()
        self.words.setStyleSheet(_GROUND)
        self.words.setPlaceholderText("Your own words, one on each line")
        save = QPushButton("Save words")
        save.clicked.connect(self.save_words)
        column.addWidget(self.attribute)
        column.addWidget(self.known)
        column.addWidget(self.words, 1)
        column.addWidget(save)
        return page

    # Showing ---------------------------------------------------------------------------------------------------

    def _take(self, words: OwnWords) -> None:
        self._vocabulary = load_vocabulary(words)
        self._words = words
        current = self.which.currentData()
        with QSignalBlocker(self.which):
            self.which.clear()
            self.which.addItem(_NEW, "")
            for target in self._vocabulary.targets.values():
                self.which.addItem(f"{target.label}{'  (yours)' if target.own else ''}", target.phrase)
        self.modality.clear()
        self.modality.addItems(["", *self._vocabulary.modalities])
        self._pick(current or "")
        self._show_words()
        self.open.setEnabled(self._path.parent.is_dir())
        self._say("")
        self.saved.emit(self._vocabulary)

    def _pick(self, phrase: str) -> None:
        self.which.setCurrentIndex(max(0, self.which.findData(phrase)))
        self._show_target(self.which.currentData() or "")

    def _show_target(self, phrase: str) -> None:
        target = self._vocabulary.targets.get(phrase)
        # Where the model's word is a diagnosis, it only stands beside what people read.
        model = f" (the model's word: {phrase})" if target is not None and target.spoken else ""
        self.phrase.setText(f"{self._name(phrase)}{model}")
        self.phrase.setEnabled(not phrase)
        self.label.setText(target.label if target else "")
        self.plural.setText(target.shown(target.plural) if target else "")
        self.modality.setCurrentText(target.modality if target else "")
        self.family.setCurrentIndex(max(0, self.family.findData(target.family if target else "")))
        self.synonyms.setText(", ".join(s for s in target.synonyms if s not in target.unspoken) if target else "")
        self.general.setPlainText("\n".join(target.general) if target else "")
        self.lateralised.setChecked(bool(target and target.lateralised))
        self._set_color(target.display_color if target else _DEFAULT_COLOR)
        self.remove.setEnabled(bool(target and target.own))

    def _name(self, phrase: str) -> str:
        return self._vocabulary.target(phrase).name

    def _show_words(self) -> None:
        name = self.attribute.currentData()
        own = self._words.content.get("attributes", {}).get(name, {})
        shipped = load_vocabulary().attributes.get(name, {})
        family = [w for f in load_families().values() for w in f.words.get(name, ())]
        self.known.setText(f"There already: {', '.join(dict.fromkeys([*family, *shipped]))}.")
        self.words.setPlainText("\n".join(word for word in own if word not in shipped))

    def _set_color(self, color: str) -> None:
        self._color = color
        self.color.setText(color)
        self.color.setStyleSheet(f"background: {color}; color: black;")

    def _ask_color(self) -> None:
        color = QColorDialog.getColor(QColor(self._color), self)
        if color.isValid():
            self._set_color(color.name())

    def _write(self, change: Callable[[OwnWords], OwnWords], done: str) -> None:
        try:
            # As the file is now: somebody may have written into it since it was shown.
            before = OwnWords.read(self._path)
        except ValueError as error:
            self._say(str(error), problem=True)
            return
        try:
            words = change(before)
            load_vocabulary(words)
            words.write()
        except (ValueError, OSError) as error:
            self._say(f"Not saved; the file is as it was. {error}", problem=True)
            return
        self._take(words)
        self._say(done)

    def _say(self, text: str, problem: bool = False) -> None:
        self.problem.setText(text)
        self.problem.setStyleSheet(f"color: {PROBLEM};" if problem else "")
