"""The dock widget: sections, session and layers joined."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QFrame,
    QMainWindow,
    QScrollArea,
    QShortcut,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.engine import EngineController, EngineState
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.images import SUFFIXES, ImageFile, read_image
from napari_medvlsm.core.io.labels import is_own_mask, load_mask, save_mask
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.models.store.registry import available_models
from napari_medvlsm.core.options import SegmentOptions, Tiling
from napari_medvlsm.core.prompts import Attributes, Vocabulary, load_vocabulary
from napari_medvlsm.core.prompts.own_words import own_words_path
from napari_medvlsm.widgets import _layers
from napari_medvlsm.widgets._comparison_presenter import ComparisonPresenter
from napari_medvlsm.widgets._correction_presenter import CorrectionPresenter
from napari_medvlsm.widgets._layers import SPACING_KEY, LayerManager, SliceInView
from napari_medvlsm.widgets._model_presenter import ModelPresenter
from napari_medvlsm.widgets._prompt_presenter import PromptPresenter, open_dialog
from napari_medvlsm.widgets._result_presenter import ResultPresenter
from napari_medvlsm.widgets._workers import Background, EngineThreads, call_later
from napari_medvlsm.widgets.dialogs import GuideDialog
from napari_medvlsm.widgets.sections import (
    CorrectionSection,
    Footer,
    ModelSection,
    PromptSection,
    ResultSection,
    SaveSection,
    ScanSection,
)
from napari_medvlsm.widgets.sections._section import rule
from napari_medvlsm.widgets.sections.footer import CANCEL_KEYS, HELP_KEYS, SEGMENT_KEYS
from napari_medvlsm.widgets.sections.scan import Look

if TYPE_CHECKING:
    from napari.viewer import Viewer

# Wait this long after the last move before the slice is read.
_SETTLE_MS = 120
_WORDS = {
    EngineState.STARTING: "Starting the engine…",
    EngineState.PREPARING: "Getting the scan ready…",
    EngineState.SEGMENTING: "Outlining…",
    EngineState.CANCELLING: "Cancelling…",
}
_CANCELLABLE = (EngineState.SEGMENTING, EngineState.COMPARING, EngineState.CANCELLING)


class Panel(QWidget):
    """Segment with words.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    store : AutosaveStore, optional
        Where corrections are kept safe; by default in the user's data folder.
    """

    def __init__(self, napari_viewer: Viewer, store: AutosaveStore | None = None) -> None:
        super().__init__()
        self.setObjectName("medvlsm-panel")
        # napari hands plugins a proxy that wraps every layer anew; ours are told apart by identity.
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.store = store or AutosaveStore()
        vocabulary, problem = _own_vocabulary()
        # No parent: it outlives the panel's C++ side long enough to end the engine.
        self.transport = EngineThreads()
        self.destroyed.connect(self.transport.stop)
        self.engine = EngineController(self.transport, call_later(self))
        self.session = Session(self.engine, vocabulary, available_models())
        self.background = Background(self)
        self.book = LayerManager(self.viewer)
        self.view: SliceInView | None = None
        self._layer: Image | None = None
        self.desk = CorrectionPresenter(
            self.book, self.session, self.store, self.background, self._settle_if_moving, self
        )
        self._pixels_seen: tuple[Image, tuple[int, ...]] | None = None
        self._closed = False

        self._build(vocabulary)
        self.models = ModelPresenter(self.session, self.model_section, self)
        self.prompts = PromptPresenter(self.session, self.prompt_section, self)
        self.results = ResultPresenter(self.book, self.session, self.result_section, lambda: self.view, self)
        self.wordings = ComparisonPresenter(
            self.session,
            self.prompt_section,
            self.result_section,
            self.results,
            self.desk,
            self.background,
            self,
        )
        self._scan_timer = QTimer(self)
        self._scan_timer.setSingleShot(True)
        self._scan_timer.setInterval(_SETTLE_MS)
        self._scan_timer.timeout.connect(self._settle_scan)
        self._connect()
        self.result_section.set_threshold(self.session.threshold)
        self.engine.start()
        self._on_layers()
        self._show_correction()
        if problem:
            self.footer.set_status(problem, problem=True)

    # What the window does -------------------------------------------------------------------------------------

    def open_file(self, path: Path) -> None:
        """Open a scan beside what is there; a file that cannot be read changes nothing but the status line."""
        self.footer.set_status(f"Opening {path.name}…")
        self.background.run(partial(_read, path), partial(self._add_file, path), self._report)

    def segment(self) -> None:
        """Ask the model about the scan in view."""
        self._pixels_seen = None
        self._settle_scan()
        self.footer.set_status("")
        try:
            self.session.segment(self._options())
        except ValueError as error:
            self._report(error)

    def _options(self) -> SegmentOptions:
        """Where the model is to look.

        Raises
        ------
        ValueError
            If a rectangle is wanted and none is drawn.
        """
        look: Look = self.scan_section.look.currentData()
        region = self.book.rectangle(self.view) if look.rectangle and self.view is not None else None
        if look.rectangle and self.view is not None and region is None:
            self.book.draw_rectangle(self.view)
            raise ValueError("Draw a rectangle around what the model is to look at, then press Segment.")
        return SegmentOptions(Tiling() if look.tiles else None, region)

    def _choose_look(self, look: Look) -> None:
        if self.view is None:
            return
        if look.rectangle:
            self.book.draw_rectangle(self.view)
            self.footer.set_status("Draw a rectangle on the scan. The one drawn last counts.")
        else:
            self.book.hide_rectangle(self.view.layer)
            self.footer.set_status("")

    def start_correction(self) -> None:
        """Give the target a correction layer, with the prediction in it if there is one, and paint on it."""
        layer = self.desk.begin(self.results.mask_of(self.desk.target.phrase))
        if layer is not None and self.view is not None:
            prediction = self.book.prediction(self.view.layer, self.desk.target.phrase)
            if prediction is not None:
                prediction.visible = False
            self.result_section.certainty.setChecked(False)
            self.viewer.layers.selection.active = layer

    def save_as(self, path: Path) -> None:
        """Write the outline in view; the file is replaced at once or not at all."""
        found = self._outline()
        if found is None or self.view is None:
            return
        mask, description = found
        try:
            save_mask(path, mask, description, self.view.scan.spacing)
        except (ValueError, OSError) as error:
            self._report(error, f"{path.name} could not be saved")
            return
        if self.desk.current() is not None:
            self.desk.saved()
        self.footer.set_status(f"Saved {path.name}.")

    def export_to(self, folder: Path) -> None:
        """Add the scan and the outline in view to a training folder."""
        found = self._outline()
        if found is None or self.view is None:
            return
        target = self.desk.target.phrase
        said = self.session.said if self.session.said.target == target else Attributes(target)
        try:
            export_case(folder, self.view.scan, found[0], said, self.session.vocabulary)
        except (ValueError, OSError) as error:
            self._report(error, "Nothing was added")
            return
        self.footer.set_status(f"Added to the training set in {folder.name}.")

    def show_help(self) -> None:
        """Open the guide beside the window, or bring it to the front."""
        guide = self.findChild(GuideDialog) or GuideDialog(parent=self)
        open_dialog(guide)
        guide.raise_()

    def close_engine(self) -> None:
        """End the engine and finish what is being written; the panel is done."""
        if self._closed:
            return
        self._closed = True
        # They would go on with a session that is over.
        for dialog in self.findChildren(QDialog):
            dialog.close()
        self.desk.close()
        self.results.close()
        self.models.close()
        self._follow(None)
        self.engine.close()
        self.background.close()
        self.store.close()
        events = self.viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            emitter.disconnect(self._on_layers)
        self.viewer.layers.selection.events.active.disconnect(self._on_active)
        self.viewer.dims.events.disconnect(self._on_dims)

    def sizeHint(self) -> QSize:
        """A width at which nothing is clipped."""
        return QSize(360, 720)

    def event(self, event: QEvent) -> bool:
        """End the engine when napari takes the panel out of its dock."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.close_engine()
        return handled

    def showEvent(self, event: Any) -> None:
        """Watch for the end of the window that the panel is shown in."""
        super().showEvent(event)
        # A floating dock is a window too, but hiding it is not the end.
        self.window().installEventFilter(self)
        for widget in self.window().findChildren(QWidget):
            if widget.acceptDrops() and widget.metaObject().className() == "QtViewer":
                widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """End the engine once the window has closed (it may refuse to), and open scans dropped on the viewer.

        napari would open most of them too, but without their pixel size, and with a stack trace if they are broken.
        """
        if event.type() == QEvent.Type.Close and isinstance(watched, QMainWindow):
            QTimer.singleShot(0, lambda: None if watched.isVisible() else self.close_engine())
        elif event.type() == QEvent.Type.Drop and not self._closed:
            paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
            if paths and all(path.suffix.lower() in SUFFIXES for path in paths):
                for path in paths:
                    self.open_file(path)
                event.acceptProposedAction()
                return True
        return False

    # Building -------------------------------------------------------------------------------------------------

    def _build(self, vocabulary: Any) -> None:
        self.scan_section = ScanSection()
        self.model_section = ModelSection()
        self.prompt_section = PromptSection(vocabulary)
        self.result_section = ResultSection()
        self.correction_section = CorrectionSection()
        self.save_section = SaveSection()
        self.footer = Footer()

        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        sections = (
            self.scan_section,
            self.prompt_section,
            self.result_section,
            self.correction_section,
            self.save_section,
            self.model_section,
        )
        for i, section in enumerate(sections):
            if i:
                column.addWidget(rule())
            column.addWidget(section)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidget(page)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.scroll = scroll

        tab = QWidget()
        whole = QVBoxLayout(tab)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(scroll, 1)
        whole.addWidget(rule())
        whole.addWidget(self.footer)
        self.tabs = QTabWidget()
        self.tabs.setTabBarAutoHide(True)
        self.tabs.addTab(tab, "Segment")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.tabs)
        self.setMinimumWidth(330)

    def _connect(self) -> None:
        self.scan_section.layerChosen.connect(self._choose_layer)
        self.scan_section.openRequested.connect(self._ask_open)
        self.scan_section.lookChosen.connect(self._choose_look)
        self.prompt_section.text.returnPressed.connect(self.segment)
        self.results.changed.connect(self._on_results)
        self.correction_section.startRequested.connect(self.start_correction)
        self.correction_section.takeOverRequested.connect(
            lambda: self.desk.take_over(self.results.mask_of(self.desk.target.phrase))
        )
        self.correction_section.undoRequested.connect(self.desk.undo)
        self.correction_section.redoRequested.connect(self.desk.redo)
        self.correction_section.adoptRequested.connect(self.desk.adopt)
        self.correction_section.restoreRequested.connect(self.desk.restore)
        self.correction_section.discardRequested.connect(self.desk.discard)
        self.desk.changed.connect(self._show_correction)
        self.desk.kept.connect(self.correction_section.set_saved)
        self.desk.said.connect(self.footer.set_status)
        self.save_section.saveRequested.connect(self._ask_save)
        self.save_section.exportRequested.connect(self._ask_export)
        self.footer.segmentRequested.connect(self.segment)
        self.footer.cancelRequested.connect(self.engine.cancel)
        self.footer.helpRequested.connect(self.show_help)

        self.engine.state_changed.connect(self._on_engine_state)
        self.engine.progressed.connect(lambda text: self.footer.set_status(f"{text}…", passing=True))
        self.engine.advanced.connect(self.footer.set_fraction)
        self.engine.noticed.connect(lambda text: self.footer.set_status(text, problem=True))
        self.engine.failed.connect(lambda text: self.footer.set_status(text, problem=True))
        self.engine.cancelled.connect(lambda: self.footer.set_status("Cancelled."))
        self.session.scan_changed.connect(self._show_scan)
        self.session.model_changed.connect(lambda: self.result_section.set_threshold(self.session.threshold))
        self.session.prompt_changed.connect(self._show_correction)
        self.session.queue_changed.connect(self._show_count)
        self.session.prompt_changed.connect(self._show_count)
        self.session.failed.connect(lambda text: self.footer.set_status(text, problem=True))
        self.prompts.said.connect(self.footer.set_status)
        self.wordings.said.connect(self.footer.set_status)

        events = self.viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered):
            emitter.connect(self._on_layers)
        self.viewer.layers.selection.events.active.connect(self._on_active)
        self.viewer.dims.events.connect(self._on_dims)

        self._shortcuts = []
        keyed = ((SEGMENT_KEYS, self.segment), (CANCEL_KEYS, self.engine.cancel), (HELP_KEYS, self.show_help))
        for keys, function in keyed:
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(function)
            self._shortcuts.append(shortcut)

    # Scan -----------------------------------------------------------------------------------------------------

    def _add_file(self, path: Path, found: ImageFile | Mask) -> None:
        if not isinstance(found, ImageFile):
            self.viewer.add_layer(Labels(found.astype(np.uint8), name=path.stem))
            self.footer.set_status(f"Opened the outline {path.name}; it can be used as a correction.")
            self._show_correction()
            return
        layer = Image(found.pixels, name=path.stem, rgb=found.colour, metadata={SPACING_KEY: found.spacing})
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = layer
        self.book.show_scan(layer)
        self.footer.set_status(f"Opened {path.name}.")

    def _on_layers(self, event: Any = None) -> None:
        layers = _layers.scan_layers(self.viewer)
        if self._layer not in layers:
            active = self.viewer.layers.selection.active
            self._follow(active if active in layers else (layers[0] if layers else None))
        self.scan_section.set_layers([(layer.name, layer) for layer in layers], self._layer)
        self._scan_timer.start()

    def _on_active(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if active is not None and active in _layers.scan_layers(self.viewer):
            self._choose_layer(active)

    def _choose_layer(self, layer: Image | None) -> None:
        if layer is not self._layer:
            self._follow(layer)
            self._on_layers()

    def _follow(self, layer: Image | None) -> None:
        """Work on a layer from now on, and hear when its pixels or its name change."""
        if self._layer is not None:
            self._layer.events.data.disconnect(self._on_pixels)
            self._layer.events.name.disconnect(self._on_layers)
        self._layer = layer
        if layer is not None:
            layer.events.data.connect(self._on_pixels)
            layer.events.name.connect(self._on_layers)

    def _on_pixels(self, event: Any = None) -> None:
        self._pixels_seen = None
        self._scan_timer.start()

    def _on_dims(self, event: Any) -> None:
        if event.type in ("point", "current_step", "ndisplay", "order") and not self._closed:
            self._scan_timer.start()

    def _settle_scan(self) -> None:
        """Read the slice in view, now."""
        self._scan_timer.stop()
        if self._closed:
            return
        problem = ""
        self.view = None
        if self._layer is not None and self._layer in self.viewer.layers:
            try:
                self.view = _layers.slice_in_view(self.viewer, self._layer)
            except ValueError as error:
                problem = str(error)
        seen = (self.view.layer, self.view.index) if self.view else None
        if seen is None or seen != self._pixels_seen:
            self._pixels_seen = seen
            self.desk.flush()
            self.session.set_scan(self.view.scan if self.view else None)
            self.desk.look_at(self.view)
        if problem:
            self.scan_section.set_scan(None, problem)

    def _settle_if_moving(self) -> None:
        if self._scan_timer.isActive():
            self._settle_scan()

    def _show_scan(self) -> None:
        self.scan_section.set_scan(self.session.scan)
        self.footer.segment.setEnabled(self.session.scan is not None)

    # Prompt, model, result ------------------------------------------------------------------------------------

    def _show_count(self) -> None:
        """Say how many targets are outlined in one go, if there is a list."""
        try:
            self.footer.set_count(len(self.session.asked()) if self.session.queue else 0)
        except ValueError:
            self.footer.set_count(len(self.session.queue))

    def _on_engine_state(self, state: EngineState) -> None:
        self.footer.set_busy(state in _WORDS or state is EngineState.COMPARING, state in _CANCELLABLE)
        if state in _WORDS:
            self.footer.set_status(_WORDS[state], passing=True)
        elif state is EngineState.READY and self.footer.passing:
            self.footer.set_status("Ready.")

    def _on_results(self) -> None:
        shown = self.session.result is not None and self.view is not None
        if shown:
            self.footer.set_status("Done. Check the outline before you use it.")
        self._show_correction()

    # Correction and saving ------------------------------------------------------------------------------------

    def _show_correction(self) -> None:
        desk, section = self.desk, self.correction_section
        corrected, predicted = desk.current() is not None, self.results.mask_of(self.desk.target.phrase) is not None
        label = desk.target.label
        section.set_state(label if self.view is not None else None, corrected, predicted)
        section.set_adoptable([(layer.name, layer) for layer in desk.adoptable()])
        if desk.offered is None:
            section.set_offer("")
        else:
            offered = self.session.vocabulary.target(desk.offered.target).label
            section.set_offer(f"Unsaved correction of {offered} from {desk.offered.saved:%d %b, %H:%M}.")
        if corrected:
            self.save_section.set_source(f"Saves your correction of {label}.")
        elif predicted:
            self.save_section.set_source(f"Saves the model's outline of {label}, not corrected.")
        else:
            self.save_section.set_source(None)

    def _outline(self) -> tuple[Mask, dict[str, Any]] | None:
        """The correction in view, else the prediction, and how it was made."""
        mask = self.results.mask_of(self.desk.target.phrase)
        return self.desk.outline() or (None if mask is None else (mask, self.session.story(corrected=False)))

    def _ask_open(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        name, _ = QFileDialog.getOpenFileName(self, "Open a scan", "", f"Scans ({kinds});;All files (*)")
        if name:
            self.open_file(Path(name))

    def _ask_save(self) -> None:
        if self.view is None:
            return
        dialog = QFileDialog(self, "Save the outline", "", "Label TIFF (*.tif *.tiff);;PNG (*.png)")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        # With a default suffix the dialog itself asks before it overwrites the completed name.
        dialog.setDefaultSuffix("tif")
        dialog.filterSelected.connect(lambda kind: dialog.setDefaultSuffix("png" if "png" in kind else "tif"))
        dialog.selectFile(f"{self.view.layer.name}_{self.desk.target.phrase.replace(' ', '-')}")
        if dialog.exec():
            self.save_as(Path(dialog.selectedFiles()[0]))
        dialog.deleteLater()

    def _ask_export(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of the training set")
        if name:
            self.export_to(Path(name))

    def _report(self, error: Exception, what: str = "") -> None:
        """Put an error in words into the status line."""
        if not self._closed:
            self.footer.set_status(f"{what}: {error}" if what else str(error), problem=True)


def _own_vocabulary() -> tuple[Vocabulary, str]:
    """The vocabulary with the user's words; if these cannot be used, the shipped one and a sentence that says why."""
    try:
        return load_vocabulary(own_words_path()), ""
    except ValueError as error:
        return load_vocabulary(), str(error)


def _read(path: Path) -> ImageFile | Mask:
    """A scan, or the mask of a file that this program saved."""
    return load_mask(path)[0] if is_own_mask(path) else read_image(path)
