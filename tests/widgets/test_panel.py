"""The panel in a real viewer, with the real engine behind it."""

import os
import signal
import threading

import numpy as np
import tifffile
from napari.layers import Labels
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QWidget

from medvlsm_training.config import SourceConfig
from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import load_mask, save_mask
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.prompts import load_vocabulary

ENGINE_MS = 90_000


def prediction(panel):
    return panel.layers.prediction(panel.view.slice.image, panel.session.result.target)


def correction(panel, target="skin melanoma"):
    return panel.layers.correction(panel.view.slice.image, target)


def autosaved(store):
    """The states that a crash would leave, without the earlier ones that were kept beside them."""
    return [path for path in store.folder.glob("[!.]*.tif") if "." not in path.stem]


def settle(qtbot, panel):
    """Wait until the slice is read and every change of a correction is written and reported."""
    qtbot.waitUntil(lambda: not panel.view.moving and not panel.corrections._dirty, timeout=ENGINE_MS)
    done = []
    for thread in (panel.background, panel.autosaving):
        thread.run(lambda: None, done.append)
    qtbot.waitUntil(lambda: len(done) == 2, timeout=ENGINE_MS)


def test_segment_correct_undo_redo_save_open_again(segmented, qtbot, tmp_path):
    panel = segmented
    shown = prediction(panel)
    assert shown.data.shape == panel.view.scan.size and 0.02 < shown.data.mean() < 0.3 and not shown.editable
    assert "Skin lesion" in panel.result_section.summary.text()

    panel.correction_section.start.click()
    layer = correction(panel)
    taken = layer.data.copy()
    assert layer is not shown and layer.mode == "paint" and panel.viewer.layers.selection.active is layer
    np.testing.assert_array_equal(taken, shown.data)
    layer.paint((10, 10), 1)
    painted = layer.data.copy()
    assert painted.sum() > taken.sum() and shown.data.sum() == taken.sum()

    panel.correction_section.undo.click()
    np.testing.assert_array_equal(layer.data, taken)
    panel.correction_section.undo.click()
    assert not layer.data.any(), "the prediction enters as one undoable step"
    panel.correction_section.redo.click()
    panel.correction_section.redo.click()
    np.testing.assert_array_equal(layer.data, painted)

    path = tmp_path / "lesion.tif"
    panel.save_as(path)
    saved = load_mask(path)
    np.testing.assert_array_equal(saved.mask, painted > 0)
    np.testing.assert_array_equal(saved.prediction, taken > 0)
    made = saved.provenance
    assert saved.corrected and made.prompt.text == "skin melanoma" and made.model == "starter"
    assert made.weights_hash == weights_hash(panel.session.model.folder) and made.strokes == 1
    assert made.vocabulary_hash == panel.session.vocabulary.digest and made.scan_hash == panel.view.scan_hash
    (again,) = panel.viewer.open(path, plugin="napari", layer_type="labels")
    np.testing.assert_array_equal(again.data, painted)


def test_nothing_touches_a_correction(segmented, qtbot, ready):
    panel = segmented
    panel.correction_section.start.click()
    layer = correction(panel)
    layer.paint((5, 5), 1)
    before = layer.data.copy()
    panel.result_section.slider.setValue(90)
    panel.result_section.largest.click()
    panel.prompt_section.chosen.emit("size", "large")
    panel.prompt_section.chosen.emit("target", "polyp")
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: panel.session.result.target == "polyp", timeout=ENGINE_MS)
    panel.session.set_model("starter")
    ready(panel)
    settle(qtbot, panel)
    np.testing.assert_array_equal(layer.data, before)
    assert correction(panel) is layer and panel.layers.correction(panel.view.slice.image, "polyp") is None
    panel.correction_section.start.click()
    assert len(panel.layers.corrections(panel.view.slice.image)) == 2
    np.testing.assert_array_equal(layer.data, before)


def test_threshold_and_cleanup_follow_at_once(segmented, qtbot):
    panel = segmented
    areas = []
    for value in (10, 50, 90):
        panel.result_section.slider.setValue(value)
        areas.append(int(prediction(panel).data.sum()))
    assert areas[0] > areas[1] > areas[2]
    assert panel.result_section.percent.text() == "90 %"
    panel.result_section.slider.setValue(10)
    panel.result_section.largest.click()
    qtbot.waitUntil(lambda: prediction(panel).data.sum() == panel.session.mask().sum(), timeout=60_000)
    assert panel.engine.state is EngineState.READY


def test_certainty_map_comes_and_goes(segmented):
    panel = segmented
    panel.result_section.certainty.click()
    maps = [layer for layer in panel.viewer.layers if layer.name == "Certainty"]
    np.testing.assert_array_equal(maps[0].data, panel.session.result.probability)
    panel.result_section.certainty.click()
    assert "Certainty" not in panel.viewer.layers
    assert panel.view.image.name == "lesion"


def test_engine_killed_in_the_middle(segmented, qtbot, ready):
    panel = segmented
    panel.correction_section.start.click()
    before = correction(panel).data.copy()
    pid = panel.transport.pid
    os.kill(pid, signal.SIGSTOP)
    panel.footer.segment.click()
    assert panel.engine.state is EngineState.SEGMENTING
    os.kill(pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: panel.transport.pid not in (pid, None), timeout=60_000)
    assert "started again" in panel.footer.status.text() and "untouched" in panel.footer.status.text()
    np.testing.assert_array_equal(correction(panel).data, before)
    ready(panel)
    with qtbot.waitSignal(_answers(panel), timeout=ENGINE_MS):
        panel.footer.segment.click()


def test_cancel_of_an_engine_that_hangs(segmented, qtbot, ready):
    panel = segmented
    pid = panel.transport.pid
    os.kill(pid, signal.SIGSTOP)
    panel.footer.segment.click()
    assert panel.footer.cancel.isVisible()
    panel.footer.cancel.click()
    assert "Cancelling" in panel.footer.status.text()
    qtbot.waitUntil(lambda: panel.transport.pid not in (pid, None), timeout=60_000)
    ready(panel)
    assert not panel.footer.cancel.isVisible()
    with qtbot.waitSignal(_answers(panel), timeout=ENGINE_MS):
        panel.footer.segment.click()


def _answers(panel):
    from qtpy.QtCore import QObject, Signal

    class Relay(QObject):
        came = Signal()

    relay = Relay(panel)
    panel.engine.answered.connect(lambda *_: relay.came.emit())
    return relay.came


def test_unknown_words_are_flagged_and_a_near_phrase_can_be_clicked(panel):
    panel.prompt_section.text.setText("liver tumour")
    panel.prompt_section.typed.emit("liver tumour")
    warning = panel.prompt_section.warning
    assert not warning.isHidden() and "liver" in warning.text() and "breast tumor" in warning.text()
    warning.linkActivated.emit("breast tumor")
    assert panel.session.prompt.text == "breast tumor" and "never learned" not in warning.text()
    assert panel.prompt_section.target.currentData() == "breast tumor"


def test_pickers_write_the_prompt_live(panel):
    section = panel.prompt_section
    section.target.setCurrentIndex(section.target.findData("polyp"))
    section.target.activated.emit(section.target.currentIndex())
    picker = section.describe.pickers["location"]
    picker.setCurrentIndex(picker.findData("top left"))
    picker.activated.emit(picker.currentIndex())
    assert section.text.text() == "polyp, located in the top left of the image"


def test_bad_file_says_one_sentence_and_changes_nothing(panel, qtbot, tmp_path, lesion):
    panel.viewer.add_image(lesion, name="lesion")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    before = list(panel.viewer.layers)
    panel.open_file(tmp_path / "bad.png")
    qtbot.waitUntil(lambda: "broken" in panel.footer.status.text(), timeout=60_000)
    assert list(panel.viewer.layers) == before


def drop(panel, *paths):
    """Drop files on the viewer as the file manager does."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    viewer = next(w for w in panel.window().findChildren(QWidget) if w.metaObject().className() == "QtViewer")
    how = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(viewer, QDragEnterEvent(QPoint(50, 50), *how))
    QApplication.sendEvent(viewer, QDropEvent(QPointF(50, 50), *how))


def test_dropped_files_are_opened_by_the_panel(panel, qtbot, tmp_path, lesion):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    drop(panel, tmp_path / "bad.png")
    qtbot.waitUntil(lambda: "broken" in panel.footer.status.text(), timeout=60_000)
    assert not panel.viewer.layers
    tifffile.imwrite(tmp_path / "a.tif", lesion[..., 0], resolution=(50, 25), resolutionunit="CENTIMETER")
    drop(panel, tmp_path / "a.tif")
    qtbot.waitUntil(lambda: panel.view.slice is not None, timeout=60_000)
    assert panel.view.scan.spacing == (0.4, 0.2)


def test_a_saved_outline_opens_again_as_an_outline(panel, qtbot, tmp_path, lesion):
    panel.viewer.add_image(lesion, name="lesion")
    mask = np.zeros(lesion.shape[:2], bool)
    mask[50:90, 60:120] = True
    provenance = new_provenance(scan_hash=content_hash(lesion), scan_size=mask.shape, model="starter", author="Ada")
    save_mask(tmp_path / "m.tif", Annotation("skin melanoma", mask, corrected=True, provenance=provenance))
    drop(panel, tmp_path / "m.tif")
    qtbot.waitUntil(lambda: len(panel.viewer.layers) == 2, timeout=60_000)
    (labels,) = [layer for layer in panel.viewer.layers if isinstance(layer, Labels)]
    np.testing.assert_array_equal(labels.data > 0, mask)
    panel.view.settle()
    assert panel.view.slice.image.name == "lesion" and panel.layers.adoptable(panel.view.slice.image) == [labels]
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.correction_section.adoptRequested.emit(labels)
    assert panel.corrections.annotation().provenance.model == "starter", "what was known of it came along"


def test_segment_without_scan_or_target_asks_for_it(panel, lesion):
    panel.segment()
    assert "scan first" in panel.footer.status.text()
    panel.viewer.add_image(lesion)
    panel.segment()
    assert "Choose what to outline" in panel.footer.status.text()


def test_files_opened_in_the_panel_keep_pixels_and_spacing(panel, qtbot, tmp_path, rng):
    deep = rng.integers(0, 4000, (50, 60)).astype(np.uint16)
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 0.2,
        "PhysicalSizeXUnit": "mm",
        "PhysicalSizeY": 0.4,
        "PhysicalSizeYUnit": "mm",
    }
    tifffile.imwrite(tmp_path / "deep.ome.tif", deep, metadata=metadata)
    panel.open_file(tmp_path / "deep.ome.tif")
    qtbot.waitUntil(lambda: panel.view.slice is not None, timeout=60_000)
    np.testing.assert_array_equal(panel.view.scan.pixels, deep)
    assert panel.view.scan.spacing == (0.4, 0.2)
    assert "60 × 50 pixels, grey, 16 bit, 0.2 × 0.4 mm" in panel.scan_section.facts.text()
    panel.viewer.layers.clear()
    # The same file dropped on the viewer is opened by napari, which does not read the spacing.
    panel.viewer.open(tmp_path / "deep.ome.tif", plugin="napari")
    qtbot.waitUntil(lambda: panel.view.slice is not None and panel.view.scan.spacing is not None, timeout=60_000)
    assert panel.view.scan.spacing == (0.4, 0.2)


def test_display_settings_never_reach_the_model(panel, qtbot, lesion):
    layer = panel.viewer.add_image(lesion[..., 0], name="grey")
    qtbot.waitUntil(lambda: panel.view.slice is not None, timeout=60_000)
    key = panel.session.scan_hash
    layer.contrast_limits, layer.gamma, layer.colormap = (10, 20), 0.3, "inferno"
    settle(qtbot, panel)
    assert panel.session.scan_hash == key
    np.testing.assert_array_equal(panel.session.scan.pixels, lesion[..., 0])


def test_slices_of_a_stack_are_worked_on_one_by_one(panel, qtbot, ready, samples):
    chest = read_scan(samples / "chest_xray.tif").pixels[::4, ::4]
    stack = np.stack([chest[::-1], chest])
    panel.viewer.add_image(stack, name="stack")
    panel.viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: panel.view.slice is not None and panel.view.slice.index == (1,), timeout=60_000)
    np.testing.assert_array_equal(panel.session.scan.pixels, stack[1])
    panel.prompt_section.chosen.emit("target", "lungs")
    panel.segment()
    qtbot.waitUntil(lambda: panel.session.result is not None, timeout=ENGINE_MS)
    shown = prediction(panel)
    assert shown.data.shape == stack.shape and shown.data[1].any() and not shown.data[0].any()
    panel.correction_section.start.click()
    panel.viewer.dims.set_current_step(0, 0)
    qtbot.waitUntil(lambda: panel.view.slice.index == (0,), timeout=60_000)
    assert panel.session.result is None and not correction(panel, "lungs").data[0].any()
    assert not shown.visible, "no answer belongs to this slice"
    # A stroke that ends while the slice still moves belongs to the slice it is on.
    panel.viewer.dims.set_current_step(0, 1)
    correction(panel, "lungs").data[1] = 0
    correction(panel, "lungs").paint((1, 5, 5), 1)
    drawn = correction(panel, "lungs").data[1] > 0
    assert panel.view.slice.index == (1,) and drawn.any()

    def kept():
        paths = autosaved(panel.store)
        return len(paths) == 1 and np.array_equal(load_mask(paths[0]).mask, drawn)

    qtbot.waitUntil(kept, timeout=60_000)


def test_three_dimensional_view_is_explained(panel, qtbot, lesion):
    panel.viewer.add_image(np.stack([lesion[..., 0]] * 3))
    panel.viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "switch to 2D" in panel.scan_section.facts.text(), timeout=60_000)
    panel.viewer.dims.ndisplay = 2
    qtbot.waitUntil(lambda: panel.view.slice is not None, timeout=60_000)


def test_layer_of_the_persons_own_is_adopted(panel, qtbot, lesion):
    panel.viewer.add_image(lesion, name="lesion")
    drawn = panel.viewer.add_labels(np.ones(lesion.shape[:2], np.uint8), name="mine")
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.view.settle()
    assert panel.layers.adoptable(panel.view.slice.image) == [drawn]
    panel.correction_section.adoptRequested.emit(drawn)
    assert correction(panel) is drawn and panel.save_section.save.isEnabled()
    qtbot.waitUntil(lambda: len(autosaved(panel.store)) == 1, timeout=60_000)
    drawn.data_setitem(np.nonzero(drawn.data), 0)
    qtbot.waitUntil(lambda: not autosaved(panel.store), timeout=60_000)
    (earlier,) = panel.store.folder.glob("*.tif")
    assert load_mask(earlier).mask.all(), "what was emptied is kept beside it"


def test_export_is_ready_to_train_on(segmented, tmp_path):
    panel = segmented
    panel.export_to(tmp_path / "set")
    assert "set: case 1, training" in panel.footer.status.text()
    panel.correction_section.start.click()
    correction(panel).paint((5, 5), 1)
    panel.export_to(tmp_path / "set")
    assert "Replaced the case of this scan in set (training); 1 case in all." in panel.footer.status.text()
    config = SourceConfig("set", "upstream", "dermoscopy", "set", "mine", "none")
    (item,) = read_source(tmp_path, config, load_vocabulary())["train"]
    np.testing.assert_array_equal(item.load_masks()["skin melanoma"], correction(panel).data > 0)
    assert item.load_image().shape[:2] == panel.view.scan.size


def test_failed_save_leaves_the_old_file_and_says_why(segmented, tmp_path):
    panel = segmented
    target = tmp_path / "gone" / "x.tif"
    panel.save_as(target)
    assert "could not be saved" in panel.footer.status.text() and not target.exists()
    panel.save_as(tmp_path / "x.jpg")
    assert "saved as .tif or .png" in panel.footer.status.text()


def test_correction_comes_back_after_a_crash(open_panel, store, lesion, qtbot, tmp_path):
    panel = open_panel(store)
    panel.viewer.add_image(lesion, name="lesion")
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.view.settle()
    assert panel.correction_section.start.text() == "Draw by hand"
    panel.correction_section.start.click()
    correction(panel).paint((20, 30), 1)
    drawn = correction(panel).data.copy()
    qtbot.waitUntil(lambda: any(store.folder.glob("*.tif")), timeout=60_000)
    settle(qtbot, panel)
    assert "Autosaved" in panel.correction_section.saved.text()
    # Undo by the keyboard goes through napari alone, and is autosaved too.
    correction(panel).paint((60, 60), 1)
    kept = next(store.folder.glob("*.tif"))
    qtbot.waitUntil(lambda: load_mask(kept).mask.sum() > drawn.sum(), timeout=60_000)
    correction(panel).undo()
    qtbot.waitUntil(lambda: load_mask(kept).mask.sum() == drawn.sum(), timeout=60_000)
    settle(qtbot, panel)

    # The next session: nothing was closed properly, but the process is gone and its lock with it.
    store._lock.release(force=True)
    again = open_panel(AutosaveStore(store.folder))
    again.viewer.add_image(lesion, name="another name")
    again.view.settle()
    assert not again.correction_section.offer.isHidden() and "Skin lesion" in again.correction_section.offer_text.text()
    assert correction(again) is None
    # Another stroke in the new session does not write over what is offered.
    again.prompt_section.chosen.emit("target", "skin melanoma")
    again.correction_section.start.click()
    correction(again).paint((90, 90), 1)
    settle(qtbot, again)
    assert not again.correction_section.offer.isHidden()
    again.correction_section.restore.click()
    np.testing.assert_array_equal(correction(again).data, drawn)
    settle(qtbot, again)
    assert again.correction_section.offer.isHidden()
    (kept,) = autosaved(store)
    np.testing.assert_array_equal(load_mask(kept).mask, drawn > 0)
    (earlier,) = store.folder.glob("[!.]*.1.tif")
    assert load_mask(earlier).mask[90, 90] and not load_mask(earlier).mask[20, 30], "the stroke is kept beside it"


def test_a_restored_correction_keeps_its_provenance_and_undo_gives_back_what_was(open_panel, store, lesion, qtbot):
    panel = open_panel(store)
    panel.viewer.add_image(lesion)
    panel.view.settle()
    mask = np.zeros(lesion.shape[:2], bool)
    mask[5:30, 5:30] = True
    earlier = AutosaveStore(store.folder)
    provenance = new_provenance(scan_hash=panel.view.scan_hash, scan_size=mask.shape, model="older model")
    earlier.save(Annotation("polyp", mask, corrected=True, provenance=provenance))
    earlier.close()
    panel.corrections.find_offers()
    panel.correction_section.restore.click()
    assert panel.session.prompt.text == "polyp"
    found = panel.corrections.annotation()
    np.testing.assert_array_equal(found.mask, mask)
    assert found.provenance.model == "older model"
    panel.correction_section.undo.click()
    assert not panel.corrections.annotation().mask.any()


def test_hand_drawn_outline_names_no_model(open_panel, store, lesion, tmp_path):
    panel = open_panel(store)
    panel.viewer.add_image(lesion)
    panel.prompt_section.chosen.emit("target", "polyp")
    panel.view.settle()
    panel.correction_section.start.click()
    correction(panel, "polyp").paint((20, 30), 1)
    panel.save_as(tmp_path / "x.png")
    saved = load_mask(tmp_path / "x.png")
    assert saved.provenance.prompt is None and saved.provenance.model == "" and saved.corrected


def test_saving_clears_the_autosave_and_discard_forgets(open_panel, store, lesion, qtbot, tmp_path):
    panel = open_panel(store)
    panel.viewer.add_image(lesion)
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.view.settle()
    panel.start_correction()
    correction(panel).paint((20, 30), 1)
    qtbot.waitUntil(lambda: any(store.folder.glob("*.tif")), timeout=60_000)
    settle(qtbot, panel)
    panel.save_as(tmp_path / "x.tif")
    settle(qtbot, panel)
    assert not list(store.folder.glob("*.tif"))


def test_closing_the_dock_ends_the_engine(own_engine, panel, qtbot, ready):
    ready(panel)
    pid = panel.transport.pid
    panel.viewer.window.remove_dock_widget(panel)
    assert panel.transport.pid is None and panel.engine.state is EngineState.OFF
    qtbot.waitUntil(lambda: not _alive(pid), timeout=60_000)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_removed_scan_leaves_no_view(segmented, qtbot):
    panel = segmented
    panel.viewer.layers.remove("lesion")
    qtbot.waitUntil(lambda: panel.view.slice is None, timeout=60_000)
    assert not panel.footer.segment.isEnabled() and panel.session.result is None
    # Mesa's software renderer crashes, also in a bare napari, when labels are left alone and the canvas is resized.
    panel.viewer.layers.clear()


def test_panel_needs_no_sideways_scrolling(panel, qtbot):
    panel.prompt_section.more.setChecked(True)
    panel.session.type("liver tumour in a very long sentence that has to wrap somewhere in this panel")
    qtbot.waitUntil(lambda: panel.scroll.widget().width() <= panel.scroll.viewport().width(), timeout=ENGINE_MS)
    assert panel.scroll.horizontalScrollBar().maximum() == 0


def test_our_layers_are_no_scans(segmented):
    panel = segmented
    panel.result_section.certainty.click()
    panel.correction_section.start.click()
    assert panel.scan_section.scans.count() == 1
    assert sum(isinstance(layer, Labels) for layer in panel.viewer.layers) == 2


def test_hiding_and_floating_the_dock_is_not_the_end(panel, qtbot, lesion):
    dock = panel.parent()
    dock.setFloating(True)
    qtbot.wait(50)
    dock.setFloating(False)
    dock.close()
    qtbot.wait(100)
    assert not panel._closed and panel.engine.state is not EngineState.OFF
    dock.show()
    panel.viewer.add_image(lesion, name="lesion")
    qtbot.waitUntil(lambda: panel.view.slice is not None, timeout=60_000)


def test_a_reopened_panel_keeps_an_older_correction_safe(open_panel, store, lesion, qtbot):
    first = open_panel(store)
    viewer = first.viewer
    viewer.add_image(lesion, name="lesion")
    first.prompt_section.chosen.emit("target", "skin melanoma")
    first.view.settle()
    first.correction_section.start.click()
    layer = correction(first)
    layer.paint((20, 30), 1)
    viewer.window.remove_dock_widget(first)
    layer.paint((60, 60), 1)
    qtbot.wait(600)
    again = open_panel(AutosaveStore(store.folder), viewer)
    again.prompt_section.chosen.emit("target", "skin melanoma")
    again.view.settle()
    assert correction(again) is layer
    layer.paint((90, 90), 1)
    expected = (layer.data > 0).sum()
    own = f"*{again.store.session_id}.tif"
    qtbot.waitUntil(lambda: [load_mask(p).mask.sum() for p in store.folder.glob(own)] == [expected], timeout=60_000)


def test_what_is_picked_is_what_is_corrected_and_saved(segmented, tmp_path):
    panel = segmented
    panel.prompt_section.chosen.emit("target", "polyp")
    assert panel.correction_section.start.text() == "Draw by hand" and not panel.save_section.save.isEnabled()
    panel.correction_section.start.click()
    layer = panel.layers.correction(panel.view.slice.image, "polyp")
    assert not layer.data.any() and correction(panel) is None
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    assert panel.save_section.save.isEnabled()
    panel.save_as(tmp_path / "x.tif")
    np.testing.assert_array_equal(load_mask(tmp_path / "x.tif").mask, panel.session.mask())


def test_a_scan_that_is_there_twice_has_one_correction(segmented, qtbot):
    """In a layer of its own for each: what was drawn last is on whichever is in view."""
    panel = segmented
    panel.correction_section.start.click()
    scan, first = panel.view.slice.image, correction(panel)
    copy = type(scan)(scan.data, name="copy", metadata=dict(scan.metadata))
    panel.viewer.add_layer(copy)
    assert panel.view.image is copy and panel.layers.corrections(copy) == []
    panel.start_correction()
    second = correction(panel)
    assert second is not first and first.data.any()
    np.testing.assert_array_equal(second.data, first.data)
    second.paint((5, 5), 1)
    assert not first.data[5, 5]
    panel.scans.worklist.choose_image(scan)
    np.testing.assert_array_equal(first.data, second.data)
    panel.corrections.undo()
    assert not first.data[5, 5] and second.data[5, 5]
    panel.scans.worklist.choose_image(copy)
    assert not second.data[5, 5] and panel.corrections.current.mask.any()


def test_slices_of_the_same_pixels_have_one_correction(panel, lesion):
    panel.viewer.add_image(np.stack([lesion[..., 0]] * 2), name="stack")
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.viewer.dims.set_current_step(0, 0)
    panel.start_correction()
    layer = correction(panel)
    layer.paint((0, 20, 30), 1)
    panel.viewer.dims.set_current_step(0, 1)
    panel.view.settle()
    assert layer.data[0].any()
    np.testing.assert_array_equal(layer.data[1], layer.data[0])
    panel.corrections.undo()
    assert not layer.data[1].any() and not panel.corrections.current.mask.any()
    panel.viewer.dims.set_current_step(0, 0)
    panel.view.settle()
    assert not layer.data[0].any()


def test_a_correction_of_one_slice_says_nothing_of_another(panel, qtbot, ready, lesion, tmp_path):
    stack = np.stack([lesion[..., 0], lesion[::-1, :, 0]])
    panel.viewer.add_image(stack, name="stack")
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: panel.view.slice is not None and panel.view.slice.index == (1,), timeout=60_000)
    panel.correction_section.start.click()
    correction(panel).paint((1, 50, 50), 1)
    panel.viewer.dims.set_current_step(0, 0)
    qtbot.waitUntil(lambda: panel.view.slice.index == (0,), timeout=60_000)
    assert panel.corrections.current is None and not panel.save_section.save.isEnabled()
    panel.save_as(tmp_path / "nothing.tif")
    assert not (tmp_path / "nothing.tif").exists(), "no empty mask is saved as a person's correction"
    panel.viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: panel.view.slice.index == (1,), timeout=60_000)
    assert panel.corrections.annotation().mask.any()


def test_what_is_seen_is_what_is_saved(segmented, qtbot):
    panel, section = segmented, segmented.correction_section
    shown = prediction(panel)
    assert shown.visible and "not corrected" in panel.save_section.what.text()
    section.start.click()
    assert not shown.visible and "your correction" in panel.save_section.what.text()
    panel.viewer.layers.remove(correction(panel))
    assert shown.visible and "not corrected" in panel.save_section.what.text()
    assert "was deleted" in section.offer_text.text() and "Restore" in panel.footer.status.text()
    section.restore.click()
    assert not shown.visible and correction(panel).data.any()
    qtbot.waitUntil(section.offer.isHidden, timeout=60_000)
    section.absent.click()
    assert not shown.visible and "not shown in this scan" in panel.save_section.what.text()
    assert section.absent.isHidden() and not section.retract.isHidden()
    section.retract.click()
    np.testing.assert_array_equal(correction(panel).data, shown.data)
    panel.session.choose(target="polyp")
    section.absent.click()
    section.retract.click()
    assert panel.corrections.current is None and shown.visible is False, "another target's layers are left alone"


def test_nothing_can_be_absent_before_a_target_is_chosen(panel, lesion):
    panel.viewer.add_image(lesion)
    assert not panel.correction_section.absent.isEnabled()
    panel.prompt_section.chosen.emit("target", "polyp")
    assert panel.correction_section.absent.isEnabled()


def test_a_file_that_hangs_keeps_neither_autosave_nor_the_closing_waiting(open_panel, store, lesion, qtbot):
    panel, hangs = open_panel(store), threading.Event()
    panel.viewer.add_image(lesion, name="lesion")
    panel.session.choose(target="polyp")
    panel.background.run(hangs.wait)
    panel.start_correction()
    layer = correction(panel, "polyp")
    layer.paint((20, 20), 1)
    qtbot.waitUntil(lambda: len(autosaved(store)) == 1, timeout=60_000)
    layer.paint((60, 60), 1)
    try:
        # The last stroke waits for its pause; the closing writes it.
        panel.close_engine()
        (kept,) = autosaved(store)
        mask = load_mask(kept).mask
        assert mask[20, 20] and mask[60, 60] and not hangs.is_set()
    finally:
        hangs.set()


def test_a_full_disk_is_said_until_corrections_are_autosaved_again(open_panel, store, lesion, qtbot, monkeypatch):
    monkeypatch.setattr("napari_medvlsm.controllers.autosave.RETRY_SECONDS", 0.2)
    panel = open_panel(store)
    panel.viewer.add_image(lesion, name="lesion")
    panel.session.choose(target="polyp")
    panel.start_correction()
    store.folder.parent.mkdir(exist_ok=True)
    store.folder.write_text("a file where the folder should be")
    correction(panel, "polyp").paint((20, 20), 1)
    saved = panel.correction_section.saved
    qtbot.waitUntil(lambda: saved.text().startswith("Not autosaved: "), timeout=60_000)
    assert "could not be autosaved" in panel.footer.status.text()
    store.folder.unlink()
    qtbot.waitUntil(lambda: saved.text().startswith("Autosaved at "), timeout=60_000)
    assert len(autosaved(store)) == 1
    qtbot.waitUntil(lambda: panel.footer.status.text() == "Corrections are autosaved again.", timeout=60_000)
