"""The windows of review and of effort, on a real project."""

import numpy as np
import pytest
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QShortcut

from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.widgets._review_presenter import open_effort, open_review

SIZE = (80, 120)
WAIT_MS = 30_000


def outline(rows, columns, prediction=None, model="m1", seconds=5.0):
    mask = np.zeros(SIZE, bool)
    mask[slice(*rows), slice(*columns)] = True
    made = new_provenance(author="Ann", model=model, weights_hash=model * 20, seconds=seconds, strokes=2, clicks=1)
    return Annotation("polyp", mask, corrected=True, provenance=made, prediction=prediction)


@pytest.fixture
def store(tmp_path):
    """Twelve grey scans, outlined from predictions of two models; of the first there is a draft besides."""
    create_project(tmp_path / "p", ["polyp"], "Polyps")
    scans = []
    for i in range(12):
        path = tmp_path / f"scan{i + 1}.png"
        Image.fromarray(np.full((*SIZE, 3), 60 + i, np.uint8)).save(path)
        scans.append(NewScan(path))
    with ProjectStore(tmp_path / "p", person="Bo") as store:
        ids = add_scans(store, scans).added
        predicted = outline((20, 50), (20, 60)).mask
        store.save_draft(ids[0], outline((20, 60), (20, 60), predicted))
        for i, case_id in enumerate(ids):
            store.submit(
                case_id, "polyp", outline((20, 50), (20, 80), predicted, f"m{1 + i // 6}", 30 - 3 * (i // 6) + i % 2)
            )
        yield store


def open_and_drawn(qtbot, store):
    dialog = open_review(store)
    dialog.activateWindow()
    qtbot.waitUntil(lambda: drawn(dialog) and dialog.isActiveWindow(), timeout=WAIT_MS)
    return dialog


def drawn(dialog):
    review = dialog.review
    return review.pair is not None and review.scan is not None and bool(review.agreements)


def color_at(view, row, col):
    """The colour of the picture at the middle of a pixel of the scan."""
    from qtpy.QtCore import QPointF

    point = view.mapFromScene(QPointF(col + 0.5, row + 0.5))
    return QColor(view.viewport().grab().toImage().pixel(point))


def test_a_case_is_looked_at_sent_back_and_the_next_one_approved_by_keys(store, qtbot):
    dialog = open_and_drawn(qtbot, store)
    assert "scan1.png" in dialog.heading.text() and dialog.progress.text() == "1 of 12, 12 without an answer"
    assert dialog.second_choice.currentText() == "the prediction that version 2 began from"
    assert "30 s of work, 2 strokes and 1 click, from m1" in dialog.state.text()
    # Only in the outline: a strip of 20 columns that is yellow in the right picture, and grey in the left one.
    tinted, plain = color_at(dialog.second_view, 35, 70), color_at(dialog.first_view, 35, 70)
    assert tinted.red() > 120 and tinted.blue() < 100 and abs(plain.red() - plain.blue()) < 5
    assert "only in version 2 (600)" in dialog.legend.text() and "Dice 0.800" in dialog.numbers.text()

    # Held down, a key answers once.
    once = {key.key().toString() for key in dialog.findChildren(QShortcut) if not key.autoRepeat()}
    assert once == {"A", "B", "Ctrl+Return"}
    dialog.first_view.zoom(2)
    assert dialog.second_view.transform() == dialog.first_view.transform()
    qtbot.keyClick(dialog, Qt.Key.Key_B)
    assert "remark" in dialog.told.text() and store.case(1).state is State.SUBMITTED
    qtbot.keyClicks(dialog.remark, "a bit less")
    assert dialog.remark.text() == "a bit less", "letters are letters there"
    qtbot.keyClick(dialog.remark, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: "scan2.png" in dialog.heading.text() and drawn(dialog), timeout=WAIT_MS)
    assert store.case(1).state is State.DRAFT and store.events(1)[-1].remark == "a bit less"
    qtbot.keyClick(dialog, Qt.Key.Key_A)
    qtbot.waitUntil(lambda: "scan3.png" in dialog.heading.text() and drawn(dialog), timeout=WAIT_MS)
    assert store.case(2).state is State.APPROVED
    assert dialog.remark.text() == "" and dialog.progress.text() == "3 of 12, 10 without an answer"
    dialog.close()


def test_any_version_is_looked_at_and_brought_back(store, qtbot):
    dialog = open_and_drawn(qtbot, store)
    assert not dialog.restore.isEnabled()
    dialog.table.selectRow(1)
    qtbot.waitUntil(lambda: drawn(dialog) and "only in version 1" in dialog.legend.text(), timeout=WAIT_MS)
    assert dialog.first_choice.currentText().startswith("1: ")
    assert dialog.restore.text() == "Bring version 1 back"
    dialog.restore.click()
    qtbot.waitUntil(lambda: dialog.table.rowCount() == 3 and drawn(dialog), timeout=WAIT_MS)
    assert store.current(1, "polyp").foreground == 40 * 40 and store.case(1).state is State.SUBMITTED
    dialog.close()


def test_who_approves_his_own_is_told(store, qtbot):
    store.person = "Ann"
    dialog = open_and_drawn(qtbot, store)
    assert dialog.own.isVisible() and "outlined this yourself" in dialog.own.text()
    dialog.close()


def test_the_window_of_effort_answers_draws_and_saves(store, qtbot, tmp_path, monkeypatch):
    dialog = open_effort(store)
    qtbot.waitUntil(lambda: dialog.report.report is not None and dialog.table.rowCount() == 2, timeout=WAIT_MS)
    assert "3.0 s less" in dialog.answer.text() and dialog.caution.isVisible()
    axes = dialog.canvas.figure.axes[0]
    assert [len(line.get_xdata()) for line in axes.lines[:2]] == [6, 6]
    dialog.by.setCurrentIndex(dialog.by.findData("case"))
    dialog.by.activated.emit(dialog.by.currentIndex())
    qtbot.waitUntil(lambda: dialog.table.rowCount() == 12, timeout=WAIT_MS)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "cost"), ""))
    dialog.save.click()
    qtbot.waitUntil(lambda: "Saved cost.csv" in dialog.told.text(), timeout=WAIT_MS)
    assert len((tmp_path / "cost.csv").read_text().splitlines()) == 13
    dialog.close()


def test_review_and_effort_open_from_the_tab_of_the_project_and_close_before_it(open_panel, store, tmp_path, qtbot):
    store.close()
    panel = open_panel(AutosaveStore(tmp_path / "autosave"))
    tab, projects = panel.project_tab, panel.projects
    panel.tabs.setCurrentWidget(tab)
    assert panel.project.open(tmp_path / "p")
    panel.project.store.person = "Bo"
    qtbot.waitUntil(lambda: panel.project.case is not None, timeout=WAIT_MS)
    assert tab.review.text() == "Review… (12)" and tab.review.isEnabled()
    tab.review.click()
    qtbot.waitUntil(lambda: "review" in projects.dialogs and drawn(projects.dialogs["review"]), timeout=WAIT_MS)
    tab.effort.click()
    qtbot.waitUntil(lambda: "effort" in projects.dialogs, timeout=WAIT_MS)
    dialog, effort = projects.dialogs["review"], projects.dialogs["effort"]
    dialog.approve.click()
    qtbot.waitUntil(
        lambda: tab.review.text() == "Review… (11)" and "scan2.png" in dialog.heading.text(), timeout=WAIT_MS
    )
    dialog.review.step(3)
    qtbot.waitUntil(lambda: "scan5.png" in dialog.heading.text(), timeout=WAIT_MS)
    dialog.open.click()
    qtbot.waitUntil(lambda: panel.project.case.name == "scan5.png", timeout=WAIT_MS)
    with qtbot.waitSignals([dialog.finished, effort.finished]):
        tab.close_project.click()
    assert not projects.dialogs and panel.project.store is None
    qtbot.waitUntil(lambda: not (tmp_path / "p" / "project.open").exists(), timeout=WAIT_MS)
    with ProjectStore(tmp_path / "p") as again:
        assert again.case(1).state is State.APPROVED
