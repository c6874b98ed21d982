"""Where the outline goes: a file, or a training folder."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton

from napari_medvlsm.widgets.sections._section import Section, quiet_label


class SaveSection(Section):
    """Two buttons and what they would write."""

    saveRequested = Signal()
    exportRequested = Signal()

    def __init__(self) -> None:
        super().__init__("Save")
        self.what = quiet_label()
        self.column.addWidget(self.what)
        self.save = QPushButton("Save outline…")
        self.save.setToolTip("Write the outline as a label TIFF or PNG, with prompt, model and threshold inside")
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
        self.set_source(None)

    def set_source(self, text: str | None) -> None:
        """Say what would be saved; None if there is nothing."""
        self.what.setText(text or "Nothing to save yet.")
        self.save.setEnabled(text is not None)
        self.export.setEnabled(text is not None)
