"""A small chart of a training: the loss of its steps, and the Dice on the validation scans."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_medvlsm.widgets.sections._section import QUIET

# Of Okabe and Ito, which colour-blind people tell apart; the lines differ in their shape, too.
LOSS, DICE = "#e69f00", "#56b4e9"
_LINES = 7  # height of the chart in lines of text


class CurveChart(QWidget):
    """Draws both over the passes through the scans: the loss from 0, its scale at the left, Dice from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self._losses: Sequence[tuple[float, float]] = ()
        self._dice: Sequence[tuple[float, float]] = ()
        self._end = 1.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_curves(
        self, losses: Sequence[tuple[float, float]], dice: Sequence[tuple[float, float]], epochs: int
    ) -> None:
        """Show (epochs passed, loss) and (epochs passed, validation Dice), on an axis of at most so many epochs."""
        last = max((x for x, _ in [*losses, *dice]), default=0.0)
        # What has passed fills half of the chart at least, however many are planned.
        end = float(max(1, min(epochs or 1, ceil(2 * last))))
        if (losses, dice, end) != (self._losses, self._dice, self._end):
            self._losses, self._dice, self._end = losses, dice, end
            said = f"validation Dice {dice[-1][1]:.2f}, best {max(y for _, y in dice):.2f}" if dice else "no epoch yet"
            self.setAccessibleName(f"Chart of the training: {said}")
            self.setToolTip(
                "Loss: how far off the model is on what it learns from; it falls.\nDice: how well its "
                "outlines agree with the scans that are watched (1 is the same); it rises."
            )
            self.update()

    def sizeHint(self) -> QSize:
        """Some lines of text high."""
        return QSize(240, _LINES * self.fontMetrics().lineSpacing())

    def minimumSizeHint(self) -> QSize:
        """The same height at any width."""
        return QSize(120, self.sizeHint().height())

    def paintEvent(self, event: object) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        line, side = metrics.lineSpacing(), metrics.horizontalAdvance("0.00 ")
        area = QRectF(side, line + 4, self.width() - 2 * side, self.height() - 2 * line - 8)
        top = _round_up(max((y for _, y in self._losses), default=1.0))
        self._draw_axes(painter, area, line, top)
        self._draw_line(painter, area, self._losses, top, LOSS, False)
        self._draw_line(painter, area, self._dice, 1.0, DICE, True)
        painter.end()

    def _draw_axes(self, painter: QPainter, area: QRectF, line: int, top: float) -> None:
        right, left = Qt.AlignmentFlag.AlignRight, Qt.AlignmentFlag.AlignLeft
        painter.setPen(QPen(QColor(128, 128, 128, 90), 1))
        for part in (0.0, 0.5, 1.0):
            y = area.bottom() - part * area.height()
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
        said = [f"{self._losses[-1][1]:.2f}" if self._losses else "", f"{self._dice[-1][1]:.2f}" if self._dice else ""]
        above = QRectF(0, 0, self.width(), line)
        painter.setPen(QColor(LOSS))
        painter.drawText(above, left, f"━ loss {said[0]}")
        painter.drawText(QRectF(0, area.top() - line / 2, area.left() - 4, line), right, f"{top:g}")
        painter.setPen(QColor(DICE))
        painter.drawText(above, right, f"●━ Dice {said[1]}")
        painter.drawText(QRectF(area.right() + 4, area.top() - line / 2, area.left(), line), left, "1")
        painter.setPen(QColor(QUIET))
        below = QRectF(area.left(), area.bottom() + 2, area.width(), line)
        painter.drawText(below, left, "0")
        painter.drawText(below, right, f"{self._end:g}")
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, "passes")

    def _draw_line(
        self, painter: QPainter, area: QRectF, points: Sequence[tuple[float, float]], top: float, color: str, dots: bool
    ) -> None:
        placed = [
            QPointF(
                area.left() + min(1.0, x / self._end) * area.width(),
                area.bottom() - min(1.0, max(0.0, y / top)) * area.height(),
            )
            for x, y in points
        ]
        painter.setPen(QPen(QColor(color), 2 if dots else 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(placed))
        if dots:
            painter.setBrush(QColor(color))
            for point in placed:
                painter.drawEllipse(point, 2.5, 2.5)


def _round_up(value: float) -> float:
    """The next of 0.1, 0.2, 0.5, 1, 2, 5 and so on."""
    scale = 0.1
    while True:
        for step in (1, 2, 5):
            if value <= step * scale:
                return step * scale
        scale *= 10
