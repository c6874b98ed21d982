"""Tools of a correction: brush, eraser and the like, pointing, edits of the whole outline, and how it is shown."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QSlider, QWidget

from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.sections._section import scroll_past

# Name of the tool, what stands on its button, and what it does.
_TOOLS = (
    (
        "include",
        "This too",
        "Click, or drag across, what belongs to it: the outline takes it in, as far as it is alike",
    ),
    ("exclude", "Not this", "Click, or drag across, what does not belong to it: the outline lets go of it"),
    ("paint", "Brush", "Paint on the scan"),
    ("erase", "Eraser", "Remove what you drag across"),
    ("fill", "Fill", "Click into a closed line to fill it; click on a part to recolour it"),
    ("polygon", "Polygon", "Click the corners one after another; Enter closes it, Escape gives it up"),
    ("keep", "Keep part", "Click the part of the outline to keep; all others go"),
    ("drop", "Drop part", "Click the parts of the outline that are to go"),
)
_EDITS = (
    ("smooth", "Smooth", "Even out the boundary"),
    ("grow", "Grow", "Move the boundary outwards"),
    ("shrink", "Shrink", "Move the boundary inwards"),
    ("copy", "Copy last", "Take the outline of the slice before or, without one, of the scan you worked on before"),
)
_KEYS = keys.NAPARI_KEYS | keys.POINTING_KEYS | keys.EDIT_KEYS
# The slider runs over square roots: small brushes are told apart, and large ones reached.
_LARGEST_BRUSH = 400
_STEPS = 60


class ToolBox(QWidget):
    """Buttons with their keys; one tool is in hand at a time, or none."""

    toolChosen = Signal(str)  # a tool, or "" where it was laid down
    brushSizeChanged = Signal(int)  # pixels of the scan
    editRequested = Signal(str)
    filledToggled = Signal(bool)
    hiddenToggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(3)
        grid.setHorizontalSpacing(4)
        self.tools: dict[str, QPushButton] = {}
        for place, (name, text, tip) in enumerate(_TOOLS):
            button = self.tools[name] = _button(text, _KEYS[name], tip, checkable=True)
            button.clicked.connect(lambda checked, n=name: self.toolChosen.emit(n if checked else ""))
            grid.addWidget(button, place // 2, place % 2)
        self.size = QSlider(Qt.Orientation.Horizontal)
        scroll_past(self.size)
        self.size.setRange(1, _STEPS)
        self.size.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.size.setToolTip(
            f"Size of brush and eraser, in pixels of the scan ({keys.SMALLER_KEY} and {keys.LARGER_KEY})"
        )
        self.size.valueChanged.connect(self._on_size)
        self.pixels = QLabel()
        self.pixels.setMinimumWidth(self.pixels.fontMetrics().horizontalAdvance("400 px"))
        self.pixels.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout()
        row.addWidget(QLabel(f"Size  {keys.SMALLER_KEY} {keys.LARGER_KEY}"))
        row.addWidget(self.size, 1)
        row.addWidget(self.pixels)
        below = len(_TOOLS) // 2
        grid.addLayout(row, below, 0, 1, 2)
        self.edits: dict[str, QPushButton] = {}
        for place, (name, text, tip) in enumerate(_EDITS):
            button = self.edits[name] = _button(text, _KEYS[name], f"{tip} (one step; Undo takes it back)")
            button.clicked.connect(lambda _, n=name: self.editRequested.emit(n))
            grid.addWidget(button, below + 1 + place // 2, place % 2)
        self.filled = _button("Filled", keys.FILLED_KEY, "Show outlines as filled areas instead of lines", True)
        self.filled.toggled.connect(self.filledToggled)
        self.hidden = _button("Hide", keys.HIDE_KEY, "Hide all outlines, to see the scan beneath", True)
        self.hidden.toggled.connect(self.hiddenToggled)
        grid.addWidget(self.filled, below + 3, 0)
        grid.addWidget(self.hidden, below + 3, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        self.set_brush_size(10)

    def set_tool(self, name: str) -> None:
        """Show which tool is in hand; "" for none."""
        for other, button in self.tools.items():
            with QSignalBlocker(button):
                button.setChecked(other == name)

    def set_brush_size(self, pixels: float) -> None:
        """Show the size of the brush, in pixels of the scan."""
        with QSignalBlocker(self.size):
            self.size.setValue(round(_STEPS * (min(pixels, _LARGEST_BRUSH) / _LARGEST_BRUSH) ** 0.5))
        self.pixels.setText(f"{pixels:.0f} px")

    def set_hidden(self, hidden: bool) -> None:
        """Show whether outlines are hidden."""
        with QSignalBlocker(self.hidden):
            self.hidden.setChecked(hidden)

    def set_available(self, available: bool) -> None:
        """Offer the tools, or not: there is no scan or nothing was chosen to outline."""
        for button in (*self.tools.values(), *self.edits.values()):
            button.setEnabled(available)

    def _on_size(self, step: int) -> None:
        pixels = max(1, round(_LARGEST_BRUSH * (step / _STEPS) ** 2))
        self.pixels.setText(f"{pixels} px")
        self.brushSizeChanged.emit(pixels)


def _button(text: str, key: str, tip: str, checkable: bool = False) -> QPushButton:
    button = QPushButton(f"{text}  {keys.short(key)}")
    button.setToolTip(f"{tip} ({key})" if not tip.endswith(")") else tip)
    button.setCheckable(checkable)
    # A click leaves the keyboard with the scan, so that napari's keys go on working.
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.setStyleSheet("QPushButton:checked { background: #2f6fb5; color: white; }")
    return button
