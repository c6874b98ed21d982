"""The cases of the hold-out one by one: the person's outline, the model before and the new one side by side."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import (
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
from napari_medvlsm.core.improve.verdict import CasePair
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.widgets.dialogs.comparison import outlined
from napari_medvlsm.widgets.sections._section import quiet_label

# The longest side of a picture.
_SIDE = 250


class BeforeAfterDialog(QDialog):
    """All cases at the left, the greatest loss first; the chosen one in three pictures.

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
            item = QListWidgetItem(f"{pair.gain:+.2f}  {pair.case.name}, {target_name(pair.case.target)}")
            item.setToolTip(
                f"{pair.case.name}, {target_name(pair.case.target)}: {pair.first:.2f} before, {pair.second:.2f} now"
            )
            item.setData(Qt.ItemDataRole.UserRole, pair)
            self.cases.addItem(item)
        self.cases.currentItemChanged.connect(self._on_case)
        self.told = quiet_label()
        self._titles, self._pictures = [QLabel() for _ in range(3)], [QLabel() for _ in range(3)]
        self._names = ("Yours", *names)
        grid = QGridLayout()
        grid.addWidget(quiet_label("Dice now minus before; the greatest loss first"), 0, 0)
        grid.addWidget(self.cases, 1, 0)
        for i, (title, picture) in enumerate(zip(self._titles, self._pictures, strict=True), 1):
            picture.setFixedSize(_SIDE, _SIDE)
            picture.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
            grid.addWidget(title, 0, i)
            grid.addWidget(picture, 1, i, Qt.AlignmentFlag.AlignTop)
        grid.setColumnMinimumWidth(0, 260)
        grid.setColumnStretch(0, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addLayout(grid, 1)
        column.addWidget(self.told)
        column.addWidget(buttons)
        self.resize(260 + 3 * (_SIDE + 12) + 40, _SIDE + 130)

    def choose(self, row: int) -> None:
        """Show a case, as if it was clicked."""
        self.cases.setCurrentRow(row)

    def show_outlines(self, both: BothOutlines) -> None:
        """Show the outlines of the chosen case; those of another one are late."""
        item, pair = self.cases.currentItem(), both.pair
        if item is None or item.data(Qt.ItemDataRole.UserRole) != pair:
            return
        said = ("", f": Dice {pair.first:.2f}", f": Dice {pair.second:.2f}")
        for title, picture, name, dice, mask in zip(
            self._titles, self._pictures, self._names, said, (both.truth, both.first, both.second), strict=True
        ):
            title.setText(f"{name}{dice}{'' if mask.any() else ' (nothing)'}")
            picture.setPixmap(outlined(both.scan, mask, self._color, _SIDE))
        self.told.setText("Asked by name. The scan is open in the window, too.")

    def say(self, text: str) -> None:
        """Say why there are no outlines."""
        self.told.setText(text)

    def _on_case(self, item: QListWidgetItem | None) -> None:
        if item is None:
            return
        for title, picture, name in zip(self._titles, self._pictures, self._names, strict=True):
            title.setText(name)
            picture.setPixmap(QPixmap())
        self.told.setText("Both models outline the scan…")
        self.caseChosen.emit(item.data(Qt.ItemDataRole.UserRole))
