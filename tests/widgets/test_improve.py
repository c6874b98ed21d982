"""The tab "Improve" in a real window: with a real training of a small model, and with data that are refused."""

import numpy as np
import pytest
from PIL import Image
from qtpy.QtWidgets import QPushButton

from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.improve.rounds import RoundState
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.models.store.registry import available_models, user_models_folder
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.widgets.dialogs import BeforeAfterDialog, CardDialog

TRAINED_MS, SOON_MS = 300_000, 60_000
SIZE = (60, 80)


@pytest.fixture
def stones(tmp_path):
    """A project of twelve scans, all outlined by a person but the last, which shows nothing."""
    rng = np.random.default_rng(5)
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    create_project(tmp_path / "stones", ["gallstone"], "Stones of ward 3")
    with ProjectStore(tmp_path / "stones", person="Ann") as store:
        for i in range(12):
            mask = np.hypot((rows - rng.integers(15, 45)) / 9, (cols - rng.integers(20, 60)) / 13) < 1
            pixels = rng.integers(0, 60, (*SIZE, 3)) + (mask & (i < 11))[..., None] * np.array([150, 40, 60])
            path = tmp_path / f"scan{i}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            (case_id,) = add_scans(store, [NewScan(path, group=f"patient {i}")]).added
            if i == 11:
                store.mark_absent(case_id, "gallstone")
                continue
            made = new_provenance(scan_hash=store.case(case_id).pixels_hash, author="Ann")
            store.submit(case_id, "gallstone", Annotation("gallstone", mask, corrected=True, provenance=made))
    return tmp_path / "stones"


@pytest.fixture
def looked(qtbot):
    """Opens a project in a panel and waits until its tab knows what there is."""

    def opened(panel, folder):
        assert panel.project.open(folder)
        panel.tabs.setCurrentWidget(panel.improve_tab)
        qtbot.waitUntil(lambda: panel.improve.outlook is not None and panel.project.case is not None, timeout=SOON_MS)

    return opened


def press(box, text):
    """Press the button with a text."""
    next(b for b in box.findChildren(QPushButton) if b.text() == text).click()


def test_without_a_project_the_tab_says_what_to_do(panel):
    panel.tabs.setCurrentWidget(panel.improve_tab)
    tab = panel.improve_tab
    assert tab.open.isVisible() and not tab.body.isVisible() and "finish some scans" in tab.hint.text()


def test_data_that_do_not_fit_are_refused_shown_and_left_out_and_a_trial_is_cancelled(panel, stones, looked, qtbot):
    with ProjectStore(stones) as store:
        # Not the first one, which comes into view.
        bad = [case for case in store.cases() if case.split == "train"][-1]
        held_out = next(case for case in store.cases() if case.split == "test")
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(stones.parent / bad.name)
    looked(panel, stones)
    tab, improve = panel.improve_tab, panel.improve
    assert "learn from" in tab.learned.text() and "no model learns from" in tab.learned.text()
    before = improve.outlook.chosen.scans("train")
    qtbot.waitUntil(tab.start.isEnabled)
    tab.start.click()
    qtbot.waitUntil(lambda: bool(improve.found), timeout=SOON_MS)
    (found,) = improve.found
    assert found.kind == "scan-changed" and bad.name in panel.footer.status.text()
    assert not (stones / "models" / "1").exists() and improve.view is None
    shown = []
    panel.project.message.connect(lambda text, problem: shown.append(text))
    press(tab.findings, "Show")
    qtbot.waitUntil(lambda: any("another picture" in text for text in shown), timeout=SOON_MS)

    # Left out, it stops nothing; what is held out cannot be left out.
    press(tab.findings, "Leave out")
    qtbot.waitUntil(lambda: bad.name in tab.left_out.text.text(), timeout=SOON_MS)
    assert improve.outlook.chosen.scans("train") == before - 1 and not improve.found and tab.start.isEnabled()
    assert panel.footer.status.text() == f"{bad.name} is left out of the next training."
    panel.project.open_case(held_out.id)
    qtbot.waitUntil(lambda: panel.project.case is not None and panel.project.case.id == held_out.id, timeout=SOON_MS)
    assert not tab.left_out.switch.isEnabled() and "held out" in tab.left_out.switch.toolTip()
    tab.approved.setChecked(True)
    assert improve.left_out == (bad.id,), "another option takes nothing in again"
    tab.approved.setChecked(False)

    # A trial ends at once when it is cancelled, in whatever it is, and leaves nothing.
    qtbot.waitUntil(lambda: improve.startable, timeout=SOON_MS)
    tab.measure.click()
    qtbot.waitUntil(lambda: improve.doing.text.startswith("Training"), timeout=SOON_MS)
    assert tab.cancel.isVisible()
    tab.cancel.click()
    qtbot.waitUntil(lambda: improve.doing is None, timeout=SOON_MS)
    assert (
        "Cancelled" in panel.footer.status.text()
        and improve.time is None
        and not list((stones / "models").glob(".trial*"))
    )
    tab.left_out.take_all.click()
    qtbot.waitUntil(lambda: improve.outlook.chosen.scans("train") == before, timeout=SOON_MS)


@pytest.mark.slow
def test_a_model_is_improved_while_the_window_is_closed_then_compared_promoted_and_taken_back(
    open_panel, store, stones, looked, qtbot
):
    from tests.core.models.small_models import small_wordunet

    folder = user_models_folder() / "small"
    small_wordunet().save(folder)
    write_card(ModelCard(name="small", title="Small", family="wordunet"), folder)

    first = open_panel(store)
    assert "small" in available_models()
    looked(first, stones)
    tab = first.improve_tab
    tab.base.setCurrentIndex(tab.base.findData("small"))
    tab.base.activated.emit(tab.base.currentIndex())
    tab.more.setText("optimizer.ema=0")
    tab.more.editingFinished.emit()
    tab.epochs.setValue(1)
    qtbot.waitUntil(lambda: first.improve.options.epochs == 1 and tab.start.isEnabled())
    tab.start.click()
    qtbot.waitUntil(lambda: first.improve.running, timeout=SOON_MS)
    assert tab.round.isVisible() and tab.round.stop.isVisible() and not tab.next.isVisible()
    viewer, round_ = first.viewer, first.improve.view.round
    first.close_engine()
    viewer.window.remove_dock_widget(first)
    assert round_.plan.base.name == "small" and round_.plan.present.name == "starter"

    panel = open_panel(store, viewer)
    looked(panel, stones)
    improve, tab = panel.improve, panel.improve_tab
    assert improve.view.round.folder == round_.folder
    qtbot.waitUntil(lambda: improve.verdict is not None, timeout=TRAINED_MS)
    assert improve.view.state is RoundState.FINISHED and len(improve.view.epochs) == 1
    assert tab.verdict.isVisible() and "Too few to tell" in tab.verdict.advice.text()
    assert "Of Starter, only its data sets are known" in tab.verdict.known.text()
    assert "better</span>" not in tab.verdict.table.text(), "of so few nothing is called better"

    # The worst case with both outlines, and the scan in view.
    tab.verdict.compare.click()
    dialog = panel.findChild(BeforeAfterDialog)
    worst = improve.verdict.worst
    qtbot.waitUntil(lambda: "open in the window" in dialog.told.text(), timeout=TRAINED_MS)
    assert panel.project.case.id == worst.case.case_id and all(view.shows_scan for view in dialog.views)
    dialog.close()

    # The new model is the one that is used; on a scan that it learned from, it says so.
    tab.verdict.promote.click()
    qtbot.waitUntil(lambda: panel.session.model.name == "stones/1", timeout=SOON_MS)
    assert panel.model_section.models.currentData() == "stones/1" and tab.start.isVisible()
    seen = next(case for case in panel.project.store.cases() if case.split == "train")
    panel.project.open_case(seen.id)
    qtbot.waitUntil(lambda: panel.project.case is not None and panel.project.case.id == seen.id, timeout=SOON_MS)
    panel.segment()
    qtbot.waitUntil(lambda: "gallstone" in panel.session.results, timeout=TRAINED_MS)
    assert "was trained on this very scan" in panel.result_section.summary.text()

    tab.models.list.setCurrentRow(tab.models.list.count() - 1)
    tab.models.card.click()
    card = panel.findChild(CardDialog)
    assert (
        card.text.toPlainText().startswith("Stones of ward 3, model 1")
        and "gallstone" in card.text.toPlainText().lower()
    )
    card.close()
    tab.models.back.click()
    qtbot.waitUntil(lambda: panel.session.model.name == "starter", timeout=SOON_MS)
    improve.delete("1")
    qtbot.waitUntil(lambda: "stones/1" not in panel.session.models, timeout=SOON_MS)
    assert not round_.folder.exists()
