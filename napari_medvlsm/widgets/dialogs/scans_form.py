"""Which scans enter a project, and which of them belong together, with what that comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.core.projects.adding import grouped, scans_in
from napari_medvlsm.core.projects.grouping import ByHeader, ByName, ByTable, GroupPreview, GroupRule, preview_of
from napari_medvlsm.widgets.sections._section import PROBLEM, fill_combo, narrow_combo

ALONE, BY_NAME, BY_HEADER, BY_TABLE = "alone", "name", "header", "table"
_WAYS = (
    ("each scan stands for itself", ALONE),
    ("by a part of the file's name", BY_NAME),
    ("by a field of the file's header", BY_HEADER),
    ("by a column of a table", BY_TABLE),
)
# What a field of the rule is called, what stands in it at first, and what explains it.
_FIELDS = {
    BY_NAME: ("Name", "{patient}_*", "The part in braces says whose scan it is; * stands for anything."),
    BY_HEADER: ("Field", "PatientID", "A tag of TIFF or EXIF, or a text of a PNG; only a short code of it is kept."),
    BY_TABLE: ("Column", "patient", "The table (CSV) names the scans in a column called image."),
}
# Wait this long after the last letter before the folder is looked through.
_PREVIEW_MS = 400
# Groups, and scans of each, that are shown.
_GROUPS, _EXAMPLES = 200, 5


@dataclass(frozen=True)
class ScansChoice:
    """What a person chose.

    Attributes
    ----------
    folder : Path or None
        Of the scans; None for no scans yet.
    copy : bool
        Copy them into the project.
    way, text : str
        How they are grouped, and by what: a pattern of the name, a field of the header, a column.
    table : Path or None
        That has the column.
    """

    folder: Path | None
    copy: bool = False
    way: str = ALONE
    text: str = ""
    table: Path | None = None

    def rule(self, salt: str) -> GroupRule | None:
        """The rule. Raises ValueError, with a sentence, if it makes none; it may read the table."""
        if self.way == BY_NAME:
            return ByName(self.text)
        if self.way == BY_HEADER:
            return ByHeader(self.text, salt)
        if self.way == BY_TABLE:
            if self.table is None:
                raise ValueError("Choose the table that says which scans belong together.")
            return ByTable.read(self.table, self.text)
        return None

    def preview(self) -> GroupPreview:
        """What the rule says of the scans. Raises ValueError with a sentence if it cannot be used."""
        assert self.folder is not None, "there is nothing to look through"
        if not self.folder.is_dir():
            raise ValueError(f"There is no folder {self.folder}.")
        scans = grouped(list(scans_in(self.folder)), self.rule(""))
        if not scans:
            raise ValueError(f"There is no scan in {self.folder}.")
        return preview_of((scan.name, scan.group) for scan in scans)


class ScansForm(QWidget):
    """Asks for a folder of scans and for what belongs together in it.

    Parameters
    ----------
    run : callable
        ``run(function, done, failed)``: looks through the folder beside the window.
    start : str
        Folder in which the choice of a folder begins.
    optional : bool
        Whether no folder is an answer, too.
    """

    changed = Signal()  # the choice, or whether it can be used

    def __init__(self, run: Callable[..., None], start: str = "", optional: bool = False) -> None:
        super().__init__()
        self._run, self._start = run, start
        self._asked: ScansChoice | None = None
        self.problem = ""
        # Others may put rows of theirs above.
        form = self.rows = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("no scans yet" if optional else "folder of the scans")
        choose = QPushButton("Choose…")
        choose.clicked.connect(self._ask_folder)
        form.addRow("Scans", beside(self.folder, choose))
        self.copy = QCheckBox("Copy them into the project")
        self.copy.setToolTip("Without it they stay where they are, and the project remembers the way to them")
        form.addRow("", self.copy)
        self.way = narrow_combo()
        fill_combo(self.way, _WAYS, ALONE)
        self.way.setToolTip("Scans of one patient or one sequence belong together: never may one be learnt from and "
                            "another judge the model")  # fmt: skip
        form.addRow("Belong together", self.way)
        self.text = QLineEdit()
        self.table = QLineEdit()
        self.table.setPlaceholderText("table (CSV)")
        self.choose_table = QPushButton("Choose…")
        self.choose_table.clicked.connect(self._ask_table)
        self.rule_row = beside(self.text)
        self.table_row = beside(self.table, self.choose_table)
        self.explained = note()
        form.addRow("", self.rule_row)
        form.addRow("", self.table_row)
        form.addRow("", self.explained)
        self.found = note()
        form.addRow("", self.found)
        self.groups = QTreeWidget()
        self.groups.setHeaderHidden(True)
        self.groups.setRootIsDecorated(True)
        form.addRow(self.groups)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PREVIEW_MS)
        self._timer.timeout.connect(self.look)
        for edit in (self.folder, self.text, self.table):
            edit.textChanged.connect(lambda: self._timer.start())
            edit.textChanged.connect(lambda: self.changed.emit())
        self.way.currentIndexChanged.connect(self._on_way)
        self._on_way()

    def value(self) -> ScansChoice:
        """What is chosen."""
        folder, table = self.folder.text().strip(), self.table.text().strip()
        return ScansChoice(
            Path(folder) if folder else None,
            self.copy.isChecked(),
            self.way.currentData(),
            self.text.text().strip(),
            Path(table) if table else None,
        )

    def look(self) -> None:
        """Look through the folder, and show what belongs together."""
        self._timer.stop()
        choice = self._asked = self.value()
        self.groups.clear()
        if choice.folder is None:
            self._say("")
            return
        self._say("Looking through the folder…")
        self._run(choice.preview, partial(self._show, choice), partial(self._fail, choice))

    def forget(self) -> None:
        """Show nothing of what is still looked for: the window closes."""
        self._timer.stop()
        self._asked = None

    def _show(self, choice: ScansChoice, found: GroupPreview) -> None:
        if choice != self._asked:
            return  # another was chosen meanwhile
        if choice.way == ALONE:
            count = len(found.without)
            self._say(f"{count} scan{'s' if count != 1 else ''}.")
        else:
            self._say(found.sentence)
        for group, names in list(found.groups.items())[:_GROUPS]:
            item = QTreeWidgetItem([f"{group}: {len(names)} scan{'s' if len(names) != 1 else ''}"])
            more = [f"and {len(names) - _EXAMPLES} more"] if len(names) > _EXAMPLES else []
            item.addChildren([QTreeWidgetItem([name]) for name in [*names[:_EXAMPLES], *more]])
            self.groups.addTopLevelItem(item)
        if len(found.groups) > _GROUPS:
            self.groups.addTopLevelItem(QTreeWidgetItem([f"and {len(found.groups) - _GROUPS} more groups"]))

    def _fail(self, choice: ScansChoice, error: Exception) -> None:
        if choice == self._asked:
            self._say(str(error), problem=True)

    def _say(self, text: str, problem: bool = False) -> None:
        self.problem = text if problem else ""
        self.found.setText(text)
        self.found.setStyleSheet(f"color: {PROBLEM};" if problem else "")
        self.changed.emit()

    def _on_way(self) -> None:
        way = self.way.currentData()
        name, usual, words = _FIELDS.get(way, ("", "", ""))
        self.rule_row.setVisible(way != ALONE)
        self.table_row.setVisible(way == BY_TABLE)
        self.explained.setVisible(way != ALONE)
        self.groups.setVisible(way != ALONE)
        self.text.setText(usual)
        self.text.setToolTip(name)
        self.explained.setText(words)
        self._timer.start()
        self.changed.emit()

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of scans", self.folder.text() or self._start)
        if name:
            self.folder.setText(name)

    def _ask_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Table", self.folder.text() or self._start, "Tables (*.csv)")
        if name:
            self.table.setText(name)


class AddScansDialog(QDialog):
    """Adds the scans of a folder to the project that is open.

    Parameters
    ----------
    run : callable
        As `ScansForm`.
    start : str
    parent : QWidget, optional
    """

    chosen = Signal(object)  # ScansChoice

    def __init__(self, run: Callable[..., None], start: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Add scans")
        self.form = ScansForm(run, start)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )  # fmt: skip
        self.ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setText("Add")
        self.buttons.accepted.connect(self._accept)
        self.buttons.rejected.connect(self.reject)
        self.form.changed.connect(self._on_changed)
        self.finished.connect(self.form.forget)
        column = QVBoxLayout(self)
        column.addWidget(self.form, 1)
        column.addWidget(self.buttons)
        self.resize(520, 440)
        self._on_changed()

    def _on_changed(self) -> None:
        self.ok.setEnabled(self.form.value().folder is not None and not self.form.problem)

    def _accept(self) -> None:
        self.chosen.emit(self.form.value())
        self.accept()


def note(text: str = "") -> QLabel:
    """A wrapped line as wide as a form lets it be, with what a person typed as it was typed."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
    return label


def beside(*widgets: QWidget) -> QWidget:
    """Widgets in a row, the first of which takes the room."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for place, widget in enumerate(widgets):
        layout.addWidget(widget, 0 if place else 1)
    return row
