"""What outlines cost: a chart over time and by model version, whether the new model helped, and a table."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from qtpy.QtCore import Qt
from qtpy.QtGui import QPalette, QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.effort import EffortReport
from napari_medvlsm.core.projects.chart import draw_chart
from napari_medvlsm.core.projects.ledger import CAUTION, MEASURES, Effort
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.core.statistics import Estimate
from napari_medvlsm.widgets.sections._section import PROBLEM, QUIET, fill_combo, keep_narrow, quiet_label

_LINES = (("by model version", "version"), ("by target", "target"), ("by person", "person"), ("by scan", "case"))
_SHARES = ("accepted unchanged",)
_NOTHING = "No outline was submitted yet. What they cost is shown here as soon as some are."
_ONE_MODEL = "There is one model only, so there is nothing to compare it with yet."


class EffortDialog(QDialog):
    """Shows a report and reports what a person chose.

    Parameters
    ----------
    report : EffortReport
        Not started yet.
    title : str
        Of the project.
    parent : QWidget, optional
    """

    def __init__(self, report: EffortReport, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"What outlines cost: {title}")
        self.report = report
        self._plotted: list[Effort] = []
        self._build()
        report.changed.connect(self._show)
        report.message.connect(self._say)
        self.finished.connect(lambda: report.close())
        screen = QApplication.primaryScreen().availableGeometry()
        self.resize(min(1100, screen.width() - 40), min(800, screen.height() - 60))

    def _build(self) -> None:
        self.measure, self.target, self.by = QComboBox(), QComboBox(), QComboBox()
        self.first, self.second = QComboBox(), QComboBox()
        fill_combo(self.measure, [(name, name) for name in MEASURES], self.report.measure)
        fill_combo(self.by, _LINES, self.report.by)
        self.target.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.target.setMinimumContentsLength(12)
        self.measure.activated.connect(lambda: self.report.choose(measure=self.measure.currentData()))
        self.target.activated.connect(lambda: self.report.choose(target=self.target.currentData()))
        self.by.activated.connect(lambda: self.report.choose(by=self.by.currentData()))
        for combo in (self.first, self.second):
            keep_narrow(combo)
            combo.activated.connect(
                lambda: self.report.choose(versions=(self.first.currentData(), self.second.currentData()))
            )
        top = QHBoxLayout()
        for text, combo, stretch in (
            ("Show", self.measure, 0),
            ("of", self.target, 1),
            ("  Compare", self.second, 2),
            ("with", self.first, 2),
        ):
            top.addWidget(QLabel(text))
            top.addWidget(combo, stretch)
        self.answer = quiet_label(_NOTHING)
        font = self.answer.font()
        font.setPointSizeF(1.15 * font.pointSizeF())
        self.answer.setFont(font)
        self.caution = quiet_label(CAUTION)
        self.caution.setStyleSheet(f"color: {QUIET};")
        self.same_scans = quiet_label()
        self.same_scans.setFont(font)

        self.canvas = FigureCanvasQTAgg(Figure(layout="constrained"))
        self.canvas.setMinimumHeight(180)
        self.canvas.mpl_connect("motion_notify_event", self._on_pointed)
        self.table = QTableWidget(0, len(MEASURES) + 2)
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setShowGrid(False)
        self._name_columns()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)

        over = QHBoxLayout()
        over.addWidget(QLabel("<b>Means</b>, with intervals of 95 % where there are several patients or scans"), 1)
        over.addWidget(self.by)
        self.save = QPushButton("Save table (CSV)…")
        self.save.setToolTip("A line for each outline: who, when, model, seconds, strokes, clicks, pixels, Dice")
        self.save.clicked.connect(self._on_save)
        self.told = quiet_label()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        below = QHBoxLayout()
        below.addWidget(self.save)
        below.addWidget(self.told, 1)
        below.addWidget(buttons)
        column = QVBoxLayout(self)
        column.addLayout(top)
        column.addWidget(self._build_words())
        column.addWidget(self.canvas, 3)
        column.addLayout(over)
        column.addWidget(self.table, 1)
        column.addLayout(below)
        self.caution.hide()
        self.same_scans.hide()
        self.save.setEnabled(False)

    def _build_words(self) -> QScrollArea:
        """The answers, which scroll where there are many: the window must fit a small screen with large letters."""
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        for label in (self.answer, self.caution, self.same_scans):
            # Or else as high as if it were as narrow as can be, so that one line would scroll.
            label.setMinimumHeight(1)
            column.addWidget(label)
        self.words = QScrollArea()
        self.words.setWidget(inside)
        self.words.setWidgetResizable(True)
        self.words.setFrameShape(QFrame.Shape.NoFrame)
        self.words.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return self.words

    def _fit_words(self) -> None:
        """Give the answers the room that they take, but no more than a third of the window."""
        shown = [label for label in (self.answer, self.caution, self.same_scans) if not label.isHidden()]
        for label in shown:
            label.ensurePolished()
        width, spacing = self.words.viewport().width(), self.words.widget().layout().spacing()
        needed = sum(label.heightForWidth(width) + spacing for label in shown)
        self.words.setFixedHeight(min(needed, self.height() // 3))

    def showEvent(self, event: QShowEvent) -> None:
        """Be of one colour until there is something to draw."""
        super().showEvent(event)
        if self.report.report is None:
            self.canvas.figure.set_facecolor(self.palette().color(QPalette.ColorRole.Window).name())
            self.canvas.draw_idle()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Lines break elsewhere then."""
        super().resizeEvent(event)
        self._fit_words()

    def _show(self) -> None:
        report, found = self.report, self.report.report
        if found is None:
            return
        fill_combo(self.target, [("all targets", ""), *((target_name(t), t) for t in report.targets)], report.target)
        versions = [(version, version) for version in report.versions]
        fill_combo(self.first, versions, report.first)
        fill_combo(self.second, versions, report.second)
        for combo in (self.first, self.second):
            combo.setEnabled(len(versions) > 1)
        nothing = _NOTHING if not found.ledger else _ONE_MODEL
        if found.ledger and len(versions) > 1:
            nothing = "Choose two different models to compare them."
            if report.first != report.second:
                nothing = "No target was outlined with both, so their times cannot be compared."
        self.answer.setText("\n".join(found.answers) or nothing)
        self.caution.setVisible(bool(found.answers))
        self.same_scans.setText("\n".join(found.same_scans))
        self.same_scans.setVisible(bool(found.same_scans))
        self._fit_words()
        self.save.setEnabled(bool(found.ledger))
        roles = (QPalette.ColorRole.WindowText, QPalette.ColorRole.Window)
        ink, ground = (self.palette().color(role).name() for role in roles)
        letters = max(10.0, self.caution.font().pointSizeF())
        self._plotted = draw_chart(self.canvas.figure, found.ledger, report.measure, ink, ground, letters)
        self.canvas.draw_idle()
        self._fill_table()

    def _name_columns(self) -> None:
        self.table.setHorizontalHeaderLabels([self.by.currentText().removeprefix("by "), "outlines", *MEASURES])

    def _fill_table(self) -> None:
        found = self.report.report
        assert found is not None
        self._name_columns()
        self.table.setRowCount(len(found.lines))
        for row, (line, measures) in enumerate(found.lines.items()):
            cells = [line, f"{measures['seconds'].cases}"]
            cells += [_words(measure, measures[measure]) for measure in MEASURES]
            for column, text in enumerate(cells):
                item = QTableWidgetItem(f" {text} ")
                item.setToolTip(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)

    def _on_pointed(self, event: object) -> None:
        """Name the outline beneath the pointer."""
        place, axes = getattr(event, "xdata", None), getattr(event, "inaxes", None)
        figure = self.canvas.figure
        if place is None or not figure.axes or axes is not figure.axes[0] or not self._plotted:
            self.canvas.setToolTip("")
            QToolTip.hideText()
            return
        effort = self._plotted[min(len(self._plotted) - 1, max(0, round(place)))]
        value = MEASURES[self.report.measure][0](effort)
        self.canvas.setToolTip(
            f"{effort.case}, {target_name(effort.target)}: {self.report.measure} {value:.3g}\n{effort.model_version}, "
            f"{effort.person or 'no name given'}, {effort.at.astimezone():%d %b %Y %H:%M}"
        )

    def _on_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", "effort.csv", "Table (*.csv)")
        if name:
            path = Path(name)
            self.report.save(path if path.suffix else path.with_suffix(".csv"))

    def _say(self, text: str, problem: bool) -> None:
        self.told.setStyleSheet(f"color: {PROBLEM};" if problem else "")
        self.told.setText(text)


def _words(measure: str, one: Estimate) -> str:
    if not one.cases:
        return ""
    if measure in _SHARES:
        numbers = [f"{100 * value:.0f}" for value in (one.mean, one.low, one.high) if not math.isnan(value)]
        return f"{numbers[0]} % ({numbers[1]} to {numbers[2]})" if len(numbers) == 3 else f"{numbers[0]} %"
    digits = 2 if measure == "Dice" else 0 if measure == "pixels changed" else 1
    text = f"{one.mean:,.{digits}f}"
    return text if math.isnan(one.low) else f"{text} ({one.low:,.{digits}f} to {one.high:,.{digits}f})"
