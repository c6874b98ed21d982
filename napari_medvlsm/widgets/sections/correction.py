"""The person's own outline: started from the prediction, undone, restored; or that there is nothing to outline."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QPushButton, QWidget

from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.sections._section import Section, fill_combo, narrow_combo, quiet_label
from napari_medvlsm.widgets.sections.tools import ToolBox


class CorrectionSection(Section):
    """Buttons around one correction layer."""

    startRequested = Signal()
    takePredictionRequested = Signal()
    undoRequested = Signal()
    redoRequested = Signal()
    absentRequested = Signal()
    absentRetracted = Signal()
    adoptRequested = Signal(object)
    restoreRequested = Signal()
    discardRequested = Signal()

    def __init__(self) -> None:
        super().__init__("Correction")
        self.offer = QWidget()
        offered = QHBoxLayout(self.offer)
        offered.setContentsMargins(0, 0, 0, 0)
        self.offer_text = quiet_label()
        self.restore = QPushButton("Restore")
        self.restore.clicked.connect(self.restoreRequested)
        self.discard = QPushButton("Discard")
        self.discard.clicked.connect(self.discardRequested)
        offered.addWidget(self.offer_text, 1)
        offered.addWidget(self.restore)
        offered.addWidget(self.discard)
        self.offer.hide()
        self.column.addWidget(self.offer)

        self.state = quiet_label()
        self.column.addWidget(self.state)
        self.start = QPushButton()
        self.start.clicked.connect(self.startRequested)
        self.take_prediction = QPushButton("Take the prediction again")
        self.take_prediction.setToolTip("Replace your correction by the prediction; Undo brings yours back")
        self.take_prediction.clicked.connect(self.takePredictionRequested)
        self.undo = QPushButton(f"Undo  {keys.UNDO_KEYS}")
        self.undo.setToolTip("Take back the last change of the correction (Ctrl+Z)")
        self.undo.clicked.connect(self.undoRequested)
        self.redo = QPushButton(f"Redo  {keys.short(keys.REDO_KEYS)}")
        self.redo.setToolTip("Bring back what was undone (Ctrl+Shift+Z)")
        self.redo.clicked.connect(self.redoRequested)
        for button in (self.undo, self.redo):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.tools = ToolBox()
        self.absent = QPushButton("Nothing to segment here")
        self.absent.setToolTip(
            "Answer that this scan does not show the target. It is saved and exported as such; an empty "
            "mask alone says nothing."
        )
        self.absent.clicked.connect(self.absentRequested)
        self.retract = QPushButton("Take this back")
        self.retract.setToolTip("The scan does show the target; what was outlined before is there again")
        self.retract.clicked.connect(self.absentRetracted)
        grid = QGridLayout()
        grid.setVerticalSpacing(3)
        grid.addWidget(self.start, 0, 0, 1, 2)
        grid.addWidget(self.tools, 1, 0, 1, 2)
        grid.addWidget(self.undo, 2, 0)
        grid.addWidget(self.redo, 2, 1)
        grid.addWidget(self.take_prediction, 5, 0, 1, 2)
        grid.addWidget(self.absent, 3, 0, 1, 2)
        grid.addWidget(self.retract, 4, 0, 1, 2)
        self.column.addLayout(grid)
        self.layers = narrow_combo()
        self.layers.setToolTip("Use a labels layer that you drew yourself as the correction")
        self.layers.activated.connect(self._on_adopt)
        self.column.addWidget(self.layers)
        self.saved = quiet_label()
        self.column.addWidget(self.saved)
        self.set_state(None, has_correction=False, has_prediction=False, absent=False, has_target=False)
        self.set_adoptable([])
        self.saved.hide()

    def set_state(
        self, name: str | None, *, has_correction: bool, has_prediction: bool, absent: bool, has_target: bool
    ) -> None:
        """Show whose correction this is and what can be done.

        Parameters
        ----------
        name : str or None
            The target's label; None without a scan.
        has_correction, has_prediction : bool
        absent : bool
            Whether the answer is that there is no such thing.
        has_target : bool
            Whether a target was chosen, which can be absent.
        """
        self.start.setVisible(not has_correction)
        self.start.setText("Correct this outline" if has_prediction else "Draw by hand")
        self.start.setToolTip(
            "Copy the prediction into a layer of its own and paint on it; the prediction stays as it is"
            if has_prediction
            else "Add an empty layer and paint on it"
        )
        self.start.setEnabled(name is not None)
        for button in (self.take_prediction, self.undo, self.redo):
            button.setVisible(has_correction and not absent)
        self.take_prediction.setEnabled(has_prediction)
        self.absent.setVisible(not absent)
        self.absent.setEnabled(name is not None and has_target)
        self.retract.setVisible(absent)
        if absent:
            self.state.setText(f"{name}: you answered that this scan does not show it.")
        elif has_correction:
            self.state.setText(f"{name}: point at what is wrong, or paint and erase.")
        self.state.setVisible(has_correction)
        if not has_correction:
            self.saved.hide()

    def set_adoptable(self, layers: Sequence[tuple[str, object]]) -> None:
        """Offer label layers that the person made."""
        fill_combo(self.layers, [("Use a layer you drew…", None), *layers], None)
        self.layers.setVisible(bool(layers))

    def set_saved(self, text: str) -> None:
        """Say when the correction was last autosaved."""
        self.saved.setText(text)
        self.saved.setVisible(bool(text))

    def set_offer(self, text: str) -> None:
        """Offer a correction that can be brought back; "" takes the offer away."""
        self.offer_text.setText(text)
        self.offer.setVisible(bool(text))

    def _on_adopt(self) -> None:
        layer = self.layers.currentData()
        if layer is not None:
            self.adoptRequested.emit(layer)
