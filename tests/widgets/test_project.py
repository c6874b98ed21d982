"""A project in the real window, from the dialog that makes it to answers on disk."""

import time

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMessageBox, QShortcut

from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from napari_medvlsm.widgets.dialogs import NewProjectDialog
from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.tabs.case_list import CASE_ROLE
from tests.widgets.conftest import ENGINE_MS

SIZE = (60, 80)


@pytest.fixture
def scans(tmp_path):
    """Four scans of two patients."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(5)
    for name in ("ada_1", "ada_2", "bob_1", "bob_2"):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(tmp_path / "scans" / f"{name}.png")
    return tmp_path / "scans"


def made(panel, scans, qtbot):
    """A project that is made by the dialog, with its first scan in view."""
    panel.tabs.setCurrentWidget(panel.project_tab)
    panel.project_tab.new.click()
    dialog = panel.findChild(NewProjectDialog)
    assert not dialog.ok.isEnabled() and "name" in dialog.where.text()
    dialog.place.setText(str(scans.parent))
    dialog.name.setText("work")
    QTest.keyClicks(dialog.target.lineEdit(), "gallstone")
    QTest.keyClick(dialog.target.lineEdit(), Qt.Key.Key_Return)
    dialog.scans.folder.setText(str(scans))
    dialog.scans.way.setCurrentIndex(1)
    qtbot.waitUntil(lambda: dialog.scans.groups.topLevelItemCount() == 2, timeout=20_000)
    assert dialog.scans.found.text() == "4 scans in 2 groups."
    assert dialog.scans.groups.topLevelItem(0).text(0) == "patient ada: 2 scans"
    dialog.scans.text.setText("{patient}_{number}")
    qtbot.waitUntil(lambda: "must mark one part" in dialog.scans.found.text(), timeout=20_000)
    assert not dialog.ok.isEnabled()
    dialog.scans.text.setText("{patient}_*")
    qtbot.waitUntil(lambda: dialog.ok.isEnabled() and dialog.scans.groups.topLevelItemCount() == 2, timeout=20_000)
    dialog.ok.click()
    qtbot.waitUntil(lambda: panel.project.case is not None, timeout=20_000)
    return scans.parent / "work"


def test_a_project_from_its_dialog_to_its_answers(panel, scans, qtbot):
    folder, tab = made(panel, scans, qtbot), panel.project_tab
    model = panel.projects.model
    assert model.rowCount() == 4 and panel.project.target == "gallstone"
    # A name that is entered when the project is open already is in it, too.
    panel.save_section.author.setText("Dr. Ada")
    panel.save_section.author.editingFinished.emit()
    assert panel.project.store.person == "Dr. Ada"
    answers = {keys.SUBMIT_KEY, keys.NOT_THERE_KEY, keys.REOPEN_KEY, keys.ADD_NEXT_KEY}
    once = {key.key().toString() for key in panel.findChildren(QShortcut) if not key.autoRepeat()}
    assert answers <= once, "held down, a key answers once"
    assert model.index(0).data(CASE_ROLE).group == "patient ada"
    qtbot.waitUntil(lambda: panel.projects.thumbnails.get(model.case(3)) is not None, timeout=20_000)
    picture = panel.projects.thumbnails.get(model.case(3))
    assert max(picture.width(), picture.height()) / picture.devicePixelRatioF() == 44
    # By key, as with one hand on the mouse.
    panel.start_correction()
    layer = panel.viewer.layers.selection.active
    layer.data_setitem((np.array([5, 6, 7]), np.array([5, 6, 7])), 1)
    tab.submit.click()
    qtbot.waitUntil(lambda: panel.project.case.name == "ada_2.png", timeout=20_000)
    tab.absent.click()
    qtbot.waitUntil(lambda: panel.project.case.name == "bob_1.png", timeout=20_000)
    assert tab.progress.value() == 2 and "1 submitted" in tab.counts.text()
    tab.cases.caseChosen.emit(model.id_of(3))
    qtbot.waitUntil(lambda: panel.project.case.name == "bob_2.png", timeout=20_000)
    assert panel.view.image.name == "bob_2" and tab.cases.currentIndex().row() == 3
    # Another window may look at it.
    with pytest.raises(ValueError, match="open in another program"):
        ProjectStore(folder)
    panel.project.close()
    assert not tab.body.isVisible() and panel.view.image is not None, "what is in view stays"


def test_a_project_of_another_window_is_offered_read_only(panel, scans, qtbot):
    folder = made(panel, scans, qtbot)
    # In use by nobody, although it is still being closed beside the window.
    panel.work.writing.run(lambda: time.sleep(0.2))
    panel.project.close()
    assert panel.projects.open(folder)
    panel.project.close()
    panel.work.writing.run(lambda: None, lambda _: None)
    qtbot.waitUntil(lambda: not (folder / "project.open").exists(), timeout=20_000)
    with ProjectStore(folder):
        assert not panel.projects.open(folder)
        box = panel.findChild(QMessageBox)
        assert "open in another program" in box.text()
        next(b for b in box.buttons() if "read-only" in b.text()).click()
        qtbot.waitUntil(lambda: panel.project.case is not None, timeout=20_000)
        tab = panel.project_tab
        assert "read-only" in tab.title.text() and not tab.add.isEnabled() and not tab.submit.isEnabled()
        panel.project.close()


def test_predictions_come_in_beside_the_window_and_can_be_stopped(panel, scans, qtbot, ready):
    folder, tab = made(panel, scans, qtbot), panel.project_tab
    ready(panel)
    store = panel.project.store
    # What is said of something else is no prompt for what the project asks for.
    panel.session.choose(target="foot ulcer")
    tab.predict.click()
    dialog = next(d for d in panel.findChildren(object) if type(d).__name__ == "PredictDialog")
    assert dialog.rows["gallstone"][1].text() == "gallstone"
    assert "never learned “gallstone”" in dialog.warning.text()
    dialog.rows["gallstone"][1].setText("polyp")
    assert dialog.warning.isHidden()
    dialog.ok.click()
    assert tab.stop.isVisible() and not tab.predict.isEnabled()
    qtbot.waitUntil(lambda: store.counts().predictions == 4, timeout=ENGINE_MS)
    qtbot.waitUntil(lambda: not panel.project.predicting.works, timeout=ENGINE_MS)
    assert not tab.work.isVisible() and store.counts().states[State.UNSEEN] == 4
    tab.filter.setCurrentIndex(2)
    tab.queryChanged.emit(tab.query())
    assert panel.project.query == CaseQuery(states=(State.UNSEEN,), predicted=True)
    assert panel.projects.model.rowCount() == 4
    # Stopped at once: the process ends, and the project remembers no work.
    panel.project.predict({"gallstone": "foot ulcer"}, str(panel.session.model.folder))
    panel.project.predicting.stop()
    qtbot.waitUntil(lambda: not panel.project.predicting.works, timeout=ENGINE_MS)
    assert not store.meta("predicting") and not (folder / "predicting").exists()
