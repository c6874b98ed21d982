"""The scan outlined by many wordings, side by side."""

from __future__ import annotations

from html import escape

import numpy as np
import numpy.typing as npt
import scipy
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.comparison import Comparison, Wording
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import LABELS
from napari_medvlsm.core.prompts.english import joined

# Cards in a row, and the longest side of a picture.
_COLUMNS, _SIDE = 6, 156
# Title, picture, agreement, words, button, and a gap.
_LINES = 6

Pixels = npt.NDArray[np.uint8]


class ComparisonDialog(QDialog):
    """The ladder of levels and the contrasts, each as a picture with its words.

    Parameters
    ----------
    scan : uint8 array of shape (H, W, 3)
        The scan at the size of the comparison's masks.
    comparison : Comparison
    color : str
        "#rrggbb" of the outlines.
    parent : QWidget, optional
    """

    chosen = Signal(object)  # the Prompt of a wording

    def __init__(self, scan: Pixels, comparison: Comparison, color: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare wordings")
        self._scan, self._color = scan, color
        page = QWidget()
        self._column = QVBoxLayout(page)
        own = escape(comparison.yours.text)
        self.verdict = self._text(f"<b>{escape(comparison.effect.verdict)}</b>")
        self._text(
            f"Your words: “{own}”. Under each picture stands how far its outline agrees with yours (Dice: 1 is the "
            "same, 0 shares nothing) and where it lies. Agreement is no proof that an outline is right."
        )
        self._heading("What other words would give")
        self._text("A model that listens draws something else, or nothing, when the words are wrong.")
        self.picks = self._text(f"<b>{escape(comparison.picks)}</b>")
        self.picks.setVisible(bool(comparison.picks))
        self._cards([(comparison.yours, False), *((wording, False) for wording in comparison.contrasts)])
        if comparison.rungs:
            self._heading("From no words to all of them")
            note = f"The outlines of P1 and above agree {comparison.agreement:.2f} with one another on average."
            if comparison.measured:
                words = joined([LABELS[name] for name in comparison.measured])
                note += f" Not chosen by you, so read from the present outline: {words}."
            self._text(note)
            self._cards([(wording, True) for wording in comparison.rungs])
        self._column.addStretch(1)

        scroll = QScrollArea()
        scroll.setWidget(page)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        outer = QVBoxLayout(self)
        outer.addWidget(scroll)
        outer.addWidget(buttons)
        self.resize(_COLUMNS * (_SIDE + 26) + 40, 760)

    def _heading(self, text: str) -> None:
        label = QLabel(f"<b>{text}</b>")
        label.setContentsMargins(0, 10, 0, 0)
        self._column.addWidget(label)

    def _text(self, text: str) -> QLabel:
        label = QLabel(text)
        label.setWordWrap(True)
        self._column.addWidget(label)
        return label

    def _cards(self, wordings: list[tuple[Wording, bool]]) -> None:
        """Cards in rows; the parts of a row's cards share lines, whatever their titles need."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(3)
        for i, (wording, usable) in enumerate(wordings):
            row, column = divmod(i, _COLUMNS)
            for line, widget in enumerate(self._card(wording, usable)):
                edge = Qt.AlignmentFlag.AlignBottom if line == 0 else Qt.AlignmentFlag.AlignTop
                grid.addWidget(widget, row * _LINES + line, column, edge)
            grid.setRowMinimumHeight(row * _LINES + _LINES - 1, 14)
        grid.setColumnStretch(_COLUMNS, 1)
        self._column.addLayout(grid)

    def _card(self, wording: Wording, usable: bool) -> list[QWidget]:
        title, _, explained = wording.title.partition(": ")
        head = f"<b>{escape(title)}</b> {escape(explained)}" if explained else f"<b>{escape(title.capitalize())}</b>"
        picture = QLabel()
        picture.setPixmap(outlined(self._scan, wording.mask, self._color))
        found = f"agrees {wording.agreement:.2f}; {wording.place}" if wording.place else "outlines nothing"
        agreement = _wrapped(found)
        words = _wrapped(f"“{escape(wording.text)}”" if wording.text else "<i>no words</i>")
        words.setStyleSheet("color: #b9bec6;")
        parts: list[QWidget] = [_wrapped(head), picture, agreement, words]
        if usable and wording.prompt.text:
            use = QPushButton("Use these words")
            use.clicked.connect(lambda: self.chosen.emit(wording.prompt))
            parts.append(use)
        for part in parts:
            part.setFixedWidth(_SIDE)
        return parts


def outlined(scan: Pixels, mask: Mask, color: str, side: int = _SIDE) -> QPixmap:
    """A scan (H, W, 3) with a mask (H, W) as a coloured outline and a light fill, at most `side` pixels a side."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    picture = scan.astype(np.float32)
    picture[mask] = 0.75 * picture[mask] + 0.25 * rgb
    # Two pixels of the picture on the screen: one alone is lost in the scaling.
    thickness = max(2, round(2 * max(mask.shape) / side))
    edge = mask & ~scipy.ndimage.binary_erosion(mask, iterations=thickness)
    picture[edge] = rgb
    pixels = np.ascontiguousarray(picture.astype(np.uint8))
    rows, cols = mask.shape
    image = QImage(pixels.data, cols, rows, 3 * cols, QImage.Format.Format_RGB888).copy()
    return QPixmap.fromImage(image).scaled(
        side, side, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


def _wrapped(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    return label
