"""Every way in leads to the same list: drop, menu, Ctrl+O, command line, and the npe2 reader."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.widgets._layers import scan_layers
from napari_medvlsm.widgets.reader import get_reader
from tests.widgets.agreement import disagreements, fits, settle, wait

DICOM = b"\0" * 128 + b"DICM" + b"\0" * 300


@pytest.fixture
def folder(tmp_path, rng):
    """Scans of different sizes and kinds, one that lies on its side, a broken one, DICOM, and system files."""
    place = tmp_path / "scans"
    place.mkdir()
    turned = Image.fromarray(rng.integers(0, 255, (40, 70, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(place / "a1.jpg", exif=exif)
    tifffile.imwrite(place / "a2.tif", rng.integers(0, 4000, (50, 30)).astype(np.uint16))
    Image.fromarray(rng.integers(0, 255, (20, 90), np.uint8)).save(place / "a10.png")
    (place / "a3.png").write_bytes(b"\x89PNG nothing")
    (place / "IM0001").write_bytes(DICOM)
    (place / "IM0002.dcm").write_bytes(DICOM)
    (place / "Thumbs.db").write_bytes(b"x")
    (place / "._a1.jpg").write_bytes(b"x")
    return place


def drop(widget, *paths):
    """Drop files on a widget as the file manager does."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    how = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(widget, QDragEnterEvent(QPoint(50, 50), *how))
    QApplication.sendEvent(widget, QDropEvent(QPointF(50, 50), *how))


def widget(panel, name):
    return next(w for w in panel.window().findChildren(QWidget) if w.metaObject().className() == name)


def names(panel):
    return [entry.name for entry in panel.scans.worklist.entries]


def checked(panel, current):
    settle(panel)
    assert panel.scans.worklist.current.name == current and fits(panel)
    assert disagreements(panel) == []
    return True


def test_all_ways_lead_to_one_list(panel, folder, tmp_path, monkeypatch, rng):
    # On the empty window, where napari's welcome lies over the canvas: a folder.
    drop(widget(panel, "QtWelcomeWidget"), folder)
    settle(panel)
    assert names(panel) == ["a1", "a2", "a3", "a10"] and len(panel.viewer.layers) == 1
    assert checked(panel, "a1") and panel.view.scan.size == (70, 40), "upright, as other programs show it"
    said = panel.footer.status.text()
    assert said.startswith("IM0001 and IM0002.dcm are DICOM files, which cannot be opened yet") and said.count(".") == 2
    # A drop on the viewer, of several sizes and kinds.
    for path in (tmp_path / "c.png", tmp_path / "b.png"):
        Image.fromarray(rng.integers(0, 255, (30, 30 + len(path.stem)), np.uint8)).save(path)
    (tmp_path / "notes.txt").write_text("x")
    drop(widget(panel, "QtViewer"), tmp_path / "c.png", folder / "a2.tif", tmp_path / "notes.txt", folder / "IM0001")
    settle(panel)
    assert names(panel) == ["a1", "a2", "a3", "a10", "c"] and checked(panel, "c")
    assert "IM0001 is a DICOM file" in panel.footer.status.text() and "notes.txt" in panel.footer.status.text()
    # Ctrl+O and its siblings end in napari's dialog.
    chosen = [str(tmp_path / "b.png"), str(folder / "a10.png")]
    for stack in (False, True):
        monkeypatch.setattr(type(widget_of(panel)), "_open_file_dialog_uni", lambda *_: chosen)
        widget_of(panel)._open_files_dialog(stack=stack)
        settle(panel)
        assert checked(panel, "b") and names(panel)[-1] == "b" and len(panel.viewer.layers) == 3, "no stack"
    # The panel's own dialog.
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (chosen[::-1], ""))
    panel.scan_section.open.click()
    settle(panel)
    assert checked(panel, "a10")
    # Keys; what cannot be opened is passed over once that is known.
    panel.scans.worklist.choose(panel.scans.worklist.entries[2])
    settle(panel)
    assert "a3.png" in panel.footer.status.text() and checked(panel, "a10")
    panel.scans.worklist.step(-1)
    assert checked(panel, "a2")
    # A sample, a layer of a program, a click on a layer.
    panel.viewer.open_sample("napari-medvlsm", "cell-nuclei")
    assert checked(panel, "Cell nuclei")
    first = scan_layers(panel.viewer)[-1]
    panel.viewer.layers.selection.active = first
    assert checked(panel, "a1") and panel.view.image is first


def widget_of(panel):
    return panel.viewer.window._qt_viewer


def test_nothing_can_be_asked_of_a_hidden_scan(panel, lesion):
    panel.viewer.add_image(lesion, name="one")
    panel.viewer.add_image(lesion[::2, ::2], name="two")
    settle(panel)
    panel.viewer.layers["two"].visible = False
    settle(panel)
    assert "hidden" in panel.scan_section.facts.text() and not panel.footer.segment.isEnabled()
    assert disagreements(panel) == []
    panel.segment()
    assert "hidden" in panel.footer.status.text()
    panel.viewer.layers["one"].visible = True
    settle(panel)
    assert panel.view.image.name == "one" and disagreements(panel) == []
    assert "hidden" not in panel.footer.status.text()


def test_what_napari_made_of_dicom_is_not_worked_on(panel, lesion, tmp_path):
    from napari.layers._source import layer_source

    (tmp_path / "IM1").write_bytes(DICOM)
    with layer_source(path=str(tmp_path / "IM1"), reader_plugin="napari"):
        panel.viewer.add_image(lesion)
    settle(panel)
    assert "DICOM" in panel.scan_section.facts.text() and panel.view.slice is None


def test_the_reader_gives_one_scan_and_what_waits(folder, tmp_path):
    save_mask(folder / "a1_polyp.tif", Annotation("polyp", np.ones((70, 40), bool), corrected=True))
    layers = get_reader(str(folder))(str(folder))
    assert [(meta["name"], kind) for _, meta, kind in layers] == [("a1", "image"), ("a1_polyp", "labels")]
    viewer = ViewerModel()
    viewer._add_layer_from_data(*layers[0])
    assert [path.name for path in viewer.layers[0].metadata["medvlsm_waiting"]] == ["a2.tif", "a3.png", "a10.png"]
    assert get_reader(str(folder / "IM0001"))("") == [(None,)], "no layer, and no other reader is asked"
    (tmp_path / "x.txt").write_text("x")
    assert get_reader(str(tmp_path / "x.txt")) is None
    with pytest.raises(ValueError, match=r"a3\.png"):
        get_reader(str(folder / "a3.png"))("")


def test_what_the_reader_cannot_read_is_told_and_the_rest_is_opened(folder, monkeypatch):
    told = []
    monkeypatch.setattr("napari_medvlsm.widgets.reader.show_warning", told.append)
    outline = folder / "a1_polyp.tif"
    save_mask(outline, Annotation("polyp", np.ones((70, 40), bool), corrected=True))
    with tifffile.TiffFile(outline) as file:
        (start,) = file.pages[0].dataoffsets
    whole = outline.read_bytes()
    outline.write_bytes(whole[:start] + b"\0\0" + whole[start + 2 :])
    for i in range(4):
        (folder / f"a0{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = sorted(str(path) for path in folder.iterdir())
    assert [meta["name"] for _, meta, _ in get_reader(paths)(paths)] == ["a1"]
    (said,) = told
    assert all(f"a0{i}.png is broken" in said for i in range(3)) and "And 2 more cannot be read." in said


COMMAND_LINE = """
import sys
from napari.__main__ import _build_viewer
# napari takes what stands behind the plugin's name for names of widgets.
sys.argv = ["napari", *sys.argv[1:], "-w", "napari-medvlsm"]
viewer = _build_viewer()
from qtpy.QtWidgets import QApplication
from napari_medvlsm.widgets.panel import Panel
from tests.widgets.agreement import disagreements, settle, wait
panel = next(w for w in QApplication.allWidgets() if isinstance(w, Panel))
wait(lambda: panel.view.slice is not None)
settle(panel)
found = disagreements(panel)
print([e.name for e in panel.scans.worklist.entries], panel.scans.worklist.current.name, len(viewer.layers), found)
print(panel.footer.status.text())
panel.close_engine()
viewer.close()
"""


def test_naparis_command_line(folder):
    paths = [folder / "IM0001", folder / "a10.png", folder]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_LINE, *map(str, paths)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    facts, said = done.stdout.splitlines()[-2:]
    assert facts == "['a10', 'a1', 'a2', 'a3'] a10 1 []"
    assert "DICOM" in said


def test_closing_says_what_is_safe(panel, lesion, monkeypatch, qtbot):
    panel.viewer.add_image(lesion, name="lesion")
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    settle(panel)
    assert panel.closing.sentence() == ""
    panel.correction_section.start.click()
    panel.layers.correction(panel.view.image, "skin melanoma").paint((20, 30), 1)
    asked = []

    def answer():
        from qtpy.QtWidgets import QMessageBox

        (box,) = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox) and w.isVisible()]
        asked.append(f"{box.text()} {box.informativeText()}")
        box.escapeButton().click()

    from qtpy.QtCore import QTimer

    QTimer.singleShot(300, answer)
    panel.window().close()
    wait(lambda: asked)
    assert panel.window().isVisible() and not panel._closed
    assert "1 correction is not saved" in asked[0] and str(panel.store.folder) in asked[0]
    settle(panel)
    assert list(panel.store.folder.glob("[!.]*.tif")), "it is on disk by then"
