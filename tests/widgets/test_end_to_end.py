"""One clinician's session in a real window, with real key presses and mouse strokes, in a process of its own."""

import json
import subprocess
import sys

import numpy as np

from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.prompts import Attributes, Prompt

SCRIPT = """
import json, sys, time
from pathlib import Path
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.widgets import app

out = Path(sys.argv[1])

def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, panel.footer.status.text()
        QApplication.processEvents()
        time.sleep(0.005)

def settle(seconds=0.3):
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)

viewer, panel = app.open_window([], "skin-lesion")
viewer.window.resize(1280, 800)
wait(lambda: panel.view.slice is not None)
left = Qt.MouseButton.LeftButton

# Type the prompt and press the shortcut.
panel.prompt_section.text.setFocus()
panel.prompt_section.text.selectAll()
QTest.keyClicks(panel.prompt_section.text, "skin lesion")
QTest.keyClick(panel.prompt_section.text, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
wait(lambda: panel.session.result is not None)
wait(lambda: panel.engine.state is EngineState.READY)

# Correct: take the prediction, paint a stroke on the canvas, undo it with the keyboard, paint again.
QTest.mouseClick(panel.correction_section.start, left)
layer = viewer.layers.selection.active
taken = layer.data.copy()
viewer.reset_view()
settle()
canvas = viewer.window._qt_viewer.canvas.native
def stroke():
    w, h = canvas.width(), canvas.height()
    QTest.mousePress(canvas, left, pos=QPoint(w // 2, h // 4))
    for i in range(12):
        QTest.mouseMove(canvas, QPoint(w // 2 + 4 * i, h // 4))
        QApplication.processEvents()
    QTest.mouseRelease(canvas, left, pos=QPoint(w // 2 + 44, h // 4))
    settle()
stroke()
painted = int((layer.data != taken).sum())
QTest.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
settle()
undone = int((layer.data != taken).sum())
stroke()
panel.save_as(out / "mask.tif")
panel.export_to(out / "set")

# Go on for a while: other prompts, thresholds, clean-up, certainty, the card, another sample.
for i, target in enumerate(["polyp", "foot ulcer", "lungs", "cell nuclei"]):
    panel.prompt_section.chosen.emit("target", target)
    panel.prompt_section.chosen.emit("size", "small")
    QTest.mouseClick(panel.footer.segment, left)
    wait(lambda: panel.session.result.target == target)
    panel.result_section.slider.setValue(20 + 15 * i)
    panel.result_section.certainty.click()
    panel.result_section.largest.click()
    settle(0.2)
panel.model_section.about.click()
viewer.open_sample("napari-medvlsm", "chest-xray")
wait(lambda: panel.view.slice is not None and panel.view.slice.image.name == "Chest X-ray")
panel.prompt_section.chosen.emit("target", "left lung")
QTest.mouseClick(panel.footer.segment, left)
wait(lambda: panel.session.result is not None and panel.session.result.target == "left lung")
settle()
forbidden = {"torch", "torchvision", "transformers", "open_clip", "lightning", "monai"}
heavy = sorted({m.split(".")[0] for m in sys.modules} & forbidden)
facts = dict(painted=painted, undone=undone, heavy=heavy, pid=panel.transport.pid, size=list(layer.data.shape),
             final=int((layer.data > 0).sum()), status=panel.footer.status.text())
panel.close_engine()
viewer.close()
print(json.dumps(facts))
"""


def test_a_session(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["heavy"] == [], "the window's process never imports torch"
    assert facts["painted"] > 100 and facts["undone"] == 0
    saved = load_mask(tmp_path / "mask.tif")
    assert list(saved.mask.shape) == facts["size"] and int(np.count_nonzero(saved.mask)) == facts["final"]
    made = saved.provenance
    assert made.prompt == Prompt("skin lesion", "free", Attributes("skin melanoma"), made.vocabulary_version)
    assert made.strokes == 2 and saved.prediction is not None
    (entry,) = json.loads((tmp_path / "set" / "anns" / "train.json").read_text())
    assert entry["prompts"]["p1"] == "skin melanoma"
