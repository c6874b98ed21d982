"""The cases of the hold-out one by one: the person's outline, the model before and the new one side by side."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.controllers.before_after import BothOutlines
from napari_medvlsm.core.contours import contours
from napari_medvlsm.core.improve.verdict import CasePair
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.widgets.dialogs._scan_view import ScanView
from napari_medvlsm.widgets.sections._section import quiet_label

# Width of the list, in points of the screen.
_LIST = 260


class BeforeAfterDialog(QDialog):
    """All cases at the left, the greatest loss first; the chosen one in three pictures, which zoom and move together.

    Parameters
    ----------
    pairs : sequence of CasePair
    names : (str, str)
        Of the model before and of the new one.
    color : str
        "#rrggbb" of the outlines.
    parent : QWidget, optional
    """

    caseChosen = Signal(object)  # CasePair

    def __init__(
        self, pairs: Sequence[CasePair], names: tuple[str, str], color: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Before and after: scans that no model learned from")
        self._color = color
        self.cases = QListWidget()
        self.cases.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for pair in pairs:
            item = QListWidgetItem(f"{pair.gain:+z.2f}  {pair.case.name}, {target_name(pair.case.target)}")
            item.setToolTip(
                f"{pair.case.name}, {target_name(pair.case.target)}: {pair.first:.2f} before, {pair.second:.2f} now"
            )
            item.setData(Qt.ItemDataRole.UserRole, pair)
            self.cases.addItem(item)
        self.cases.currentItemChanged.connect(self._on_case)
        self.told = quiet_label()
        self._titles, self.views = [QLabel() for _ in range(3)], [ScanView() for _ in range(3)]
        self._names = ("Yours", *names)
        grid = QGridLayout()
        grid.addWidget(quiet_label("Change of Dice, greatest loss first"), 0, 0)
        grid.addWidget(self.cases, 1, 0)
        for i, (title, view) in enumerate(zip(self._titles, self.views, strict=True), 1):
            view.moved.connect(lambda leader=view: self._follow(leader))
            grid.addWidget(title, 0, i)
            grid.addWidget(view, 1, i)
            grid.setColumnStretch(i, 1)
        self.cases.setFixedWidth(_LIST)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addLayout(grid, 1)
        column.addWidget(self.told)
        column.addWidget(buttons)
        screen = QApplication.primaryScreen().availableGeometry()
        self.resize(min(1500, screen.width() - 40), min(520, screen.height() - 60))

    def choose(self, row: int) -> None:
        """Show a case, as if it was clicked."""
        self.cases.setCurrentRow(row)

    def show_outlines(self, both: BothOutlines) -> None:
        """Show the outlines of the chosen case; those of another one are late."""
        item, pair = self.cases.currentItem(), both.pair
        if item is None or item.data(Qt.ItemDataRole.UserRole) != pair:
            return
        said = ("", f": Dice {pair.first:.2f}", f": Dice {pair.second:.2f}")
        for title, view, name, dice, mask in zip(
            self._titles, self.views, self._names, said, (both.truth, both.first, both.second), strict=True
        ):
            title.setText(f"{name}{dice}{'' if mask.any() else ' (nothing)'}")
            view.set_scan(both.scan)
            view.set_outlines([(contours(mask), self._color)])
        self.told.setText("Asked by name. The wheel zooms; the scan is open in the window, too.")

    def say(self, text: str) -> None:
        """Say why there are no outlines."""
        self.told.setText(text)

    def _on_case(self, item: QListWidgetItem | None) -> None:
        if item is None:
            return
        for title, view, name in zip(self._titles, self.views, self._names, strict=True):
            title.setText(name)
            view.set_scan(None)
            view.set_outlines([])
        self.told.setText("Both models outline the scan…")
        self.caseChosen.emit(item.data(Qt.ItemDataRole.UserRole))

    def _follow(self, leader: ScanView) -> None:
        for view in self.views:
            if view is not leader:
                with QSignalBlocker(view):
                    view.follow(leader)
