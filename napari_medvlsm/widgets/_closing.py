"""Before the window closes: what is in no file of the person's yet, and where it is safe."""

from __future__ import annotations

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.core.io.autosave import AutosaveStore


class Closing:
    """Asks before unsaved corrections leave the screen.

    Parameters
    ----------
    corrections : Corrections
    store : AutosaveStore
        Where they are kept.
    """

    def __init__(self, corrections: Corrections, store: AutosaveStore) -> None:
        self._corrections, self._store = corrections, store

    def confirm(self, parent: QWidget) -> bool:
        """Whether to close: at once if there is nothing to say, or else as the person answers."""
        text = self.sentence()
        if not text:
            return True
        self._corrections.flush()
        box = QMessageBox(parent)
        box.setObjectName("medvlsm-closing")
        box.setWindowTitle("Close MedVLSM?")
        box.setIcon(QMessageBox.Icon.Information)
        box.setText(text)
        box.setInformativeText(f"They are kept in {self._store.folder}.")
        close = box.addButton("Close", QMessageBox.ButtonRole.AcceptRole)
        stay = box.addButton("Go back", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(close)
        box.setEscapeButton(stay)
        box.exec()
        chosen = box.clickedButton() is close
        box.deleteLater()
        return chosen

    def sentence(self) -> str:
        """What is not in a file yet, and that it is safe; "" if all is."""
        count = len(self._corrections.unsaved())
        if not count:
            return ""
        what = "1 correction is" if count == 1 else f"{count} corrections are"
        them = "It is" if count == 1 else "They are"
        return (
            f"{what} not saved to a file of yours. {them} safe on this computer, and offered to you when the same scan "
            "is opened again."
        )
