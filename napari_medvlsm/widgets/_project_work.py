"""What the tabs Project and Improve consist of, put together when one of them is first looked at."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, QSignalBlocker
from qtpy.QtWidgets import QTabWidget, QWidget

from napari_medvlsm.controllers.before_after import BeforeAfter
from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.improve import Improve
from napari_medvlsm.controllers.predicting import Predicting
from napari_medvlsm.controllers.project import Project
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.suggestions import Suggestions
from napari_medvlsm.controllers.worklist import Worklist
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.widgets._improve_presenter import ImprovePresenter
from napari_medvlsm.widgets._project_presenter import ProjectPresenter
from napari_medvlsm.widgets._suggestions_presenter import SuggestionsPresenter
from napari_medvlsm.widgets._workers import AUTOSAVE_FINISH_SECONDS, Background, call_later
from napari_medvlsm.widgets.tabs.improve import ImproveTab
from napari_medvlsm.widgets.tabs.project import ProjectTab

# Where the tabs stand.
PROJECT_PLACE, IMPROVE_PLACE = 1, 2


class ProjectWork(QObject):
    """Controllers, tabs and presenters of projects; the tabs take the places that were kept for them.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    worklist : Worklist
    settings : Settings
    tabs : QTabWidget
        Of the panel.
    say : callable
        ``say(text, problem)``: shows a sentence.
    parent : QWidget
        Of the dialogs.
    """

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        worklist: Worklist,
        settings: Settings,
        tabs: QTabWidget,
        say: Callable[..., None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self.project_tab, self.improve_tab = ProjectTab(), ImproveTab()
        # What is drawn is kept, however slowly a file is opened; adding hundreds of scans keeps no stroke waiting.
        self.writing = Background(self, finish_seconds=AUTOSAVE_FINISH_SECONDS)
        self.running = Background(self)
        self._predicting = Background(self)
        self._improving = Background(self)
        self._suggesting = Background(self)
        later = call_later(self)
        self.project = Project(
            session,
            corrections,
            worklist,
            settings,
            self.writing.run,
            self.running.run,
            later,
            Predicting(self._predicting.run),
        )
        self.presenter = ProjectPresenter(self.project, self.project_tab, settings, session, self.running.run, parent)
        self.suggestions = Suggestions(self.project, session, self._suggesting.run, later)
        self._suggested = SuggestionsPresenter(self.suggestions, self.project, self.project_tab, self.presenter.model)
        self.improve = Improve(self.project, session, self._improving.run, later)
        before_after = BeforeAfter(self.project, session, self._improving.run)
        self._improve_presenter = ImprovePresenter(
            self.improve, before_after, session, self.improve_tab, tabs, settings, parent
        )
        self.improve_tab.openRequested.connect(self.project_tab.openRequested)
        for controller in (self.project, self.project.predicting, self.suggestions, self.improve):
            controller.message.connect(say)
        # Shown when all is there.
        self._take_places(tabs)

    def close(self) -> None:
        """Close the project; nothing is shown any more."""
        for part in (self._improve_presenter, self.improve, self._suggested, self.suggestions, self.presenter):
            part.close()
        self.project.close()

    def finish(self) -> None:
        """Wait for what is being written."""
        for background in (self._improving, self._suggesting, self.running, self._predicting, self.writing):
            background.close()

    def _take_places(self, tabs: QTabWidget) -> None:
        shown = tabs.currentIndex()
        with QSignalBlocker(tabs):
            for place, tab in ((PROJECT_PLACE, self.project_tab), (IMPROVE_PLACE, self.improve_tab)):
                kept, title = tabs.widget(place), tabs.tabText(place)
                tabs.removeTab(place)
                tabs.insertTab(place, tab, title)
                if kept is not None:
                    kept.deleteLater()
            tabs.setCurrentIndex(shown)
