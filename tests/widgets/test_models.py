"""Getting models, choosing what they run on, and choosing where they look, in the panel."""

import json
import shutil

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.registry import user_models_folder
from napari_medvlsm.core.models.store.sources import SOURCES
from napari_medvlsm.core.options import Device
from napari_medvlsm.widgets.dialogs import ModelsDialog
from napari_medvlsm.widgets.sections.model import ModelSection
from napari_medvlsm.widgets.sections.scan import RegionMode

ENGINE_MS = 90_000
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def published(monkeypatch, small_clipseg, tmp_path):
    """The hub's cache has a small CLIPSeg; the network is not asked."""
    folder = tmp_path / "published"
    small_clipseg.save(folder)
    made = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(made["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(m) for m in made["merges"])]) + "\n")
    (repository,) = SOURCES["clipseg"].repositories
    files = [
        hub.PlannedFile(repository, COMMIT, COMMIT, path.name, path.stat().st_size, cached=path)
        for path in sorted(folder.iterdir())
    ]
    monkeypatch.setattr(hub, "_in_cache", lambda *_: list(files))
    return folder


@pytest.fixture
def dialog(panel):
    panel.model_section.more.click()
    (found,) = (w for w in QApplication.topLevelWidgets() if isinstance(w, ModelsDialog) and w.isVisible())
    yield found
    if panel.models._dialog is found:
        found.close()


@pytest.mark.slow
def test_a_model_is_fetched_and_chosen_and_replaced_only_when_the_person_says_so(
    panel, dialog, published, qtbot, monkeypatch
):
    assert "Apache-2.0" in dialog.about.text() and not dialog.cancel.isVisible()
    dialog.fetch.click()
    qtbot.waitUntil(lambda: "free on the disk" in dialog.message.text(), timeout=60_000)
    assert dialog.fetch.text() == "Fetch" and "clipseg" not in panel.session.models

    monkeypatch.setattr(hub, "_CHUNK", 16)  # so that it takes long enough to be stopped
    dialog.fetch.click()
    qtbot.waitUntil(lambda: dialog.message.text().startswith("Fetched"), timeout=ENGINE_MS)
    assert dialog.cancel.isVisible() and not dialog.fetch.isEnabled()
    dialog.cancel.click()
    qtbot.waitUntil(lambda: "Stopped" in dialog.message.text(), timeout=ENGINE_MS)
    assert "clipseg" not in panel.session.models and dialog.fetch.isEnabled() and not dialog.cancel.isVisible()
    kept = (user_models_folder() / ".fetched" / "clipseg").rglob("*")
    assert any(path.is_file() and path.name != ".lock" for path in kept), "fetching goes on from there"

    monkeypatch.setattr(hub, "_CHUNK", 2**18)
    dialog.fetch.click()
    qtbot.waitUntil(lambda: "clipseg" in panel.session.models, timeout=ENGINE_MS)
    assert panel.session.model.name == "clipseg" and panel.model_section.models.currentData() == "clipseg"
    assert "in your models now" in dialog.message.text() and "✓ here" in dialog.list.item(0).text()
    assert panel.session.model.card.licence == "Apache-2.0"
    assert not (user_models_folder() / ".fetched" / "clipseg").exists()

    card, asked = user_models_folder() / "clipseg" / "model_card.json", []
    made = card.stat().st_mtime_ns
    monkeypatch.setattr(dialog, "ask_to_replace", lambda text: asked.append(text) or False)
    dialog.fetch.click()
    qtbot.waitUntil(lambda: "left alone" in dialog.message.text(), timeout=60_000)
    assert "clipseg" in asked[0] and card.stat().st_mtime_ns == made
    monkeypatch.setattr(dialog, "ask_to_replace", lambda text: True)
    dialog.fetch.click()
    qtbot.waitUntil(lambda: card.exists() and card.stat().st_mtime_ns != made, timeout=ENGINE_MS)
    qtbot.waitUntil(lambda: "in your models now" in dialog.message.text(), timeout=ENGINE_MS)


def test_a_stopped_download_is_not_revived_by_another_dialog(panel, dialog, published, qtbot, monkeypatch):
    monkeypatch.setattr(hub, "_CHUNK", 16)
    dialog.fetch.click()
    qtbot.waitUntil(lambda: dialog.fetch.text() == "Fetch", timeout=60_000)
    dialog.fetch.click()
    qtbot.waitUntil(lambda: dialog.message.text().startswith("Fetched"), timeout=ENGINE_MS)
    with qtbot.waitSignal(dialog.destroyed):
        dialog.close()
    panel.model_section.more.click()
    again = panel.models._dialog
    again.fetch.click()
    qtbot.waitUntil(lambda: again.fetch.text() == "Fetch", timeout=ENGINE_MS)
    qtbot.wait(1000)
    assert "clipseg" not in panel.session.models and again.fetch.isEnabled()
    again.close()


def test_a_folder_is_imported_and_a_wrong_file_named(panel, dialog, model_folder, tmp_path, qtbot):
    foreign = tmp_path / "my-clipseg"
    shutil.copytree(model_folder, foreign)
    (foreign / "model_card.json").unlink()
    dialog.importRequested.emit(foreign, "", None)
    qtbot.waitUntil(lambda: "my-clipseg" in panel.session.models, timeout=ENGINE_MS)
    assert panel.session.model.name == "my-clipseg"
    (tmp_path / "notes.ckpt").write_text("no weights")
    dialog.importRequested.emit(tmp_path / "notes.ckpt", "", None)
    qtbot.waitUntil(lambda: "notes.ckpt" in dialog.message.text() and dialog.file.isEnabled(), timeout=ENGINE_MS)
    assert "Traceback" not in dialog.message.text() and panel.session.model.name == "my-clipseg"


def test_device_and_precision_are_shown_and_changeable(panel, qtbot, ready):
    section = panel.model_section
    qtbot.waitUntil(lambda: "float32" in section.running.text(), timeout=ENGINE_MS)
    assert "CPU" in section.running.text() and section.choices.isHidden(), "nothing to choose on a CPU alone"


def test_the_cost_of_a_lower_precision_is_stated(segmented, qtbot, ready):
    panel = segmented
    qtbot.waitUntil(lambda: panel.engine.state is EngineState.READY, timeout=ENGINE_MS)
    panel.model_section.deviceChosen.emit("cpu", "bfloat16")
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: "differs from float32 by" in panel.model_section.running.text(), timeout=ENGINE_MS)
    assert "bfloat16" in panel.model_section.running.text() and 0 < panel.engine.difference < 0.1
    panel.model_section.deviceChosen.emit("auto", "auto")
    qtbot.waitUntil(lambda: panel.model_section.running.text().endswith("float32"), timeout=ENGINE_MS)


def test_devices_offer_their_own_precisions(qtbot):
    section = ModelSection()
    qtbot.addWidget(section)
    card = Device("cuda:0", "A card", ("bfloat16", "float16", "float32"))
    section.set_devices([card, Device("cpu", "CPU", ("float32",))], "auto", "auto")
    assert not section.choices.isHidden()
    assert [section.precision.itemData(i) for i in range(section.precision.count())] == ["auto", *card.precisions]
    section.device.setCurrentIndex(section.device.findData("cpu"))
    with qtbot.waitSignal(section.deviceChosen) as found:
        section.device.activated.emit(section.device.currentIndex())
    assert found.args == ["cpu", "auto"] and section.precision.count() == 2


def look(panel, where):
    combo = panel.scan_section.region
    combo.setCurrentIndex(combo.findData(where))
    combo.activated.emit(combo.currentIndex())


def test_inside_a_rectangle_and_in_tiles(segmented, qtbot, ready, tmp_path):
    panel = segmented
    qtbot.waitUntil(lambda: panel.engine.state is EngineState.READY, timeout=ENGINE_MS)
    whole = panel.session.result
    look(panel, RegionMode.RECTANGLE)
    panel.footer.segment.click()
    assert "Draw a rectangle" in panel.footer.status.text() and panel.session.result is whole
    shapes = panel.viewer.layers.selection.active
    assert shapes.mode == "add_rectangle"
    rows, cols = panel.view.scan.size
    shapes.add_rectangles(np.array([[-20.0, -20.0], [rows / 2, cols * 0.6]]))
    assert panel.layers.rectangle(panel.view.slice) == (0, 0, rows // 2 + 1, int(cols * 0.6 + 0.5) + 1)
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: panel.session.result is not whole, timeout=ENGINE_MS)
    inside = panel.session.result
    assert inside.options.region == panel.layers.rectangle(panel.view.slice)
    assert not inside.probability[rows // 2 + 2 :].any() and inside.probability.any()
    panel.save_as(tmp_path / "part.tif")
    assert load_mask(tmp_path / "part.tif").provenance.options == inside.options

    qtbot.waitUntil(lambda: panel.engine.state is EngineState.READY, timeout=ENGINE_MS)
    fractions = []
    panel.engine.advanced.connect(fractions.append)
    look(panel, RegionMode.RECTANGLE_TILES)
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: panel.session.result is not inside, timeout=ENGINE_MS)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 1
    assert panel.session.result.options.tiling is not None
    look(panel, RegionMode.WHOLE)
    assert not shapes.visible and panel.viewer.layers.selection.active is panel.view.slice.image
