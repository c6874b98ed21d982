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
    QWidget,
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
        text for top in QApplication.topLevelWidgets() for w in [top, *top.findChildren(QWidget)] for text in _of(w)
    ]
    return [*found, *(layer.name for layer in panel.viewer.layers)]


def _of(widget):
    return [text for text in texts(widget) if text]


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


def test_a_diagnosis_is_nowhere_written_but_as_the_models_word(segmented, qtbot, tmp_path):
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
        assert any("skin lesion" in text.lower() for w in window.findChildren(QWidget) for text in _of(w)), kind
    assert len(found) > 300 and any("Skin lesion (yours)" in text or "Skin lesion (" in text for text in found)
    assert diagnoses(panel) == []
    folder = tmp_path / "saved"
    folder.mkdir()
    panel.saving.save_all(folder)
    assert [path.name for path in folder.iterdir()] == ["lesion_skin-lesion.tif"]
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


def test_nothing_of_the_prompt_is_clipped_in_large_letters_on_a_small_screen(panel, qtbot):
    from napari.settings import get_settings

    section = panel.prompt_section
    appearance = get_settings().appearance
    before = appearance.font_size
    try:
        appearance.font_size = 14
        panel.viewer.window.resize(1280, 800)
        section.more.setChecked(True)
        for typed in (
            "big skin lesions, two polyps and the left and right lung",
            "large pleural effusion near the heart",
        ):
            panel.session.type(typed)
            panel.session.enqueue()
            qtbot.waitUntil(lambda: _clipped_in(section) == [], timeout=10_000)
        assert section.reading.isVisible() != section.warning.isVisible(), "both were looked at"
        for words in (
            {"target": "polyp", "number": "two", "color": "pink", "location": "bottom left", "general": ""},
            {"target": "left ventricular cavity", "view": "four-chamber", "cycle": "diastole", "sex": "female"},
            {"target": "left lung", "location": "bottom right", "findings": "enlarged cardiomediastinum"},
        ):
            panel.session.choose(**words)
            qtbot.waitUntil(lambda: _clipped_in(section) == [], timeout=10_000)
        assert section.width() <= panel.scroll.viewport().width(), "nothing is scrolled to the side"
    finally:
        appearance.font_size = before
        panel.session.dequeue()


def _clipped_in(section):
    """The texts in a section that are not shown whole."""
    parts = [w for w in section.findChildren(QWidget) if isinstance(w, QLabel | QAbstractButton)]
    return [w.text() for w in parts if w.isVisible() and _clipped(w)]


def _clipped(widget):
    """Whether a widget is smaller than its text."""
    if isinstance(widget, QLabel) and widget.wordWrap():
        return widget.height() < widget.heightForWidth(widget.width())
    return widget.width() < widget.sizeHint().width() or widget.height() < widget.fontMetrics().height()
