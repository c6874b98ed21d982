"""Make the README's pictures: the program at work on a shipped sample, and the composer for three kinds of scan.

Usage: under a display, no arguments.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

# A sitting of its own: no correction of earlier ones is offered in the picture.
os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()

from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QApplication

from napari_medvlsm.widgets.app import open_window

OUT = Path(__file__).parent / "screenshot.png"
COMPOSER = Path(__file__).parent / "composer.png"
# A polyp, a view of the heart, a chest X-ray.
COMPOSED = (
    {"target": "polyp", "number": "two", "size": "small", "color": "pink", "location": "top left"},
    {
        "target": "left ventricular cavity",
        "view": "four-chamber",
        "cycle": "diastole",
        "sex": "female",
        "age": "sixty-four",
    },
    {"target": "airspace opacity", "view": "frontal", "location": "bottom left", "findings": "edema, lung opacity"},
)


def wait(condition, seconds: float = 120) -> None:
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


def main(out: Path = OUT) -> None:
    """Segment the skin lesion, add words, and photograph the window."""
    viewer, panel = open_window([], "skin-lesion")
    viewer.window.resize(1280, 800)
    panel.session.choose(target="skin melanoma", color="brown", location="center")
    panel.prompt_section.more.setChecked(True)
    wait(lambda: panel.view is not None)
    panel.segment()
    wait(lambda: panel.wordings.comparer.effect is not None)
    viewer.reset_view()
    settle()
    viewer.screenshot(str(out), canvas_only=False, flash=False)
    compose(panel)
    panel.close_engine()
    viewer.close()


def compose(panel) -> None:
    """Photograph the composer for three kinds of scan, side by side."""
    section, pictures = panel.prompt_section, []
    for words in COMPOSED:
        panel.session.choose(target=words["target"])
        panel.session.choose(**words)
        settle(0.3)
        pictures.append(section.grab())
    picture = QPixmap(sum(p.width() + 12 for p in pictures) - 12, max(p.height() for p in pictures))
    picture.fill(QColor("#262930"))
    painter, left = QPainter(picture), 0
    for p in pictures:
        painter.drawPixmap(left, 0, p)
        left += p.width() + 12
    painter.end()
    picture.save(str(COMPOSER))


if __name__ == "__main__":
    main(*(Path(a) for a in sys.argv[1:]))
