"""Saving and exporting, joined with their section and the file dialogs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.io.labels import file_stem
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.widgets.sections import SaveSection

# Of the settings: the folder of saved outlines, the kind of file, and the folder of the training set.
_SAVE, _KIND, _SET = "save", "save kind", "training set"
_KINDS = ("Label TIFF (*.tif *.tiff)", "PNG (*.png)")


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
        section.saveAllRequested.connect(self._ask_save_all)
        section.exportAllRequested.connect(self._ask_export_all)
        section.authorEntered.connect(self._set_author)
        saving.message.connect(self.message.emit)
        for signal in (corrections.changed, session.prompt_changed, session.result_changed):
            signal.connect(self.show)
        self.show()

    def show(self) -> None:
        """Say what would be saved."""
        self._section.set_source(self._saving.source)
        self._section.set_all(len(self._saving.all))

    def _set_author(self, name: str) -> None:
        try:
            self._settings.set_author(name)
        except OSError as error:
            self.message.emit(f"Your name could not be remembered ({error}).", True)

    def _ask_save(self) -> None:
        view = self._session.view.slice
        if view is None:
            return
        last = self._settings.folder(_SAVE)
        kind = self._settings.recall(_KIND) or _KINDS[0]
        dialog = QFileDialog(self._parent, "Save the mask", last, ";;".join(_KINDS))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        # With a default suffix the dialog itself asks before it overwrites the completed name.
        dialog.filterSelected.connect(lambda kind: dialog.setDefaultSuffix("png" if "png" in kind else "tif"))
        dialog.selectNameFilter(kind)
        dialog.setDefaultSuffix("png" if "png" in kind else "tif")
        dialog.selectFile(file_stem(view.image.name, self._session.target_in_view))
        if dialog.exec():
            path = Path(dialog.selectedFiles()[0])
            if self._saving.save_as(path):
                self._settings.set_folder(_SAVE, str(path.parent))
                self._settings.remember(_KIND, dialog.selectedNameFilter())
        dialog.deleteLater()

    def _ask_save_all(self) -> None:
        name = self._ask_folder("Folder for the outlines", _SAVE)
        if name:
            suffix = ".png" if "png" in (self._settings.recall(_KIND) or "") else ".tif"
            self._saving.save_all(Path(name), suffix)
            self.show()

    def _ask_export_all(self) -> None:
        name = self._ask_folder("Folder of the training set", _SET)
        if name:
            self._saving.export_all(Path(name))

    def _ask_folder(self, title: str, purpose: str) -> str:
        name: str = QFileDialog.getExistingDirectory(self._parent, title, self._settings.folder(purpose))
        if name:
            self._settings.set_folder(purpose, name)
        return name
