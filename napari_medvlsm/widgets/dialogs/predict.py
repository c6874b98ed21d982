"""What the model is asked of all scans that nobody has answered yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDialog, QDialogButtonBox, QGridLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.widgets.sections._section import WARNING, quiet_label


class PredictDialog(QDialog):
    """A prompt for each target of the project.

    Parameters
    ----------
    model : str
        Its name.
    unseen : mapping of target to int
        Scans in which nobody has answered.
    prompts : mapping of target to str
        To begin with.
    warn : callable
        What speaks against asking the model a prompt, in sentences; "" for nothing.
    parent : QWidget, optional
    """

    chosen = Signal(object)  # dict of target to prompt

    def __init__(
        self,
        model: str,
        unseen: Mapping[str, int],
        prompts: Mapping[str, str],
        warn: Callable[[str], str],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._warn = warn
        self.setWindowTitle("Predict unseen scans")
        self.rows: dict[str, tuple[QCheckBox, QLineEdit]] = {}
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, (target, count) in enumerate(unseen.items()):
            box, prompt = QCheckBox(f"{target_name(target)} ({count} to do)"), QLineEdit(prompts[target])
            box.setChecked(count > 0)
            box.setEnabled(count > 0)
            prompt.setEnabled(count > 0)
            prompt.setPlaceholderText("what the model is asked")
            box.toggled.connect(prompt.setEnabled)
            box.toggled.connect(self._on_changed)
            prompt.textChanged.connect(self._on_changed)
            grid.addWidget(box, row, 0)
            grid.addWidget(prompt, row, 1)
            self.rows[target] = box, prompt
        # Lines that are broken here: as high as they are in any font.
        about = QLabel(
            f"The model {model} outlines what nobody has answered, in the background.\n"
            "Its outlines wait until a person looks at them; none counts as an answer.\n"
            "Of scans held out for judging models, they stay hidden until you have answered."
        )
        self.warning = quiet_label()
        self.warning.setStyleSheet(f"color: {WARNING};")
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )  # fmt: skip
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setText("Predict")
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(about)
        column.addLayout(grid)
        column.addWidget(self.warning)
        column.addStretch(1)
        column.addWidget(buttons)
        self._on_changed()

    def value(self) -> dict[str, str]:
        """The prompts of the targets that are chosen."""
        return {t: " ".join(prompt.text().split()) for t, (box, prompt) in self.rows.items() if box.isChecked()}

    def _on_changed(self) -> None:
        asked = self.value()
        self.ok.setEnabled(bool(asked) and all(asked.values()))
        lines = [(prompt, self._warn(prompt)) for prompt in dict.fromkeys(asked.values()) if prompt]
        self.warning.setText("\n".join(f"⚠ “{prompt}”: {text}" for prompt, text in lines if text))
        self.warning.setVisible(bool(self.warning.text()))

    def _accept(self) -> None:
        self.chosen.emit(self.value())
        self.accept()
