"""The scans: the list of them, the one that is worked on, files opened, and the region that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.controllers.worklist import Entry, Worklist
from napari_medvlsm.core.io.images import SUFFIXES
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.options import Region, SegmentOptions, Tiling
from napari_medvlsm.widgets._layers import PATH_KEY, WAITING_KEY, LayerManager, scan_layers
from napari_medvlsm.widgets._stage import ViewerStage
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.sections import ScanSection
from napari_medvlsm.widgets.sections.scan import ListedScan, RegionMode

# Wait this long after the last move of a slider before the slice is read.
_SETTLE_MS = 120
# Of the settings: the folder that scans were last opened from.
_OPEN = "open"


class ScanPresenter(QObject):
    """Leads every way to a scan through the worklist, and tells the view state when another slice may be in view.

    Parameters
    ----------
    viewer : ViewerModel
    view : ViewState
    layers : LayerManager
    section : ScanSection
    background : Background
        Reads files.
    settings : Settings
        Remembers the folder of the dialog.
    parent : QWidget
        Of the dialogs.
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        viewer: ViewerModel,
        view: ViewState,
        layers: LayerManager,
        section: ScanSection,
        background: Background,
        settings: Settings,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._view, self._layers, self._section = viewer, view, layers, section
        self._settings, self._parent = settings, parent
        self._followed: Image | None = None
        self._closed = False
        self.stage = ViewerStage(viewer)
        self.worklist = Worklist(view, self.stage, background.run)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(lambda: view.settle())
        # A function of ours: psygnal cannot read the signature of Qt's own.
        view.moving_started.connect(lambda: self._timer.start())
        view.changed.connect(self._show)
        view.image_changed.connect(self._follow)
        self.worklist.changed.connect(self._show_list)
        self.worklist.message.connect(self.message.emit)
        section.scanChosen.connect(self._on_row)
        section.stepRequested.connect(self.worklist.step)
        section.openRequested.connect(self._ask_open)
        section.folderRequested.connect(self._ask_folder)
        section.regionModeChosen.connect(self._choose_region_mode)
        events = viewer.layers.events
        events.inserted.connect(self._on_inserted)
        events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active)
        viewer.dims.events.connect(self._on_dims)
        for layer in viewer.layers:
            layer.events.visible.connect(self._on_visible)
        self._sync()
        current = self.worklist.current
        if current is not None:
            self.worklist.choose(current)

    def open(self, paths: Sequence[Path], others: Callable[[Sequence[Path]], str] | None = None) -> None:
        """Open files and folders: the first scan is shown, the others wait in the list.

        `others` opens what is no picture, and gives back why it could not; a file that cannot be read changes nothing
        but the status line.
        """
        self.worklist.open(paths, others)

    def box(self) -> Region | None:
        """The rectangle that was drawn for the model to look at; None for the whole scan."""
        view = self._view.slice
        return self._layers.rectangle(view) if self._section.region_mode().rectangle and view is not None else None

    def options(self) -> SegmentOptions:
        """The region that the model is to see.

        Raises
        ------
        ValueError
            If a rectangle is wanted and none is there; one can be drawn then.
        """
        self._view.settle()
        mode, view = self._section.region_mode(), self._view.slice
        region = self._layers.rectangle(view) if mode.rectangle and view is not None else None
        if mode.rectangle and view is not None and region is None:
            self._layers.draw_rectangle(view)
            raise ValueError("Draw a rectangle around the region to segment, then press Segment.")
        return SegmentOptions(Tiling() if mode.tiles else None, region)

    def close(self) -> None:
        """Follow nothing any more."""
        self._closed = True
        self._timer.stop()
        self._unfollow()
        self.worklist.close()
        self.stage.close()
        events = self._viewer.layers.events
        events.inserted.disconnect(self._on_inserted)
        events.removed.disconnect(self._on_removed)
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        self._viewer.dims.events.disconnect(self._on_dims)
        for layer in self._viewer.layers:
            layer.events.visible.disconnect(self._on_visible)

    def _choose_region_mode(self, mode: RegionMode) -> None:
        view = self._view.slice
        if view is None:
            return
        if mode.rectangle:
            self._layers.draw_rectangle(view)
            self.message.emit("Draw a rectangle on the scan. The last one drawn counts.", False)
        else:
            self._layers.hide_rectangle(view.image)
            self.message.emit("", False)

    def _show(self) -> None:
        self._section.set_scan(self._view.scan, self._view.problem)

    def _show_list(self) -> None:
        worklist, current = self.worklist, self.worklist.current
        place = worklist.entries.index(current) if current is not None else None
        self._section.set_scans([_listed(e, worklist.opening is e) for e in worklist.entries], place)

    def _on_row(self, row: int) -> None:
        if row < len(self.worklist.entries):
            self.worklist.choose(self.worklist.entries[row])
            # One that is still being read is not what is worked on yet.
            self._show_list()

    def _follow(self) -> None:
        """Listen to the pixels and the name of the layer that is worked on."""
        self._unfollow()
        layer = self._followed = self._view.image
        if layer is not None:
            layer.events.data.connect(self._on_pixels)
            layer.events.name.connect(self._sync)

    def _unfollow(self) -> None:
        if self._followed is not None:
            self._followed.events.data.disconnect(self._on_pixels)
            self._followed.events.name.disconnect(self._sync)
            self._followed = None

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        layer.events.visible.connect(self._on_visible)
        if (saved := self._layers.disown(layer)) is not None:
            self.message.emit(f"{layer.name} is yours to keep, and is not saved: {saved.name} is.", False)
        if layer in scan_layers(self._viewer):
            self._sync()
            # What came is what is worked on, whatever was active.
            self.worklist.choose_image(layer)
        else:
            self.stage.adopt(layer)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        layer.events.visible.disconnect(self._on_visible)
        if isinstance(layer, Image) and not self.stage.busy:
            # napari may be about to take away more of them.
            QTimer.singleShot(0, lambda: self._forget(layer))
            self._sync()

    def _forget(self, layer: Image) -> None:
        if not self._closed and layer not in self._viewer.layers:
            self._layers.park(layer)
            self.stage.forget(layer)

    def _sync(self, event: Any = None) -> None:
        """Let the list follow the layers."""
        layers = scan_layers(self._viewer)[::-1]
        active = self._viewer.layers.selection.active
        self.worklist.sync([_facts(layer) for layer in layers], active if active in layers else None)

    def _on_active(self, event: Any = None) -> None:
        """A layer was clicked: its scan is worked on."""
        active: Layer | None = self._viewer.layers.selection.active
        owner = self.stage.owner(active) if active is not None and not self.stage.busy else None
        if owner is not None and owner is not self._view.image:
            self.worklist.choose_image(owner)
            self._viewer.layers.selection.active = active

    def _on_visible(self, event: Any) -> None:
        """An eye was clicked: what is made visible is worked on, and nothing can be asked of what is hidden."""
        if self.stage.busy:
            return
        layer = event.source
        if layer is self._view.image:
            self._view.settle(other_pixels=True)
            return
        owner = self.stage.owner(layer)
        if layer.visible and owner is not None and owner is not self._view.image:
            self.worklist.choose_image(owner)

    def _on_pixels(self, event: Any = None) -> None:
        self._view.move(other_pixels=True)

    def _on_dims(self, event: Any) -> None:
        if event.type in ("point", "current_step", "ndisplay", "order") and not self._closed:
            self._view.move()

    def _ask_open(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        names, _ = QFileDialog.getOpenFileNames(
            self._parent, "Open scans", self._settings.folder(_OPEN), f"Scans ({kinds});;All files (*)"
        )
        if names:
            self._settings.set_folder(_OPEN, str(Path(names[0]).parent))
            self.open([Path(name) for name in names])

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self._parent, "Open a folder of scans", self._settings.folder(_OPEN))
        if name:
            self._settings.set_folder(_OPEN, name)
            self.open([Path(name)])


def _facts(layer: Image) -> tuple[Image, str, Path | None, Sequence[Path]]:
    """What the list needs to know of a layer; the files that came with it are told once."""
    path = layer.metadata.get(PATH_KEY)
    return layer, layer.name, path if isinstance(path, Path) else None, layer.metadata.pop(WAITING_KEY, ())


def _listed(entry: Entry, opening: bool) -> ListedScan:
    state = (
        "opening" if opening else "cannot be opened" if entry.problem else "" if entry.image is not None else "waits"
    )
    where = str(entry.path) if entry.path is not None else entry.name
    return ListedScan(entry.name, state, entry.problem or where, entry.image is not None)
