"""What the window costs: its start, a frame while painting, the threshold slider, and the way from a file to a case.

Usage: python tests/bench/window.py [opening|painting|slider|clicks ...]   (under a display)

Each number stands beside that of a bare napari, or of drawing alone, from the same run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

SAMPLES = Path(__file__).parents[2] / "napari_medvlsm" / "data" / "samples"
LEFT, NONE, CONTROL = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier
SIDE = 4096
# Pixels of the scan; on the screen the brush is about a centimetre wide then.
BRUSH = 150
ROUNDS, STROKES, MOVES = 3, 4, 25


def wait(condition: Callable[[], object], seconds: float = 120) -> None:
    """Let the window go on until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        QApplication.processEvents()


def pause(seconds: float) -> None:
    """Let the window go on for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


@contextmanager
def panel_window() -> Iterator:
    """The window with the panel, which is closed afterwards."""
    from napari_medvlsm.widgets.app import open_window

    viewer, panel = open_window([])
    QApplication.processEvents()
    yield viewer, panel
    panel.close_engine()
    viewer.close()
    QApplication.processEvents()


def opening() -> None:
    """A start of the window against one of a bare napari, each in a process of its own, in turns."""
    end = "from qtpy.QtWidgets import QApplication as A; A.processEvents(); import os; os._exit(0)"
    codes = {
        "bare": f"import napari; v = napari.Viewer(); {end}",
        "panel": f"from napari_medvlsm.widgets.app import open_window; v, p = open_window([]); {end}",
    }
    # Compiled code is kept, as an installation does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {name: [] for name in codes}
    worked: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(7):
        for name, code in codes.items():
            start, before = time.perf_counter(), sum(os.times()[2:4])
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
            times[name].append(time.perf_counter() - start)
            worked[name].append(sum(os.times()[2:4]) - before)
    # What other programs do at the time changes the seconds more than those of the processor.
    for what, found in (("on the clock", times), ("of the processor", worked)):
        bare, panel = (statistics.median(found[name][1:]) for name in codes)  # the first reads from the disk
        print(f"window with the panel, {what}: {panel:.2f} s, bare napari: {bare:.2f} s, ratio {panel / bare:.2f}")


def frames(viewer) -> list[float]:
    """Seconds of each move of the mouse while painting on the active layer, drawing included."""
    canvas = viewer.window._qt_viewer.canvas.native
    width, height = canvas.width(), canvas.height()
    found = []
    for stroke in range(STROKES):
        place = QPoint(int(width * 0.35), int(height * (0.3 + 0.1 * stroke)))
        QTest.mousePress(canvas, LEFT, NONE, place)
        for move in range(MOVES):
            start = time.perf_counter()
            QTest.mouseMove(canvas, place + QPoint(6 * move, 2 * move))
            canvas.update()
            QApplication.processEvents()
            found.append(time.perf_counter() - start)
        QTest.mouseRelease(canvas, LEFT, NONE, place + QPoint(6 * MOVES, 2 * MOVES))
        pause(0.8)  # the autosave is written meanwhile
    return found


def paint_bare(scan) -> list[float]:
    """On a labels layer of napari alone."""
    import napari

    viewer = napari.Viewer()
    viewer.window._qt_window.setGeometry(viewer.window._qt_window.screen().availableGeometry())
    viewer.add_image(scan)
    layer = viewer.add_labels(np.zeros(scan.shape, np.uint8))
    layer.brush_size, layer.mode = BRUSH, "paint"
    pause(1)
    found = frames(viewer)
    assert layer.data.any()
    viewer.close()
    QApplication.processEvents()
    return found


def paint_correction(scan, filled: bool) -> list[float]:
    """On a correction of the panel."""
    with panel_window() as (viewer, panel):
        viewer.add_image(scan)
        panel.session.choose(target="polyp")
        panel.start_correction()
        layer = viewer.layers.selection.active
        layer.brush_size = BRUSH
        if filled:
            panel.correction_section.tools.filled.click()
        pause(1)
        found = frames(viewer)
        assert layer.data.any()
    return found


def painting() -> None:
    """A frame while painting on 4096 x 4096 pixels, beside a labels layer of napari."""
    scan = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    kinds: dict[str, Callable[[], list[float]]] = {
        "bare labels layer": lambda: paint_bare(scan),
        "correction, as a line": lambda: paint_correction(scan, filled=False),
        "correction, filled": lambda: paint_correction(scan, filled=True),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, paint in kinds.items():
            times[name] += paint()
    bare = statistics.median(times["bare labels layer"])
    for name, found in times.items():
        middle, slow = statistics.median(found), statistics.quantiles(found, n=20)[-1]
        print(
            f"painting on {SIDE} x {SIDE}, {name}: {1000 * middle:.1f} ms a frame ({middle / bare:.2f} times bare), "
            f"one in twenty takes over {1000 * slow:.1f} ms"
        )


def slider() -> None:
    """One move of the threshold on 2048 x 2048 pixels, beside drawing alone."""
    from napari_medvlsm.controllers.scan_work import Result
    from napari_medvlsm.core.prompts import Attributes, Prompt

    with panel_window() as (viewer, panel):
        viewer.add_image(np.random.default_rng(0).integers(0, 256, (2048, 2048), dtype=np.uint8))
        panel.session.choose(target="polyp")
        y, x = np.mgrid[-1:1:2048j, -1:1:2048j]
        probability = np.clip(255 * (1 - np.hypot(x, y)), 0, 255).astype(np.uint8)
        prompt = Prompt("polyp", "p1", Attributes("polyp"))
        asked = Result(panel.session.scan_hash, panel.session.model, prompt, "polyp", np.empty((0, 0), np.uint8))
        panel.session._take([asked], 1, [probability])
        layer = panel.layers.prediction(panel.view.image, "polyp")
        masks = [(probability >= level).view(np.uint8) for level in range(60, 200, 10)]
        pause(1)
        draw, ours = [], []
        for number, mask in enumerate(masks):
            start = time.perf_counter()
            layer.data[...] = mask
            layer.refresh()
            QApplication.processEvents()
            draw.append(time.perf_counter() - start)
            start = time.perf_counter()
            panel.result_section.slider.setValue(30 + 3 * (number % 15))
            QApplication.processEvents()
            ours.append(time.perf_counter() - start)
    drawn, moved = statistics.median(draw) * 1000, statistics.median(ours) * 1000
    print(f"threshold slider, 2048 x 2048: {moved:.1f} ms a move, of which drawing alone takes {drawn:.1f} ms")


class Hand:
    """Does what a person does, and counts clicks, keys and strokes."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def click(self, what: str, button) -> None:
        """A button."""
        self.steps.append(what)
        QTest.mouseClick(button, LEFT)

    def key(self, what: str, widget, key, modifier=NONE) -> None:
        """A key."""
        self.steps.append(what)
        QTest.keyClick(widget, key, modifier)

    def stroke(self, what: str, canvas) -> None:
        """A stroke over the middle of the canvas."""
        self.steps.append(what)
        place = QPoint(canvas.width() // 2, canvas.height() // 3)
        QTest.mousePress(canvas, LEFT, NONE, place)
        for move in range(10):
            QTest.mouseMove(canvas, place + QPoint(4 * move, 0))
            QApplication.processEvents()
        QTest.mouseRelease(canvas, LEFT, NONE, place + QPoint(40, 0))


def clicks() -> None:
    """From files on the disk to corrections in a training set: what a person does, and how long the program takes.

    The first scan of a session takes the steps of a session's beginning, the second those of every further one.
    """
    with tempfile.TemporaryDirectory() as folder, panel_window() as (viewer, panel):
        (Path(folder) / "set").mkdir()
        panel.training_set.choose(Path(folder) / "set")
        panel.training_set.agree()
        window = viewer.window._qt_window
        window.activateWindow()
        QApplication.setActiveWindow(window)
        canvas = viewer.window._qt_viewer.canvas.native
        wait(lambda: panel.engine.state.value == "ready")
        files = [SAMPLES / "skin_lesion.jpg", SAMPLES / "cell_nuclei.png"]
        for number, target in enumerate(("skin melanoma", "cell nuclei")):
            hand, start = Hand(), time.perf_counter()
            if number == 0:
                hand.steps.append("drop the files")
                panel.open_files(files)
                wait(lambda: panel.view.slice is not None)
            section = panel.prompt_section
            hand.steps += ["open the list of targets", "pick the target"]
            section.target.setCurrentIndex(section.target.findData(target))
            section.target.activated.emit(section.target.currentIndex())
            hand.key("Segment (Ctrl+Enter)", section.text, Qt.Key.Key_Return, CONTROL)
            wait(lambda t=target: t in panel.session.results)
            hand.click("Correct", panel.correction_section.start)
            layer = panel.layers.correction(panel.view.image, target)
            layer.selected_label = 1
            before = layer.data.sum()
            hand.stroke("one stroke", canvas)
            layer.data[0, 0] = 1  # should the stroke have lain inside
            wait(lambda la=layer, n=before: la.data.sum() != n)
            scan = panel.view.scan_hash
            hand.key("Add and next (F2)", canvas, Qt.Key.Key_F2)
            wait(lambda n=number: len(list((Path(folder) / "set" / "masks").glob("*"))) > n)
            if number == 0:
                wait(lambda s=scan: panel.view.slice is not None and panel.view.scan_hash != s)
            seconds = time.perf_counter() - start
            print(f"{'first' if number == 0 else 'second'} scan: {len(hand.steps)} steps, {seconds:.1f} s", end="")
            print(f" ({', '.join(hand.steps)})")


if __name__ == "__main__":
    # Folders of its own, in which the first hint was seen.
    own = tempfile.mkdtemp()
    os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = own
    os.environ["NAPARI_CONFIG"] = str(Path(own) / "napari.yaml")
    from napari_medvlsm.core.io.settings import Settings

    Settings().remember("first hint seen", "yes")
    known = {function.__name__: function for function in (opening, painting, slider, clicks)}
    for name in sys.argv[1:] or known:
        known[name]()
