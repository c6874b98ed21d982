"""Which model, what it says of itself, and where it runs."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QHBoxLayout, QPushButton, QTextBrowser, QVBoxLayout, QWidget

from napari_medvlsm.core.models.card import ModelCard
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


class CardDialog(QDialog):
    """A model card to read."""

    def __init__(self, card: ModelCard, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"About the model {card.title}")
        self.resize(620, 560)
        self.text = QTextBrowser()
        self.text.setHtml(card_html(card))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(buttons)


def card_html(card: ModelCard) -> str:
    """The card as simple HTML."""
    parts = [f"<h2>{escape(card.title)}</h2><p>{escape(card.summary)}</p>"]
    parts.append("<p><b>For research use, not a medical device.</b></p>")
    facts = [("Licence", card.licence), ("Started from", card.base), ("Made", card.created)]
    parts.append("".join(f"<p><b>{k}:</b> {escape(v)}</p>" for k, v in facts if v))
    scores = card.metrics.get("test", {})
    if scores:
        parts.append("<h3>Test results</h3>" + _scores_table(scores))
        parts.append(f"<p>{escape(card.metrics_note)}</p>")
    if card.data:
        cell = "</td><td style='padding: 2px 8px'>"
        rows = "".join(
            f"<tr><td>{escape(d.name)}{cell}{d.train_images}{cell}{escape(d.licence)}</td></tr>" for d in card.data
        )
        head = f"<tr><td><b>Set</b>{cell}<b>Images</b>{cell}<b>Terms</b></td></tr>"
        parts.append(f"<h3>Training data</h3><table>{head}{rows}</table>")
        parts.append("<h3>Citations</h3>" + "".join(f"<p>{escape(d.citation)}</p>" for d in card.data))
    return "".join(parts)


def _scores_table(scores: dict[str, dict[str, float]]) -> str:
    style = "style='padding: 2px 10px'"
    head = f"<tr><td {style}><b>Target</b></td><td {style}><b>Scans</b></td><td {style}><b>Mean Dice</b></td></tr>"
    rows = "".join(
        f"<tr><td {style}>{escape(name)}</td><td {style}>{int(s['cases'])}</td><td {style}>{s['dice']:.2f}</td></tr>"
        for name, s in scores.items()
        if "dice" in s
    )
    return f"<table>{head}{rows}</table>"
