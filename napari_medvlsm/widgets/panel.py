"""The dock widget: sections, controllers and presenters put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QDialog,
    QFrame,
    QMainWindow,
    QMenu,
    QScrollArea,
    QShortcut,
    QSizePolicy,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.editing import Editing
from napari_medvlsm.controllers.engine import EngineController
from napari_medvlsm.controllers.outlines import Outlines
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.status import Status
from napari_medvlsm.controllers.training_set import TrainingSet
from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.models.store.registry import available_models
from napari_medvlsm.core.prompts import Vocabulary, load_vocabulary
from napari_medvlsm.core.prompts.own_words import own_words_path
from napari_medvlsm.widgets import _ways_in, dialogs
from napari_medvlsm.widgets._closing import Closing
from napari_medvlsm.widgets._comparison_presenter import ComparisonPresenter
from napari_medvlsm.widgets._correction_layers import CorrectionLayers
from napari_medvlsm.widgets._correction_presenter import CorrectionPresenter
from napari_medvlsm.widgets._first_hint import FirstHint
from napari_medvlsm.widgets._layers import LayerManager, slice_in_view
from napari_medvlsm.widgets._measure_presenter import MeasurePresenter
from napari_medvlsm.widgets._model_presenter import ModelPresenter
from napari_medvlsm.widgets._planes import PlaneReader
from napari_medvlsm.widgets._prompt_presenter import PromptPresenter, open_dialog
from napari_medvlsm.widgets._result_presenter import ResultPresenter
from napari_medvlsm.widgets._save_presenter import SavePresenter
from napari_medvlsm.widgets._scan_presenter import ScanPresenter
from napari_medvlsm.widgets._segment_presenter import SegmentPresenter
from napari_medvlsm.widgets._tools_presenter import ToolsPresenter
from napari_medvlsm.widgets._training_set_presenter import TrainingSetPresenter
from napari_medvlsm.widgets._workers import AUTOSAVE_FINISH_SECONDS, Background, EngineThreads, call_later
from napari_medvlsm.widgets.sections import (
    CorrectionSection,
    Footer,
    ModelSection,
    OutlinesSection,
    PromptSection,
    ResultSection,
    SaveSection,
    ScanSection,
)
from napari_medvlsm.widgets.sections._section import rule
from napari_medvlsm.widgets.sections.footer import CANCEL_KEYS, HELP_KEYS, SEGMENT_KEYS
from napari_medvlsm.widgets.sections.scan import NEXT_KEYS, PREVIOUS_KEYS

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_medvlsm.controllers.improve import Improve
    from napari_medvlsm.controllers.project import Project
    from napari_medvlsm.controllers.suggestions import Suggestions
    from napari_medvlsm.widgets._project_presenter import ProjectPresenter
    from napari_medvlsm.widgets._project_work import ProjectWork
    from napari_medvlsm.widgets.tabs.improve import ImproveTab
    from napari_medvlsm.widgets.tabs.project import ProjectTab

# Of the panel, in characters of its font: at this width no button is clipped.
_WIDTH, _LEAST_WIDTH = 50, 46


class Panel(QWidget):
    """Segment with words.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    store : AutosaveStore, optional
        Where corrections are autosaved; by default in the user's data folder.
    """

    def __init__(self, napari_viewer: Viewer, store: AutosaveStore | None = None) -> None:
        super().__init__()
        self.setObjectName("medvlsm-panel")
        # napari hands plugins a proxy that wraps every layer anew; ours are told apart by identity.
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.store = store or AutosaveStore()
        self._closed = False
        self._work: ProjectWork | None = None
        vocabulary, problem = _own_vocabulary()
        # No parent: it outlives the panel's C++ side long enough to end the engine.
        self.transport = EngineThreads()
        self.destroyed.connect(self.transport.stop)
        self.background = Background(self)
        # Of its own: a file that is being opened, however slowly, keeps no stroke from the disk.
        self.autosaving = Background(self, finish_seconds=AUTOSAVE_FINISH_SECONDS)

        planes = PlaneReader(self.background.run, lambda: self.view.move())
        self.view = ViewState(lambda image: slice_in_view(self.viewer, image, planes))
        self.engine = EngineController(self.transport, call_later(self))
        self.session = Session(self.engine, vocabulary, available_models(), self.view)
        self.layers = LayerManager(self.viewer)
        self.correction_layers = CorrectionLayers(self.viewer, self.layers, self.view)
        self._settings = settings = Settings()
        self.corrections = Corrections(
            self.session, self.correction_layers, self.store, settings, self.autosaving.run, call_later(self)
        )
        self.correction_layers.painted.connect(self.corrections.on_painted)
        self.correction_layers.deleted.connect(self.corrections.on_deleted)
        self.saving = Saving(self.session, self.corrections)
        self.closing = Closing(self.corrections, self.store)

        self.status = Status()
        self._build(vocabulary)
        self._present(settings)
        self._add_shortcuts()
        self.result_section.set_threshold(self.session.threshold)
        self.engine.start()
        if problem:
            self.status.say(problem, problem=True)

    # Projects: put together when they are first looked at, so that no start waits for them -----------------------

    @property
    def work(self) -> ProjectWork:
        """What the tabs Project and Improve consist of."""
        if self._work is None:
            from napari_medvlsm.widgets._project_work import ProjectWork

            self._work = ProjectWork(
                self.session,
                self.corrections,
                self.scans.worklist,
                self._settings,
                self.tabs,
                self.status.say,
                self,
            )
            self._follow_font()
        return self._work

    @property
    def project(self) -> Project:
        """The project, open or not."""
        return self.work.project

    @property
    def projects(self) -> ProjectPresenter:
        """The project, joined with its tab."""
        return self.work.presenter

    @property
    def suggestions(self) -> Suggestions:
        """Which scans of the project to outline next."""
        return self.work.suggestions

    @property
    def improve(self) -> Improve:
        """Training the project's model further."""
        return self.work.improve

    @property
    def project_tab(self) -> ProjectTab:
        """The tab of projects."""
        return self.work.project_tab

    @property
    def improve_tab(self) -> ImproveTab:
        """The tab of trainings."""
        return self.work.improve_tab

    # What the window does -------------------------------------------------------------------------------------

    def open_file(self, path: Path) -> None:
        """Open a scan beside what is there; a file that cannot be read changes nothing but the status line."""
        self.open_files([path])

    def open_files(self, paths: Sequence[Path]) -> None:
        """Open files and folders: the first scan is shown, the others wait in the list."""
        self.scans.open(paths)

    def segment(self) -> None:
        """Ask the model about the scan in view."""
        self.segmenting.segment()

    def start_correction(self) -> None:
        """Give the target a correction, from the prediction if there is one, and paint on it."""
        self.correcting.start()

    def save_as(self, path: Path) -> None:
        """Write the annotation in view; the file is replaced at once or not at all."""
        self.saving.save_as(path)

    def export_to(self, folder: Path) -> None:
        """Add the scan and the annotation in view to a training folder."""
        self.saving.export_to(folder)

    def show_help(self) -> None:
        """Open the guide beside the window, or bring it to the front."""
        guide = self.findChild(dialogs.GuideDialog) or dialogs.GuideDialog(parent=self)
        open_dialog(guide)
        guide.raise_()

    def close_engine(self) -> None:
        """End the engine and finish what is being written; the panel is done."""
        if self._closed:
            return
        self._closed = True
        _ways_in.lead_back(self.viewer)
        # They would go on with a session that is over.
        for dialog in self.findChildren(QDialog):
            dialog.close()
        self.corrections.close()
        if self._work is not None:
            self._work.close()
        self.tools.close()
        self.measuring.close()
        self.hint.close()
        self.correction_layers.close()
        self.results.close()
        self.models.close()
        self.scans.close()
        self.engine.close()
        self.background.close()
        self.autosaving.close()
        if self._work is not None:
            self._work.finish()
        self.store.close()

    def sizeHint(self) -> QSize:
        """A width at which nothing is clipped."""
        return QSize(max(360, _WIDTH * self._character()), 720)

    def _character(self) -> int:
        """Width of a character: napari sets the font of labels and buttons, and not that of a plain widget."""
        label = self.footer.status
        label.ensurePolished()
        return int(label.fontMetrics().averageCharWidth())

    def event(self, event: QEvent) -> bool:
        """End the engine when napari takes the panel out of its dock."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.StyleChange and hasattr(self, "footer"):
            # The children get theirs after the panel.
            QTimer.singleShot(0, self._follow_font)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.close_engine()
        return handled

    def _follow_font(self) -> None:
        """Be as wide as the font of napari's preferences asks for, and let the prompt have it too."""
        self.setMinimumWidth(max(330, _LEAST_WIDTH * self._character()))
        # napari's style leaves editors, menus and such buttons out.
        left_out = [self.prompt_section.text, self.save_section.author, *self.findChildren(QMenu)]
        if self._work is not None:
            left_out += [self._work.project_tab.search, *self._work.improve_tab.findChildren(QToolButton)]
        for widget in left_out:
            widget.setFont(self.footer.status.font())
        self.footer.follow_font()
        self.prompt_section.follow_font()
        self.scan_section.follow_font()

    def showEvent(self, event: Any) -> None:
        """Watch for the end of the window that the panel is shown in."""
        super().showEvent(event)
        self._follow_font()
        # A floating dock is a window too, but hiding it is not the end.
        self.window().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Say what is safe before a person closes the window, and end the engine once it has closed."""
        if event.type() == QEvent.Type.Close and isinstance(watched, QMainWindow) and not self._closed:
            # A program that closes the viewer has closed what is in it before.
            by_person = any(w.isVisible() for w in watched.findChildren(QWidget) if _is_viewer(w))
            if by_person and not self.closing.confirm(self):
                event.ignore()
                return True
            QTimer.singleShot(0, lambda: None if watched.isVisible() else self.close_engine())
        return False

    # Building -------------------------------------------------------------------------------------------------

    def _build(self, vocabulary: Any) -> None:
        self.scan_section = ScanSection()
        self.model_section = ModelSection()
        self.prompt_section = PromptSection(vocabulary)
        self.outlines_section = OutlinesSection()
        self.result_section = ResultSection()
        self.correction_section = CorrectionSection()
        self.save_section = SaveSection()
        self.footer = Footer()

        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        sections = (
            self.scan_section,
            self.prompt_section,
            self.outlines_section,
            self.result_section,
            self.correction_section,
            self.save_section,
            self.model_section,
        )
        for i, section in enumerate(sections):
            if i:
                column.addWidget(rule())
            column.addWidget(section)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidget(page)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.scroll = scroll

        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(scroll, "Segment")
        for title in ("Project", "Improve"):
            self.tabs.addTab(QWidget(), title)
        self.tabs.currentChanged.connect(lambda place: self.work if place else None)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 4, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self.tabs, 1)
        outer.addWidget(rule())
        outer.addWidget(self.footer)
        self.setMinimumWidth(330)

    def _present(self, settings: Settings) -> None:
        """Join each section with what it shows."""
        session, status = self.session, self.status.say
        self.status.changed.connect(self.footer.show_sentence)
        self.models = ModelPresenter(session, self.model_section, self)
        self.prompts = PromptPresenter(session, self.prompt_section, self)
        self.outlines = Outlines(session, self.corrections)
        self.results = ResultPresenter(
            self.layers, session, self.outlines, self.result_section, self.outlines_section, self
        )
        self.correcting = CorrectionPresenter(session, self.corrections, self.layers, self.correction_section, self)
        self.saves = SavePresenter(session, self.corrections, self.saving, settings, self.save_section, self)
        self.comparison = ComparisonPresenter(
            session,
            self.prompt_section,
            self.result_section,
            self.results,
            self.corrections,
            self.background,
            self,
        )
        self.scans = ScanPresenter(
            self.viewer, self.view, self.layers, self.scan_section, self.background, settings, self
        )
        self.hint = FirstHint(self.viewer, settings)
        self.measuring = MeasurePresenter(
            session, self.corrections, self.results, self.layers, self.result_section, self.background, self
        )
        self.measuring.message.connect(status)
        self.training_set = TrainingSet(
            session, self.corrections, self.saving, settings, lambda: self.scans.worklist.step(1)
        )
        self.training_set.message.connect(status)
        self.adding = TrainingSetPresenter(
            session, self.corrections, self.saving, self.training_set, self.save_section.training_set, self
        )
        self.editing = Editing(session, self.corrections)
        self.editing.message.connect(status)
        self.editing.started.connect(lambda: self.result_section.certainty.setChecked(False))
        self.tools = ToolsPresenter(
            self.viewer,
            session,
            self.corrections,
            self.editing,
            self.layers,
            self.correction_section.tools,
            self.scans.box,
            self,
        )
        self.segmenting = SegmentPresenter(session, self.outlines, self.status, self.footer, self.scans.options, self)
        self.prompt_section.text.returnPressed.connect(self.segment)
        self.correcting.started.connect(lambda: self.result_section.certainty.setChecked(False))
        session.model_changed.connect(lambda: self.result_section.set_threshold(session.threshold))
        self.corrections.message.connect(status)
        self.footer.helpRequested.connect(self.show_help)
        for presenter in (self.prompts, self.comparison, self.scans, self.saves):
            presenter.message.connect(status)
        # After the settings have it.
        self.save_section.authorEntered.connect(lambda _: self._work.project.sign() if self._work is not None else None)
        named = _ways_in.lead_to(self.viewer, self.scans.open)
        if named:
            self.open_files(named)

    def _step(self, by: int) -> None:
        """Show the next scan: of the project while one of its scans is in view, or else of the list."""
        if self._work is not None and self._work.project.case is not None:
            self._work.project.step(by)
        else:
            self.scans.worklist.step(by)

    def _add_shortcuts(self) -> None:
        self._shortcuts = []
        keyed = (
            (SEGMENT_KEYS, self.segment),
            (CANCEL_KEYS, self.engine.cancel),
            (HELP_KEYS, self.show_help),
            (NEXT_KEYS, lambda: self._step(1)),
            (PREVIOUS_KEYS, lambda: self._step(-1)),
        )
        for keys, function in keyed:
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(function)
            self._shortcuts.append(shortcut)


def _is_viewer(widget: QWidget) -> bool:
    return bool(widget.metaObject().className() == "QtViewer")


def _own_vocabulary() -> tuple[Vocabulary, str]:
    """The vocabulary with the user's words; if these cannot be used, the shipped one and a sentence that says why."""
    try:
        return load_vocabulary(own_words_path()), ""
    except ValueError as error:
        return load_vocabulary(), str(error)
