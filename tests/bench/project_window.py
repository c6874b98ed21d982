"""What a project costs in the window: a long list, the next scan, painting with its autosave, an hour of use.

Usage: python tests/bench/project_window.py [scrolling|following|painting|using ...] [--cases N] [--scans N]
(under a display; Linux only, for the memory)

`scrolling`: ten thousand scans (`--cases`), page by page through all of the list, thumbnails made meanwhile.
`following`: from the key to the next scan shown and encoded, with reading ahead and without, in turns.
`painting`: a move of the brush on 4096 x 4096 pixels in a project, beside a labels layer of a bare napari, in turns.
`using`: `--scans` scans opened, segmented, painted and submitted one after the other; memory on the way.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# A session of its own: settings and autosaves of the person are left alone.
os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()

import numpy as np
from PIL import Image
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.io.images import read_image
from napari_medvlsm.core.projects.adding import add_scans, scans_in
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.store import ProjectStore

sys.path.insert(0, os.fspath(Path(__file__).parent))
from projects import fill, resident
from window import BRUSH, LEFT, NONE, ROUNDS, SAMPLES, SIDE, frames, paint_bare, panel_window, pause, wait


@contextmanager
def project_window(folder: Path) -> Iterator:
    """The window with a project, at its tab and with its first scan in view."""
    with panel_window() as (viewer, panel):
        panel.tabs.setCurrentWidget(panel.project_tab)
        start = time.perf_counter()
        assert panel.projects.open(folder)
        QApplication.processEvents()
        print(f"opened in {1000 * (time.perf_counter() - start):.0f} ms", flush=True)
        yield viewer, panel


def rest(panel) -> None:
    """Let all that goes on in the background end."""
    for background in (panel.background, panel.work.running, panel.work.writing):
        done = []
        background.run(lambda: None, done.append)
        wait(lambda done=done: done)
    wait(lambda: panel.engine.state is EngineState.READY and panel.engine._ahead is None)


def tell(what: str, seconds: list[float]) -> None:
    """Print the middle and the slow ones."""
    middle, slow = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
    print(f"{what}: {1000 * middle:.1f} ms, one in twenty over {1000 * slow:.1f}, longest {1000 * max(seconds):.1f}")


def make_scans(folder: Path, count: int, side: int = 512) -> None:
    """Different pictures: a skin lesion in other frames."""
    folder.mkdir()
    whole = read_image(SAMPLES / "skin_lesion.jpg").pixels
    rng = np.random.default_rng(0)
    for number in range(count):
        row, column = (int(rng.integers(0, max(1, n - side))) for n in whole.shape[:2])
        part = np.resize(whole[row : row + side, column : column + side], (side, side, 3)).copy()
        part[0, 0] = number % 256, number // 256, 0
        Image.fromarray(part).save(folder / f"scan{number:04d}.png")


def make_project(folder: Path, scans: int, side: int = 512) -> Path:
    """A project of so many scans."""
    make_scans(folder / "scans", scans, side)
    create_project(folder / "project", ["skin melanoma"])
    with ProjectStore(folder / "project") as store:
        add_scans(store, list(scans_in(folder / "scans")))
    return folder / "project"


def scrolling(folder: Path, options: argparse.Namespace) -> None:
    """All of the list, page by page."""
    fill(folder / "project", options.cases, options.cases // 10)
    # One file stands for all: it is decoded anew for each.
    Image.fromarray(read_image(SAMPLES / "skin_lesion.jpg").pixels[:1024, :1024]).save(folder / "scan.png")
    with project_window(folder / "project") as (_, panel):
        wait(lambda: panel.engine.state is not EngineState.STARTING)
        pause(2)
        view, before = panel.project_tab.cases, resident("VmRSS")
        bar, times = view.verticalScrollBar(), []
        for place in range(0, bar.maximum(), bar.pageStep()):
            start = time.perf_counter()
            bar.setValue(place)
            view.viewport().repaint()
            QApplication.processEvents()
            times.append(time.perf_counter() - start)
        tell(f"{options.cases} scans, {len(times)} pages, each", times)
        start = time.perf_counter()
        pages = view.viewport().height() // view.sizeHintForRow(0) + 1
        rows = range(view.indexAt(QPoint(5, 5)).row(), panel.projects.model.rowCount())[:pages]
        shown = [panel.projects.model.case(row) for row in rows]
        wait(lambda: all(panel.projects.thumbnails.get(case) is not None for case in shown))
        print(f"all {len(shown)} pictures of the page where one stops: {time.perf_counter() - start:.2f} s")
        for text, what in (("ward 3 42", "search"), ("", "all again")):
            start = time.perf_counter()
            panel.project_tab.search.setText(text)
            panel.project.set_query(panel.project_tab.query())
            view.viewport().repaint()
            print(f"{what}: {1000 * (time.perf_counter() - start):.0f} ms")
        print(
            f"memory {resident('VmRSS'):.0f} MiB, {before:.0f} before; {len(panel.projects.thumbnails._pictures)} kept"
        )


def following(folder: Path, options: argparse.Namespace) -> None:
    """The next scan, with reading ahead and without."""
    project = make_project(folder, 24, 2048)
    with project_window(project) as (_, panel):
        wait(lambda: panel.project.case is not None)
        rest(panel)
        start_ahead = panel.project._ahead.start
        times: dict[str, list[float]] = {"read ahead": [], "not read ahead": []}
        for number in range(22):
            name = list(times)[number % 2]
            rest(panel)
            here = panel.project.case.id
            # What is read now is shown by the step after the next.
            panel.project._ahead.start = (lambda *_: None) if name == "read ahead" else start_ahead
            start = time.perf_counter()
            panel.project.step(1)
            wait(lambda here=here: panel.project.case is not None and panel.project.case.id != here)
            wait(lambda: panel.engine.state is EngineState.READY)
            times[name].append(time.perf_counter() - start)
        for name, found in times.items():
            tell(f"the next scan of 2048 x 2048, shown and encoded, {name}", found[1:])


def paint_in_project(folder: Path) -> list[float]:
    """On a correction of a scan of a project."""
    with project_window(folder) as (viewer, panel):
        wait(lambda: panel.project.case is not None)
        rest(panel)
        panel.start_correction()
        viewer.layers.selection.active.brush_size = BRUSH
        pause(1)
        found = frames(viewer)
        rest(panel)
        assert panel.project.store.current(panel.project.case.id, "skin melanoma").foreground
    return found


def painting(folder: Path, options: argparse.Namespace) -> None:
    """Painting with what a project writes meanwhile, beside a bare labels layer."""
    scan = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    (folder / "scans").mkdir()
    Image.fromarray(scan).save(folder / "scans" / "large.png")
    create_project(folder / "project", ["skin melanoma"])
    with ProjectStore(folder / "project") as store:
        add_scans(store, list(scans_in(folder / "scans")))
    times: dict[str, list[float]] = {"bare labels layer": [], "in a project": []}
    for _ in range(ROUNDS):
        times["bare labels layer"] += paint_bare(scan)
        times["in a project"] += paint_in_project(folder / "project")
    bare = statistics.median(times["bare labels layer"])
    for name, found in times.items():
        tell(f"painting on {SIDE} x {SIDE}, {name} ({statistics.median(found) / bare:.2f} times bare)", found)


def using(folder: Path, options: argparse.Namespace) -> None:
    """Scan after scan, as a person works through them."""
    project = make_project(folder, options.scans)
    with project_window(project) as (viewer, panel):
        wait(lambda: panel.project.case is not None)
        rest(panel)
        begun, waited = time.perf_counter(), []
        print(f"memory at the start: {resident('VmRSS'):.0f} MiB (window)", flush=True)
        for number in range(options.scans):
            case = panel.project.case
            heard: list[int] = []
            panel.session.segmented.connect(lambda heard=heard: heard.append(1))
            panel.segment()
            wait(lambda heard=heard: heard)
            panel.start_correction()
            canvas = viewer.window._qt_viewer.canvas.native
            place = QPoint(canvas.width() // 2, canvas.height() // 2)
            QTest.mousePress(canvas, LEFT, NONE, place)
            for move in range(8):
                QTest.mouseMove(canvas, place + QPoint(6 * move, 2 * move))
                QApplication.processEvents()
            QTest.mouseRelease(canvas, LEFT, NONE, place + QPoint(48, 16))
            start = time.perf_counter()
            panel.project_tab.submit.click()
            last = number == options.scans - 1
            wait(lambda case=case, last=last: last or (panel.project.case and panel.project.case.id != case.id))
            waited.append(time.perf_counter() - start)
            if last or number % 25 == 24:
                rest(panel)
                print(f"after {number + 1} scans: {resident('VmRSS'):.0f} MiB, {len(viewer.layers)} layers", flush=True)
        counts = panel.project.store.counts()
        assert counts.answered == options.scans, counts
        tell("from submitting to the next scan in view", waited[:-1])
        print(f"{options.scans} scans in {time.perf_counter() - begun:.0f} s")


def main() -> None:
    """Measure what is asked for."""
    parts: dict[str, Callable[[Path, argparse.Namespace], None]] = {
        f.__name__: f for f in (scrolling, following, painting, using)
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--scans", type=int, default=200)
    options = parser.parse_args()
    for name in options.parts or parts:
        with tempfile.TemporaryDirectory() as temporary:
            parts[name](Path(temporary), options)


if __name__ == "__main__":
    main()
