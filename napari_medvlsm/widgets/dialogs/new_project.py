"""A new project: where it lies, what is outlined in it, and its first scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLineEdit,
    QListWidget,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.core.prompts import Vocabulary
from napari_medvlsm.widgets.dialogs.scans_form import ScansForm, beside, note
from napari_medvlsm.widgets.sections._section import PROBLEM, rule


class NewProjectDialog(QDialog):
    """Asks for what a project needs; it stays open until the project is made.

    Parameters
    ----------
    vocabulary : Vocabulary
        Its targets are offered; others can be typed.
    run : callable
        As `ScansForm`.
    folder : str
        In which projects were made before.
    scans : str
        In which scans were found before.
    parent : QWidget, optional
    """

    #: Folder (Path), targets (tuple of str) and ScansChoice.
    chosen = Signal(object, object, object)

    def __init__(
        self,
        vocabulary: Vocabulary,
        run: Callable[..., None],
        folder: str = "",
        scans: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("New project")
        self.name = QLineEdit()
        self.name.setPlaceholderText("polyps")
        self.place = QLineEdit(folder or str(Path.home()))
        choose = QPushButton("Choose…")
        choose.clicked.connect(self._ask_place)
        self.target = QComboBox()
        self.target.setEditable(True)
        self.target.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._phrases = {target.label.casefold(): target.phrase for target in vocabulary.targets.values()}
        self.target.addItems(["", *sorted((t.label for t in vocabulary.targets.values()), key=str.casefold)])
        completer = self.target.completer()
        if completer is not None:
            completer.setFilterMode(Qt.MatchFlag.MatchContains)
        edit = self.target.lineEdit()
        assert edit is not None, "the list can be typed into"
        edit.setPlaceholderText("choose, or type")
        edit.returnPressed.connect(self.add_target)
        self.target.activated.connect(lambda: self.add_target())
        self.add = QPushButton("Add")
        self.add.clicked.connect(self.add_target)
        self.targets = QListWidget()
        self.targets.setMaximumHeight(8 * self.targets.fontMetrics().lineSpacing())
        self.targets.setToolTip("What is outlined in every scan")
        self.remove = QPushButton("Remove")
        self.remove.clicked.connect(self._remove_target)
        self.targets.currentRowChanged.connect(lambda row: self.remove.setEnabled(row >= 0))
        self.remove.setEnabled(False)
        self.scans = ScansForm(run, scans, optional=True)
        self.problem = note()
        self.problem.setStyleSheet(f"color: {PROBLEM};")
        self.where = note()
        listed = beside(self.targets, self.remove)
        listed.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        rows = (
            ("Name", self.name),
            ("In the folder", beside(self.place, choose)),
            ("", self.where),
            ("Outline", beside(self.target, self.add)),
            ("", listed),
        )
        for place, (label, widget) in enumerate(rows):
            self.scans.rows.insertRow(place, label, widget)
        self.scans.rows.insertRow(len(rows), rule())
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )  # fmt: skip
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setText("Make the project")
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.scans, 1)
        column.addWidget(self.problem)
        column.addWidget(buttons)
        self.name.textChanged.connect(self._on_changed)
        self.place.textChanged.connect(self._on_changed)
        edit.textChanged.connect(self._on_changed)
        self.scans.changed.connect(self._on_changed)
        self.finished.connect(self.scans.forget)
        order = (self.name, self.place, choose, self.target, self.add, self.targets, self.remove, self.scans.folder)
        for before, after in pairwise(order):
            QWidget.setTabOrder(before, after)
        self.name.setFocus()
        self.resize(560, 620)
        self._on_changed()

    @property
    def folder(self) -> Path:
        """Of the project."""
        return Path(self.place.text().strip()).expanduser() / self.name.text().strip()

    def chosen_targets(self) -> tuple[str, ...]:
        """What is to be outlined: the list, and what is typed and not on it yet."""
        listed = [self.targets.item(row).text() for row in range(self.targets.count())]
        return tuple(dict.fromkeys([*listed, *([typed] if (typed := self._typed()) else [])]))

    def add_target(self) -> None:
        """Put what is typed on the list."""
        typed = self._typed()
        if typed and not self.targets.findItems(typed, Qt.MatchFlag.MatchExactly):
            self.targets.addItem(typed)
        self.target.setCurrentIndex(0)
        self.target.setEditText("")
        self._on_changed()

    def say(self, sentence: str) -> None:
        """Say why the project could not be made."""
        self.problem.setText(sentence)
        self.problem.setVisible(bool(sentence))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Enter adds a target, and makes no project: its button is the default one, whatever it was told."""
        if event is not None and event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)

    def _typed(self) -> str:
        text = " ".join(self.target.currentText().split())
        return self._phrases.get(text.casefold(), text)

    def _remove_target(self) -> None:
        self.targets.takeItem(self.targets.currentRow())
        self._on_changed()

    def _on_changed(self) -> None:
        self.say("")
        missing = _missing(self.name.text().strip(), self.chosen_targets())
        self.where.setText(missing or f"It will be {self.folder}.")
        self.ok.setEnabled(not missing and not self.scans.problem)

    def _ask_place(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder in which the project is made", self.place.text())
        if name:
            self.place.setText(name)

    def _accept(self) -> None:
        self.chosen.emit(self.folder, self.chosen_targets(), self.scans.value())


def _missing(name: str, targets: Sequence[str]) -> str:
    """What is still to be said; "" where nothing is."""
    if not name:
        return "Give the project a name."
    return "" if targets else "Choose what is outlined in every scan, for example polyp."
