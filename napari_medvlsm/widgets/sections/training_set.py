"""The training set: which folder, what it holds, and adding to it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_medvlsm.widgets.sections import keys
from napari_medvlsm.widgets.sections._section import quiet_label


class TrainingSetBox(QWidget):
    """One line about the chosen folder, and buttons to add, to see the words, and to choose another."""

    addRequested = Signal()
    addNextRequested = Signal()
    wordsRequested = Signal()
    folderRequested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.summary = quiet_label()
        self.add_next = QPushButton(f"Add and next  {keys.ADD_NEXT_KEY}")
        self.add_next.setToolTip(
            f"Add scan, outline and words to the training set, and show the next scan ({keys.ADD_NEXT_KEY})"
        )
        self.add_next.clicked.connect(self.addNextRequested)
        self.add = QPushButton("Add")
        self.add.setToolTip(
            "Add scan, outline and words to a folder that a model can be trained on "
            "(no file names; of the patient only what you chose or typed)"
        )
        self.add.clicked.connect(self.addRequested)
        self.words = QPushButton("Words…")
        self.words.setToolTip("What will be written as words: measured from the outline, said by you, drawn at random")
        self.words.clicked.connect(self.wordsRequested)
        self.choose = QPushButton("Training set…")
        self.choose.setToolTip("Choose the folder that outlines are added to; it is remembered")
        self.choose.clicked.connect(self.folderRequested)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(3)
        grid.addWidget(self.summary, 0, 0, 1, 2)
        grid.addWidget(self.add_next, 1, 0)
        grid.addWidget(self.add, 1, 1)
        grid.addWidget(self.choose, 2, 0)
        grid.addWidget(self.words, 2, 1)
        for button in (self.add_next, self.add, self.words, self.choose):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def set_summary(self, text: str) -> None:
        """Say which folder, and what it holds."""
        self.summary.setText(text)

    def set_available(self, available: bool) -> None:
        """Whether there is something to add."""
        for button in (self.add_next, self.add, self.words):
            button.setEnabled(available)
