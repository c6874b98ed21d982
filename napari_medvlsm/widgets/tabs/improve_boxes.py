"""The parts of the tab "Improve": findings, the round that runs, before and after, and the models of the project."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.improve_words import ALIKE, BETTER, WORSE, Row
from napari_medvlsm.core.improve.cases import Finding
from napari_medvlsm.widgets.sections._section import PROBLEM, QUIET, WARNING, quiet_label
from napari_medvlsm.widgets.tabs.curve_chart import CurveChart

GOOD = "#2fd0a0"
# Sign, colour and word of a row of before and after; the signs differ in their shape, too.
_MARKS = {
    BETTER: ("▲", GOOD, "better"),
    WORSE: ("▼", PROBLEM, "worse"),
    ALIKE: ("≈", QUIET, "no clear difference"),
    "": ("?", QUIET, "too few to tell"),
}
# Findings that are shown; the others are counted.
_MOST_FINDINGS = 6
# Scans that are left out and named; the others are counted.
_MOST_NAMES = 5
_LOG_LINES = 8


def button(text: str, tip: str) -> QPushButton:
    """A button with a tooltip that the tab key reaches."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return made


def heading(text: str = "") -> QLabel:
    """A bold, wrapped line."""
    label = quiet_label(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


class Disclosure(QWidget):
    """A line with an arrow; a click on it shows or hides what is below."""

    def __init__(self, title: str, content: QWidget) -> None:
        super().__init__()
        # A tool button would not follow the font of napari's preferences.
        self.toggle = QPushButton()
        self.toggle.setCheckable(True)
        self.toggle.setObjectName("medvlsm-disclosure")
        self.toggle.setStyleSheet("#medvlsm-disclosure { text-align: left; border: none; background: transparent; }")
        self.toggle.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._title = title
        self.content = content
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self.toggle)
        column.addWidget(content)
        self.toggle.toggled.connect(self._show)
        self._show(False)

    def _show(self, shown: bool) -> None:
        self.toggle.setText(f"{'▾' if shown else '▸'} {self._title}")
        self.content.setVisible(shown)


class FindingsBox(QWidget):
    """What is wrong or missing, one line each, with a button that shows the scan."""

    showRequested = Signal(int, str)  # number of the scan, and target
    leaveOutRequested = Signal(int)  # number of the scan

    def __init__(self) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(4)
        self._shown: list[tuple[Finding, bool]] = []

    def set_findings(self, findings: Sequence[Finding], leavable: Collection[int] = ()) -> None:
        """Show others; the scans of the numbers `leavable` can be left out."""
        self.setVisible(bool(findings))
        shown = [(finding, finding.case_id in leavable) for finding in findings]
        if shown == self._shown:
            return
        self._shown = shown
        while (item := self.column.takeAt(0)) is not None:
            if item.widget() is not None:
                item.widget().deleteLater()
        for finding, can_go in shown[:_MOST_FINDINGS]:
            self.column.addWidget(self._line(finding, can_go))
        more = len(findings) - _MOST_FINDINGS
        if more > 0:
            self.column.addWidget(quiet_label(f"… and {more} more."))

    def _line(self, finding: Finding, can_go: bool) -> QWidget:
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
        sign, color = ("✖", PROBLEM) if finding.stops else ("▲", WARNING)
        text = quiet_label(f'<span style="color: {color};">{sign}</span> {escape(finding.sentence)}', rich=True)
        row.addWidget(text, 1)
        if finding.case_id is not None:
            show = button("Show", "Show this scan")
            number, target = finding.case_id, finding.target
            show.clicked.connect(lambda: self.showRequested.emit(number, target))
            row.addWidget(show, 0, Qt.AlignmentFlag.AlignTop)
            if can_go:
                leave = button("Leave out", "Let the next model learn nothing from this scan")
                leave.clicked.connect(lambda: self.leaveOutRequested.emit(number))
                row.addWidget(leave, 0, Qt.AlignmentFlag.AlignTop)
        return line


class LeftOutBox(QWidget):
    """Scans that the next model learns nothing from, and whether the one in view is among them."""

    takeAllRequested = Signal()
    switchRequested = Signal()  # of the scan in view

    def __init__(self) -> None:
        super().__init__()
        self.text = quiet_label()
        self.take_all = button("Take all again", "Let the next model learn from these scans, too")
        self.take_all.clicked.connect(self.takeAllRequested)
        self.switch = button("", "")
        self.switch.clicked.connect(self.switchRequested)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.take_all, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        column.addWidget(self.switch)

    def set_names(self, names: Sequence[str]) -> None:
        """Name the scans that are left out."""
        more = len(names) - _MOST_NAMES
        shown = ", ".join([*names[:_MOST_NAMES], *([f"and {more} more"] if more > 0 else [])])
        self.text.setText(f"Left out of the training: {shown}.")
        for widget in (self.text, self.take_all):
            widget.setVisible(bool(names))

    def set_scan(self, name: str, left_out: bool, held_out: bool) -> None:
        """Offer to leave the scan in view out, or to take it again; "" without one."""
        self.switch.setText("Learn from the scan in view again" if left_out else "Leave the scan in view out")
        self.switch.setEnabled(bool(name) and not held_out)
        why = "it is held out, and nobody chooses what models are judged by" if held_out else "of the next training"
        self.switch.setToolTip(f"{name}: {why}" if name else "No scan of the project is in view")


class RoundBox(QWidget):
    """The round that runs or was interrupted: how far it is, its curves, its log, and what can be done with it."""

    stopRequested = Signal()
    goOnRequested = Signal()
    finishRequested = Signal()
    giveUpRequested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.text = heading()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.left = quiet_label()
        self.memory = quiet_label()
        self.memory.setStyleSheet(f"color: {WARNING};")
        self.chart = CurveChart()
        self.stop = button("Stop", "Stop after the present step; the best model so far is kept, and it can go on")
        self.go_on = button("Go on", "Go on where it was interrupted")
        self.finish = button("Use the best so far", "Train no further: measure the best model so far")
        self.give_up = button("Give up", "Decide against this model; it stays in the list of models")
        for made, signal in (
            (self.stop, self.stopRequested),
            (self.go_on, self.goOnRequested),
            (self.finish, self.finishRequested),
            (self.give_up, self.giveUpRequested),
        ):
            made.clicked.connect(signal)
        row = QHBoxLayout()
        for made in (self.stop, self.go_on, self.finish, self.give_up):
            row.addWidget(made)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(2000)
        self.log.setFixedHeight(_LOG_LINES * self.log.fontMetrics().lineSpacing())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (self.text, self.bar, self.left, self.memory, self.chart):
            column.addWidget(widget)
        column.addLayout(row)
        column.addWidget(Disclosure("Log", self.log))

    def set_far(self, text: str, left: str, done: tuple[int, int] | None, memory: str) -> None:
        """Say how far it is; `done` is (steps, of all), (0, 0) where that is not known, None where nothing runs."""
        self.text.setText(text)
        # napari sets the font of labels, and not that of a widget that draws itself.
        self.chart.setFont(self.left.font())
        self.left.setText(left)
        self.left.setVisible(bool(left))
        self.memory.setText(memory)
        self.memory.setVisible(bool(memory))
        self.bar.setVisible(done is not None)
        if done is not None:
            self.bar.setRange(0, done[1])
            self.bar.setValue(done[0])

    def set_choices(self, running: bool, goes_on: bool, has_best: bool) -> None:
        """Offer what can be done."""
        self.stop.setVisible(running)
        self.go_on.setVisible(goes_on)
        self.finish.setVisible(goes_on and has_best)
        self.give_up.setVisible(goes_on)

    def set_log(self, lines: Sequence[str]) -> None:
        """Show the log; what was there stays where it is."""
        shown = self.log.blockCount() if self.log.toPlainText() else 0
        if len(lines) < shown:
            self.log.clear()
            shown = 0
        for line in lines[shown:]:
            self.log.appendPlainText(line)


class VerdictBox(QWidget):
    """Before and after, the recommendation, and the decision."""

    promoteRequested = Signal()
    keepRequested = Signal()
    compareRequested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.advice = heading()
        self.table = QLabel()
        self.table.setTextFormat(Qt.TextFormat.RichText)
        self.table.setWordWrap(True)
        self.table.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.count = quiet_label()
        self.worst = quiet_label()
        self.known = quiet_label()
        self.compare = button(
            "Compare…", "Show the scans one by one, with the outlines of both models and yours side by side"
        )
        self.compare.clicked.connect(self.compareRequested)
        beside = QHBoxLayout()
        beside.addWidget(self.worst, 1)
        beside.addWidget(self.compare, 0, Qt.AlignmentFlag.AlignTop)
        self.details = quiet_label()
        self.promote = button("Promote", "Use the new model from now on, in this project; it can be rolled back")
        self.keep = button("Keep the present one", "Decide against the new model; it stays in the list of models")
        self.promote.clicked.connect(self.promoteRequested)
        self.keep.clicked.connect(self.keepRequested)
        row = QHBoxLayout()
        row.addWidget(self.promote)
        row.addWidget(self.keep)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.advice)
        column.addWidget(self.table)
        column.addWidget(self.count)
        column.addLayout(beside)
        column.addWidget(self.known)
        column.addWidget(Disclosure("All that was measured", self.details))
        column.addLayout(row)

    def set_verdict(
        self,
        advice: str,
        rows: Sequence[Row],
        count: str,
        worst: str,
        known: str,
        details: Sequence[str],
        prefers_new: bool,
    ) -> None:
        """Show what was measured, and whether the models may know what they were measured on."""
        self.advice.setText(advice)
        self.table.setText(_table(rows))
        self.table.setVisible(bool(rows))
        self.count.setText(count)
        self.count.setVisible(bool(count))
        self.worst.setText(worst)
        for widget in (self.worst, self.compare):
            widget.setVisible(bool(worst))
        self.known.setText(known)
        self.known.setVisible(bool(known))
        self.details.setText("\n".join(details))
        self.promote.setDefault(prefers_new)

    def set_enabled(self, enabled: bool) -> None:
        """Whether a decision can be taken now."""
        self.promote.setEnabled(enabled)
        self.keep.setEnabled(enabled)


class ModelsBox(QWidget):
    """The models of the project: the present one, and what can be done with the one that is chosen."""

    promoteRequested = Signal(str)
    rollBackRequested = Signal()
    cardRequested = Signal(str)
    exportRequested = Signal(str)
    deleteRequested = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.currentItemChanged.connect(lambda *_: self._offer())
        self.back = button("Roll back", "Make the model before the present one the present one again")
        self.promote = button("Promote", "Use the chosen model from now on, in this project")
        self.card = button("Card…", "What the chosen model was trained on, and how well it did")
        self.export = button("Export…", "Copy the chosen model to a folder, to be used elsewhere")
        self.delete = button("Delete…", "Delete the chosen model with its copy of the data")
        self.back.clicked.connect(self.rollBackRequested)
        for made, signal in (
            (self.promote, self.promoteRequested),
            (self.card, self.cardRequested),
            (self.export, self.exportRequested),
            (self.delete, self.deleteRequested),
        ):
            made.clicked.connect(lambda _=False, signal=signal: signal.emit(self.chosen()))
        grid = QGridLayout()
        for i, made in enumerate((self.promote, self.back, self.card, self.export, self.delete)):
            grid.addWidget(made, i // 3, i % 3)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addWidget(heading("Models of this project"))
        column.addWidget(self.list)
        column.addLayout(grid)
        self._deletable: set[str] = set()
        self._promotable: set[str] = set()

    def chosen(self) -> str:
        """Name of the model that is chosen; "" for none."""
        item = self.list.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item is not None else ""

    def set_models(
        self, models: Sequence[tuple[str, str]], promotable: set[str], deletable: set[str], back: bool
    ) -> None:
        """Show the models, each (name, line of text)."""
        before = self.chosen()
        with QSignalBlocker(self.list):
            self.list.clear()
            for name, text in models:
                item = QListWidgetItem(text)
                item.setToolTip(text)
                item.setData(Qt.ItemDataRole.UserRole, name)
                self.list.addItem(item)
                if name == before:
                    self.list.setCurrentItem(item)
            if self.list.currentItem() is None and models:
                self.list.setCurrentRow(len(models) - 1)
        rows = min(6, max(2, len(models)))
        height = self.list.sizeHintForRow(0) if models else self.list.fontMetrics().lineSpacing()
        self.list.setFixedHeight(rows * height + 2 * self.list.frameWidth() + 4)
        self._promotable, self._deletable = promotable, deletable
        self.back.setEnabled(back)
        self._offer()

    def _offer(self) -> None:
        name = self.chosen()
        self.promote.setEnabled(name in self._promotable)
        self.delete.setEnabled(name in self._deletable)
        for made in (self.card, self.export):
            made.setEnabled(bool(name))


def _table(rows: Sequence[Row]) -> str:
    """Before and after as HTML, two lines for each row; every mark is a sign, a colour and a word."""
    pad = "style='padding: 1px 10px 1px 0'"
    head = "".join(f"<td {pad}><b>{title}</b></td>" for title in ("", "before", "now"))
    lines = [f"<tr>{head}</tr>"]
    for row in rows:
        sign, color, word = _MARKS[row.mark]
        told = f'<span style="color: {color}">{sign} {word}</span>'
        change = f" <span style='color: {QUIET}'>{escape(row.change)}</span>" if row.change else ""
        cells = (f"<b>{escape(row.what)}</b>", escape(row.before), escape(row.now))
        lines.append("<tr>" + "".join(f"<td {pad}>{cell}</td>" for cell in cells) + "</tr>")
        lines.append(f"<tr><td colspan='3' style='padding: 0 0 6px 10px'>{told}{change}</td></tr>")
    return f"<table>{''.join(lines)}</table>"
