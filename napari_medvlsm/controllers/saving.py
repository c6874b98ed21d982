"""The annotation in view, to a file of the person's or to a training folder."""

from __future__ import annotations

from pathlib import Path

from psygnal import Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.io.labels import save_mask

_SPLITS = {"train": "training", "val": "validation", "test": "test"}


class Saving:
    """Writes the correction in view or, if there is none, the model's untouched mask.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    """

    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, session: Session, corrections: Corrections) -> None:
        self._session, self._corrections = session, corrections

    @property
    def source(self) -> str | None:
        """What would be written, in words; None for nothing."""
        target, current = self._session.target_in_view, self._corrections.current
        if current is not None and current.absent:
            return f"Saves your answer: {target.label} is not shown in this scan."
        if current is not None:
            return f"Saves your correction of {target.label}."
        if target.phrase in self._session.results:
            return f"Saves the model's outline of {target.label}, not corrected."
        return None

    def annotation(self) -> Annotation | None:
        """What would be written."""
        current = self._corrections.annotation()
        return current or self._session.predicted(self._session.target_in_view.phrase)

    def save_as(self, path: Path) -> None:
        """Write the annotation in view; the file is replaced at once or not at all."""
        found = self.annotation()
        if found is None:
            return
        try:
            save_mask(path, found)
        except (ValueError, OSError) as error:
            self.message.emit(f"{path.name} could not be saved: {error}", True)
            return
        if found.corrected:
            self._corrections.mark_saved()
        self.message.emit(f"Saved {path.name}.", False)

    def export_to(self, folder: Path) -> None:
        """Add the scan and the annotation in view to a training folder."""
        found, scan = self.annotation(), self._session.scan
        if found is None or scan is None:
            return
        target = self._session.vocabulary.target(found.target)
        if not found.absent and not found.mask.any():
            self.message.emit(
                f"Nothing was added: the outline is empty. If the scan shows no {target.phrase}, answer “Nothing to "
                "segment here”.",
                True,
            )
            return
        try:
            case = export_case(folder, scan, found, self._session.vocabulary, modality=target.modality)
        except (ValueError, OSError) as error:
            self.message.emit(f"Nothing was added: {error}", True)
            return
        split = _SPLITS.get(case.split, case.split)
        if case.replaced:
            count = "1 case" if case.number == 1 else f"{case.number} cases"
            text = f"Replaced the case of this scan in {folder.name} ({split}); {count} in all."
        else:
            text = f"Added to the training set in {folder.name}: case {case.number}, {split}."
        self.message.emit(text, False)
