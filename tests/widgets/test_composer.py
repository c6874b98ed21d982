"""Composing prompts in the panel: pickers, typed words, the list, favourites, own words, comparisons."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QColorDialog

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.prompts import Prompt
from napari_medvlsm.core.prompts.own_words import own_words_path
from napari_medvlsm.widgets.dialogs import CardDialog, ComparisonDialog, OwnWordsDialog, PromptHistoryDialog
from napari_medvlsm.widgets.dialogs.comparison import outlined

ENGINE_MS = 90_000


def choose(section, value):
    """Pick a target as a person does."""
    section.target.setCurrentIndex(section.target.findData(value))
    section.target.activated.emit(section.target.currentIndex())


def pick(picker, value):
    picker.setCurrentIndex(picker.findData(value))
    picker.activated.emit(picker.currentIndex())


def dialog(kind):
    """The one open dialog of a kind."""
    found = [w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible()]
    assert len(found) == 1
    return found[0]


def test_each_kind_of_scan_asks_for_its_own_words(panel):
    section = panel.prompt_section
    choose(section, "myocardium")
    pickers = section.describe.pickers
    assert list(pickers) == ["view", "cycle", "sex", "age", "quality", "shape"]
    pick(pickers["view"], "four-chamber")
    pickers["age"].setValue(64)
    assert section.text.text() == "myocardium in the four-chamber view of the heart of a sixty-four-year-old patient"
    choose(section, "airspace opacity")
    pickers = section.describe.pickers
    assert list(pickers) == ["view", "shape", "location", "findings"]
    assert pickers["view"].currentData() == "", "a view of the heart is none of the chest"
    for action in pickers["findings"].menu().actions():
        if action.text() in ("edema", "pneumonia"):
            action.trigger()
    assert section.text.text() == "airspace opacity; edema and pneumonia are present"
    assert pickers["findings"].text() == "2 chosen"


def test_level_limits_the_text_and_is_explained(panel):
    section = panel.prompt_section
    choose(section, "polyp")
    pick(section.describe.pickers["size"], "small")
    pick(section.describe.pickers["color"], "pink")
    assert section.text.text() == "small pink polyp" and "(P4)" in section.describe.explained.text()
    level = section.describe.level
    assert [level.itemData(i) for i in range(level.count())] == [None, *(f"p{i}" for i in range(1, 10))]
    pick(level, "p3")
    assert section.text.text() == "pink polyp"
    explained = section.describe.explained.text()
    assert "Left out: size" in explained and "Not chosen yet: shape" in explained


def test_typed_prompts_fill_the_pickers_and_show_what_is_left(panel, qtbot):
    section = panel.prompt_section
    section.text.setFocus()
    section.text.selectAll()
    qtbot.keyClicks(section.text, "one small pink it is a round shape polyp, located in top left of the image")
    values = {name: picker.currentData() for name, picker in section.describe.pickers.items()}
    assert section.target.currentData() == "polyp" and section.unplaced.isHidden()
    assert values == {
        "number": "one",
        "size": "small",
        "shape": "round",
        "color": "pink",
        "location": "top left",
        "general": "",
    }
    qtbot.keyClicks(section.text, " zebra")
    assert "“zebra”" in section.unplaced.text() and not section.unplaced.isHidden()
    assert section.text.text().endswith("zebra"), "what is typed is sent as it is"
    pick(section.describe.pickers["size"], "large")
    assert section.text.text() == "one large pink round polyp, located in the top left of the image"


def test_sides_of_the_patient_and_of_the_image_are_told_apart(panel):
    section = panel.prompt_section
    section.more.setChecked(True)
    choose(section, "left lung")
    assert section.describe.side.isVisibleTo(section) and "patient's left" in section.describe.side.text()
    pick(section.describe.pickers["location"], "right")
    assert section.text.text() == "left lung, located in the right of the image"
    assert section.flags.isHidden(), "the patient's left may well be on the right of the image"
    choose(section, "polyp")
    assert not section.describe.side.isVisibleTo(section)


def test_targets_of_the_model_come_first(panel):
    target = panel.prompt_section.target
    names = [target.itemText(i) for i in range(target.count())]
    heading = names.index("This model never learned:")
    assert names.index("Polyp") < heading < names.index("Myocardium")
    assert not target.model().item(heading).isEnabled()


def test_what_is_probably_not_there_is_outlined_only_when_one_asks_to_see_it(panel, lesion, qtbot, ready):
    section = panel.result_section
    panel.viewer.add_image(lesion, name="lesion")
    choose(panel.prompt_section, "lungs")
    qtbot.waitUntil(panel.footer.segment.isEnabled, timeout=60_000)
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: panel.session.result is not None, timeout=ENGINE_MS)
    ready(panel)
    assert panel.session.result.withheld and not panel.session.mask().any()
    assert "so nothing is outlined" in section.summary.text() and section.anyway.isVisibleTo(section)
    said = panel.footer.status.text()
    assert "probably not in this scan" in said and "Show anyway" in said and "Lower" not in said
    section.anyway.click()
    assert not panel.session.result.withheld
    assert not section.anyway.isVisibleTo(section) and "Probably not in this scan." in section.summary.text()
    panel.session.set_threshold(0.0)
    assert panel.layers.prediction(panel.view.slice.image, "lungs").data.any() == panel.session.mask().any()


def test_several_targets_in_one_go(panel, lesion, qtbot, ready):
    section = panel.prompt_section
    panel.viewer.add_image(lesion, name="lesion")
    for target in ("skin melanoma", "polyp"):
        choose(section, target)
        section.add.click()
    choose(section, "polyp")
    pick(section.describe.pickers["size"], "small")
    section.add.click()
    assert [p.text for p in panel.session.queue] == ["skin melanoma", "small polyp"], "one prompt a target"
    assert "Segment 2 targets" in panel.footer.segment.text()
    qtbot.waitUntil(panel.footer.segment.isEnabled, timeout=60_000)
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: len(panel.session.results) == 2, timeout=ENGINE_MS)
    ready(panel)
    image = panel.view.slice.image
    assert panel.layers.prediction(image, "skin melanoma").data.any()
    assert panel.layers.prediction(image, "polyp") is not None
    assert panel.session.result.target == "polyp" and panel.result_section.summary.text().startswith("Polyp: ")

    panel.result_section.slider.setValue(77)
    choose(section, "skin melanoma")
    assert (
        panel.session.result.target == "skin melanoma"
        and panel.result_section.slider.value() == 100 * panel.session.model.card.threshold
    )
    choose(section, "polyp")
    assert panel.result_section.slider.value() == 77, "each result has its own threshold"
    section.clear.click()
    assert not panel.session.queue and panel.footer.segment.text().startswith("Segment  ")


def test_an_outline_fills_in_its_words_and_flags_contradictions(segmented, qtbot):
    panel, section = segmented, segmented.prompt_section
    pick(section.describe.pickers["location"], "left")
    panel.correction_section.start.click()
    layer = panel.layers.correction(panel.view.slice.image, panel.session.target_in_view.phrase)
    layer.data[...] = 0
    rows, cols = layer.data.shape
    layer.brush_size = rows // 4
    layer.paint((rows / 2, 0.85 * cols), 1)
    qtbot.waitUntil(lambda: bool(panel.session.measured), timeout=60_000)
    said = panel.session.attributes
    assert said.number == "one" and said.size in ("small", "medium") and said.shape == "round" and said.color
    assert said.location == "left", "what a person said is never changed"
    marked = [label.text() for label in section.describe._labels if label.text().endswith("*")]
    assert marked == ["Number *", "Size *", "Shape *", "Colour *"]
    assert section.describe.origin.text() == "* read from your outline; shape and colour: a suggestion."
    assert "You wrote left; the outline is on the right" in section.flags.text() and not section.flags.isHidden()
    assert panel.session.prompt.measured == ("color", "number", "shape", "size")
    section.flags.linkActivated.emit("location=right")
    assert panel.session.attributes.location == "right" and section.flags.isHidden()

    panel.viewer.add_image(np.zeros((50, 60), np.uint8), name="next scan")
    qtbot.waitUntil(lambda: panel.view.slice is not None and panel.view.slice.image.name == "next scan", timeout=60_000)
    assert not panel.session.measured and panel.session.attributes.named() == {"location"}


def test_words_against_the_models_own_outline_are_flagged(segmented, qtbot):
    section = segmented.prompt_section
    pick(section.describe.pickers["size"], "tiny")
    qtbot.waitUntil(lambda: not section.flags.isHidden(), timeout=60_000)
    assert "You wrote tiny" in section.flags.text()
    pick(section.describe.pickers["size"], "")
    assert section.flags.isHidden()


def test_effect_badge_and_ladder(segmented, qtbot):
    panel = segmented
    qtbot.waitUntil(lambda: not panel.result_section.badge.isHidden(), timeout=ENGINE_MS)
    effect = panel.comparison.comparer.effect
    assert effect.changes and effect.verdict in panel.result_section.badge.text()
    qtbot.waitUntil(lambda: panel.engine.state is EngineState.READY, timeout=ENGINE_MS)
    shown = panel.layers.prediction(panel.view.slice.image, "skin melanoma").data.copy()
    with qtbot.waitSignal(_compared(panel), timeout=ENGINE_MS) as found:
        panel.result_section.compare.click()
    (comparison,) = found.args
    assert [w.title.split(":")[0] for w in comparison.rungs] == [f"P{i}" for i in range(10)]
    assert comparison.rungs[1].agreement == 1.0 and max(comparison.yours.mask.shape) == 256
    assert comparison.effect.changes == pytest.approx(effect.changes)
    window = dialog(ComparisonDialog)
    chosen = []
    window.chosen.connect(chosen.append)
    window.chosen.emit(comparison.rungs[4].prompt)
    assert panel.session.prompt.text == comparison.rungs[4].prompt.text
    window.close()
    np.testing.assert_array_equal(panel.layers.prediction(panel.view.slice.image, "skin melanoma").data, shown)


def _compared(panel):
    from qtpy.QtCore import QObject, Signal

    class Relay(QObject):
        came = Signal(object)

    relay = Relay(panel)
    panel.comparison.comparer.compared.connect(relay.came.emit)
    return relay.came


def test_pictures_show_the_outline_in_its_colour(qtbot):
    scan = np.full((100, 200, 3), 90, np.uint8)
    mask = np.zeros((100, 200), bool)
    mask[30:70, 50:150] = True
    image = outlined(scan, mask, "#ff0000").toImage()
    assert image.width() == 156 and image.height() == 78
    edge, inner, outer = (image.pixelColor(*at) for at in ((78, 24), (78, 39), (5, 5)))
    assert edge.red() > inner.red() + 20 and edge.green() < inner.green() - 20
    assert 90 < inner.red() < 180 and outer.red() == outer.green() == 90


def test_favourites_and_earlier_prompts_are_searched_and_taken_again(panel, lesion, qtbot):
    session, section = panel.session, panel.prompt_section
    session.history.add(Prompt("left lung", "p1", session.vocabulary and _attributes("left lung"), "2"))
    session.history.add(Prompt("small polyp", "p4", _attributes("polyp", size="small"), "2"))
    choose(section, "polyp")
    section.star.click()
    assert section.star.text() == "★"
    section.history.click()
    window = dialog(PromptHistoryDialog)

    def listed():
        return [window.list.item(i).text().strip("★ ") for i in range(window.list.count())]

    assert window.only.isChecked() and listed() == ["polyp", "small polyp"], "favourites first, this target only"
    window.only.setChecked(False)
    assert set(listed()) == {"polyp", "small polyp", "left lung"}
    qtbot.keyClicks(window.search, "lef lu")
    assert listed() == ["left lung"]
    window.use.click()
    assert session.prompt.text == "left lung" and section.target.currentData() == "left lung"
    section.history.click()
    window = dialog(PromptHistoryDialog)
    window.only.setChecked(False)
    window.list.setCurrentRow(listed().index("small polyp"))
    window.forget.click()
    assert "small polyp" not in listed()
    window.close()


def _attributes(target, **words):
    from napari_medvlsm.core.prompts import Attributes

    return Attributes(target, **words)


def test_own_words_are_written_and_used_at_once(panel, monkeypatch):
    section = panel.prompt_section
    section.own_words.click()
    window = dialog(OwnWordsDialog)
    window.phrase.setText("Gallstone")
    window.synonyms.setText("biliary stone, ")
    window.general.setPlainText("which is a hard lump in the gall bladder")
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: _color("#12ab34"))
    window.color.click()
    window.save_target()
    assert "Saved gallstone" in window.problem.text()
    path = own_words_path()
    assert "gallstone" in path.read_text() and "biliary stone" in path.read_text()
    target = panel.session.vocabulary.target("gallstone")
    assert target.display_color == "#12ab34" and target.general == ("a hard lump in the gall bladder",) and target.own
    choose(section, "gallstone")
    assert section.text.text() == "gallstone" and panel.session.vocabulary.version.startswith("2+")

    window.attribute.setCurrentIndex(window.attribute.findData("color"))
    window.words.setPlainText("maroon\n\nteal")
    window.save_words()
    words = section.describe.pickers["color"]
    assert words.findData("maroon") > 0 and words.findData("teal") > 0

    path.write_text(path.read_text() + "oops: 1\n")
    window.reload()
    assert "oops" in window.problem.text() and "line" in window.problem.text()
    assert panel.session.vocabulary.target("gallstone").own, "a broken file changes nothing"
    path.write_text("targets: {}\n")
    window.reload()
    assert window.problem.text() == "" and section.target.findData("gallstone") == -1
    window.phrase.setText("stone")
    window.synonyms.setText("polyp")
    window.save_target()
    assert "already belongs to 'polyp'" in window.problem.text() and "stone" not in path.read_text()
    window.close()


def _color(name):
    from qtpy.QtGui import QColor

    return QColor(name)


def test_a_broken_file_of_own_words_is_named_at_the_start(open_panel, store):
    path = own_words_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("targets:\n  stone:\n    colour: red\n")
    panel = open_panel(store)
    assert "line 3" in panel.footer.status.text() and "colour" in panel.footer.status.text()
    assert panel.session.vocabulary.version == "2"


def test_long_prompts_can_be_read_whole(panel, qtbot):
    text = panel.prompt_section.text
    before = text.height()
    choose(panel.prompt_section, "polyp")
    panel.session.choose(number="two", size="small", color="pink", location="left", shape="round")
    panel.session.choose(general="an abnormal growth of tissue projecting from a mucous membrane")
    qtbot.waitUntil(lambda: text.height() >= before + 2 * text.fontMetrics().lineSpacing(), timeout=60_000)
    document = text.document()
    assert document.size().height() * text.fontMetrics().lineSpacing() <= text.height()
    text.setFocus()
    QApplication.clipboard().setText("small\npolyp")
    text.selectAll()
    text.paste()
    assert text.text() == "small polyp" and panel.session.prompt.text == "small polyp"
    with qtbot.waitSignal(text.returnPressed):
        qtbot.keyClick(text, Qt.Key.Key_Return)


def test_the_card_shows_what_the_words_do(panel):
    panel.model_section.about.click()
    html = dialog(CardDialog).text.toHtml()
    assert "What the words do" in html and "the opposite side" in html
    dialog(CardDialog).close()
