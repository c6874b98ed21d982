"""`medvlsm-gui`: napari with the panel docked."""

from __future__ import annotations

import argparse
from pathlib import Path

import napari
from napari._qt import qt_main_window

from napari_medvlsm.widgets.panel import Panel

PLUGIN = "napari-medvlsm"
# Sample scans and what to outline in them.
SAMPLES = {
    "polyp": "polyp",
    "breast-ultrasound": "breast tumor",
    "breast-ultrasound-two": "breast tumor",
    "cell-nuclei": "cell nuclei",
    "skin-lesion": "skin melanoma",
    "chest-xray": "lungs",
}


def open_window(scans: list[Path], sample: str | None = None) -> tuple[napari.Viewer, Panel]:
    """Open a viewer as large as the screen, with the panel at its right and napari's layer controls folded away."""
    # napari's notice that it will drop PyQt5 is for developers; the pyqt5 extra bounds napari accordingly.
    qt_main_window.SHOW_QT_WARNING = False
    viewer = napari.Viewer(title="MedVLSM")
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN)
    # The panel has what is needed of them; the menu Window shows them again.
    viewer.window._qt_viewer.dockLayerControls.setVisible(False)
    window = viewer.window._qt_window
    # Where there is no window manager, and for who makes the window smaller again.
    window.setGeometry(window.screen().availableGeometry())
    window.showMaximized()
    if scans:
        panel.open_files(scans)
    if sample is not None:
        viewer.open_sample(PLUGIN, sample)
        panel.session.choose(target=SAMPLES[sample])
    return viewer, panel


def main(arguments: list[str] | None = None) -> None:
    """Open the window and run until it is closed."""
    parser = argparse.ArgumentParser(prog="medvlsm-gui", description="Outline scans with words in napari.")
    parser.add_argument("scans", nargs="*", type=Path, help="PNG, JPEG, TIFF or BMP files, or folders of them, to open")
    parser.add_argument("--sample", choices=list(SAMPLES), help="open a sample scan, ready to segment")
    options = parser.parse_args(arguments)
    open_window(options.scans, options.sample)
    napari.run()


if __name__ == "__main__":
    main()
