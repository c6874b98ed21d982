"""The annotation in view, to a file of the person's or to a training folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from psygnal import Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.io.labels import file_stem, load_mask, save_mask
from napari_medvlsm.core.io.listing import named

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

    @property
    def all(self) -> list[str]:
        """The targets of the scan in view that have an outline or an answer."""
        if self._session.view.slice is None:
            return []
        corrected = self._corrections.of_scan()
        found = [*self._session.results, *(t for t in corrected if t not in self._session.results)]
        return [target for target in found if self._holds(target, corrected.get(target))]

    def annotation(self, target: str | None = None) -> Annotation | None:
        """What would be written of a target, by default of the one in view."""
        target = self._session.target_in_view.phrase if target is None else target
        return self._corrections.completed(target) or self._session.predicted(target)

    def save_as(self, path: Path) -> bool:
        """Write the annotation in view, and say whether it was; the file is replaced at once or not at all."""
        found = self.annotation()
        if found is None:
            self.message.emit("There is no outline to save: segment, or draw one.", True)
            return False
        if self._save(path, found):
            self.message.emit(f"Saved {path.name}.", False)
            return True
        return False

    def save_all(self, folder: Path, suffix: str = ".tif") -> None:
        """Write the outlines of all targets of the scan in view, each to a file of its own, named by scan and target.

        A file that holds the same target of the same scan is replaced; of any other the name gets a number.
        """
        saved = []
        for target in self.all:
            found, scan = self.annotation(target), self._session.scan
            if found is not None and scan is not None:
                stem = file_stem(scan.source, self._session.vocabulary.target(target))
                path = _free(folder, stem, suffix, found)
                if not self._save(path, found):
                    return
                saved.append(path)
        count = "1 outline" if len(saved) == 1 else f"{len(saved)} outlines"
        self.message.emit(
            f"Saved {count} to {folder.name}: {named(saved)}." if saved else "Nothing to save.", not saved
        )

    def export_to(self, folder: Path) -> bool:
        """Add the scan and the annotation in view to a training folder, and say whether it was."""
        return self._export(folder, [self._session.target_in_view.phrase])

    def export_all(self, folder: Path) -> bool:
        """Add the scan and the annotations of all its targets to a training folder, and say whether all were."""
        return self._export(folder, self.all)

    def _holds(self, target: str, corrected: Annotation | None) -> bool:
        if corrected is not None:
            return corrected.absent or bool(corrected.mask.any())
        mask = self._session.mask(target=target)
        return mask is not None and bool(mask.any())

    def _save(self, path: Path, found: Annotation) -> bool:
        try:
            save_mask(path, found)
        except (ValueError, OSError) as error:
            self.message.emit(f"{path.name} could not be saved: {error}", True)
            return False
        if found.corrected:
            self._corrections.mark_saved(found.target)
        return True

    def _export(self, folder: Path, targets: Sequence[str]) -> bool:
        cases = []
        for phrase in targets:
            found, scan = self.annotation(phrase), self._session.scan
            if found is None or scan is None:
                continue
            target = self._session.vocabulary.target(found.target)
            if not found.absent and not found.mask.any():
                self.message.emit(
                    f"Nothing was added: the outline is empty. If the scan shows no {target.name}, answer “Nothing "
                    "to segment here”.",
                    True,
                )
                return False
            try:
                cases.append(export_case(folder, scan, found, self._session.vocabulary, modality=target.modality))
            except (ValueError, OSError) as error:
                self.message.emit(f"{'Not all' if cases else 'Nothing'} was added: {error}", True)
                return False
        if not cases:
            self.message.emit("There is no outline to add: segment, or draw one.", True)
            return False
        case = cases[-1]
        split = _SPLITS.get(case.split, case.split)
        count = "1 case" if case.number == 1 else f"{case.number} cases"
        if len(cases) > 1:
            new = sum(not c.replaced for c in cases)
            text = f"{new} added, {len(cases) - new} replaced in {folder.name} ({split}); {count} in all."
        elif case.replaced:
            text = f"Replaced the case of this scan in {folder.name} ({split}); {count} in all."
        else:
            text = f"Added to the training set in {folder.name}: case {case.number}, {split}."
        self.message.emit(text, False)
        return True


def _free(folder: Path, stem: str, suffix: str, found: Annotation) -> Path:
    """A name in a folder that is free, or whose file holds the same target of the same scan."""
    number, path = 1, folder / f"{stem}{suffix}"
    while path.exists() and not _same(path, found):
        number += 1
        path = folder / f"{stem}_{number}{suffix}"
    return path


def _same(path: Path, found: Annotation) -> bool:
    try:
        there = load_mask(path)
    except ValueError:
        return False
    return there.target == found.target and there.provenance.scan_hash == found.provenance.scan_hash
