"""Which model, what it says of itself, and where it runs."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.options import AUTO, Device
from napari_medvlsm.widgets.sections._section import Section, fill_combo, narrow_combo, quiet_label, select


class ModelSection(Section):
    """A model picker with its card on demand."""

    modelChosen = Signal(str)
    cardRequested = Signal()
    moreRequested = Signal()
    deviceChosen = Signal(str, str)  # names of device and precision, "auto" for what suits

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
        self.more = QPushButton("Get more models…")
        self.more.setToolTip("Fetch public weights, or import a checkpoint from this computer")
        self.more.clicked.connect(self.moreRequested)
        self.column.addLayout(row)
        self.column.addWidget(self.more)
        self.device = narrow_combo()
        self.device.setToolTip("Where the model runs")
        self.precision = narrow_combo()
        self.precision.setToolTip(
            "How exactly it computes: lower precisions are faster on a graphics card that has tensor cores"
        )
        for combo in (self.device, self.precision):
            combo.activated.connect(self._on_device)
        self.choices = QWidget()
        chosen = QHBoxLayout(self.choices)
        chosen.setContentsMargins(0, 0, 0, 0)
        chosen.addWidget(self.device, 1)
        chosen.addWidget(self.precision, 1)
        self.choices.hide()
        self.column.addWidget(self.choices)
        self._devices: tuple[Device, ...] = ()
        self.running = quiet_label("Starting the engine…")
        self.column.addWidget(self.running)

    def set_models(self, models: dict[str, ModelEntry], current: str) -> None:
        """Show the models by title."""
        titles = [entry.card.title for entry in models.values()]
        named = [
            (entry.card.title if titles.count(entry.card.title) == 1 else f"{entry.card.title} ({name})", name)
            for name, entry in models.items()
        ]
        fill_combo(self.models, named, current)
        self.about.setEnabled(bool(models))

    def set_current(self, name: str) -> None:
        """Show another model as chosen."""
        select(self.models, name)

    def set_devices(self, devices: Sequence[Device], device: str, precision: str) -> None:
        """Offer where the model can run, if there is a choice."""
        self._devices = tuple(devices)
        entries = [("Best device", AUTO), *((d.title, d.name) for d in devices)]
        fill_combo(self.device, entries, device)
        self._offer_precisions(precision)
        # A CPU alone leaves nothing sensible to choose: its lower precisions are slower.
        self.choices.setVisible(any(d.name != "cpu" for d in devices))

    def set_running(self, device: str, precision: str, difference: float | None = None) -> None:
        """Show what the model runs on, and by how much a certainty (0 to 1) differs from full precision at most."""
        cost = (
            "" if difference is None else f" (certainty differs from float32 by {100 * difference:.1f} % at most here)"
        )
        self.running.setText(f"Runs on {device}, {precision}{cost}")

    def _offer_precisions(self, current: str) -> None:
        chosen = self.device.currentData()
        known = next((d.precisions for d in self._devices if d.name == chosen), self._devices[0].precisions)
        fill_combo(self.precision, [("Best precision", AUTO), *((p, p) for p in known)], current)

    def _on_device(self) -> None:
        self._offer_precisions(self.precision.currentData())
        self.deviceChosen.emit(self.device.currentData(), self.precision.currentData())
