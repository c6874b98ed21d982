"""Make the pictures of the README and of the guide: the program at work on the shipped samples.

Usage: python tests/bench/screenshot.py [FOLDER]   (by default where they belong; under a display)
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

# A session of its own: no correction of earlier ones is offered in the pictures.
os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
os.environ["NAPARI_CONFIG"] = ""

from PIL import Image
from qtpy.QtCore import QBuffer, QIODevice
from qtpy.QtWidgets import QAbstractButton, QApplication, QDialog, QWidget

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.prompts.own_words import own_words_path
from napari_medvlsm.widgets.app import PLUGIN, open_window
from napari_medvlsm.widgets.dialogs import OwnWordsDialog

README = Path(__file__).parent
GUIDE = Path(__file__).parents[2] / "napari_medvlsm" / "guide"
GROUND = "#262930"
# As wide as the guide's text.
GUIDE_WIDTH = 740
# A polyp, a view of the heart, a chest X-ray.
POLYP = {"target": "polyp", "number": "two", "size": "small", "color": "pink", "location": "top left"}
HEART = {
    "target": "left ventricular cavity",
    "view": "four-chamber",
    "cycle": "diastole",
    "sex": "female",
    "age": "sixty-four",
}
CHEST = {"target": "airspace opacity", "view": "frontal", "location": "bottom left", "findings": "edema, lung opacity"}


def wait(condition: Callable[[], object], seconds: float = 180) -> None:
    """Run the event loop until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents()
        time.sleep(0.01)


def settle(seconds: float = 0.6) -> None:
    """Run the event loop for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def grabbed(widget: QWidget) -> Image.Image:
    """A widget as it looks now."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    widget.grab().save(buffer, "PNG")
    return Image.open(BytesIO(bytes(buffer.data()))).convert("RGB")


def beside(*pictures: Image.Image) -> Image.Image:
    """Pictures side by side."""
    whole = Image.new("RGB", (sum(p.width + 12 for p in pictures) - 12, max(p.height for p in pictures)), GROUND)
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + 12
    return whole


def keep(image: Image.Image, path: Path, width: int = GUIDE_WIDTH) -> None:
    """Write a picture, at most `width` pixels wide."""
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)
    print(f"{path.name}: {image.width} x {image.height} pixels, {path.stat().st_size / 1000:.0f} kB")


class Photographer:
    """The window with the panel, and what is done in it for the pictures.

    Parameters
    ----------
    readme, guide : Path
        Folders of the pictures.
    """

    def __init__(self, readme: Path, guide: Path) -> None:
        self.readme, self.guide = readme, guide
        self.viewer, self.panel = open_window([], "skin-lesion")
        self.viewer.window.resize(1280, 800)
        wait(lambda: self.panel.view.slice is not None)

    def work(self) -> None:
        """Outline a skin lesion, correct it, look at words."""
        panel, sections = self.panel, self.panel.prompt_section
        panel.session.choose(target="skin melanoma", color="brown", location="center")
        sections.more.setChecked(True)
        self.segment()
        wait(lambda: not panel.result_section.badge.isHidden())
        keep(self.window(), self.readme / "screenshot.png", width=1280)
        self.viewer.window.resize(1040, 700)
        sections.more.setChecked(False)
        keep(self.window(), self.guide / "window.png")
        keep(grabbed(panel.result_section), self.guide / "result.png")
        panel.result_section.certainty.click()
        settle()
        canvas = Image.fromarray(self.viewer.screenshot(flash=False)[..., :3])
        keep(canvas.crop(canvas.getbbox()), self.guide / "certainty.png")
        panel.result_section.certainty.click()
        keep(self.dialog(panel.result_section.compare, seconds=90), self.guide / "compare.png")
        self.disagree()
        self.correct()
        keep(grabbed(panel.save_section), self.guide / "save.png")
        keep(self.dialog(panel.model_section.about), self.guide / "about.png")
        keep(self.dialog(panel.model_section.more), self.guide / "models.png")
        self.own_words()
        self.compose()
        self.sides()

    def window(self) -> Image.Image:
        """The whole window."""
        self.viewer.reset_view()
        settle()
        return Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)[..., :3])

    def segment(self) -> None:
        """Press the button and wait for the answer."""
        self.panel.segment()
        wait(lambda: self.panel.session.result is not None and self.panel.engine.state is EngineState.READY)

    def dialog(self, button: QAbstractButton, seconds: float = 20) -> Image.Image:
        """The dialog that a button opens; it is closed again."""
        before = set(self.panel.findChildren(QDialog))
        button.click()
        wait(lambda: set(self.panel.findChildren(QDialog)) - before, seconds)
        (dialog,) = set(self.panel.findChildren(QDialog)) - before
        settle()
        picture = grabbed(dialog)
        dialog.close()
        settle(0.2)
        return picture

    def disagree(self) -> None:
        """Words that the outline contradicts."""
        section = self.panel.prompt_section
        self.panel.session.choose(size="large")
        wait(lambda: not section.flags.isHidden())
        settle(0.3)
        keep(grabbed(section), self.guide / "disagree.png")
        self.panel.session.choose(size="")

    def correct(self) -> None:
        """Begin a correction and paint a stroke."""
        self.panel.correction_section.start.click()
        layer = self.viewer.layers.selection.active
        layer.brush_size = 120
        rows, cols = layer.data.shape
        for step in range(12):
            layer.paint((rows * (0.62 + 0.006 * step), cols * (0.36 - 0.004 * step)), 1)
        # What the person works with is to be in the picture.
        bar = self.panel.scroll.verticalScrollBar()
        settle()
        bar.setValue(self.panel.correction_section.y() - 150)
        keep(self.window(), self.guide / "correction.png")

    def own_words(self) -> None:
        """A target of one's own, filled in."""
        dialog = OwnWordsDialog(own_words_path(), parent=self.panel)
        dialog.phrase.setText("gallstone")
        dialog.label.setText("Gallstone")
        dialog.modality.setCurrentText("abdominal ultrasound")
        dialog.synonyms.setText("biliary stone, gall bladder stone")
        dialog.general.setPlainText("a hard lump in the gall bladder")
        dialog.show()
        settle(0.3)
        keep(grabbed(dialog.tabs), self.guide / "own-words.png")
        dialog.close()

    def compose(self) -> None:
        """The choices for three kinds of scan."""
        section, pictures = self.panel.prompt_section, []
        section.more.setChecked(True)
        for words in (POLYP, HEART, CHEST):
            self.panel.session.choose(target=words["target"])
            self.panel.session.choose(**words)
            settle(0.3)
            pictures.append(grabbed(section))
        keep(beside(*pictures[:2]), self.guide / "words.png")
        keep(pictures[2], self.guide / "unknown-words.png")

    def sides(self) -> None:
        """Two targets in one prompt, and two lesions of which the place picks one."""
        panel, section = self.panel, self.panel.prompt_section
        section.more.setChecked(False)
        panel.session.type("left and right lung")
        settle(0.3)
        keep(grabbed(section), self.guide / "two-targets.png")
        self.viewer.open_sample(PLUGIN, "breast-ultrasound-two")
        wait(lambda: panel.view.slice is not None and "two lesions" in panel.view.slice.image.name)
        panel.session.choose(target="breast tumor", location="left")
        self.segment()
        wait(lambda: not panel.result_section.badge.isHidden())
        keep(self.dialog(panel.result_section.compare, seconds=90), self.guide / "picks.png")

    def close(self) -> None:
        """End the engine and the window."""
        self.panel.close_engine()
        self.viewer.close()


def main(folder: Path | None = None) -> None:
    """Make all pictures, into one folder or where they belong."""
    photographer = Photographer(folder or README, folder or GUIDE)
    try:
        photographer.work()
    finally:
        photographer.close()


if __name__ == "__main__":
    main(*(Path(a) for a in sys.argv[1:]))
