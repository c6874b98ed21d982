"""What must always hold: panel, viewer, layers and disk speak of the same scan, and nothing that was drawn is lost."""

from __future__ import annotations

import time

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtWidgets import QApplication

from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.widgets._correction_layers import NOTES
from napari_medvlsm.widgets._layers import image_id, role, scan_layers


def wait(condition, seconds=120.0):
    """Run the event loop until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        QApplication.processEvents()
        time.sleep(0.002)


def settle(panel):
    """Let what was begun in the background end: files that are read, strokes that are written, slices that moved."""
    for _ in range(3):
        done = []
        panel.background.run(lambda: None, done.append)
        wait(lambda done=done: done)
        wait(lambda: panel.scans.worklist.opening is None and not panel.view.moving)
    panel.corrections.flush()
    for background in (panel.autosaving, panel.background):
        done = []
        background.run(lambda: None, done.append)
        wait(lambda done=done: done)
    QApplication.processEvents()


def disagreements(panel):
    """What does not hold, one sentence for each; empty if all agrees."""
    view, viewer, worklist = panel.view, panel.viewer, panel.scans.worklist
    scans = scan_layers(viewer)
    found = []

    def claim(holds, sentence):
        if not holds:
            found.append(sentence)

    claim({id(e.image) for e in worklist.entries if e.image is not None} == {id(s) for s in scans}, "list and layers")
    current = worklist.current
    claim((current is None) == (not scans), "one of the open scans is worked on")
    row = panel.scan_section.scans.currentRow()
    claim(row == (worklist.entries.index(current) if current is not None else -1), "the list shows another scan")
    claim(panel.scan_section.scans.count() == len(worklist.entries), "the list has other entries")
    shown = [layer for layer in scans if layer.visible]
    hidden = view.image is not None and not view.image.visible
    claim(shown == ([view.image] if view.image is not None and not hidden else []), f"shown is {shown}")
    for layer in viewer.layers:
        if role(layer) and layer.visible and view.image is not None:
            claim(role(layer)["image"] == image_id(view.image), f"{layer.name} of another scan is in sight")
    active = viewer.layers.selection.active
    if isinstance(active, Labels) and active.mode != "pan_zoom":
        claim(active.visible or hidden, f"{active.name} can be painted on out of sight")
    if isinstance(active, Image) and not role(active):
        claim(active is view.image, "the active layer is another scan")
    if view.image is None or hidden:
        claim(view.slice is None and not panel.footer.segment.isEnabled(), "something can be asked of nothing")
        return found
    if view.slice is None:
        claim(bool(view.problem), "there is no slice, and nobody says why")
        return found
    claim(view.slice.image is view.image, "the slice is of another scan")
    data = view.image.data
    claim(np.array_equal(view.scan.pixels, np.asarray(data[view.slice.index])), "the pixels are others")
    claim(view.scan_hash == content_hash(np.asarray(data[view.slice.index])), "the pixels were not read")
    claim(viewer.dims.ndisplay == 2 and tuple(viewer.dims.order) == tuple(range(viewer.dims.ndim)), "the axes")
    said = panel.session.typed
    said = panel.session.vocabulary.shown(panel.session.prompt) if said is None else said
    claim(panel.prompt_section.text.text().split() == said.split(), "the prompt shown is another")
    for target, annotation in panel.corrections.of_scan().items():
        layer = panel.layers.correction(view.image, target)
        plane = np.asarray(layer.data[view.slice.index]) > 0
        # napari tells nobody of an undo on a hidden layer; that is read when the layer is shown or asked for.
        same = not layer.visible or np.array_equal(plane, annotation.mask)
        claim(same, f"the correction of {target} is not what its layer shows")
    for target in panel.session.results:
        layer = panel.layers.prediction(view.image, target)
        if layer is not None:
            plane = np.asarray(layer.data[view.slice.index]) > 0
            claim(np.array_equal(plane, panel.session.mask(target=target)), f"the prediction of {target} is another")
    claim(all(r.scan_hash == view.scan_hash for r in panel.session.results.values()), "a result of another scan")
    listed = [e.target.phrase for e in panel.outlines.entries()]
    section = panel.outlines_section.targets
    rows = [section.item(i).data(0x0100) for i in range(section.count())]
    claim([r for r in rows if r] == listed, f"the outlines listed are {rows}, not {listed}")
    return found


def fits(panel):
    """Whether the scan that is worked on fills the canvas along one side, in its middle."""
    image, viewer = panel.view.image, panel.viewer
    low, high = np.asarray(image.extent.world)[:, -2:]
    size = high - low + np.asarray(image.scale)[-2:]
    part = np.max(size * viewer.scene.camera.zoom / np.asarray(viewer.canvas.size))
    return bool(np.allclose(viewer.scene.camera.center[-2:], (low + high) / 2) and abs(part - 0.95) < 1e-3)


class Ledger:
    """The latest state of everything that was drawn, to be found again on a layer, among the offers, or on disk."""

    def __init__(self):
        self.drawn = {}

    def note(self, panel):
        """Remember what the layers of the scan in view hold now."""
        for target, annotation in panel.corrections.of_scan().items():
            key = annotation.provenance.scan_hash, target
            if annotation.mask.any():
                self.drawn[key] = annotation.mask.copy()
            else:
                self.drawn.pop(key, None)

    def lost(self, viewer, *folders):
        """Of what was drawn, what is neither on a layer nor in a file."""
        there = {}
        for layer in viewer.layers if viewer is not None else ():
            if isinstance(layer, Labels):
                for scan_hash, places in layer.metadata.get(NOTES, {}).items():
                    for index, annotation in places.items():
                        plane = np.asarray(layer.data[index]) > 0
                        there.setdefault((scan_hash, annotation.target), []).append(plane)
        for folder in folders:
            for path in folder.glob("*.tif"):
                if not path.name.startswith("."):
                    kept = load_mask(path)
                    there.setdefault((kept.provenance.scan_hash, kept.target), []).append(kept.mask)
        return [
            f"{target} of {scan_hash[:6]}"
            for (scan_hash, target), mask in self.drawn.items()
            if not any(np.array_equal(mask, other) for other in there.get((scan_hash, target), ()))
        ]
