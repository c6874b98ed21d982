"""Which model, what it says of itself, and where it runs."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton

from napari_medvlsm.core.models.registry import ModelEntry
from napari_medvlsm.widgets.sections._section import Section, fill_combo, narrow_combo, quiet_label, select


class ModelSection(Section):
    """A model picker with its card on demand."""

    modelChosen = Signal(str)
    cardRequested = Signal()

    def __init__(self) -> None:
        super().__init__("Model")
        self.models = narrow_combo()
        self.models.activated.connect(lambda: self.modelChosen.emit(self.models.currentData()))
        self.about = QPushButton("About…")
        self.about.setToolTip("What this model was trained on, how well it did, and its licence")
        self.about.clicked.connect(self.cardRequested)
        row = QHBoxLayout()
        row.addWidget(self.models, 1)
        row.addWidget(self.about)
        self.column.addLayout(row)
        self.device = quiet_label("Starting the engine…")
        self.column.addWidget(self.device)

    def set_models(self, models: dict[str, ModelEntry], current: str) -> None:
        """Show the models by title."""
        fill_combo(self.models, [(entry.card.title, name) for name, entry in models.items()], current)
        self.about.setEnabled(bool(models))

    def set_current(self, name: str) -> None:
        """Show another model as chosen."""
        select(self.models, name)

    def set_device(self, device: str) -> None:
        """Show where the model runs."""
        self.device.setText(f"Runs on {device}")
