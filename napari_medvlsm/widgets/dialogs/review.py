"""Review: what was submitted beside what it was before, to approve or to send back."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QShortcut,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.review import Item, Look, Review, Side
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.values import Version
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.widgets.dialogs._review_words import (
    FIRST_COLOR,
    SECOND_COLOR,
    difference_words,
    event_words,
    legend_words,
    origin_words,
    side_words,
    state_words,
    version_words,
)
from napari_medvlsm.widgets.dialogs._scan_view import ScanView
from napari_medvlsm.widgets.sections._section import PROBLEM, WARNING, keep_narrow, quiet_label

# Of the answers at the right.
_SIDE_CHARACTERS = 50
_COLUMNS = ("", "what", "by", "pixels", "Dice")
_ANSWER_KEYS = ("A", "B", "Ctrl+Return")


class ReviewDialog(QDialog):
    """Two pictures of a scan that follow one another, the history of its outline, and the answer.

    Parameters
    ----------
    review : Review
        Not started yet.
    title : str
        Of the project.
    parent : QWidget, optional

    Attributes
    ----------
    review : Review
    """

    openRequested = Signal(int, str)  # case id and target: to be shown in the viewer

    def __init__(self, review: Review, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Review: {title}")
        self.setWindowFlag(Qt.WindowType.WindowMaximizeButtonHint)
        self.review = review
        # What was typed for an outline, until it is answered.
        self._remarks: dict[Item, str] = {}
        self._shown_item: Item | None = None
        self._told_problem = False
        self._build()
        self._add_keys()
        review.changed.connect(self._show)
        review.drawn.connect(self._draw)
        review.message.connect(self._say)
        self.finished.connect(lambda: review.close())
        self._fit_screen()
        self._show()
        self._draw()

    # Building -------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.heading = QLabel()
        self.heading.setTextFormat(Qt.TextFormat.RichText)
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.progress = QLabel()
        self.previous = self._button("◀ Previous", "Page Up", lambda: self.review.step(-1))
        self.next = self._button("Next ▶", "Page Down", lambda: self.review.step(1))
        top = QHBoxLayout()
        top.addWidget(self.heading, 1)
        for widget in (self.progress, self.previous, self.next):
            top.addWidget(widget)

        self.first_view, self.second_view = ScanView(), ScanView()
        self.first_view.moved.connect(lambda: self._follow(self.first_view, self.second_view))
        self.second_view.moved.connect(lambda: self._follow(self.second_view, self.first_view))
        self.first_choice, self.second_choice = QComboBox(), QComboBox()
        self.first_choice.activated.connect(self._on_first)
        self.second_choice.activated.connect(self._on_second)
        pictures = QHBoxLayout()
        for name, color, choice, view in (
            ("Version", FIRST_COLOR, self.first_choice, self.first_view),
            ("beside", SECOND_COLOR, self.second_choice, self.second_view),
        ):
            keep_narrow(choice)
            head = QHBoxLayout()
            head.addWidget(_swatch(color))
            head.addWidget(QLabel(name))
            head.addWidget(choice, 1)
            column = QVBoxLayout()
            column.addLayout(head)
            column.addWidget(view, 1)
            pictures.addLayout(column, 1)

        self.outlines = QCheckBox("Outlines (H)")
        self.tint = QCheckBox("Colour what differs (D)")
        for box in (self.outlines, self.tint):
            box.setChecked(True)
            box.toggled.connect(self._draw_lines)
        fit = self._button("Whole scan (0)", "", lambda: self.first_view.fit())
        fit.setToolTip("Show all of the scan; the wheel zooms, dragging moves")
        # These wrap: the window must fit a small screen with large letters.
        self.legend, self.numbers = quiet_label(rich=True), quiet_label()
        switches = QHBoxLayout()
        for widget in (self.outlines, self.tint):
            switches.addWidget(widget)
        switches.addStretch(1)
        switches.addWidget(fit)

        left = QVBoxLayout()
        left.addLayout(pictures, 1)
        left.addLayout(switches)
        left.addWidget(self.legend)
        left.addWidget(self.numbers)
        side = QWidget()
        self._side = side
        side.setLayout(self._build_side())
        middle = QHBoxLayout()
        middle.addLayout(left, 1)
        middle.addWidget(side)
        column = QVBoxLayout(self)
        column.addLayout(top)
        column.addLayout(middle, 1)

    def _build_side(self) -> QVBoxLayout:
        self.state = quiet_label(rich=True)
        self.history = QTextBrowser()
        self.history.setOpenLinks(False)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.table.itemSelectionChanged.connect(self._on_row)
        self.restore = self._button("Bring this version back", "", self._on_restore)
        self.open = self._button("Open in the viewer", "", self._on_open)
        self.open.setToolTip("Show the scan in the main window, to correct the outline yourself")

        self.remark = QLineEdit()
        self.remark.setPlaceholderText("Remark for the author")
        self.own = quiet_label()
        self.own.setStyleSheet(f"color: {WARNING};")
        self.approve = self._button("Approve", "A", self._on_approve)
        self.send_back = self._button("Send back", "B", self._on_send_back)
        answers = QHBoxLayout()
        answers.addWidget(self.approve, 1)
        answers.addWidget(self.send_back, 1)
        for button in (self.approve, self.send_back):
            button.setMinimumHeight(36)
        self.told = quiet_label()
        self.told.setMinimumHeight(3 * self.told.fontMetrics().lineSpacing())
        self.told.setAlignment(Qt.AlignmentFlag.AlignTop)

        column = QVBoxLayout()
        column.addWidget(self.state)
        for text, widget, stretch in (("What was done", self.history, 3), ("Versions", self.table, 3)):
            column.addWidget(QLabel(f"<b>{text}</b>"))
            column.addWidget(widget, stretch)
        column.addWidget(self.restore)
        column.addWidget(self.open)
        column.addWidget(QLabel("<b>Your answer</b>"))
        column.addWidget(self.own)
        column.addWidget(self.remark)
        column.addLayout(answers)
        column.addWidget(self.told)
        return column

    def _button(self, text: str, key: str, clicked: object) -> QPushButton:
        button = QPushButton(f"{text} ({key})" if len(key) == 1 else text)
        button.setToolTip(f"Key: {key}" if key else "")
        # Enter in the remark is no answer.
        button.setAutoDefault(False)
        button.clicked.connect(clicked)
        return button

    def _add_keys(self) -> None:
        """The keys of the buttons; in the remark, letters are letters."""
        for key, act in (
            ("A", self.approve.click),
            ("B", self._on_send_back_key),
            ("PgUp", self.previous.click),
            ("PgDown", self.next.click),
            ("H", self.outlines.toggle),
            ("D", self.tint.toggle),
            ("0", self.first_view.fit),
            ("+", lambda: self.first_view.zoom(1.25)),
            ("-", lambda: self.first_view.zoom(0.8)),
            ("Ctrl+Return", self.send_back.click),
        ):
            shortcut = QShortcut(QKeySequence(key), self)
            # Held down, a key would answer one outline after the other.
            shortcut.setAutoRepeat(key not in _ANSWER_KEYS)
            shortcut.activated.connect(act)

    def _fit_screen(self) -> None:
        """Be as large as the screen allows, with room at the side for a line of text in whatever letters."""
        self.progress.ensurePolished()
        self._side.setFixedWidth(_SIDE_CHARACTERS * self.progress.fontMetrics().averageCharWidth())
        screen = QApplication.primaryScreen().availableGeometry()
        self.resize(min(1400, screen.width() - 40), min(860, screen.height() - 60))

    # What is shown --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        review, look = self.review, self.review.look
        count, place = len(review.items), review.place
        self.previous.setEnabled(bool(place))
        self.next.setEnabled(place is not None and place + 1 < count)
        self.progress.setText("" if place is None else f"{place + 1} of {count}, {review.waiting} without an answer")
        if review.item != self._shown_item:
            self._keep_remark()
        self._show_answer(look)
        self._show_choices(look)
        self._show_versions(look)
        if look is None:
            self.history.clear()
            self.state.clear()
            reading = "Reading…" if review.loading else "" if count else "Nothing waits for a review."
            self.heading.setText(f"<b>{reading}</b>")
            return
        group = f", {escape(look.case.group)}" if look.case.group else ""
        self.heading.setText(f"<b>{escape(target_name(look.target))}</b> in <b>{escape(look.case.name)}</b>{group}")
        self.state.setText(state_words(look))
        self.history.setHtml("".join(event_words(event, look) for event in reversed(look.events)))

    def _show_answer(self, look: Look | None) -> None:
        review = self.review
        ready = look is not None and not review.busy and not review.read_only
        state = look.state if look else State.UNSEEN
        # A key that is pressed once more than meant approves nothing that nobody saw.
        self.approve.setEnabled(ready and review.seen and state in (State.SUBMITTED, State.ABSENT))
        self.send_back.setEnabled(ready and state in (State.SUBMITTED, State.ABSENT, State.APPROVED))
        self.open.setEnabled(look is not None)
        absent = state is State.ABSENT
        self.approve.setText("Confirm (A)" if absent else "Approve (A)")
        self.approve.setToolTip(
            "Confirm that the scan does not show it" if absent else "Accept the outline as it is now"
        )
        waits = self.approve.isEnabled()
        if waits and review.own:
            self.own.setText(
                "You outlined this yourself. A second person sees what one overlooks; approve it all the "
                "same only if there is nobody else."
            )
        elif waits and not review.person:
            self.own.setText("No name of yours is entered, so the project cannot say who reviewed this.")
        else:
            self.own.clear()
        self.own.setVisible(bool(self.own.text()))

    def _show_choices(self, look: Look | None) -> None:
        sides = look.sides() if look else []
        for choice, shown, alone in (
            (self.first_choice, self.review.first, False),
            (self.second_choice, self.review.second, True),
        ):
            with QSignalBlocker(choice):
                choice.clear()
                if alone:
                    choice.addItem("the scan alone", None)
                for side in sides:
                    choice.addItem(side_words(side), side)
                choice.setCurrentIndex(
                    max(0, next((i for i in range(choice.count()) if choice.itemData(i) == shown), 0))
                )

    def _show_versions(self, look: Look | None) -> None:
        versions = list(reversed(look.versions)) if look else []
        first = self.review.first
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(versions))
            self.table.clearSelection()
            for row, version in enumerate(versions):
                agreement = self.review.agreements.get(version.id)
                cells = (
                    f"{version.number}",
                    origin_words(version) + (" (now)" if version.current else ""),
                    version.author or version.model,
                    "lost" if version.lost else "none" if version.absent else f"{version.foreground:,}",
                    "" if agreement is None else f"{agreement:.3f}",
                )
                for column, text in enumerate(cells):
                    item = QTableWidgetItem(text)
                    item.setData(Qt.ItemDataRole.UserRole, version)
                    item.setToolTip(version_words(version))
                    if column >= 3:
                        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                    self.table.setItem(row, column, item)
                if first is not None and first.version.id == version.id:
                    self.table.selectRow(row)
        self._show_restore()

    def _show_restore(self) -> None:
        version = self._chosen_version()
        if version is None or version.current or version.lost or version.absent:
            version = None
        self.restore.setEnabled(version is not None and not self.review.busy and not self.review.read_only)
        self.restore.setText("Bring a version back" if version is None else f"Bring version {version.number} back")
        self.restore.setToolTip("Make it the outline again; what is there now stays as a version, too")

    def _draw(self) -> None:
        scan, look = self.review.scan, self.review.look
        self._show_answer(look)
        spacing = look.case.spacing if look else None
        aspect = spacing[0] / spacing[1] if spacing else 1.0
        whole = (self.review.item, None if scan is None else id(scan))
        if whole != getattr(self, "_drawn_scan", None):
            self._drawn_scan = whole
            for view in (self.first_view, self.second_view):
                view.set_scan(None if scan is None else scan.rgb, scan.step if scan else 1, aspect)
        self._draw_lines()

    def _draw_lines(self) -> None:
        pair, shown = self.review.pair, self.review.scan is not None and self.outlines.isChecked()
        found = pair.differences if pair else None
        self.numbers.setText("" if found is None else difference_words(found))
        self.legend.clear()
        self.second_view.set_tint(None)
        if pair is None or not shown:
            self.first_view.set_outlines([])
            self.second_view.set_outlines([])
            return
        first, second = (pair.first, FIRST_COLOR), (pair.second, SECOND_COLOR)
        self.first_view.set_outlines([first])
        if pair.differing is not None and self.tint.isChecked():
            self.second_view.set_outlines([first, second])
            self.second_view.set_tint(pair.differing, pair.step, (FIRST_COLOR, SECOND_COLOR))
            self.legend.setText(legend_words(self.review.first, self.review.second, found))
        else:
            self.second_view.set_outlines([second])

    def _follow(self, leader: ScanView, follower: ScanView) -> None:
        with QSignalBlocker(follower):
            follower.follow(leader)

    def _say(self, text: str, problem: bool) -> None:
        self._told_problem = problem
        self.told.setStyleSheet(f"color: {PROBLEM};" if problem else "")
        self.told.setText(text)

    # What a person does ---------------------------------------------------------------------------------------------

    def _keep_remark(self) -> None:
        """Keep what was typed for the outline before, and show what was for this one."""
        if self._shown_item is not None:
            self._remarks[self._shown_item] = self.remark.text()
        self._shown_item = self.review.item
        if self._told_problem:
            self._say("", False)
        self.remark.setText("" if self._shown_item is None else self._remarks.pop(self._shown_item, ""))

    def _chosen_version(self) -> Version | None:
        rows = self.table.selectionModel().selectedRows()
        return self.table.item(rows[0].row(), 0).data(Qt.ItemDataRole.UserRole) if rows else None

    def _on_row(self) -> None:
        version = self._chosen_version()
        self._show_restore()
        if version is not None and not version.lost and Side(version) != self.review.first:
            self.review.show(Side(version))
            self._show_choices(self.review.look)

    def _on_first(self) -> None:
        side = self.first_choice.currentData()
        self.review.show(side)
        self._show_versions(self.review.look)

    def _on_second(self) -> None:
        self.review.compare(self.second_choice.currentData())

    def _on_approve(self) -> None:
        remark, item = self.remark.text(), self.review.item
        self.review.approve(remark)
        self._answered(item)

    def _on_send_back(self) -> None:
        remark, item = self.remark.text(), self.review.item
        self.review.send_back(remark)
        if remark.strip():
            self._answered(item)
        else:
            self.remark.setFocus()

    def _on_send_back_key(self) -> None:
        """Without a remark, go to where it is typed."""
        if self.send_back.isEnabled():
            self._on_send_back()

    def _on_restore(self) -> None:
        version = self._chosen_version()
        if version is not None:
            self.review.bring_back(version, self.remark.text())

    def _on_open(self) -> None:
        item = self.review.item
        if item is not None:
            self.openRequested.emit(item.case_id, item.target)

    def _answered(self, item: Item | None) -> None:
        if item == self._shown_item:
            self.remark.clear()
        self.setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Escape leaves the remark first."""
        if event.key() == Qt.Key.Key_Escape and self.remark.hasFocus():
            self.setFocus()
        else:
            super().keyPressEvent(event)


def _swatch(color: str) -> QLabel:
    label = QLabel()
    label.setFixedSize(12, 12)
    label.setStyleSheet(f"background: {color}; border: 1px solid #000;")
    return label
