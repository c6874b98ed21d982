"""The scans that are open or wait, which of them is worked on, and the region of it that the model sees."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QPushButton

from napari_medvlsm.core.images import Scan
from napari_medvlsm.widgets.sections._section import QUIET, Section, fill_combo, narrow_combo, quiet_label

NEXT_KEYS = "PgDown"
PREVIOUS_KEYS = "PgUp"
# Rows of the list that are in sight: with a few scans nothing of the panel moves when one is opened.
_LEAST_ROWS, _MOST_ROWS = 3, 5


class RegionMode(enum.Enum):
    """The region of the scan that the model sees; the value is what people read."""

    WHOLE = "the whole scan"
    TILES = "the whole scan, in tiles"
    RECTANGLE = "a rectangle I draw"
    RECTANGLE_TILES = "a rectangle, in tiles"

    @property
    def tiles(self) -> bool:
        """Whether in overlapping tiles at full resolution."""
        return self in (RegionMode.TILES, RegionMode.RECTANGLE_TILES)

    @property
    def rectangle(self) -> bool:
        """Whether a rectangle alone."""
        return self in (RegionMode.RECTANGLE, RegionMode.RECTANGLE_TILES)


@dataclass(frozen=True)
class ListedScan:
    """A scan of the list: its name, its state in a word or two, a longer explanation, and whether it is open."""

    name: str
    state: str = ""
    explained: str = ""
    ready: bool = True


class ScanSection(Section):
    """Lists the scans, and shows facts of the one that is worked on."""

    scanChosen = Signal(int)  # place in the list
    stepRequested = Signal(int)  # 1 for the next scan, -1 for the one before
    openRequested = Signal()
    folderRequested = Signal()
    regionModeChosen = Signal(object)  # RegionMode

    def __init__(self) -> None:
        super().__init__("Scan")
        self.scans = QListWidget()
        self.scans.setToolTip("The scans that are open or wait to be opened. A click shows one, and works on it.")
        self.scans.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scans.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.scans.setUniformItemSizes(True)
        # A click, Enter and the arrow keys alike.
        self.scans.currentRowChanged.connect(self._on_row)
        self.column.addWidget(self.scans)
        self.previous = QPushButton("◀")
        self.previous.setToolTip(f"Show the scan before this one ({PREVIOUS_KEYS})")
        self.previous.clicked.connect(lambda: self.stepRequested.emit(-1))
        self.next = QPushButton("▶")
        self.next.setToolTip(f"Show the next scan ({NEXT_KEYS})")
        self.next.clicked.connect(lambda: self.stepRequested.emit(1))
        self.place = QLabel()
        self.place.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open scans: PNG, JPEG, TIFF or BMP files")
        self.open.clicked.connect(self.openRequested)
        self.folder = QPushButton("Folder…")
        self.folder.setToolTip("Open all scans of a folder")
        self.folder.clicked.connect(self.folderRequested)
        row = QHBoxLayout()
        row.addWidget(self.previous)
        row.addWidget(self.place, 1)
        row.addWidget(self.next)
        row.addWidget(self.open)
        row.addWidget(self.folder)
        self.column.addLayout(row)
        self.facts = quiet_label()
        self.column.addWidget(self.facts)
        self.region = narrow_combo()
        self.region.setToolTip(
            "The model sees a scan at its own, lower resolution. Tiles take longer and keep every detail; "
            "with a rectangle the model sees that part of the scan alone."
        )
        fill_combo(self.region, [(mode.value, mode) for mode in RegionMode], RegionMode.WHOLE)
        self.region.activated.connect(lambda: self.regionModeChosen.emit(self.region.currentData()))
        row = QHBoxLayout()
        row.addWidget(QLabel("Region"))
        row.addWidget(self.region, 1)
        self.column.addLayout(row)
        self.set_scans([], None)
        self.follow_font()

    def follow_font(self) -> None:
        """Hold the room of two lines of facts, and be as wide as the signs on the buttons."""
        self.facts.setMinimumHeight(2 * self.facts.fontMetrics().lineSpacing())
        for button in (self.previous, self.next):
            button.setFixedWidth(button.fontMetrics().horizontalAdvance("▶") + 24)

    def region_mode(self) -> RegionMode:
        """The region that is chosen."""
        mode: RegionMode = self.region.currentData()
        return mode

    def set_scans(self, scans: Sequence[ListedScan], current: int | None) -> None:
        """Show the list, and which of it is worked on."""
        with QSignalBlocker(self.scans):
            while self.scans.count() > len(scans):
                self.scans.takeItem(self.scans.count() - 1)
            for place, scan in enumerate(scans):
                item = self.scans.item(place)
                if item is None:
                    item = QListWidgetItem()
                    self.scans.addItem(item)
                item.setText(f"{scan.name}{f' ({scan.state})' if scan.state else ''}")
                item.setToolTip(scan.explained or scan.name)
                item.setForeground(QBrush() if scan.ready else QBrush(QColor(QUIET)))
            self.scans.setCurrentRow(-1 if current is None else current)
            item = self.scans.currentItem()
            if item is not None:
                self.scans.scrollToItem(item)
        rows = max(_LEAST_ROWS, min(_MOST_ROWS, len(scans)))
        height = self.scans.sizeHintForRow(0) if scans else self.scans.fontMetrics().lineSpacing() + 4
        self.scans.setFixedHeight(rows * height + 2 * self.scans.frameWidth() + 2)
        for button in (self.previous, self.next):
            button.setEnabled(len(scans) > 1)
        self.place.setText(f"{current + 1} of {len(scans)}" if current is not None else "")

    def set_scan(self, scan: Scan | None, problem: str = "") -> None:
        """Show size, kind and spacing, or why there is no scan."""
        if scan is None:
            self.facts.setText(
                problem or "Drop scans or a folder on the viewer, open them here, or take one from File ▸ Open Sample."
            )
            return
        rows, cols = scan.size
        if scan.spacing is None:
            pixel = "pixel size unknown"
        else:
            pixel = f"{scan.spacing[1]:.3g} × {scan.spacing[0]:.3g} mm per pixel"
            pixel += f" ({scan.spacing_from})" if scan.spacing_from else ""
        self.facts.setText(f"{cols} × {rows} pixels, {scan.kind}, {pixel}")

    def _on_row(self, row: int) -> None:
        if row >= 0:
            self.scanChosen.emit(row)
