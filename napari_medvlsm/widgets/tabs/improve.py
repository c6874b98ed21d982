"""The tab "Improve": what a model would learn from the project, its training, and whether it got better."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.outlook import Options
from napari_medvlsm.controllers.round_begin import Doing
from napari_medvlsm.widgets.sections._section import fill_combo, narrow_combo, quiet_label, rule, scroll_past
from napari_medvlsm.widgets.tabs.improve_boxes import (
    Disclosure,
    FindingsBox,
    LeftOutBox,
    ModelsBox,
    RoundBox,
    VerdictBox,
    button,
    heading,
)


class ImproveTab(QWidget):
    """What one does to improve a model; nothing of it is decided here."""

    openRequested = Signal()
    startRequested = Signal()
    timeRequested = Signal()
    cancelRequested = Signal()
    optionsChanged = Signal(object)  # Options
    shown = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.title = heading()
        self.hint = quiet_label(
            "A model learns from the finished outlines of a project. Open one, finish some scans, then improve the "
            "model here."
        )
        self.open = button("Open a project…", "Open a folder of scans that is worked through over days")
        self.open.clicked.connect(self.openRequested)
        self.body = QWidget()
        self._build(self.body)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(8, 6, 8, 4)
        column.setSpacing(6)
        for widget in (self.title, self.hint, self.open, self.body):
            column.addWidget(widget)
        column.addStretch(1)
        page.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.scroll = QScrollArea()
        self.scroll.setWidget(page)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self.scroll, 1)

    def _build(self, body: QWidget) -> None:
        self.learned = quiet_label()
        self.targets = QLabel()
        self.targets.setTextFormat(Qt.TextFormat.RichText)
        self.targets.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.targets.setWordWrap(True)
        self.findings = FindingsBox()
        self.start = button("Improve the model", "Train a new model on these outlines, and measure it beside this one")
        font = self.start.font()
        font.setBold(True)
        self.start.setFont(font)
        self.start.setObjectName("medvlsm-primary")
        self.start.setStyleSheet(
            "QPushButton#medvlsm-primary:enabled { background: #1f6f54; color: white; padding: 7px; }"
            "QPushButton#medvlsm-primary:enabled:hover { background: #27896a; }"
        )
        self.start.clicked.connect(self.startRequested)
        self.time = quiet_label()
        self.measure = button("How long?", "Train for half a minute on a copy, to see how long all of it would take")
        self.measure.clicked.connect(self.timeRequested)
        self.doing = QProgressBar()
        self.doing.setTextVisible(False)
        self.doing_text = quiet_label()
        self.cancel = button("Cancel", "Do this no further; nothing of it is kept")
        self.cancel.clicked.connect(self.cancelRequested)
        self.next = QWidget()
        column = QVBoxLayout(self.next)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        self.left_out = LeftOutBox()
        for widget in (self.learned, self.targets, self.findings, self.start):
            column.addWidget(widget)
        row = QHBoxLayout()
        row.addWidget(self.time, 1)
        row.addWidget(self.measure, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        column.addWidget(self.left_out)
        self.options = Disclosure("Options", self._build_options())
        column.addWidget(self.options)
        self.round = RoundBox()
        self.verdict = VerdictBox()
        self.models = ModelsBox()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.next)
        column.addWidget(self.doing_text)
        row = QHBoxLayout()
        row.addWidget(self.doing, 1)
        row.addWidget(self.cancel)
        column.addLayout(row)
        for widget in (self.round, self.verdict, rule(), self.models):
            column.addWidget(widget)

    def _build_options(self) -> QWidget:
        self.base = narrow_combo()
        self.base.setToolTip("The model that the new one starts from; it is compared with the present one in any case")
        self.base.activated.connect(self._report)
        self.approved = QCheckBox("Approved outlines only")
        self.approved.setToolTip("Leave out what no second person approved")
        self.approved.toggled.connect(self._report)
        self.epochs = QSpinBox()
        self.epochs.setRange(0, 500)
        self.epochs.setSpecialValueText("as many as help")
        self.epochs.setToolTip("It stops by itself when the watched scans get no better")
        self.epochs.valueChanged.connect(self._report)
        self.minutes = QSpinBox()
        for box in (self.epochs, self.minutes):
            scroll_past(box)
        self.minutes.setRange(0, 24 * 60)
        self.minutes.setSingleStep(5)
        self.minutes.setSpecialValueText("no limit")
        self.minutes.setToolTip("The training ends after this time, with the best model until then")
        self.minutes.valueChanged.connect(self._report)
        self.replay = QCheckBox("Keep what it knows in mind")
        self.replay.setToolTip("One scan in four is of those that came with the model, so that it forgets nothing")
        self.replay.toggled.connect(self._report)
        self.more = QLineEdit()
        self.more.setPlaceholderText("key=value …")
        self.more.setToolTip("Settings of the recipe to change, such as optimizer.learning_rate=0.0003; see the guide")
        self.more.editingFinished.connect(self._report)
        box = QWidget()
        grid = QGridLayout(box)
        grid.setContentsMargins(12, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Start from"), 0, 0)
        grid.addWidget(self.base, 0, 1)
        grid.addWidget(QLabel("Passes at most"), 1, 0)
        grid.addWidget(self.epochs, 1, 1)
        grid.addWidget(QLabel("Minutes at most"), 2, 0)
        grid.addWidget(self.minutes, 2, 1)
        grid.addWidget(QLabel("Settings"), 3, 0)
        grid.addWidget(self.more, 3, 1)
        grid.addWidget(self.replay, 4, 0, 1, 2)
        grid.addWidget(self.approved, 5, 0, 1, 2)
        return box

    # What is shown --------------------------------------------------------------------------------------------------

    def set_project(self, title: str, opened: bool) -> None:
        """Show which project is open."""
        self.title.setText(title if opened else "No project is open")
        for widget in (self.hint, self.open):
            widget.setVisible(not opened)
        self.body.setVisible(opened)

    def set_outlook(
        self, learned: str, targets: Sequence[tuple[str, int, int, int, int]], time: str, measurable: bool
    ) -> None:
        """Say what the next model would learn from, and how long that takes, or offer to measure it.

        Rows of `targets` are (target, learn, watch, judge, not there).
        """
        self.learned.setText(learned)
        self.learned.setVisible(bool(learned))
        self.targets.setText(_table(targets))
        self.targets.setVisible(len(targets) > 1)
        self.time.setText(time)
        self.time.setVisible(bool(time))
        self.measure.setVisible(measurable)

    def set_bases(self, bases: Sequence[tuple[str, str]], options: Options) -> None:
        """Offer models to start from, each (text, name), and show what is chosen."""
        fill_combo(self.base, [("present model", ""), *bases], options.base)
        choices = (self.approved, self.epochs, self.minutes, self.replay)
        for choice in choices:
            choice.blockSignals(True)  # what was chosen is shown, and not chosen anew
        self.approved.setChecked(options.approved_only)
        self.epochs.setValue(options.epochs)
        self.minutes.setValue(options.minutes)
        self.replay.setChecked(options.replay)
        for choice in choices:
            choice.blockSignals(False)
        if not self.more.hasFocus():
            self.more.setText(" ".join(options.more))

    def set_doing(self, doing: Doing | None) -> None:
        """Say what is done beside the window, and whether it can be cancelled; None for nothing."""
        for widget in (self.doing_text, self.doing):
            widget.setVisible(doing is not None)
        stop = doing.stop if doing is not None else None
        self.cancel.setVisible(stop is not None)
        self.cancel.setEnabled(stop is not None and not stop.asked)
        if doing is None:
            return
        done, of = doing.done
        self.doing_text.setText(f"{doing.text} {done} of {of}" if of else doing.text)
        self.doing.setRange(0, of)
        self.doing.setValue(done)

    def showEvent(self, event: object) -> None:
        """Somebody looks."""
        super().showEvent(event)
        self.shown.emit(True)

    def hideEvent(self, event: object) -> None:
        """Nobody looks any more."""
        super().hideEvent(event)
        self.shown.emit(False)

    def _report(self) -> None:
        self.optionsChanged.emit(
            Options(
                self.base.currentData() or "",
                self.approved.isChecked(),
                self.epochs.value(),
                self.minutes.value(),
                self.replay.isChecked(),
                more=tuple(self.more.text().split()),
            )
        )


def _table(targets: Sequence[tuple[str, int, int, int, int]]) -> str:
    pad = "style='padding: 1px 6px 1px 0'"
    head = "".join(f"<td {pad}><b>{t}</b></td>" for t in ("Target", "learn", "watch", "judge", "not there"))
    rows = "".join("<tr>" + "".join(f"<td {pad}>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in targets)
    return f"<table><tr>{head}</tr>{rows}</table>"
