"""What people read about targets: two of them in one prompt, and no diagnosis that only the model's word is."""

from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QPlainTextEdit,
    QTextEdit,
)

from napari_medvlsm.widgets._training_set_presenter import WordsDialog
from napari_medvlsm.widgets.dialogs import CardDialog, ComparisonDialog, OwnWordsDialog, PromptHistoryDialog

ENGINE_MS = 90_000


def texts(widget):
    """All that a widget shows or says when the mouse rests on it."""
    yield widget.windowTitle()
    yield widget.toolTip()
    if isinstance(widget, QLabel | QAbstractButton | QLineEdit):
        yield widget.text()
    if isinstance(widget, QLineEdit | QPlainTextEdit):
        yield widget.placeholderText()
    if isinstance(widget, QPlainTextEdit | QTextEdit):
        yield widget.toPlainText()
    if isinstance(widget, QComboBox):
        yield from (widget.itemText(i) for i in range(widget.count()))
    if isinstance(widget, QListWidget):
        for item in (widget.item(i) for i in range(widget.count())):
            yield from (item.text(), item.toolTip())


def read(panel):
    """Every text in sight, those of hidden parts and of open dialogs included, and the names of the layers."""
    found = [
        text for top in QApplication.topLevelWidgets() for w in [top, *top.findChildren(object)] for text in _of(w)
    ]
    return [*found, *(layer.name for layer in panel.viewer.layers)]


def _of(widget):
    return [text for text in texts(widget) if text] if hasattr(widget, "windowTitle") else []


def diagnoses(panel):
    """What names a diagnosis and does not say that it is the model's word."""
    said = [text for text in read(panel) if "melanoma" in text.lower() or "skin cancer" in text.lower()]
    return [text for text in said if "model's word" not in text]


def test_two_targets_in_one_prompt_are_both_outlined_and_listed(panel, lesion, qtbot, ready):
    panel.viewer.add_image(lesion, name="lesion")
    section, footer = panel.prompt_section, panel.footer
    qtbot.keyClicks(section.text, "big skin lesions and a polyp")
    assert "2 targets, each outlined by itself" in section.reading.text() and section.warning.isHidden()
    assert "Segment 2 targets" in footer.segment.text()
    qtbot.waitUntil(footer.segment.isEnabled, timeout=ENGINE_MS)
    footer.segment.click()
    qtbot.waitUntil(lambda: len(panel.session.results) == 2, timeout=ENGINE_MS)
    ready(panel)
    listed = panel.outlines_section.targets
    rows = [listed.item(i).text() for i in range(listed.count())]
    assert rows[0].startswith("Skin lesion: ") and rows[1].startswith("Polyp: ")
    listed.setCurrentRow(1)
    assert section.text.text() == "a polyp" and section.target.currentData() == "polyp"
    listed.setCurrentRow(0)
    assert section.text.text() == "big skin lesions" and "large skin melanoma" in section.reading.text()


def test_a_diagnosis_is_nowhere_written_but_as_the_models_word(segmented, qtbot, tmp_path, monkeypatch):
    panel, session = segmented, segmented.session
    session.choose(color="brown", location="center")
    assert panel.prompt_section.text.text() == "brown skin lesion, located in the center of the image"
    assert "brown skin melanoma" in panel.prompt_section.reading.text()
    panel.prompt_section.add.click()
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: session.result.prompt == session.prompt, timeout=ENGINE_MS)
    panel.correction_section.start.click()
    qtbot.waitUntil(lambda: not panel.result_section.badge.isHidden(), timeout=ENGINE_MS)
    panel.model_section.about.click()
    panel.prompt_section.history.click()
    panel.prompt_section.own_words.click()
    WordsDialog(panel.training_set.words(), session.target_in_view, True, panel).show()
    with qtbot.waitSignal(_compared(panel), timeout=ENGINE_MS):
        panel.result_section.compare.click()
    found = read(panel)
    for kind in (CardDialog, ComparisonDialog, OwnWordsDialog, PromptHistoryDialog, WordsDialog):
        (window,) = [w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()]
        assert any("skin lesion" in text.lower() for w in window.findChildren(object) for text in _of(w)), kind
    assert len(found) > 300 and any("Skin lesion (yours)" in text or "Skin lesion (" in text for text in found)
    assert diagnoses(panel) == []
    panel.saving.save_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lesion_skin-lesion.tif"]
    assert diagnoses(panel) == []
    for window in QApplication.topLevelWidgets():
        if isinstance(window, CardDialog | ComparisonDialog | OwnWordsDialog | PromptHistoryDialog | WordsDialog):
            window.close()


def _compared(panel):
    from qtpy.QtCore import QObject, Signal

    class Relay(QObject):
        came = Signal(object)

    relay = Relay(panel)
    panel.comparison.comparer.compared.connect(relay.came.emit)
    return relay.came
