"""Tools of a correction in a real window: buttons, keys, pointing, how outlines are shown, measuring, adding."""

import re

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QKeySequence, QWheelEvent
from qtpy.QtWidgets import QApplication, QShortcut

from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.widgets._training_set_presenter import WordsDialog
from napari_medvlsm.widgets.dialogs.guide import guide_folder
from napari_medvlsm.widgets.sections import ResultSection, keys
from napari_medvlsm.widgets.sections._section import narrow_combo
from napari_medvlsm.widgets.sections.tools import ToolBox

TARGET = "skin melanoma"


@pytest.fixture
def worked_on(panel, lesion, qtbot):
    """A scan with a round outline drawn by hand, in a window that has the keyboard."""
    panel.viewer.add_image(lesion, name="lesion")
    qtbot.waitUntil(lambda: panel.view.slice is not None)
    panel.prompt_section.chosen.emit("target", TARGET)
    panel.start_correction()
    layer = panel.layers.correction(panel.view.image, TARGET)
    layer.brush_size = 80
    layer.paint((190, 250), 1)
    window = panel.viewer.window._qt_window
    window.activateWindow()
    QApplication.setActiveWindow(window)
    panel.viewer.fit_to_view()
    qtbot.wait(50)
    return panel


def layer_of(panel):
    return panel.layers.correction(panel.view.image, TARGET)


def canvas(panel):
    return panel.viewer.window._qt_viewer.canvas.native


def place(panel, row, col):
    """Where a pixel lies on the canvas."""
    middle, zoom = panel.viewer.scene.camera.center, panel.viewer.scene.camera.zoom
    widget = canvas(panel)
    return QPoint(
        round(widget.width() / 2 + (col - middle[-1]) * zoom), round(widget.height() / 2 + (row - middle[-2]) * zoom)
    )


def click(panel, qtbot, row, col):
    qtbot.mouseClick(canvas(panel), Qt.MouseButton.LeftButton, pos=place(panel, row, col))


def in_hand(panel):
    return [name for name, button in panel.correction_section.tools.tools.items() if button.isChecked()]


def test_our_keys_are_none_of_naparis():
    ours = {*keys.POINTING_KEYS.values(), *keys.EDIT_KEYS.values(), keys.FILLED_KEY, keys.HIDE_KEY, keys.ADD_NEXT_KEY}
    theirs = {str(KeyBinding.validate(key)) for bound in default_shortcuts.values() for key in bound}
    assert not {str(KeyBinding.from_str(key)) for key in ours} & theirs
    assert len(ours) == len(keys.POINTING_KEYS) + len(keys.EDIT_KEYS) + 3
    modes = {"paint": "paint", "erase": "erase", "fill": "fill", "polygon": "polygon"}
    for tool, key in keys.NAPARI_KEYS.items():
        bound = default_shortcuts[f"napari:activate_labels_{modes[tool]}_mode"]
        assert str(KeyBinding.from_str(key)) in {str(KeyBinding.validate(b)) for b in bound}, tool


def test_no_key_is_bound_twice_in_the_window(worked_on):
    bound = [s.key().toString() for s in worked_on.viewer.window._qt_window.findChildren(QShortcut)]
    assert not [key for key in set(bound) if key and bound.count(key) > 1]


def test_the_guide_has_a_page_of_all_keys():
    page = (guide_folder() / "keys.md").read_text("utf-8")
    named = set(re.findall(r"`([^`]+)`", page))
    every = {*keys.NAPARI_KEYS.values(), *keys.POINTING_KEYS.values(), *keys.EDIT_KEYS.values()}
    every |= {keys.SMALLER_KEY, keys.LARGER_KEY, keys.UNDO_KEYS, keys.REDO_KEYS}
    every |= {keys.SUBMIT_KEY, keys.NOT_THERE_KEY, keys.REOPEN_KEY}
    assert every | {keys.FILLED_KEY, keys.HIDE_KEY, keys.ADD_NEXT_KEY} <= named


def test_buttons_and_keys_take_tools_in_hand(worked_on, qtbot):
    panel, tools = worked_on, worked_on.correction_section.tools
    assert in_hand(panel) == ["paint"]
    tools.tools["erase"].click()
    assert layer_of(panel).mode == "erase" and in_hand(panel) == ["erase"]
    qtbot.keyClick(canvas(panel), Qt.Key.Key_W)
    assert in_hand(panel) == ["include"]
    qtbot.keyClick(canvas(panel), Qt.Key.Key_P)
    assert layer_of(panel).mode == "paint" and in_hand(panel) == ["paint"] and layer_of(panel).selected_label == 1
    tools.tools["paint"].click()
    assert layer_of(panel).mode == "pan_zoom" and in_hand(panel) == []
    tools.size.setValue(30)
    assert layer_of(panel).brush_size == 100


def test_a_click_refines_as_one_step(worked_on, qtbot):
    panel, layer = worked_on, layer_of(worked_on)
    before = layer.data.copy()
    panel.correction_section.tools.tools["exclude"].click()
    click(panel, qtbot, 170, 250)
    assert panel.tools.mark.shown, "where it was pointed is seen"
    qtbot.waitUntil(lambda: not panel.tools.mark.shown, timeout=60_000)
    assert layer.data[170, 250] == 0 and (layer.data < before).any() and not (layer.data > before).any()
    qtbot.keyClick(canvas(panel), Qt.Key.Key_W)
    click(panel, qtbot, 190, 310)
    assert layer.data[190, 310] == 1
    made = panel.corrections.annotation().provenance
    assert (made.strokes, made.clicks) == (1, 2)
    panel.correction_section.undo.click()
    panel.correction_section.undo.click()
    np.testing.assert_array_equal(layer.data, before)
    assert panel.editing.begin() and layer.mode == "pick", "the tool stays in hand"


def test_parts_are_dropped_by_a_click(worked_on, qtbot):
    panel, layer = worked_on, layer_of(worked_on)
    layer.paint((60, 60), 1)
    panel.correction_section.tools.tools["drop"].click()
    click(panel, qtbot, 60, 60)
    assert not layer.data[60, 60] and layer.data[190, 250]


def test_keys_edit_the_whole_outline(worked_on, qtbot):
    panel, layer = worked_on, layer_of(worked_on)
    area = int(layer.data.sum())
    qtbot.keyClick(canvas(panel), Qt.Key.Key_G)
    grown = int(layer.data.sum())
    assert grown > area
    qtbot.keyClick(canvas(panel), Qt.Key.Key_G, Qt.KeyboardModifier.ShiftModifier)
    assert int(layer.data.sum()) < grown


def test_letters_typed_into_the_prompt_stay_letters(worked_on, qtbot):
    panel = worked_on
    before, text = layer_of(panel).data.copy(), panel.prompt_section.text
    text.setFocus()
    text.clear()
    qtbot.keyClicks(text, "gwhuqk")
    assert text.text() == "gwhuqk" and np.array_equal(layer_of(panel).data, before) and layer_of(panel).visible


def test_outlines_are_lines_filled_or_hidden(worked_on, qtbot):
    panel, layer = worked_on, layer_of(worked_on)
    qtbot.waitUntil(lambda: layer.contour > 0)
    assert layer.opacity == 1
    qtbot.waitUntil(lambda: 2 <= layer.contour * panel.viewer.scene.camera.zoom <= 3)
    thin = np.count_nonzero(layer._slice.image.view)
    panel.viewer.scene.camera.zoom /= 3
    qtbot.waitUntil(lambda: 2 <= layer.contour * panel.viewer.scene.camera.zoom <= 3)
    thick = np.count_nonzero(layer._slice.image.view)
    assert 2 < thick / thin < 4 and thick < np.count_nonzero(layer.data), "a line as thick on the screen as before"
    qtbot.keyClick(canvas(panel), Qt.Key.Key_U)
    assert layer.contour == 0 and layer.opacity < 1
    qtbot.keyClick(canvas(panel), Qt.Key.Key_U)
    assert layer.contour > 0
    qtbot.keyClick(canvas(panel), Qt.Key.Key_H)
    assert not layer.visible
    panel.correction_section.tools.tools["paint"].click()
    assert layer.visible and not panel.correction_section.tools.hidden.isChecked(), "who paints sees it"


def test_a_key_sequence_is_what_stands_on_its_button(worked_on):
    tools = worked_on.correction_section.tools
    for name, key in (keys.POINTING_KEYS | keys.EDIT_KEYS).items():
        button = tools.tools.get(name) or tools.edits[name]
        assert button.text().endswith(f"  {keys.short(key)}") and QKeySequence(key).toString() == key


def test_the_outline_is_measured_and_the_pixel_size_entered(worked_on, qtbot):
    panel, measured = worked_on, worked_on.result_section.measured
    qtbot.waitUntil(lambda: "pixels" in measured.text())
    panel.measuring._enter((0.5, 0.5), "entered by hand")
    qtbot.waitUntil(lambda: "mm" in measured.text())
    assert measured.text().endswith("Pixel size entered by hand.")
    made = panel.corrections.annotation().provenance
    assert made.spacing == (0.5, 0.5) and made.spacing_from == "entered by hand"
    assert panel.view.scan.spacing_from == "entered by hand" and "entered by hand" in panel.scan_section.facts.text()


def test_words_are_shown_before_the_first_is_added(worked_on, qtbot, tmp_path, monkeypatch):
    panel, shown = worked_on, []

    def answered(dialog):
        shown.append(dialog.text.text())
        return len(shown) > 1

    monkeypatch.setattr(WordsDialog, "exec", answered)
    panel.training_set.choose(tmp_path)
    qtbot.keyClick(canvas(panel), Qt.Key.Key_F2)
    assert len(shown) == 1 and not (tmp_path / "anns").exists(), "who does not agree writes nothing"
    qtbot.keyClick(canvas(panel), Qt.Key.Key_F2)
    assert "1 case" in panel.save_section.training_set.summary.text()
    assert panel.footer.status.text().startswith("Added to the training set")
    panel.save_section.training_set.add.click()
    assert len(shown) == 2 and panel.footer.status.text().startswith("Replaced the case of this scan")


def test_the_first_hint_goes_with_the_first_scan_and_stays_away(open_panel, store, lesion):
    Settings().remember("first hint seen", "")
    panel = open_panel(store)
    viewer = panel.viewer
    assert (
        panel.hint.shown and viewer.canvas.overlays.text.visible and "Open Sample" in viewer.canvas.overlays.text.text
    )
    viewer.add_image(lesion)
    assert not panel.hint.shown and not viewer.canvas.overlays.text.visible


def test_the_wheel_scrolls_the_panel_and_changes_no_value(qtbot):
    result, tools, combo = ResultSection(), ToolBox(), narrow_combo()
    combo.addItems(["one", "two"])
    result.slider.setValue(60)
    values = [result.slider.value(), tools.size.value(), combo.currentIndex()]
    for widget in (result.slider, tools.size, combo):
        turn = QWheelEvent(
            QPointF(5, 5),
            QPointF(5, 5),
            QPoint(),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(widget, turn)
        assert not turn.isAccepted(), "it goes on to what scrolls"
    assert [result.slider.value(), tools.size.value(), combo.currentIndex()] == values
