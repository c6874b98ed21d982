"""Public weights to fetch and files to import."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medvlsm.core.io.atomic import megabytes
from napari_medvlsm.core.models.store.sources import Source
from napari_medvlsm.widgets.sections._section import PROBLEM

_SUFFIXES = "*.ckpt *.pt *.pth *.bin *.safetensors"


class ModelsDialog(QDialog):
    """Get more models.

    Parameters
    ----------
    sources : sequence of Source
    parent : QWidget, optional
    """

    planRequested = Signal(str)  # name of a source
    fetchRequested = Signal()
    cancelRequested = Signal()
    importRequested = Signal(object, str, object)  # path, family ("" to find out), tokenizer's folder or None

    def __init__(self, sources: Sequence[Source], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Get more models")
        self._busy = False
        self._ready = False
        self.list = QListWidget()
        for source in sources:
            item = QListWidgetItem(f"{source.title}   {megabytes(source.size)}")
            item.setData(Qt.ItemDataRole.UserRole, source)
            self.list.addItem(item)
        self.list.currentItemChanged.connect(self._show_source)
        self.list.setFixedHeight((len(sources) + 1) * (self.list.sizeHintForRow(0) + 2))
        self.about = _wrapped(Qt.TextFormat.RichText)
        self.fetch = QPushButton("Ask the hub for its size…")
        self.fetch.clicked.connect(self._on_fetch)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(self.cancelRequested)
        self.bar = QProgressBar()
        row = QHBoxLayout()
        row.addWidget(self.fetch)
        row.addWidget(self.cancel)
        row.addWidget(self.bar, 1)
        hub = QGroupBox("Public weights from the hub")
        inside = QVBoxLayout(hub)
        inside.addWidget(self.list)
        inside.addWidget(self.about)
        inside.addLayout(row)

        self.family = QComboBox()
        self.family.addItem("found out from the file", "")
        for family in dict.fromkeys(source.family for source in sources):
            self.family.addItem(family, family)
        self.tokenizer = QLineEdit()
        self.tokenizer.setPlaceholderText("only BiomedCLIPSeg needs its folder")
        choose = QPushButton("Choose…")
        choose.clicked.connect(self._choose_tokenizer)
        words = QHBoxLayout()
        words.addWidget(self.tokenizer, 1)
        words.addWidget(choose)
        self.file = QPushButton("Import a file…")
        self.file.setToolTip("A checkpoint of the paper's code (Lightning), of CRIS, a state dict, safetensors")
        self.file.clicked.connect(self._import_file)
        self.folder = QPushButton("Import a folder…")
        self.folder.setToolTip("A CLIPSeg folder of transformers, or one made by `medvlsm models fetch --to`")
        self.folder.clicked.connect(self._import_folder)
        buttons = QHBoxLayout()
        buttons.addWidget(self.file)
        buttons.addWidget(self.folder)
        disk = QGroupBox("From this computer (nothing in a file is executed)")
        form = QFormLayout(disk)
        form.addRow("What it is", self.family)
        form.addRow("Tokenizer", words)
        form.addRow(buttons)

        self.message = _wrapped()
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(hub)
        column.addWidget(disk)
        column.addWidget(self.message)
        column.addStretch(1)
        column.addWidget(close)
        self.resize(620, 560)
        self.list.setCurrentRow(0)
        self.set_busy(False)

    def source(self) -> Source:
        """The source that is picked."""
        source: Source = self.list.currentItem().data(Qt.ItemDataRole.UserRole)
        return source

    def set_present(self, names: Collection[str]) -> None:
        """Mark the models that are there already."""
        for i in range(self.list.count()):
            item = self.list.item(i)
            source = item.data(Qt.ItemDataRole.UserRole)
            there = "   ✓ here" if source.name in names else ""
            item.setText(f"{source.title}   {megabytes(source.size)}{there}")

    def set_plan(self, text: str) -> None:
        """Show what would be fetched; the button now fetches."""
        self._ready = True
        self.fetch.setText("Fetch")
        self.set_busy(False)
        self.set_message(text)

    def set_progress(self, done: int, total: int) -> None:
        """Show how far the fetching is, in bytes."""
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * done / max(1, total)))
        self.set_message(f"Fetched {megabytes(done)} of {megabytes(total)}.")

    def set_busy(self, busy: bool, cancellable: bool = False) -> None:
        """Show that something is going on; nothing else can be started then."""
        self._busy = busy
        for widget in (self.fetch, self.list, self.file, self.folder):
            widget.setEnabled(not busy)
        self.cancel.setVisible(cancellable)
        self.bar.setVisible(busy)
        self.bar.setRange(0, 0)

    def ask_to_replace(self, text: str) -> bool:
        """Ask whether a model that is there may be replaced."""
        answer = QMessageBox.question(self, "Replace the model?", f"{text}\n\nReplace it?")
        return answer == QMessageBox.StandardButton.Yes

    def set_message(self, text: str, problem: bool = False) -> None:
        """Say what happened."""
        self.message.setText(text)
        self.message.setStyleSheet(f"color: {PROBLEM};" if problem else "")

    def _show_source(self) -> None:
        source = self.source()
        self._ready = False
        self.fetch.setText("Ask the hub for its size…")
        terms = "<br>".join(f"{r.name}: {r.licence}. {r.citation}" for r in source.repositories)
        untrained = f"<br><b>Random until it is finetuned: {source.untrained}.</b>" if source.untrained else ""
        self.about.setText(f"{source.summary}{untrained}<br><small>{terms}</small>")
        self.set_message("")

    def _on_fetch(self) -> None:
        if self._ready:
            self.fetchRequested.emit()
        else:
            self.planRequested.emit(self.source().name)

    def _choose_tokenizer(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of the tokenizer")
        if name:
            self.tokenizer.setText(name)

    def _import_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import weights", "", f"Weights ({_SUFFIXES});;All files (*)")
        if name:
            self._import(Path(name))

    def _import_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Import a model folder")
        if name:
            self._import(Path(name))

    def _import(self, path: Path) -> None:
        tokenizer = self.tokenizer.text().strip()
        self.importRequested.emit(path, self.family.currentData(), Path(tokenizer) if tokenizer else None)


def _wrapped(kind: Qt.TextFormat = Qt.TextFormat.PlainText) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(kind)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
