"""Opens the review of a project and what its outlines cost, with what reads and writes beside the window."""

from __future__ import annotations

from qtpy.QtWidgets import QDialog, QWidget

from napari_medvlsm.controllers.effort import EffortReport
from napari_medvlsm.controllers.review import Item, Review
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import EVERYTHING, CaseQuery
from napari_medvlsm.widgets._prompt_presenter import open_dialog
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.dialogs import ReviewDialog

# How long the end of the review waits for an answer that is being written.
_WRITE_SECONDS = 10.0


def open_review(
    store: ProjectStore, query: CaseQuery = EVERYTHING, first: Item | None = None, parent: QWidget | None = None
) -> ReviewDialog:
    """Open the review of what waits in a project.

    Its controller, `ReviewDialog.review`, tells of every answer (`decided`).

    Parameters
    ----------
    store : ProjectStore
        Stays open for as long as the dialog.
    query : CaseQuery
        Which scans, in which order; the states and predictions that it asks for do not count.
    first : Item, optional
        To begin with, whether or not it waits.
    parent : QWidget, optional
    """
    reading, writing = Background(), Background(finish_seconds=_WRITE_SECONDS)
    review = Review(store, reading.run, writing.run, query)
    dialog = ReviewDialog(review, store.title, parent)
    for background in (reading, writing):
        background.setParent(dialog)
        dialog.finished.connect(background.close)
    open_dialog(dialog)
    review.start(first)
    return dialog


def open_effort(store: ProjectStore, parent: QWidget | None = None) -> QDialog:
    """Open what the outlines of a project cost; `store` stays open for as long as the dialog."""
    # Drawing charts takes a second to import.
    from napari_medvlsm.widgets.dialogs.effort import EffortDialog

    reading = Background()
    report = EffortReport(store, reading.run)
    dialog = EffortDialog(report, store.title, parent)
    reading.setParent(dialog)
    dialog.finished.connect(reading.close)
    open_dialog(dialog)
    report.start()
    return dialog
