"""Saving and exporting, joined with their section and the file dialogs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.widgets.sections import SaveSection


class SavePresenter(QObject):
    """Asks where to write the annotation in view.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    saving : Saving
    settings : Settings
    section : SaveSection
    parent : QWidget
        Of the dialogs.
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        saving: Saving,
        settings: Settings,
        section: SaveSection,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._session, self._saving, self._settings = session, saving, settings
        self._section, self._parent = section, parent
        section.set_author(settings.author)
        section.saveRequested.connect(self._ask_save)
        section.exportRequested.connect(self._ask_export)
        section.authorEntered.connect(self._set_author)
        saving.message.connect(self.message.emit)
        for signal in (corrections.changed, session.prompt_changed, session.result_changed):
            signal.connect(self.show)
        self.show()

    def show(self) -> None:
        """Say what would be saved."""
        self._section.set_source(self._saving.source)

    def _set_author(self, name: str) -> None:
        try:
            self._settings.set_author(name)
        except OSError as error:
            self.message.emit(f"Your name could not be remembered ({error}).", True)

    def _ask_save(self) -> None:
        view = self._session.view.slice
        if view is None:
            return
        dialog = QFileDialog(self._parent, "Save the mask", "", "Label TIFF (*.tif *.tiff);;PNG (*.png)")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        # With a default suffix the dialog itself asks before it overwrites the completed name.
        dialog.setDefaultSuffix("tif")
        dialog.filterSelected.connect(lambda kind: dialog.setDefaultSuffix("png" if "png" in kind else "tif"))
        dialog.selectFile(f"{view.image.name}_{self._session.target_in_view.phrase.replace(' ', '-')}")
        if dialog.exec():
            self._saving.save_as(Path(dialog.selectedFiles()[0]))
        dialog.deleteLater()

    def _ask_export(self) -> None:
        name = QFileDialog.getExistingDirectory(self._parent, "Folder of the training set")
        if name:
            self._saving.export_to(Path(name))
