"""The project, joined with its tab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QFileDialog, QMessageBox, QShortcut, QWidget

from napari_medvlsm.controllers.familiarity import familiarity
from napari_medvlsm.controllers.project import Project
from napari_medvlsm.controllers.review import Item, count_waiting
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Case, CaseQuery, Counts
from napari_medvlsm.core.prompts import free_text, target_name
from napari_medvlsm.widgets._prompt_presenter import open_dialog
from napari_medvlsm.widgets._review_presenter import open_effort, open_review
from napari_medvlsm.widgets._thumbnails import Thumbnails
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.dialogs import AddScansDialog, NewProjectDialog, PredictDialog
from napari_medvlsm.widgets.dialogs.scans_form import ScansChoice
from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.tabs.case_list import STATES, THUMBNAIL, CaseDelegate, CaseModel
from napari_medvlsm.widgets.tabs.project import ProjectTab

# Of the settings: the project that was opened last, and the folder that scans were last added from.
_PROJECT, _SCANS = "project", "project scans"
# While predictions come in, the list is looked at anew this often.
_COUNT_MS = 1000
# In which projects are made.
_PLACE = "projects"


class ProjectPresenter(QObject):
    """Shows the project, and passes on what the tab asks for.

    Parameters
    ----------
    project : Project
    tab : ProjectTab
    settings : Settings
        Remembers folders.
    session : Session
        Whose words and model are offered.
    run : callable
        ``run(function, done, failed)``: carries out beside the window what dialogs need.
    parent : QWidget
        Of the dialogs.
    """

    # From threads into that of the window.
    _added = Signal(int, int)
    _advanced = Signal(int, int)
    _predicted = Signal(int, str)

    def __init__(
        self,
        project: Project,
        tab: ProjectTab,
        settings: Settings,
        session: Session,
        run: Callable[..., None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._project, self._tab, self._settings, self._parent = project, tab, settings, parent
        self._session, self._run = session, run
        self._closed = False
        # The windows of the review and of the effort, while they are open.
        self.dialogs: dict[str, Any] = {}
        self._store: ProjectStore | None = None
        self._drawing = Background(self)
        ratio = parent.devicePixelRatioF()
        self.thumbnails = Thumbnails(self._scan_path, THUMBNAIL, ratio, self._drawing, self)
        self.model = CaseModel(self._read, self)
        self.thumbnails.made.connect(self.model.redraw)
        tab.cases.setModel(self.model)
        tab.cases.setItemDelegate(CaseDelegate(self.thumbnails.get, tab.cases))
        tab.cases.caseChosen.connect(project.open_case)
        tab.openRequested.connect(self._ask_open)
        tab.newRequested.connect(self._ask_new)
        tab.addRequested.connect(self._ask_add)
        tab.closeRequested.connect(project.close)
        tab.queryChanged.connect(project.set_query)
        tab.targetChosen.connect(project.choose_target)
        tab.stepRequested.connect(project.step)
        tab.submitRequested.connect(project.answers.submit)
        tab.absentRequested.connect(project.answers.declare_absent)
        tab.reopenRequested.connect(project.answers.reopen)
        tab.reviewRequested.connect(lambda: project.once_written(self._review))
        tab.versionsRequested.connect(lambda: project.once_written(lambda: self._review(self._in_view())))
        tab.effortRequested.connect(lambda: project.once_written(self._show_effort))
        project.closing.connect(self._close_dialogs)
        project.changed.connect(self._show)
        project.case_changed.connect(self._show_case)
        project.occupied.connect(self._offer_read_only)
        tab.predictRequested.connect(self._ask_predict)
        tab.stopRequested.connect(project.predicting.stop)
        # Functions of ours: psygnal cannot read the signature of Qt's own.
        project.progressed.connect(lambda done, of: self._added.emit(done, of))
        project.predicting.progressed.connect(lambda done, of: self._advanced.emit(done, of))
        project.predicting.taken.connect(lambda case_id, target: self._predicted.emit(case_id, target))
        project.predicting.changed.connect(self._show_work)
        self._added.connect(lambda done, of: tab.set_work("reading scan" if done < of else "", done, of))
        self._advanced.connect(self._show_work)
        self._predicted.connect(self._on_predicted)
        self._counting = QTimer(self)
        self._counting.setSingleShot(True)
        self._counting.setInterval(_COUNT_MS)
        self._counting.timeout.connect(self._show)
        keyed = ((keys.SUBMIT_KEY, tab.submit), (keys.NOT_THERE_KEY, tab.absent), (keys.REOPEN_KEY, tab.reopen))
        for key, button in keyed:
            shortcut = QShortcut(QKeySequence(key), parent)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            # Held down, it would answer one scan after the other.
            shortcut.setAutoRepeat(False)
            shortcut.activated.connect(button.click)
        self._show()
        self._show_case()

    def close(self) -> None:
        """Show nothing any more."""
        self._closed = True
        self._close_dialogs()
        self._drawing.close()

    def open(self, folder: Path) -> bool:
        """Open a project; where another window has it, a person may look at it only."""
        if self._project.open(folder):
            self._settings.set_folder(_PROJECT, str(folder))
            return True
        return False

    def _show(self) -> None:
        if self._closed:
            return
        project, tab, store = self._project, self._tab, self._project.store
        if store is not self._store:
            self._store = store
            self.thumbnails.clear()
        tab.predict.setEnabled(not project.read_only and not project.predicting.works)
        tab.set_project(store.title if store is not None else "", project.read_only, store is not None)
        if store is None:
            self.model.set_ids(())
            return
        try:
            tab.set_choices(store.all_targets, store.groups())
            counts: Counts | None = store.counts()
            waiting = count_waiting(store, project.query)
            self.model.set_ids(store.case_ids(project.query))
        except ProjectError as error:
            project.message.emit(str(error), True)
            return
        tab.set_counts(counts)
        tab.set_waiting(waiting)
        self._select()

    def _show_case(self) -> None:
        if self._closed:
            return
        project, case = self._project, self._project.case
        if case is None:
            self._tab.set_case("Choose a scan of the list." if project.is_open else "", [], "", None, True)
            return
        targets = [(f"{STATES[s][0]} {target_name(t)}: {STATES[s][2]}", t) for t, s in case.states.items()]
        group = f" ({case.group})" if case.group else ""
        held = ", held out for judging models" if case.split == "test" else ""
        self._tab.set_case(f"{case.name}{group}{held}", targets, project.target, project.state, project.read_only)
        self._select()

    def _select(self) -> None:
        case, view = self._project.case, self._tab.cases
        row = self.model.row_of(case.id) if case is not None else None
        if row is None:
            view.clearSelection()
            return
        index = self.model.index(row)
        if view.currentIndex() != index:
            view.setCurrentIndex(index)
            view.scrollTo(index)

    def _read(self, ids: object) -> list[Case]:
        store = self._project.store
        try:
            return store.cases(list(ids)) if store is not None else []  # type: ignore[call-overload]
        except ProjectError as error:
            self._project.message.emit(str(error), True)
            return []

    def _scan_path(self, case_id: int) -> Path:
        store = self._store
        if store is None:
            raise ProjectError("No project is open.")
        return store.scan_path(case_id)

    def _show_work(self, done: int = 0, of: int = 0) -> None:
        if not self._closed:
            works = self._project.predicting.works
            self._tab.set_work("predicting" if works else "", done, of, works)
            self._tab.predict.setEnabled(not works)
            if not works:
                self._show()

    def _on_predicted(self, case_id: int, target: str) -> None:
        self._project.on_predicted(case_id, target)
        # Many may come in a second.
        if not self._counting.isActive():
            self._counting.start()

    def _ask_predict(self) -> None:
        store, session = self._project.store, self._session
        if store is None or session.model is None:
            return
        session.view.settle()
        try:
            unseen = {t: store.counts(CaseQuery(targets=(t,))).states[State.UNSEEN] for t in store.all_targets}
        except ProjectError as error:
            self._project.message.emit(str(error), True)
            return
        project, said = self._project, session.prompt.text
        # Not `project.target`, which is the first one where the prompt is about none of them.
        about = project.asked(session.target_in_view.phrase) if project.case is not None and said else ""
        prompts = {t: said if t == about else project.spoken(t) for t in unseen}
        model, card = str(session.model.folder), session.model.card

        def warn(text: str) -> str:
            """As the prompt's own field does."""
            known = familiarity((free_text(text, session.vocabulary),), session.vocabulary, card, "")
            return " ".join(sentence for sentence in (known.sentence, known.weak_sentence) if sentence)

        dialog = PredictDialog(session.model.name, unseen, prompts, warn, self._parent)
        dialog.chosen.connect(lambda asked: self._project.predict(asked, model, *session.engine.chosen))
        open_dialog(dialog)

    def _review(self, first: Item | None = None) -> None:
        """Open the review of what waits in the list; it begins with an outline."""
        store = self._project.store
        if first is not None and "review" in self.dialogs:
            self.dialogs["review"].close()
        if store is None or self._closed or self._is_shown("review"):
            return
        dialog = open_review(store, self._project.query, first, self._parent)
        dialog.review.decided.connect(self._on_decided)
        dialog.openRequested.connect(self._show_in_viewer)
        self._keep("review", dialog)

    def _in_view(self) -> Item | None:
        case = self._project.case
        return Item(case.id, self._project.target) if case is not None else None

    def _on_decided(self, case_id: int, target: str) -> None:
        self._project.on_reviewed(case_id, target)
        if "effort" in self.dialogs:
            self.dialogs["effort"].report.start()

    def _show_effort(self) -> None:
        store = self._project.store
        if store is not None and not self._closed and not self._is_shown("effort"):
            self._keep("effort", open_effort(store, self._parent))

    def _show_in_viewer(self, case_id: int, target: str) -> None:
        self._project.open_case(case_id, target)
        self._parent.window().activateWindow()

    def _is_shown(self, name: str) -> bool:
        dialog = self.dialogs.get(name)
        if dialog is not None:
            dialog.raise_()
            dialog.activateWindow()
        return dialog is not None

    def _keep(self, name: str, dialog: QDialog) -> None:
        self.dialogs[name] = dialog
        dialog.finished.connect(lambda: self.dialogs.pop(name, None))

    def _close_dialogs(self) -> None:
        for dialog in list(self.dialogs.values()):
            dialog.close()

    def _ask_open(self) -> None:
        name = QFileDialog.getExistingDirectory(self._parent, "Open a project", self._settings.folder(_PROJECT))
        if name:
            self.open(Path(name))

    def _ask_new(self) -> None:
        dialog = NewProjectDialog(
            self._session.vocabulary,
            self._run,
            self._settings.folder(_PLACE),
            self._settings.folder(_SCANS),
            self._parent,
        )
        dialog.chosen.connect(lambda *chosen: self._make(dialog, *chosen))
        open_dialog(dialog)

    def _make(self, dialog: NewProjectDialog, folder: Path, targets: Sequence[str], scans: ScansChoice) -> None:
        try:
            made = self._project.create(folder, targets)
        except ProjectError as error:
            dialog.say(str(error))
            return
        dialog.accept()
        if made:
            self._settings.set_folder(_PLACE, str(folder.parent))
            self._settings.set_folder(_PROJECT, str(folder))
            self._add(scans)

    def _ask_add(self) -> None:
        dialog = AddScansDialog(self._run, self._settings.folder(_SCANS), self._parent)
        dialog.chosen.connect(self._add)
        open_dialog(dialog)

    def _add(self, choice: ScansChoice) -> None:
        store = self._project.store
        if choice.folder is None or store is None:
            return
        self._settings.set_folder(_SCANS, str(choice.folder))
        try:
            rule = choice.rule(store.salt)
        except (ValueError, OSError) as error:
            self._project.message.emit(str(error), True)
            return
        self._project.add([choice.folder], choice.copy, rule)

    def _offer_read_only(self, folder: Path, sentence: str) -> None:
        """Another window has the project: a person may look at it, or leave it."""
        box = QMessageBox(QMessageBox.Icon.Question, "Open a project", sentence, parent=self._parent)
        look = box.addButton("Open read-only", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        look.clicked.connect(lambda: self._project.open(folder, read_only=True))
        open_dialog(box)
