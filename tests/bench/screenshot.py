"""Make the README's screenshot: the program at work on a shipped sample. Usage: under a display, no arguments."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

# A sitting of its own: no correction of earlier ones is offered in the picture.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()

from qtpy.QtWidgets import QApplication

from napari_medvlsm.widgets.app import open_window

OUT = Path(__file__).parent / "screenshot.png"


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
    wait(lambda: panel.session.result is not None)
    viewer.reset_view()
    settle()
    viewer.screenshot(str(out), canvas_only=False, flash=False)
    panel.close_engine()
    viewer.close()


if __name__ == "__main__":
    main(*(Path(a) for a in sys.argv[1:]))
