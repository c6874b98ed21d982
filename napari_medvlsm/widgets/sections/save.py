"""Saving: to a file, or to a training folder."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton

from napari_medvlsm.widgets.sections._section import Section, quiet_label
from napari_medvlsm.widgets.sections.training_set import TrainingSetBox


class SaveSection(Section):
    """Two buttons, what they would write, and under whose name."""

    saveRequested = Signal()
    saveAllRequested = Signal()
    exportAllRequested = Signal()
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
        self.save_all = QPushButton()
        self.save_all.setToolTip("Write the outlines of all targets of this scan to a folder, each as a file")
        self.save_all.clicked.connect(self.saveAllRequested)
        self.export_all = QPushButton()
        self.export_all.setToolTip("Add the outlines of all targets of this scan to a training set in one go")
        self.export_all.clicked.connect(self.exportAllRequested)
        grid = QGridLayout()
        grid.setVerticalSpacing(3)
        grid.addWidget(self.save, 0, 0)
        grid.addWidget(self.save_all, 0, 1)
        self.column.addLayout(grid)
        self.training_set = TrainingSetBox()
        self.column.addWidget(self.training_set)
        self.column.addWidget(self.export_all)
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
        self.set_all(0)

    def set_author(self, name: str) -> None:
        """Show the name that is written into corrections."""
        self._entered = name
        self.author.setText(name)

    def set_source(self, text: str | None) -> None:
        """Say what would be saved; None if there is nothing."""
        self.what.setText(text or "Nothing to save yet.")
        self.save.setEnabled(text is not None)

    def set_all(self, count: int) -> None:
        """Offer all outlines of the scan in one go, if there are several."""
        several = f" {count}" if count > 1 else ""
        self.save_all.setText(f"Save all{several}…")
        self.export_all.setText(f"Add all{several} outlines of this scan…")
        for button in (self.save_all, self.export_all):
            button.setVisible(count > 1)

    def _on_author(self) -> None:
        # Qt also calls it finished when the focus moves on, with nothing entered.
        if self.author.text() != self._entered:
            self._entered = self.author.text()
            self.authorEntered.emit(self._entered)
