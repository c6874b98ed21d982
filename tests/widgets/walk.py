"""Random actions of a person in a real window; after each, panel, viewer, layers and disk must agree.

Usage: python -m tests.widgets.walk [--seeds N] [--first SEED] [--actions N]     (under a display)
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from napari.layers import Image, Labels
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.images import read_image
from napari_medvlsm.widgets._layers import role
from tests.widgets.agreement import Ledger, disagreements, settle, wait

SAMPLES = Path(__file__).parents[2] / "napari_medvlsm" / "data" / "samples"
TARGETS = ("polyp", "skin melanoma", "left lung", "cell nuclei")
KEYS = {"next": Qt.Key.Key_PageDown, "previous": Qt.Key.Key_PageUp}


def make_scans(folder):
    """Eight scans of different kinds and sizes, a broken one, and a DICOM file; the paths of all."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    for name, by in (("skin_lesion.jpg", 16), ("breast_ultrasound.png", 4), ("cell_nuclei.png", 4)):
        pixels = np.ascontiguousarray(read_image(SAMPLES / name).pixels[::by, ::by])
        Picture.fromarray(pixels).save(folder / f"{Path(name).stem}.png")
    chest = read_image(SAMPLES / "chest_xray.tif").pixels[::16, ::16]
    tifffile.imwrite(folder / "chest.tif", chest, resolution=(50, 25), resolutionunit="CENTIMETER")
    tifffile.imwrite(folder / "stack.tif", np.stack([chest, chest[::-1], chest[:, ::-1]]), photometric="minisblack")
    tifffile.imwrite(folder / "float.tif", rng.random((60, 90), np.float32))
    Picture.fromarray(rng.integers(0, 255, (40, 150), np.uint8)).save(folder / "wide.bmp")
    turned = Picture.fromarray(rng.integers(0, 255, (50, 80, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    (folder / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 200)
    return sorted(folder.iterdir())


class Walker:
    """A person who does anything at any time.

    Parameters
    ----------
    viewer : napari.Viewer
    folder : Path
        Of scans, autosaves and saved files.
    seed : int
    """

    def __init__(self, viewer, folder, seed):
        self.viewer, self.folder = viewer, folder
        self.rng = np.random.default_rng(seed)
        self.files = make_scans(folder / "scans")
        self.saved = folder / "saved"
        self.saved.mkdir(exist_ok=True)
        self.ledger = Ledger()
        self.errors = []
        self.log = []
        self.count = 0
        self.panel = None
        # Mesa's software renderer crashes, also in a bare napari, where labels are left alone or all layers go. What is
        # checked here are layers, not pixels.
        viewer.window._qt_viewer.canvas.native.hide()
        self.open_panel()

    def open_panel(self):
        """Begin a session: another one than the last."""
        from napari_medvlsm.widgets.panel import Panel

        self.store = AutosaveStore(self.folder / "autosave")
        self.panel = Panel(self.viewer, self.store)
        self.viewer.window.add_dock_widget(self.panel, name="MedVLSM", area="right")

    def walk(self, actions):
        """Do some actions; stops at the first after which something does not hold."""
        for _ in range(actions):
            name = str(self.rng.choice(list(ACTIONS), p=CHANCES))
            self.log.append(name)
            if os.environ.get("WALK_TELL"):
                print(
                    self.count, name, [(la.name, la.visible) for la in self.viewer.layers], file=sys.stderr, flush=True
                )
            ACTIONS[name](self)
            self.count += 1
            self.check()

    def check(self):
        """Raise AssertionError unless all holds."""
        settle(self.panel)
        found = disagreements(self.panel)
        self.ledger.note(self.panel)
        lost = self.ledger.lost(self.viewer, self.folder / "autosave", self.saved)
        found += [f"lost: {what}" for what in lost]
        found += self.errors
        assert not found, f"after {self.count} actions, the last {self.log[-6:]}: {found}"

    def close(self):
        """Close the panel and look on the disk alone."""
        settle(self.panel)
        self.ledger.note(self.panel)
        self.close_panel()
        lost = self.ledger.lost(None, self.folder / "autosave", self.saved)
        assert not lost, f"not on disk after the end: {lost}"

    def close_panel(self):
        """End the session."""
        panel = self.panel
        panel.close_engine()
        self.viewer.window.remove_dock_widget(panel)
        panel.deleteLater()
        QApplication.processEvents()

    # Actions ------------------------------------------------------------------------------------------------------

    def pick(self, things):
        """One of some things; None of none."""
        things = list(things)
        return things[int(self.rng.integers(len(things)))] if things else None

    def open(self):
        """One file, or several at once, by napari's own way."""
        count = int(self.rng.integers(1, 4))
        paths = [str(self.files[int(i)]) for i in self.rng.choice(len(self.files), count, replace=False)]
        self.viewer.window._qt_viewer._qt_open(paths, stack=bool(self.rng.random() < 0.1))

    def open_folder(self):
        """The whole folder."""
        self.viewer.window._qt_viewer._qt_open([str(self.folder / "scans")], stack=False)

    def click_list(self):
        """A scan of the panel's list."""
        rows = self.panel.scan_section.scans
        if rows.count():
            rows.setCurrentRow(int(self.rng.integers(rows.count())))

    def click_layer(self):
        """A layer of napari's list."""
        layer = self.pick(self.viewer.layers)
        if layer is not None:
            self.viewer.layers.selection.active = layer

    def leaf(self):
        """The next scan or the one before, by the key."""
        key = self.pick(KEYS.values())
        QTest.keyClick(self.panel.prompt_section.text, key)

    def click_eye(self):
        """The eye of a layer."""
        layer = self.pick(self.viewer.layers)
        if layer is not None:
            layer.visible = not layer.visible

    def show_scan(self):
        """The eye of the scan that is worked on, if it is hidden."""
        if self.panel.view.image is not None:
            self.panel.view.image.visible = True

    def slide(self):
        """The slider of a stack."""
        if self.viewer.dims.ndim > 2:
            self.viewer.dims.set_current_step(0, int(self.rng.integers(3)))

    def delete(self):
        """One layer."""
        layer = self.pick(self.viewer.layers)
        if layer is not None:
            self.viewer.layers.selection.active = layer
            settle(self.panel)
            self.ledger.note(self.panel)
            self.viewer.layers.remove_selected()

    def delete_all(self):
        """Every layer."""
        self.viewer.layers.select_all()
        self.viewer.layers.remove_selected()

    def rename(self):
        """A layer gets another name."""
        layer = self.pick(self.viewer.layers)
        if layer is not None:
            layer.name = f"renamed {self.count}"

    def reorder(self):
        """A layer is dragged elsewhere."""
        count = len(self.viewer.layers)
        if count > 1:
            self.viewer.layers.move(*(int(i) for i in self.rng.choice(count, 2, replace=False)))

    def duplicate(self):
        """A layer once more, as napari's menu does."""
        from napari.layers import Layer

        layer = self.pick(self.viewer.layers)
        if layer is not None and len(self.viewer.layers) < 25:
            data, state, kind = layer.as_layer_data_tuple()
            state["name"] = f"{layer.name} copy"
            copy = Layer.create(np.array(data) if isinstance(layer, Image | Labels) else data, state, kind)
            self.viewer.layers.insert(self.viewer.layers.index(layer) + 1, copy)

    def choose(self):
        """A target."""
        self.panel.prompt_section.chosen.emit("target", self.pick(TARGETS))

    def type(self):
        """Words of one's own."""
        self.panel.prompt_section.typed.emit(self.pick(("small polyp", "the spleen", "", "left lung")))

    def click_outline(self):
        """A target of this scan."""
        rows = self.panel.outlines_section.targets
        rows.setCurrentRow(int(self.rng.integers(rows.count())))

    def segment(self):
        """Segment; one in two waits for the answer."""
        self.panel.segment()
        if self.rng.random() < 0.5:
            wait(lambda: not self.panel.session._outlining or self.panel.session.engine._active is None)

    def cancel(self):
        """Cancel."""
        self.panel.engine.cancel()

    def threshold(self):
        """The slider of the certainty."""
        self.panel.result_section.slider.setValue(int(self.rng.integers(1, 99)))

    def correct(self):
        """Begin a correction or paint on it."""
        start = self.panel.correction_section.start
        if not start.isHidden() and start.isEnabled():
            start.click()
        self.paint()

    def paint(self):
        """A stroke on the correction in view, or on one that napari's list has active."""
        active = self.viewer.layers.selection.active
        layer = active if isinstance(active, Labels) and role(active).get("kind") == "correction" else None
        if layer is not None and layer.visible and self.panel.view.slice is not None:
            index = self.panel.view.slice.index
            rows, cols = self.panel.view.scan.size
            place = (*index, int(self.rng.integers(rows)), int(self.rng.integers(cols)))
            with layer.block_history():
                layer.paint(place, 1)

    def undo(self):
        """Undo, in the panel."""
        self.panel.corrections.undo()

    def undo_key(self):
        """Undo, by napari's key."""
        active = self.viewer.layers.selection.active
        if isinstance(active, Labels) and role(active).get("kind") == "correction":
            active.undo()

    def redo(self):
        """Redo."""
        self.panel.corrections.redo()

    def absent(self):
        """Nothing to segment here."""
        if self.panel.correction_section.absent.isEnabled():
            settle(self.panel)
            self.panel.corrections.declare_absent()

    def take(self):
        """The prediction again."""
        self.panel.corrections.take_prediction()

    def restore(self):
        """What is offered."""
        self.panel.corrections.restore()

    def save(self):
        """The outline, or all."""
        if self.rng.random() < 0.5:
            self.panel.save_as(self.saved / f"{self.count}.tif")
        else:
            self.panel.saving.save_all(self.saved)

    def reopen(self):
        """Close the panel and open it again."""
        settle(self.panel)
        self.ledger.note(self.panel)
        self.close_panel()
        self.open_panel()


ACTIONS = {
    "open": Walker.open,
    "open_folder": Walker.open_folder,
    "click_list": Walker.click_list,
    "click_layer": Walker.click_layer,
    "leaf": Walker.leaf,
    "click_eye": Walker.click_eye,
    "show_scan": Walker.show_scan,
    "slide": Walker.slide,
    "delete": Walker.delete,
    "delete_all": Walker.delete_all,
    "rename": Walker.rename,
    "reorder": Walker.reorder,
    "duplicate": Walker.duplicate,
    "choose": Walker.choose,
    "type": Walker.type,
    "click_outline": Walker.click_outline,
    "segment": Walker.segment,
    "cancel": Walker.cancel,
    "threshold": Walker.threshold,
    "correct": Walker.correct,
    "paint": Walker.paint,
    "undo": Walker.undo,
    "undo_key": Walker.undo_key,
    "redo": Walker.redo,
    "absent": Walker.absent,
    "take": Walker.take,
    "restore": Walker.restore,
    "save": Walker.save,
    "reopen": Walker.reopen,
}
_WEIGHTS = {"open": 4, "click_list": 5, "leaf": 4, "choose": 3, "segment": 4, "correct": 6, "paint": 6, "show_scan": 2}
_RARE = {"delete_all": 0.2, "reopen": 0.4, "open_folder": 0.5, "duplicate": 0.5, "absent": 0.5}
CHANCES = np.array([(_WEIGHTS | _RARE).get(name, 1.5) for name in ACTIONS])
CHANCES /= CHANCES.sum()


def main():
    """Walk from several seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--actions", type=int, default=500)
    options = parser.parse_args()
    import napari
    from napari._qt import qt_main_window

    qt_main_window.SHOW_QT_WARNING = False
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            viewer = napari.Viewer()
            walker = Walker(viewer, Path(folder), seed)
            # What would be a traceback on the terminal or in a toast.
            sys.excepthook = lambda kind, error, trace, w=walker: w.errors.append(f"{kind.__name__}: {error}")
            try:
                walker.walk(options.actions)
                walker.close()
                print(
                    f"seed {seed}: {walker.count} actions, {len(walker.ledger.drawn)} outlines, all agrees", flush=True
                )
            except Exception as error:
                failed += 1
                print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
                if os.environ.get("WALK_RAISE"):
                    raise
                walker.panel.close_engine()
            viewer.close()
            QApplication.processEvents()
    sys.exit(bool(failed))


if __name__ == "__main__":
    # A session of its own, before anything reads the user's folders.
    os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
    os.environ["NAPARI_CONFIG"] = ""
    main()
