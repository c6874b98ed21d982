"""The targets of the scan in view, each with what there is of it; a click turns to one."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_medvlsm.controllers.outlines import Outline
from napari_medvlsm.widgets.sections._section import Section

# Rows that are in sight: with one or two targets nothing of the panel moves.
_LEAST_ROWS, _MOST_ROWS = 2, 4


class OutlinesSection(Section):
    """A list of targets."""

    targetChosen = Signal(str)  # phrase

    def __init__(self) -> None:
        super().__init__("Outlines of this scan")
        self.targets = QListWidget()
        self.targets.setToolTip("What was outlined or asked for in this scan; a click turns to it, words and all")
        self.targets.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.targets.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.targets.currentItemChanged.connect(self._on_item)
        self.column.addWidget(self.targets)
        self.set_outlines([], "")

    def set_outlines(self, outlines: Sequence[Outline], current: str) -> None:
        """Show what there is, and which of it is worked on."""
        with QSignalBlocker(self.targets):
            self.targets.clear()
            for outline in outlines:
                # The state is what must be read whole; of a long name the start is enough.
                item = QListWidgetItem(f"{outline.target.short_label}: {outline.state}")
                item.setIcon(_square(outline.target.display_color, self.targets.fontMetrics().ascent()))
                item.setData(Qt.ItemDataRole.UserRole, outline.target.phrase)
                item.setToolTip(f"{outline.target.label}: {outline.state}")
                self.targets.addItem(item)
                if outline.target.phrase == current:
                    self.targets.setCurrentItem(item)
            if not outlines:
                item = QListWidgetItem("nothing yet")
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                self.targets.addItem(item)
        rows = max(_LEAST_ROWS, min(_MOST_ROWS, len(outlines)))
        height = max(self.targets.sizeHintForRow(0), self.targets.fontMetrics().lineSpacing())
        self.targets.setFixedHeight(rows * height + 2 * self.targets.frameWidth() + 2)

    def _on_item(self, item: QListWidgetItem | None) -> None:
        phrase = item.data(Qt.ItemDataRole.UserRole) if item is not None else None
        if phrase:
            self.targetChosen.emit(phrase)


def _square(color: str, side: int) -> QIcon:
    pixmap = QPixmap(side, side)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
