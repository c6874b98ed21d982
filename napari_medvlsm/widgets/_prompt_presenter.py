"""The prompt: choices, typed words, the list, favourites and a person's own words, joined with their section."""

from __future__ import annotations

from qtpy.QtCore import QObject, QSize, Qt, Signal
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QTableView,
    QTreeView,
    QWidget,
)

from napari_medvlsm.controllers.familiarity import Familiarity
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.prompts.own_words import own_words_path
from napari_medvlsm.widgets import dialogs
from napari_medvlsm.widgets.sections import PromptSection


class PromptPresenter(QObject):
    """Shows the session's prompt and carries out what the section asks for.

    Parameters
    ----------
    session : Session
    section : PromptSection
    parent : QWidget
        Of the dialogs.
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, session: Session, section: PromptSection, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._section, self._parent = session, section, parent
        section.chosen.connect(lambda name, word: session.choose(**{name: word}))
        section.levelChosen.connect(session.set_level)
        section.typed.connect(session.type)
        section.nearestChosen.connect(session.take_nearest)
        section.typingDropped.connect(lambda: session.type(None))
        section.enqueued.connect(self._enqueue)
        section.dequeued.connect(session.dequeue)
        section.historyRequested.connect(self._show_history)
        section.favouriteToggled.connect(self._set_favourite)
        section.ownWordsRequested.connect(self._show_own_words)
        session.prompt_changed.connect(self.show)
        session.model_changed.connect(self.show_targets)
        session.vocabulary_changed.connect(self.show_targets)
        session.queue_changed.connect(lambda: section.set_queue(session.queue))
        session.history_changed.connect(self._show_favourite)
        self.show_targets()
        self.show()

    def show(self) -> None:
        """Show the prompt as it stands, and what the model knows of it."""
        session = self._session
        unplaced = session.parsed.unplaced if session.typed is not None else ()
        self._section.set_prompt(session.prompts, session.typed, session.said, session.measured, session.level)
        self._section.set_unplaced(unplaced if session.said.target else ())
        self._section.set_familiarity(session.familiarity() if session.prompt.text else Familiarity())
        self._show_favourite()

    def show_targets(self) -> None:
        """Offer the targets, those of the model first."""
        model = self._session.model
        self._section.set_targets(self._session.vocabulary, model.card.targets if model else ())

    def _show_favourite(self) -> None:
        history = self._session.history
        self._section.set_favourite(all(history.is_favourite(prompt.text) for prompt in self._session.prompts))

    def _enqueue(self) -> None:
        try:
            self._session.enqueue()
        except ValueError as error:
            self.message.emit(str(error), True)

    def _set_favourite(self, favourite: bool) -> None:
        try:
            for prompt in self._session.prompts:
                self._session.history.set_favourite(prompt, favourite)
        except OSError as error:
            self.message.emit(f"The favourite could not be kept ({error}).", True)
        self._show_favourite()

    def _show_history(self) -> None:
        target = self._session.vocabulary.targets.get(self._session.said.target)
        dialog = dialogs.PromptHistoryDialog(self._session.history, target, self._session.vocabulary, self._parent)
        dialog.chosen.connect(self._session.use)
        dialog.changed.connect(self._show_favourite)
        dialog.failed.connect(lambda text: self.message.emit(text, True))
        open_dialog(dialog)

    def _show_own_words(self) -> None:
        dialog = dialogs.OwnWordsDialog(own_words_path(), self._session.said.target, self._parent)
        dialog.saved.connect(self._session.set_vocabulary)
        open_dialog(dialog)


def open_dialog(dialog: QDialog) -> None:
    """Show a dialog beside the panel, in napari's letters and as large as they ask for; closing deletes it."""
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    parent = dialog.parentWidget()
    label = dialog.findChild(QLabel) or (parent.findChild(QLabel) if parent is not None else None)
    if label is not None:
        label.ensurePolished()
        # A heading may be bold.
        font = QFont(label.font())
        font.setBold(False)
        # napari's style leaves these out.
        for kind in (QLineEdit, QPlainTextEdit, QTreeView, QTableView, QHeaderView):
            for widget in dialog.findChildren(kind):
                widget.setFont(font)
        larger = max(1.0, font.pointSizeF() / QApplication.font().pointSizeF())
        screen = QApplication.primaryScreen().availableSize() - QSize(40, 60)
        dialog.resize((dialog.size() * larger).boundedTo(screen))
    dialog.show()
