"""What a project has of a scan, for the window: outlines of persons, and predictions that may be shown. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.projects.states import ACCEPTED
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Case


@dataclass(frozen=True)
class Kept:
    """What the project has of the targets of a scan: outlines of a person, and predictions that may be shown."""

    outlines: Sequence[Annotation]
    predictions: Sequence[Annotation]


def read_kept(store: ProjectStore, case: Case) -> Kept:
    """What the project has of a scan; of the hold-out, no prediction before a person's answer is there."""
    predictions = []
    for target, state in case.states.items():
        predicted = store.prediction(case.id, target)
        if predicted is not None and (case.split != "test" or state in ACCEPTED):
            predictions.append(_of_scan(store.load(predicted), case))
    return replace(read_outlines(store, case), predictions=predictions)


def read_outlines(store: ProjectStore, case: Case) -> Kept:
    """What persons outlined of a scan."""
    found = [store.current(case.id, target) for target in case.states]
    return Kept([_of_scan(store.load(v), case) for v in found if v is not None and not v.lost], ())


def _of_scan(annotation: Annotation, case: Case) -> Annotation:
    """An outline with the hash of the scan in the project: one that was imported may name none."""
    return replace(annotation, provenance=replace(annotation.provenance, scan_hash=case.pixels_hash))


def keep_prediction(store: ProjectStore, case_id: int, predicted: Annotation) -> object:
    """Store what a model says, unless it said the same before."""
    before = store.prediction(case_id, predicted.target)
    if before is not None and (before.weights_hash, before.foreground) == (
        predicted.provenance.weights_hash,
        int(predicted.mask.sum()),
    ):
        old = store.load(before)
        if old.provenance.prompt == predicted.provenance.prompt and (old.mask == predicted.mask).all():
            return None
    return store.save_prediction(case_id, predicted)
