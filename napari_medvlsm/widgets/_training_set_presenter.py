"""The training set, joined with its buttons and dialogs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QLabel, QScrollArea, QShortcut, QVBoxLayout, QWidget

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.training_set import TrainingSet, explained
from napari_medvlsm.core.datasets.case_words import CaseWords
from napari_medvlsm.core.prompts import Target
from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.sections.training_set import TrainingSetBox


class TrainingSetPresenter(QObject):
    """Adds to the chosen training set; before the first time, shows which words will be written.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    saving : Saving
    training_set : TrainingSet
    box : TrainingSetBox
    parent : QWidget
        Of the dialogs.
    """

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        saving: Saving,
        training_set: TrainingSet,
        box: TrainingSetBox,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._saving, self._set, self._box, self._parent = saving, training_set, box, parent
        box.addRequested.connect(lambda: self.add())
        box.addNextRequested.connect(lambda: self.add(go_on=True))
        box.wordsRequested.connect(self.show_words)
        box.folderRequested.connect(self.choose)
        training_set.changed.connect(self._show_summary)
        for signal in (corrections.changed, session.prompt_changed, session.result_changed):
            signal.connect(self.show)
        shortcut = QShortcut(QKeySequence(keys.ADD_NEXT_KEY), parent)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        # Held down, it would add one scan after the other.
        shortcut.setAutoRepeat(False)
        shortcut.activated.connect(box.add_next.click)
        self._show_summary()
        self.show()

    def show(self) -> None:
        """Offer to add what there is."""
        self._box.set_available(self._saving.source is not None)

    def choose(self) -> bool:
        """Ask for the folder; whether one was chosen."""
        last = str(self._set.folder or "")
        name = QFileDialog.getExistingDirectory(self._parent, "Folder of the training set", last)
        if name:
            self._set.choose(Path(name))
        return bool(name)

    def add(self, go_on: bool = False) -> None:
        """Add what is in view; the folder is asked for once, and the words are shown once for each folder."""
        if self._set.folder is None and not self.choose():
            return
        words = None if self._set.words_agreed else self._set.words()
        if words is not None:
            if not self._ask(words):
                return
            self._set.agree()
        self._set.add(go_on)

    def show_words(self) -> None:
        """Show what would be written."""
        words = self._set.words()
        if words is not None:
            self._ask(words, only_close=True)

    def _show_summary(self) -> None:
        self._box.set_summary(self._set.summary())

    def _ask(self, words: CaseWords, only_close: bool = False) -> bool:
        dialog = WordsDialog(words, self._set.target(words), only_close, self._parent)
        agreed = bool(dialog.exec())
        dialog.deleteLater()
        return agreed


class WordsDialog(QDialog):
    """What will be written as words, to agree to or only to read.

    Parameters
    ----------
    words : CaseWords
    target : Target
        That of the words.
    only_close : bool
        Whether there is nothing to agree to.
    parent : QWidget
    """

    def __init__(self, words: CaseWords, target: Target, only_close: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Words for the training set")
        self.text = QLabel(explained(words, target))
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setWordWrap(True)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.text.setMargin(8)
        scroll = QScrollArea()
        scroll.setWidget(self.text)
        scroll.setWidgetResizable(True)
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Close if only_close else kinds.Ok | kinds.Cancel)
        if not only_close:
            self.buttons.button(kinds.Ok).setText("Add with these words")
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(scroll, 1)
        column.addWidget(self.buttons)
        self.resize(620, 480)
