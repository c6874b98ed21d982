"""Which scans of the project come next, joined with the tab of the project and its list."""

from __future__ import annotations

from qtpy.QtCore import QObject

from napari_medvlsm.controllers.project import Project
from napari_medvlsm.controllers.suggestions import Suggestions
from napari_medvlsm.core.projects.values import Case
from napari_medvlsm.widgets.tabs.case_list import CaseModel
from napari_medvlsm.widgets.tabs.project import ProjectTab


class SuggestionsPresenter(QObject):
    """Shows what is suggested, and why, while the list is in that order.

    Parameters
    ----------
    suggestions : Suggestions
    project : Project
    tab : ProjectTab
    model : CaseModel
        Of the list.
    """

    def __init__(self, suggestions: Suggestions, project: Project, tab: ProjectTab, model: CaseModel) -> None:
        super().__init__(tab)
        self._suggestions, self._project, self._tab = suggestions, project, tab
        self._closed = False
        tab.suggestRequested.connect(suggestions.make)
        tab.cancelRequested.connect(suggestions.cancel)
        suggestions.changed.connect(self._show)
        model.set_reason(self._reason)
        self._show()

    def close(self) -> None:
        """Show nothing any more."""
        self._closed = True

    def _reason(self, case: Case) -> str:
        return self._suggestions.reason(case) if self._project.query.first else ""

    def _show(self) -> None:
        if not self._closed:
            found, writable = self._suggestions, not self._project.read_only
            self._tab.set_suggestion(found.sentence, found.ids, found.far is not None, writable)
            self._tab.cases.viewport().update()
