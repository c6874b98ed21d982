"""Which scan: an image layer, or a file to open."""

from __future__ import annotations

import enum

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton

from napari_medvlsm.core.images import Scan
from napari_medvlsm.widgets.sections._section import Section, fill_combo, narrow_combo, quiet_label


class Look(enum.Enum):
    """Where the model looks; the value is what people read."""

    WHOLE = "the whole scan"
    TILES = "the whole scan, in tiles"
    RECTANGLE = "a rectangle I draw"
    RECTANGLE_TILES = "a rectangle, in tiles"

    @property
    def tiles(self) -> bool:
        """Whether at overlapping tiles in full detail."""
        return self in (Look.TILES, Look.RECTANGLE_TILES)

    @property
    def rectangle(self) -> bool:
        """Whether inside a rectangle alone."""
        return self in (Look.RECTANGLE, Look.RECTANGLE_TILES)


class ScanSection(Section):
    """Shows the image layers and facts of the scan in view."""

    layerChosen = Signal(object)
    openRequested = Signal()
    lookChosen = Signal(object)  # Look

    def __init__(self) -> None:
        super().__init__("Scan")
        self.layers = narrow_combo()
        self.layers.setToolTip("The image that is outlined. Drop a file on the viewer, or open one here.")
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
        self.look = narrow_combo()
        self.look.setToolTip(
            "The model sees a scan at its own, lower resolution. Tiles take longer and show it every detail; "
            "a rectangle shows it a part of the scan alone."
        )
        fill_combo(self.look, [(look.value, look) for look in Look], Look.WHOLE)
        self.look.activated.connect(lambda: self.lookChosen.emit(self.look.currentData()))
        looking = QHBoxLayout()
        looking.addWidget(QLabel("Look at"))
        looking.addWidget(self.look, 1)
        self.column.addLayout(looking)

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
