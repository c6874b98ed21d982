"""The clinician's guide: the package's Markdown pages with their pictures, read without a network."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from qtpy.QtCore import QEvent, QSignalBlocker, Qt, QUrl
from qtpy.QtGui import QColor, QPalette, QShowEvent, QTextCharFormat, QTextCursor
from qtpy.QtWidgets import QDialog, QHBoxLayout, QListWidget, QListWidgetItem, QTextBrowser, QWidget

from napari_medvlsm.widgets.sections._section import LINK

INDEX = "index"
_LINK_ON_LIGHT = "#0b57a4"


def guide_folder() -> Path:
    """Where the pages and pictures lie."""
    return Path(str(resources.files("napari_medvlsm"))) / "guide"


def guide_pages() -> dict[str, str]:
    """The title of each page by its file's name without suffix, in the order in which the index names them."""
    linked = re.findall(r"\]\((\w[\w-]*)\.md\)", _read(INDEX))
    return {name: _read(name).splitlines()[0].removeprefix("# ") for name in dict.fromkeys([INDEX, *linked])}


def _read(page: str) -> str:
    return (guide_folder() / f"{page}.md").read_text("utf-8")


class GuideDialog(QDialog):
    """Pages to read, with their list at the left.

    Parameters
    ----------
    page : str
        Name of the page to begin with, without suffix.
    parent : QWidget, optional
    """

    def __init__(self, page: str = INDEX, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("MedVLSM: guide")
        self.page = page
        self.contents = QListWidget()
        for name, title in guide_pages().items():
            item = QListWidgetItem(title)
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.contents.addItem(item)
        self.text = QTextBrowser()
        self.text.setOpenExternalLinks(True)
        self.text.document().setDocumentMargin(16)
        self.contents.currentItemChanged.connect(lambda item: self.show_page(item.data(Qt.ItemDataRole.UserRole)))
        self.text.sourceChanged.connect(self._on_page)
        row = QHBoxLayout(self)
        row.addWidget(self.contents)
        row.addWidget(self.text, 1)
        self.resize(1050, 720)
        self.show_page(page)

    def showEvent(self, event: QShowEvent) -> None:
        """Give the list the width of its longest title, in whatever letters."""
        super().showEvent(event)
        self.contents.ensurePolished()
        self.contents.setFixedWidth(self.contents.sizeHintForColumn(0) + 2 * self.contents.frameWidth() + 12)

    def show_page(self, page: str) -> None:
        """Show a page from its beginning."""
        self.text.setSource(QUrl.fromLocalFile(str(guide_folder() / f"{page}.md")))

    def changeEvent(self, event: QEvent) -> None:
        """Follow the window's theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange) and hasattr(self, "text"):
            self._color_links()

    def _on_page(self, source: QUrl) -> None:
        # Qt 5 says it before `source()` knows it.
        self.page = Path(source.toLocalFile()).stem
        with QSignalBlocker(self.contents):
            self.contents.setCurrentRow(list(guide_pages()).index(self.page))
        self._color_links()

    def _color_links(self) -> None:
        """Give links a colour that can be read: Qt takes that of the system, which knows nothing of napari's theme."""
        self.text.ensurePolished()
        light_text = self.text.palette().color(QPalette.ColorRole.Text).lightness() > 127
        colored = QTextCharFormat()
        colored.setForeground(QColor(LINK if light_text else _LINK_ON_LIGHT))
        cursor = QTextCursor(self.text.document())
        for start, end in self._links():
            cursor.setPosition(start)
            cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(colored)

    def _links(self) -> list[tuple[int, int]]:
        """First and last position of each link in the text."""
        found = []
        block = self.text.document().begin()
        while block.isValid():
            fragments = block.begin()
            while not fragments.atEnd():
                fragment = fragments.fragment()
                if fragment.charFormat().isAnchor():
                    found.append((fragment.position(), fragment.position() + fragment.length()))
                fragments += 1
            block = block.next()
        return found
