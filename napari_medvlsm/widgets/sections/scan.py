"""Which scan: an image layer, or a file to open."""

from __future__ import annotations

import enum

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton

from napari_medvlsm.core.images import Scan
from napari_medvlsm.widgets.sections._section import Section, fill_combo, narrow_combo, quiet_label


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


class ScanSection(Section):
    """Shows the image layers and facts of the scan in view."""

    layerChosen = Signal(object)
    openRequested = Signal()
    regionModeChosen = Signal(object)  # RegionMode

    def __init__(self) -> None:
        super().__init__("Scan")
        self.layers = narrow_combo()
        self.layers.setToolTip("The image that is segmented. Drop a file on the viewer, or open one here.")
        self.layers.activated.connect(lambda: self.layerChosen.emit(self.layers.currentData()))
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open a PNG, JPEG or TIFF file")
        self.open.clicked.connect(self.openRequested)
        row = QHBoxLayout()
        row.addWidget(self.layers, 1)
        row.addWidget(self.open)
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

    def region_mode(self) -> RegionMode:
        """The region that is chosen."""
        mode: RegionMode = self.region.currentData()
        return mode

    def set_layers(self, names: list[tuple[str, object]], current: object) -> None:
        """Show the layers that can be a scan."""
        fill_combo(self.layers, names or [("No scan yet", None)], current)
        self.layers.setEnabled(bool(names))

    def set_scan(self, scan: Scan | None, problem: str = "") -> None:
        """Show size, kind and spacing, or why there is no scan."""
        if scan is None:
            self.facts.setText(
                problem or "Drop a scan on the viewer, open a file, or take one from File ▸ Open Sample."
            )
            return
        rows, cols = scan.size
        if scan.spacing is None:
            pixel = "pixel size unknown"
        else:
            pixel = f"{scan.spacing[1]:.3g} × {scan.spacing[0]:.3g} mm per pixel"
        self.facts.setText(f"{cols} × {rows} pixels, {scan.kind}, {pixel}")
