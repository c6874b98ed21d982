"""A model card to read."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.prompts import Vocabulary
from napari_medvlsm.core.prompts.variants import Contrast


class CardDialog(QDialog):
    """A model card to read; `vocabulary` has the names of its targets."""

    def __init__(self, card: ModelCard, vocabulary: Vocabulary, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"About the model {card.title}")
        self.resize(620, 560)
        self.text = QTextBrowser()
        self.text.setHtml(card_html(card, vocabulary))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(buttons)


def card_html(card: ModelCard, vocabulary: Vocabulary) -> str:
    """The card as simple HTML, its targets as people read them."""
    parts = [f"<h2>{escape(card.title)}</h2><p>{escape(card.summary)}</p>"]
    parts.append("<p><b>For research use, not a medical device.</b></p>")
    facts = [
        ("Licence", card.licence),
        ("Started from", card.base),
        ("Cite", card.citation),
        ("Random until it is finetuned", card.untrained),
        ("Made", card.created),
    ]
    parts.append("".join(f"<p><b>{k}:</b> {escape(v)}</p>" for k, v in facts if v))
    if card.kept_base is not None:
        names = ", ".join(vocabulary.target(target).label for target in card.kept_base.targets)
        parts.append(f"<p><b>Asked of {escape(card.kept_base.title)}, which it keeps:</b> {escape(names)}</p>")
    scores = card.metrics.get("test", {})
    if scores:
        parts.append(
            "<h3>Test results</h3>" + _scores_table({vocabulary.target(t).label: row for t, row in scores.items()})
        )
        parts.append(f"<p>{escape(card.metrics_note)}</p>")
    if card.prompt_effect:
        parts.append("<h3>What the words do</h3>" + _effect_table(card.prompt_effect))
        parts.append("<p>Mean change of the outline (1 − Dice) when the words are changed as the row says.</p>")
        if margins := _margins_table(card.prompt_effect):
            parts.append(margins)
            parts.append(
                "<p>By how many points of Dice with the true outline wrong words are behind the right ones; and how "
                "often the place in a prompt finds the right one of two scans side by side (by chance: 50 %).</p>"
            )
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


def _effect_table(effects: dict[str, Any]) -> str:
    rows = dict.fromkeys(name for found in effects.values() for name in found["contrasts"])
    changes = {name: [found["contrasts"].get(name, {}).get("change") for found in effects.values()] for name in rows}
    return _table([*effects], {name: [c if c is None else f"{c:.0%}" for c in row] for name, row in changes.items()})


def _margins_table(effects: dict[str, Any]) -> str:
    """What words are worth: Dice lost by the wrong ones, and the right one of two; "" where it was not measured."""
    rows: dict[str, list[str | None]] = {}
    for contrast in (Contrast.WRONG_SIDE, Contrast.WRONG_SIZE):
        margins = [found["contrasts"].get(contrast.value, {}).get("margin") for found in effects.values()]
        rows[contrast.value] = [None if m is None else f"{100 * m:.0f}" for m in margins]
    picked = [found.get("one of two", {}).get("picked") for found in effects.values()]
    rows["the right one of two"] = [None if p is None else f"{p:.0%}" for p in picked]
    return _table([*effects], rows)


def _table(heads: list[str], rows: dict[str, list[str | None]]) -> str:
    """A table; rows of which nothing is known are left out, and "" comes of none."""
    style = "style='padding: 2px 10px'"
    # Set and split above one another: four sets are to fit in.
    head = "".join(f"<td {style}><b>{escape(what).replace(', ', '<br>', 1)}</b></td>" for what in heads)
    lines = []
    for name, values in rows.items():
        if any(value is not None for value in values):
            cells = "".join(f"<td {style}>{value or '–'}</td>" for value in values)
            lines.append(f"<tr><td {style}>{escape(name)}</td>{cells}</tr>")
    return f"<table><tr><td></td>{head}</tr>{''.join(lines)}</table>" if lines else ""
