"""The tab "Project": its scans, how far it is, and answers to the scan in view."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.values import CaseQuery, Counts
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.sections._section import QUIET, fill_combo, narrow_combo, quiet_label, rule
from napari_medvlsm.widgets.sections.scan import NEXT_KEYS, PREVIOUS_KEYS
from napari_medvlsm.widgets.tabs.case_list import STATES, CaseList

# Wait this long after the last letter before the list is searched.
_SEARCH_MS = 150
_FILTERS: tuple[tuple[str, tuple[tuple[State, ...], bool | None]], ...] = (
    ("all scans", ((), None)),
    ("○ ◐ to do, draft", ((State.UNSEEN, State.DRAFT), None)),
    ("a prediction waits", ((State.UNSEEN,), True)),
    *((f"{sign} {word}", ((state,), None)) for state, (sign, _, word) in STATES.items()),
)
_SORTS = (
    ("name", "name"),
    ("state", "state"),
    ("group", "group"),
    ("added last", "added"),
    ("changed last", "changed"),
    ("suggested", "suggested"),
)


class ProjectTab(QWidget):
    """What one does with a project; nothing of it is decided here."""

    openRequested = Signal()
    newRequested = Signal()
    addRequested = Signal()
    closeRequested = Signal()
    predictRequested = Signal()
    stopRequested = Signal()
    queryChanged = Signal(object)  # CaseQuery
    suggestRequested = Signal()
    cancelRequested = Signal()
    targetChosen = Signal(str)
    stepRequested = Signal(int)
    submitRequested = Signal()
    absentRequested = Signal()
    reopenRequested = Signal()
    reviewRequested = Signal()
    versionsRequested = Signal()
    effortRequested = Signal()
    counts: QLabel
    now: QLabel

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 4)
        column.setSpacing(5)
        self.title = QLabel("No project is open")
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        column.addWidget(self.title)
        self.open = _button(
            "Open…", "Open a project: a folder of scans that is worked through over days", self.openRequested
        )
        self.new = _button("New…", "Make a project", self.newRequested)
        self.add = _button("Add scans…", "Add the scans of a folder to the project", self.addRequested)
        self.close_project = _button("Close", "Close the project; all of it is on disk", self.closeRequested)
        row = QHBoxLayout()
        for button in (self.open, self.new, self.add, self.close_project):
            row.addWidget(button)
        column.addLayout(row)
        self.hint = quiet_label(
            "A project is a folder in which many scans are worked through over days. Every version of every outline "
            "is kept in it."
        )
        column.addWidget(self.hint)
        self.body = QWidget()
        self._build(self.body)
        column.addWidget(self.body, 1)
        self.room = QWidget()
        column.addWidget(self.room, 1)
        for label in (self.hint, self.counts, self.now):
            # Or else as high as if it were as narrow as can be, and so the window higher than the screen.
            label.setMinimumHeight(1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SEARCH_MS)
        self._timer.timeout.connect(self._report_query)
        self.set_project("", False)

    def _build(self, body: QWidget) -> None:
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search name or group")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(lambda: self._timer.start())
        self.filter, self.sort, self.group = narrow_combo(), narrow_combo(), narrow_combo()
        fill_combo(self.filter, _FILTERS, _FILTERS[0][1])
        fill_combo(self.sort, _SORTS, "name")
        self.filter.setToolTip("Which scans the list shows")
        self.sort.setToolTip("The order of the list")
        self.group.setToolTip("Scans of one patient or sequence")
        for combo in (self.filter, self.sort, self.group):
            combo.activated.connect(self._report_query)
        for widgets in ((self.search, self.group), (self.filter, self.target_filter(), self.sort)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget, 1)
            column.addLayout(row)
        column.addWidget(self._build_suggestion())
        self.cases = CaseList()
        column.addWidget(self.cases, 1)
        self.progress = QProgressBar()
        self.progress.setFormat("%v of %m answered")
        self.predict = _button(
            "Predict unseen…",
            "Let the model outline what nobody has answered yet, in the background",
            self.predictRequested,
        )
        row = QHBoxLayout()
        row.addWidget(self.progress, 1)
        row.addWidget(self.predict)
        column.addLayout(row)
        self.work = QWidget()
        row = QHBoxLayout(self.work)
        row.setContentsMargins(0, 0, 0, 0)
        self.work_bar = QProgressBar()
        self.stop = _button("Stop", "Stop; what was predicted stays", self.stopRequested)
        row.addWidget(self.work_bar, 1)
        row.addWidget(self.stop)
        self.work.hide()
        column.addWidget(self.work)
        self.counts = quiet_label()
        self.counts.setTextFormat(Qt.TextFormat.RichText)
        column.addWidget(self.counts)
        self.review = _button(
            "Review…",
            "See what was handed over as a second person: approve it, or send it back with a remark",
            self.reviewRequested,
        )
        self.versions = _button(
            "Versions…",
            "All versions of the outline in view: look at them side by side, and bring one back",
            self.versionsRequested,
        )
        self.effort = _button(
            "Effort…",
            "The time and the changes that outlines cost, and whether another model made that less",
            self.effortRequested,
        )
        row = QHBoxLayout()
        for button in (self.review, self.versions, self.effort):
            row.addWidget(button)
        column.addLayout(row)
        column.addWidget(rule())
        self.now = quiet_label()
        column.addWidget(self.now)
        self.target = narrow_combo()
        self.target.setToolTip("What is outlined now")
        self.target.activated.connect(lambda: self.targetChosen.emit(self.target.currentData()))
        self.previous = _button("◀", f"The scan before this one in the list ({PREVIOUS_KEYS})", None)
        self.previous.clicked.connect(lambda: self.stepRequested.emit(-1))
        self.next = _button("▶", f"The next scan of the list ({NEXT_KEYS})", None)
        self.next.clicked.connect(lambda: self.stepRequested.emit(1))
        row = QHBoxLayout()
        row.addWidget(self.previous)
        row.addWidget(self.target, 1)
        row.addWidget(self.next)
        column.addLayout(row)
        self.submit = _button(
            f"Submit  {keys.SUBMIT_KEY}",
            f"Hand the outline over to a second person, and show the next scan to do ({keys.SUBMIT_KEY})",
            self.submitRequested,
        )
        self.absent = _button(
            f"Not there  {keys.NOT_THERE_KEY}",
            f"Answer that this scan does not show it, and show the next scan to do ({keys.NOT_THERE_KEY})",
            self.absentRequested,
        )
        self.reopen = _button(
            f"Reopen  {keys.REOPEN_KEY}",
            f"Take the answer back, so that the outline can be changed again ({keys.REOPEN_KEY})",
            self.reopenRequested,
        )
        row = QHBoxLayout()
        for button in (self.submit, self.absent, self.reopen):
            row.addWidget(button)
        column.addLayout(row)

    def _build_suggestion(self) -> QWidget:
        self._suggested: tuple[int, ...] = ()
        self.suggested = quiet_label()
        self.suggest = _button(
            "Suggest",
            "Let the model look at all scans that wait: first come those unlike the others, later those of which it is "
            "unsure, and one in five by chance",
            self.suggestRequested,
        )
        self.cancel = _button("Cancel", "Look at no more scans", self.cancelRequested)
        self.suggestion = QWidget()
        row = QHBoxLayout(self.suggestion)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.suggested, 1)
        for button in (self.suggest, self.cancel):
            row.addWidget(button)
        self.suggestion.setVisible(False)
        self.sort.activated.connect(lambda: self.suggestion.setVisible(self.sort.currentData() == "suggested"))
        return self.suggestion

    def set_suggestion(self, text: str, ids: tuple[int, ...], running: bool, enabled: bool) -> None:
        """Say what is suggested; where the list is in that order, it follows."""
        self.suggested.setText(text)
        self.suggest.setText("Suggest anew" if ids else "Suggest")
        self.suggest.setEnabled(enabled)
        self.suggest.setVisible(not running)
        self.cancel.setVisible(running)
        if ids != self._suggested:
            self._suggested = ids
            if self.sort.currentData() == "suggested":
                self._report_query()

    def target_filter(self) -> QComboBox:
        """The choice of the target that the filter looks at."""
        self.targets = narrow_combo()
        self.targets.setToolTip("The target whose state counts")
        self.targets.activated.connect(self._report_query)
        return self.targets

    def set_project(self, title: str, read_only: bool, opened: bool = False) -> None:
        """Show which project is open."""
        self.title.setText(f"{title}{' (read-only)' if read_only else ''}" if opened else "No project is open")
        self.body.setVisible(opened)
        for widget in (self.hint, self.room):
            widget.setVisible(not opened)
        self.add.setEnabled(opened and not read_only)
        self.close_project.setEnabled(opened)

    def set_work(self, what: str, done: int = 0, of: int = 0, stoppable: bool = False) -> None:
        """Show what goes on in the background, and how far it is; "" for nothing."""
        self.work.setVisible(bool(what))
        self.work_bar.setRange(0, of)
        self.work_bar.setValue(done)
        self.work_bar.setFormat(f"{what} %v of %m" if of else f"{what}…")
        self.stop.setVisible(stoppable)

    def set_choices(self, targets: tuple[str, ...], groups: dict[str, int]) -> None:
        """Offer the targets and groups of the project."""
        every = [("any target", ""), *((target_name(t), t) for t in targets)]
        fill_combo(self.targets, every, self.targets.currentData() or "")
        found = [("any group", ""), *((f"{g} ({n})", g) for g, n in groups.items())]
        fill_combo(self.group, found, self.group.currentData() or "")
        self.targets.setVisible(len(targets) > 1)
        self.group.setEnabled(bool(groups))

    def set_counts(self, counts: Counts | None) -> None:
        """Show how far the project is."""
        if counts is None:
            return
        self.progress.setRange(0, max(1, counts.outlines))
        self.progress.setValue(counts.answered)
        parts = [
            f'<span style="color: {color};">{sign} {counts.states[state]} {word}</span>'
            for state, (sign, color, word) in STATES.items()
        ]
        wait = "1 prediction waits" if counts.predictions == 1 else f"{counts.predictions} predictions wait"
        waiting = f'; <span style="color: {QUIET};">{wait}</span>' if counts.predictions else ""
        scans = "1 scan" if counts.cases == 1 else f"{counts.cases} scans"
        self.counts.setText(f"{scans}: {', '.join(parts)}{waiting}")

    def set_waiting(self, count: int) -> None:
        """Show how many outlines of the list wait for a second person."""
        self.review.setText(f"Review… ({count})")
        self.review.setEnabled(bool(count))

    def set_case(
        self, text: str, targets: list[tuple[str, str]], target: str, state: State | None, read_only: bool
    ) -> None:
        """Show the scan in view, and offer what can be answered to it."""
        self.now.setText(text)
        fill_combo(self.target, targets, target)
        with QSignalBlocker(self.target):
            self.target.setEnabled(len(targets) > 1)
        self.versions.setEnabled(state is not None)
        open_ = state in (State.UNSEEN, State.DRAFT)
        self.submit.setEnabled(open_ and not read_only)
        self.absent.setEnabled(open_ and not read_only)
        self.reopen.setEnabled(state is not None and not open_ and not read_only)

    def query(self) -> CaseQuery:
        """What is chosen."""
        (states, predicted), target, group = (
            self.filter.currentData(),
            self.targets.currentData(),
            self.group.currentData(),
        )
        sort = self.sort.currentData()
        return CaseQuery(
            states=states,
            targets=(target,) if target else (),
            groups=(group,) if group else (),
            text=self.search.text(),
            predicted=predicted,
            sort="name" if sort == "suggested" else sort,
            descending=sort in ("added", "changed"),
            first=self._suggested if sort == "suggested" else (),
        )

    def _report_query(self) -> None:
        self.queryChanged.emit(self.query())


def _button(text: str, tip: str, clicked: object) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if clicked is not None:
        button.clicked.connect(clicked)
    return button
