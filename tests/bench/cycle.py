"""One whole cycle in a real window: segment, correct, submit, improve, compare, promote, segment again; with pictures.

Usage: python tests/bench/cycle.py OUT [--data FOLDER] [--scans N] [--epochs N] [--size 1280x800 1920x1080 1280x800@14]

Each picture is taken in every size of the window that is named, with the points of the font behind "@".

OUT gets the pictures, the project and what was measured. The scans are drawn by the script, or are those of FOLDER:
`images/` with `masks/` of the same names, of the target that `--target` names. Under a display.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# A session of its own.
os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
os.environ["NAPARI_CONFIG"] = ""

import numpy as np
import psutil
from napari.settings import get_settings
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.improve.rounds import RoundState
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.widgets.app import open_window

SIZE = (120, 160)


def drawn(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A scan (H, W, 3) with a pale lesion that has a dark rim, and its mask; every sixth shows none."""
    rng = np.random.default_rng([seed, number])
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    grain = rng.normal(0, 9, (*SIZE, 1))
    scan = np.array([196.0, 150.0, 132.0]) + grain + 14 * np.sin(cols / 17 + number)[..., None]
    mask = np.zeros(SIZE, bool)
    if number % 6 != 5:
        row, col = rng.uniform(30, 90), rng.uniform(35, 125)
        height, width = rng.uniform(13, 26, 2)
        away = np.hypot((rows - row) / height, (cols - col) / width)
        mask = away < 1
        scan[mask] = np.array([150.0, 108.0, 100.0]) + grain[mask]
        scan[mask & (away < 0.7)] += 34
    for _ in range(3):  # what else there is: dark spots that are none
        row, col = rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1])
        spot = (np.hypot(rows - row, cols - col) < rng.uniform(3, 7)) & ~mask
        scan[spot] = np.array([92.0, 62.0, 60.0]) + grain[spot]
    return np.clip(scan, 0, 255).astype(np.uint8), mask


def make_scans(folder: Path, number: int) -> dict[str, np.ndarray]:
    """Draw so many scans; the masks by file name."""
    folder.mkdir(parents=True)
    truths = {}
    for i in range(number):
        scan, mask = drawn(i)
        name = f"patient{i // 2 + 1:02d}_{i % 2 + 1}.png"
        Image.fromarray(scan).save(folder / name)
        truths[name] = mask
    return truths


def read_truths(data: Path, number: int) -> dict[str, np.ndarray]:
    """The masks of the first scans of a folder, by file name."""
    truths = {}
    for path in sorted((data / "images").iterdir())[:number]:
        found = next((data / "masks").glob(f"{path.stem}.*"))
        truths[path.name] = np.asarray(Image.open(found).convert("L")) > 127
    return truths


class Clinician:
    """Who works in the window.

    Parameters
    ----------
    out : Path
        For pictures.
    sizes : sequence of str
        Width and height of the window, with the points of the font where it is not napari's own: "1280x800@14".
    """

    def __init__(self, out: Path, sizes: Sequence[str]) -> None:
        self.out, self.sizes, self.measured, self._pictures = out, sizes, {}, 0
        self._font = get_settings().appearance.font_size
        self.viewer, self.panel = open_window([])
        self.resize(sizes[0])

    def resize(self, size: str) -> None:
        """Give the window a size and its font."""
        pixels, _, points = size.partition("@")
        get_settings().appearance.font_size = int(points or self._font)
        self.viewer.window.resize(*map(int, pixels.split("x")))

    def wait(self, condition: Callable[[], object], seconds: float = 600) -> float:
        """Run the event loop until something holds; the longest time for which the window did not answer."""
        end, longest = time.monotonic() + seconds, 0.0
        while not condition():
            if time.monotonic() > end:
                self.picture("late")
                raise TimeoutError(self.panel.footer.status.text())
            begun = time.monotonic()
            QApplication.processEvents()
            longest = max(longest, time.monotonic() - begun)
            time.sleep(0.005)
        return longest

    def rest(self, seconds: float = 0.7) -> None:
        """Run the event loop for a while."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def picture(self, name: str) -> None:
        """Keep the window as it looks now."""
        self._pictures += 1
        for size in self.sizes if name != "late" else self.sizes[:1]:
            if name != "late":
                self.resize(size)
                self.rest()
            path = self.out / f"{self._pictures:02d}_{name}_{size}.png"
            Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3]).save(path)
            print(path.name, flush=True)
        self.resize(self.sizes[0])

    def resident(self, module: str) -> int:
        """Memory that the largest process of a module takes now, in bytes."""
        found = [p for p in psutil.Process().children(recursive=True) if module in p.cmdline()]
        return max((p.memory_info().rss for p in found), default=0)

    def tab(self, number: int) -> None:
        """Turn to a tab: 0 segments, 1 is the project, 2 improves."""
        self.panel.tabs.setCurrentIndex(number)

    def segment(self) -> float:
        """Press the button and wait for the answer; seconds it took."""
        panel, begun = self.panel, time.monotonic()
        heard = []
        panel.session.segmented.connect(lambda: heard.append(1))
        self.wait(lambda: panel.view.slice is not None)
        panel.segment()
        self.wait(lambda: heard and panel.engine.state is EngineState.READY)
        return time.monotonic() - begun

    def work(self, scans: Path, truths: dict[str, np.ndarray], target: str, epochs: int) -> None:
        """The cycle."""
        panel = self.panel
        self.tab(2)
        self.picture("no_project")
        assert panel.project.create(self.out / "project", [target], "Lesions")
        panel.project.add([scans])
        self.wait(lambda: panel.project.case is not None and panel.project.store.counts().cases == len(truths))
        self.picture("nothing_to_learn_from")
        self.suggest()
        self.tab(0)
        self.measured["segment_s"] = self.segment()
        panel.start_correction()
        self.picture("correct")
        self.correct(truths[panel.project.case.name])
        self.tab(1)
        self.picture("submit")
        panel.project.answers.submit()
        self.wait(lambda: panel.project.store.counts().answered == 1)
        self.answer_the_rest(panel.project.store, truths, target)
        self.tab(2)
        self.improve(epochs)
        self.decide(truths, target)

    def suggest(self) -> None:
        """Which scans first: those that the model names."""
        panel, tab = self.panel, self.panel.project_tab
        self.tab(1)
        tab.sort.setCurrentIndex(tab.sort.findData("suggested"))
        tab.sort.activated.emit(tab.sort.currentIndex())
        begun = time.monotonic()
        tab.suggest.click()
        self.wait(lambda: panel.suggestions.far is None or panel.suggestions.far[0] > 2)
        self.measured["suggest_bytes"] = self.resident("napari_medvlsm.cli")
        self.picture("looking_at_scans")
        self.wait(lambda: panel.suggestions.far is None)
        self.measured["suggest_s"] = time.monotonic() - begun
        assert panel.suggestions.ids, tab.suggested.text()
        panel.project.open_case(panel.suggestions.ids[0])
        self.wait(lambda: panel.project.case is not None and panel.project.case.id == panel.suggestions.ids[0])
        self.picture("suggested")

    def correct(self, truth: np.ndarray) -> None:
        """Paint the true outline, as a brush would."""
        layer = self.viewer.layers.selection.active
        layer.data_setitem(
            np.nonzero((layer.data > 0) != truth), truth[(layer.data > 0) != truth].astype(layer.data.dtype)
        )
        self.rest(1.5)

    def answer_the_rest(self, store: ProjectStore, truths: dict[str, np.ndarray], target: str) -> None:
        """What is left of the scans, as another sitting would have left it."""
        for case in store.cases():
            if case.states[target].value in ("unseen", "draft"):
                mask = truths[Path(case.name).name]
                made = new_provenance(scan_hash=case.pixels_hash, scan_size=case.size, author="A. Clinician")
                if mask.any():
                    outline = Annotation(target, mask, corrected=True, provenance=made)
                    store.submit(case.id, target, outline)
                else:
                    store.mark_absent(case.id, target)
        self.panel.project.changed.emit()

    def improve(self, epochs: int) -> None:
        """Start, keep working, and wait for the end."""
        panel, improve, tab = self.panel, self.panel.improve, self.panel.improve_tab
        if epochs:
            tab.epochs.setValue(epochs)
        self.wait(lambda: improve.startable)
        self.rest()
        self.picture("what_would_be_learned")
        begun = time.monotonic()
        tab.measure.click()
        self.wait(lambda: improve.doing is None or improve.doing.text.startswith("Training"))
        self.picture("how_long")
        self.wait(lambda: improve.doing is None)
        assert improve.time is not None, panel.footer.status.text()
        self.measured["how_long_s"] = time.monotonic() - begun
        tab.options.toggle.click()
        self.picture("options")
        tab.options.toggle.click()
        begun = time.monotonic()
        tab.start.click()
        self.wait(lambda: improve.view is not None or improve.found)
        assert not improve.found, improve.found
        self.wait(lambda: improve.view.losses, 300)
        self.measured["first_step_s"] = time.monotonic() - begun
        self.measured["window_stands_still_s"] = self.wait(
            lambda: len(improve.view.epochs) >= 2 or not improve.running, 600
        )
        self.picture("training")
        self.measured["training_bytes"] = self.resident("medvlsm_training")
        panel.project.step(-1)
        self.tab(0)
        self.rest()
        self.measured["segment_while_training_s"] = self.segment()
        self.picture("segment_while_training")
        self.tab(2)
        self.wait(lambda: not improve.running and improve.view.state is RoundState.FINISHED and improve.verdict, 1800)
        self.measured["cycle_s"] = time.monotonic() - begun
        self.picture("before_and_after")

    def decide(self, truths: dict[str, np.ndarray], target: str) -> None:
        """Look at the worst case, promote, segment again."""
        panel, improve, tab = self.panel, self.panel.improve, self.panel.improve_tab
        tab.verdict.compare.click()
        self.rest(6)
        self.picture("worst_case")
        for dialog in [w for w in QApplication.topLevelWidgets() if w.windowTitle().startswith("Before and after")]:
            dialog.grab().save(str(self.out / "worst_case_dialog.png"))
            dialog.close()
        tab.verdict.promote.click()
        self.wait(lambda: improve.outlook.present is not None and improve.outlook.present.name == "1")
        self.picture("promoted")
        seen = next(case for case in panel.project.store.cases() if case.split == "train" and truths[case.name].any())
        panel.project.open_case(seen.id)
        self.wait(lambda: panel.project.case is not None and panel.project.case.id == seen.id)
        self.tab(0)
        self.rest()
        self.segment()
        self.picture("segmented_again")
        self.tab(2)
        tab.scroll.verticalScrollBar().setValue(tab.scroll.verticalScrollBar().maximum())
        self.picture("models")

    def close(self) -> None:
        """End the engine and the window."""
        self.panel.close_engine()
        self.viewer.close()


def main() -> None:
    """Drive the cycle, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--target", default="skin melanoma")
    parser.add_argument("--scans", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--size", nargs="+", default=["1280x800"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.data:
        scans, truths = options.data / "images", read_truths(options.data, options.scans)
    else:
        scans = options.out / "scans"
        truths = make_scans(scans, options.scans)
    clinician = Clinician(options.out, options.size)
    try:
        clinician.work(scans, truths, options.target, options.epochs)
    finally:
        (options.out / "measured.json").write_text(json.dumps(clinician.measured, indent=1))
        print(json.dumps(clinician.measured), file=sys.stderr)
        clinician.close()


if __name__ == "__main__":
    main()
