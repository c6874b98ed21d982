"""The scans of a project as a virtual list: what is in sight is read from the project page by page."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPainter, QPixmap
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.values import Case
from napari_medvlsm.core.prompts import target_name

CASE_ROLE = Qt.ItemDataRole.UserRole
# Why a scan comes where it does; "".
REASON_ROLE = CASE_ROLE + 1
# Scans that are read from the project at once, and pages of them that are kept.
PAGE, PAGES = 64, 16
# Sign, colour and word of each state. The colours are those of Okabe and Ito, which colour-blind people tell apart; the
# signs differ in their shape, too.
STATES: dict[State, tuple[str, str, str]] = {
    State.UNSEEN: ("○", "#b0b4bb", "to do"),
    State.DRAFT: ("◐", "#f0e442", "draft"),
    State.SUBMITTED: ("▲", "#56b4e9", "submitted"),
    State.APPROVED: ("✔", "#2fd0a0", "approved"),
    State.ABSENT: ("⊘", "#cc99bb", "not there"),
}
THUMBNAIL = 44
_GAP = 6


class CaseModel(QAbstractListModel):
    """The scans that a query finds, in its order.

    Parameters
    ----------
    read : callable
        ``read(ids)`` gives the scans of some ids, those that are there.
    parent : QObject, optional
    """

    def __init__(self, read: Callable[[Sequence[int]], Sequence[Case]], parent: Any = None) -> None:
        super().__init__(parent)
        self._read = read
        self._reason: Callable[[Case], str] = lambda case: ""
        self._ids: Sequence[int] = ()
        self._rows: dict[int, int] = {}
        self._pages: OrderedDict[int, dict[int, Case]] = OrderedDict()

    def set_ids(self, ids: Sequence[int]) -> None:
        """Show other scans, or other states of the same ones."""
        if list(ids) == list(self._ids):
            self._pages.clear()
            if self._ids:
                self.dataChanged.emit(self.index(0), self.index(len(self._ids) - 1))
            return
        self.beginResetModel()
        self._ids, self._rows = ids, {case_id: row for row, case_id in enumerate(ids)}
        self._pages.clear()
        self.endResetModel()

    def set_reason(self, reason: Callable[[Case], str]) -> None:
        """Tell of each scan why it comes where it does; "" for nothing."""
        self._reason = reason

    def row_of(self, case_id: int) -> int | None:
        """Where a scan is; None where it is not."""
        return self._rows.get(case_id)

    def id_of(self, row: int) -> int:
        """The number of the scan in a row."""
        return self._ids[row]

    def case(self, row: int) -> Case | None:
        """The scan in a row, from the project where its page is not there; None where the project has it no more."""
        page = row // PAGE
        if page not in self._pages:
            ids = self._ids[page * PAGE : (page + 1) * PAGE]
            self._pages[page] = {case.id: case for case in self._read(ids)}
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        self._pages.move_to_end(page)
        return self._pages[page].get(self._ids[row])

    def redraw(self, case_id: int) -> None:
        """Draw a scan anew."""
        row = self._rows.get(case_id)
        if row is not None:
            self.dataChanged.emit(self.index(row), self.index(row))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """How many scans there are."""
        return 0 if parent is not None and parent.isValid() else len(self._ids)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The scan; its name and states as text, for the keyboard search and screen readers."""
        if not index.isValid() or not 0 <= index.row() < len(self._ids):
            return None
        if role not in (CASE_ROLE, REASON_ROLE, Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        case = self.case(index.row())
        if case is None or role == CASE_ROLE:
            return case
        if role == Qt.ItemDataRole.DisplayRole:
            return case.name
        reason = self._reason(case)
        return reason if role == REASON_ROLE else explained(case, reason)


def explained(case: Case, reason: str = "") -> str:
    """Everything of a scan in words, for a tooltip."""
    lines = [case.name, *([f"belongs to {case.group}"] if case.group else [])]
    lines += [f"{target_name(target)}: {STATES[state][2]}" for target, state in case.states.items()]
    if reason:
        lines.append(f"suggested: {reason}")
    if case.split == "test":
        lines.append("held out for judging models: outline it before you look at what a model says")
    return "\n".join(lines)


class CaseDelegate(QStyledItemDelegate):
    """Draws a scan: its picture, name and group, or why it is suggested, and sign and word of the state of each target.

    Parameters
    ----------
    thumbnail : callable
        ``thumbnail(case)`` gives the picture, None as long as it is being made.
    parent : QWidget
    """

    def __init__(self, thumbnail: Callable[[Case], QPixmap | None], parent: QWidget) -> None:
        super().__init__(parent)
        self._thumbnail = thumbnail

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """The same for all rows."""
        return QSize(200, max(THUMBNAIL, 2 * option.fontMetrics.lineSpacing()) + 2 * _GAP)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one row."""
        case: Case | None = index.data(CASE_ROLE)
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(option.rect, option.palette.highlight())
        if case is not None:
            self._draw(painter, option, case, index.data(REASON_ROLE) or case.group)
        painter.restore()

    def _draw(self, painter: QPainter, option: QStyleOptionViewItem, case: Case, aside: str) -> None:
        inner = option.rect.adjusted(_GAP, _GAP, -_GAP, -_GAP)
        picture = QRect(inner.left(), inner.top(), THUMBNAIL, inner.height())
        pixmap = self._thumbnail(case)
        if pixmap is not None:
            ratio = pixmap.devicePixelRatioF()
            place = QRect(0, 0, round(pixmap.width() / ratio), round(pixmap.height() / ratio))
            place.moveCenter(picture.center())
            painter.drawPixmap(place, pixmap)
        else:
            painter.fillRect(picture, QColor(128, 128, 128, 60))
        text = inner.adjusted(THUMBNAIL + 2 * _GAP, 0, 0, 0)
        metrics, line = option.fontMetrics, option.fontMetrics.lineSpacing()
        above = QRect(text.left(), text.center().y() - line, text.width(), line)
        below = QRect(text.left(), text.center().y(), text.width(), line)
        painter.setFont(option.font)
        painter.setPen(option.palette.text().color())
        held = "  hold-out" if case.split == "test" else ""
        room = above.width() - metrics.horizontalAdvance(held)
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(above, left, metrics.elidedText(case.name, Qt.TextElideMode.ElideMiddle, room))
        quiet = QColor("#9aa0a8")
        painter.setPen(quiet)
        painter.drawText(above, right, held)
        room = self._draw_states(painter, option, below, case)
        painter.setPen(quiet)
        if room > 3 * metrics.averageCharWidth():
            painter.drawText(below, right, metrics.elidedText(aside, Qt.TextElideMode.ElideRight, room))

    @staticmethod
    def _draw_states(painter: QPainter, option: QStyleOptionViewItem, place: QRect, case: Case) -> int:
        """Signs and words; what is left of the room."""
        metrics, font = option.fontMetrics, QFont(option.font)
        x, end = place.left(), place.right()
        words = [(STATES[s], t) for t, s in case.states.items()]
        for (sign, color, word), target in words:
            said = f"{sign} {word}" if len(words) == 1 else f"{sign} {target_name(target)}: {word}"
            if x + metrics.horizontalAdvance(said) > end:
                said = metrics.elidedText(said, Qt.TextElideMode.ElideRight, max(0, end - x))
            painter.setFont(font)
            painter.setPen(QColor(color))
            painter.drawText(QRect(x, place.top(), end - x, place.height()), Qt.AlignmentFlag.AlignVCenter, said)
            x += metrics.horizontalAdvance(said) + 2 * metrics.averageCharWidth()
            if x >= end:
                break
        return max(0, end - x)


class CaseList(QListView):
    """The list; a click, Enter or an arrow key opens a scan."""

    caseChosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setUniformItemSizes(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.clicked.connect(self._on_chosen)
        self.activated.connect(self._on_chosen)

    def _on_chosen(self, index: QModelIndex) -> None:
        case = index.data(CASE_ROLE)
        if case is not None:
            self.caseChosen.emit(case.id)
