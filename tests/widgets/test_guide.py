"""The guide in the package: whole, and read in a window without a network."""

import re

import pytest
from PIL import Image
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QColor, QPalette, QTextDocument

from napari_medvlsm.widgets.dialogs.guide import INDEX, GuideDialog, guide_folder, guide_pages

FILES = {path.name for path in guide_folder().iterdir()}
PAGES = sorted(name for name in FILES if name.endswith(".md"))
CONTRAST = 4.5  # of text on its ground, what WCAG 2 asks for


@pytest.fixture
def dialog(qtbot):
    dialog = GuideDialog()
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitExposed(dialog)
    return dialog


def text_of(page):
    return (guide_folder() / page).read_text("utf-8")


def test_every_page_is_reached_from_the_index_and_has_a_title():
    assert {f"{name}.md" for name in guide_pages()} == set(PAGES) and next(iter(guide_pages())) == INDEX
    assert all(text_of(page).startswith("# ") for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", text_of(page)):
        assert link in FILES or link.startswith("https://")


def test_controls_that_are_named_in_italics_are_those_of_the_program():
    """Beside what napari itself calls so: its menus and its slider of the brush."""
    package = guide_folder().parent
    sources = [p for kind in ("py", "yaml", "json") for p in package.rglob(f"*.{kind}")]
    program = "\n".join(path.read_text("utf-8") for path in sources).lower()
    for page in PAGES:
        for label in re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text_of(page)):
            assert "▸" in label or label == "brush size" or label.lower() in program, f"{page}: {label}"


def test_every_picture_is_shown_is_narrower_than_the_text_and_together_they_are_small():
    pictures = [name for name in FILES if name.endswith(".png")]
    shown = {name for page in PAGES for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text_of(page))}
    assert shown == set(pictures)
    for name in pictures:
        with Image.open(guide_folder() / name) as picture:
            assert picture.width <= 740
    assert sum((guide_folder() / name).stat().st_size for name in pictures) < 1.5e6


def test_pages_are_read_with_their_pictures_and_links_turn_them(dialog):
    assert dialog.page == INDEX and "Your first outline" in dialog.text.toPlainText()
    picture = dialog.text.loadResource(QTextDocument.ResourceType.ImageResource, QUrl("window.png"))
    assert picture is not None
    dialog.text.setSource(dialog.text.source().resolved(QUrl("words.md")))
    assert dialog.page == "words" and dialog.contents.currentItem().text() == "Words that describe"
    dialog.contents.setCurrentRow(list(guide_pages()).index("privacy"))
    assert dialog.page == "privacy" and "Nothing is sent anywhere" in dialog.text.toPlainText()


def test_no_page_is_wider_than_its_window(dialog, qtbot):
    for name in guide_pages():
        dialog.show_page(name)
        qtbot.waitUntil(lambda name=name: dialog.page == name)
        assert dialog.text.horizontalScrollBar().maximum() == 0, name


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_and_links_can_be_read_in_both_themes(make_napari_viewer, qtbot, theme):
    from napari.settings import get_settings

    viewer = make_napari_viewer(show=True)
    get_settings().appearance.theme = theme
    dialog = GuideDialog(parent=viewer.window._qt_window)
    dialog.show()
    qtbot.waitExposed(dialog)
    picture = dialog.text.viewport().grab().toImage()
    ground = picture.pixelColor(4, 4)
    assert contrast(dialog.text.palette().color(QPalette.ColorRole.Text), ground) > CONTRAST
    _, end = dialog._links()[0]
    cursor = dialog.text.textCursor()
    cursor.setPosition(end)
    assert contrast(cursor.charFormat().foreground().color(), ground) > CONTRAST
    dialog.close()
    dialog.deleteLater()
    qtbot.wait(50)


def test_help_and_f1_open_it_once(panel, qtbot):
    panel.footer.help.click()
    guide = panel.findChild(GuideDialog)
    assert guide is not None and guide.isVisible()
    panel.viewer.window._qt_window.activateWindow()
    qtbot.keyClick(panel.viewer.window._qt_window, Qt.Key.Key_F1)
    assert panel.findChildren(GuideDialog) == [guide]
    guide.close()
    qtbot.waitUntil(lambda: not panel.findChildren(GuideDialog))
    qtbot.keyClick(panel, Qt.Key.Key_F1)
    qtbot.waitUntil(lambda: panel.findChild(GuideDialog) is not None)


def contrast(one: QColor, other: QColor) -> float:
    """Ratio of the luminances of two colours, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: QColor) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color.getRgbF()[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
