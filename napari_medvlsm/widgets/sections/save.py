"""Saving: to a file, or to a training folder."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton

from napari_medvlsm.widgets.sections._section import Section, quiet_label


class SaveSection(Section):
    """Two buttons, what they would write, and under whose name."""

    saveRequested = Signal()
    exportRequested = Signal()
    authorEntered = Signal(str)

    def __init__(self) -> None:
        super().__init__("Save")
        self.what = quiet_label()
        self.column.addWidget(self.what)
        self.save = QPushButton("Save outline…")
        self.save.setToolTip(
            "Write the mask as a label TIFF or PNG, with prompt, model, threshold and what you changed inside"
        )
        self.save.clicked.connect(self.saveRequested)
        self.export = QPushButton("Add to training set…")
        self.export.setToolTip(
            "Add scan, outline and prompts to a folder that a model can be trained on "
            "(no file names; of the patient only what you chose or typed)"
        )
        self.export.clicked.connect(self.exportRequested)
        row = QHBoxLayout()
        row.addWidget(self.save)
        row.addWidget(self.export)
        self.column.addLayout(row)
        self.author = QLineEdit()
        self.author.setPlaceholderText("optional")
        self.author.setMaxLength(80)
        self.author.setToolTip("Written into what you correct, save and export; remembered on this computer")
        self.author.editingFinished.connect(self._on_author)
        self._entered = ""
        signed = QHBoxLayout()
        signed.addWidget(QLabel("Your name"))
        signed.addWidget(self.author, 1)
        self.column.addLayout(signed)
        self.set_source(None)

    def set_author(self, name: str) -> None:
        """Show the name that is written into corrections."""
        self._entered = name
        self.author.setText(name)

    def set_source(self, text: str | None) -> None:
        """Say what would be saved; None if there is nothing."""
        self.what.setText(text or "Nothing to save yet.")
        self.save.setEnabled(text is not None)
        self.export.setEnabled(text is not None)

    def _on_author(self) -> None:
        # Qt also calls it finished when the focus moves on, with nothing entered.
        if self.author.text() != self._entered:
            self._entered = self.author.text()
            self.authorEntered.emit(self._entered)
