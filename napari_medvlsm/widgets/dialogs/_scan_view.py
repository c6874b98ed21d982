"""A picture of a scan with outlines over it, to zoom and to move; two of them can follow one another."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QImage,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from qtpy.QtWidgets import QFrame, QGraphicsPixmapItem, QGraphicsScene, QGraphicsView, QWidget

from napari_medvlsm.core.contours import Line
from napari_medvlsm.core.images import Bytes

# A notch of the wheel, and how far one can go in: this many points of the screen for a pixel.
_ZOOM, _CLOSEST = 1.25, 48.0
# Width of an outline and of the dark line beneath it, whatever the zoom.
_WIDTH, _CASING = 2.0, 4.0
# Of the colour on pixels that differ, 0 to 255.
_TINT = 140


class ScanView(QGraphicsView):
    """Shows a scan (pixel sizes kept apart by row and column), lines, and tinted pixels.

    The wheel zooms at the pointer, dragging moves, a double click shows all of the scan.
    """

    moved = Signal()  # a person zoomed or moved it

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = QGraphicsScene(self)
        self.setScene(self._scene)
        self._scan = QGraphicsPixmapItem()
        self._tint = QGraphicsPixmapItem()
        for item in (self._scan, self._tint):
            self._scene.addItem(item)
        self._lines: list[object] = []
        self._aspect, self._fitted, self._dragged = 1.0, True, False
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setBackgroundBrush(QColor("#101216"))
        self.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.setDragMode(QGraphicsView.DragMode.ScrollHandDrag)
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.AnchorUnderMouse)
        for set_policy in (self.setHorizontalScrollBarPolicy, self.setVerticalScrollBarPolicy):
            set_policy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setMinimumSize(240, 240)

    def set_scan(self, rgb: Bytes | None, step: int = 1, aspect: float = 1.0) -> None:
        """Show a scan.

        Parameters
        ----------
        rgb : uint8 array of shape (h, w, 3), or None for nothing
        step : int
            Pixels of the scan for one of `rgb`.
        aspect : float
            Height of a pixel divided by its width.
        """
        self._aspect = aspect
        self._scan.setPixmap(QPixmap() if rgb is None else _pixmap(rgb))
        self._place(self._scan, step)
        if rgb is not None:
            self.fit()

    @property
    def shows_scan(self) -> bool:
        """Whether there is a scan."""
        return not self._scan.pixmap().isNull()

    def set_outlines(self, outlines: Sequence[tuple[Sequence[Line], str]]) -> None:
        """Show edges, each group (lines in pixels of the scan as (row, col), colour as "#rrggbb")."""
        for item in self._lines:
            self._scene.removeItem(item)
        self._lines = []
        for lines, color in outlines:
            path = self._path(lines)
            for ink, width in (("#000000", _CASING), (color, _WIDTH)):
                pen = QPen(QColor(ink), width)
                pen.setCosmetic(True)
                item = self._scene.addPath(path, pen)
                item.setOpacity(0.6 if width == _CASING else 1.0)
                self._lines.append(item)

    def set_tint(self, labels: Bytes | None, step: int = 1, colors: Sequence[str] = ()) -> None:
        """Tint pixels: those with label 1 (of `labels`, uint8 (h, w)) in the first colour, 2 in the second ..."""
        if labels is None:
            self._tint.setPixmap(QPixmap())
            return
        rows, cols = labels.shape
        image = QImage(labels.tobytes(), cols, rows, cols, QImage.Format.Format_Indexed8)
        tints = [QColor(color) for color in colors]
        for tint in tints:
            tint.setAlpha(_TINT)
        image.setColorTable([0, *(tint.rgba() for tint in tints)])
        self._tint.setPixmap(QPixmap.fromImage(image.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)))
        self._place(self._tint, step)

    def fit(self) -> None:
        """Show all of the scan."""
        self._fitted = True
        area = self._scan.sceneBoundingRect()
        # Room to move the edge of the scan into the middle.
        self._scene.setSceneRect(area.adjusted(-area.width(), -area.height(), area.width(), area.height()))
        self.fitInView(area, Qt.AspectRatioMode.KeepAspectRatio)
        self.moved.emit()

    def follow(self, other: ScanView) -> None:
        """Show the part that another view of the same scan shows."""
        if not self.shows_scan:
            return
        self._fitted = other._fitted
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.NoAnchor)
        self.setTransform(other.transform())
        self.centerOn(other.mapToScene(other.viewport().rect().center()))
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.AnchorUnderMouse)

    def zoom(self, factor: float) -> None:
        """Show it larger by a factor."""
        scale = self.transform().m11() * factor
        if not self.shows_scan or scale > _CLOSEST or (factor < 1 and self._smaller_than_view()):
            return
        self._fitted = False
        self.scale(factor, factor)
        self.moved.emit()

    # Of Qt ----------------------------------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom at the pointer."""
        notches = event.angleDelta().y() / 120
        if notches:
            self.zoom(_ZOOM**notches)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to drag."""
        self._dragged = True
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End of a drag."""
        super().mouseReleaseEvent(event)
        self._dragged = False

    def mouseDoubleClickEvent(self, event: object) -> None:
        """Show all of the scan."""
        self.fit()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """Tell of a scan that is dragged; a new size of the view scrolls, too."""
        super().scrollContentsBy(dx, dy)
        if self._dragged:
            self._fitted = False
            self.moved.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep all of the scan in view, if it was."""
        super().resizeEvent(event)
        if self._fitted and self.shows_scan:
            self.fit()

    # Within ---------------------------------------------------------------------------------------------------------

    def _place(self, item: QGraphicsPixmapItem, step: int) -> None:
        item.setTransform(item.transform().fromScale(step, step * self._aspect))

    def _path(self, lines: Sequence[Line]) -> QPainterPath:
        path = QPainterPath()
        for line in lines:
            # Pixel centres are at halves here.
            points = [QPointF(col + 0.5, (row + 0.5) * self._aspect) for row, col in line.tolist()]
            path.addPolygon(QPolygonF(points))
        return path

    def _smaller_than_view(self) -> bool:
        shown: QRectF = self.transform().mapRect(self._scan.sceneBoundingRect())
        view = self.viewport().rect()
        return bool(shown.width() < view.width() / 2 and shown.height() < view.height() / 2)


def _pixmap(rgb: Bytes) -> QPixmap:
    rows, cols = rgb.shape[:2]
    return QPixmap.fromImage(QImage(rgb.tobytes(), cols, rows, 3 * cols, QImage.Format.Format_RGB888))
