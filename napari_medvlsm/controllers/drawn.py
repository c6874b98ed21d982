"""What a person draws, as annotations: their beginnings, their words, earlier states, time spent. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from napari_medvlsm.controllers.autosave import Key
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.masks import Mask

# A longer pause between two strokes is no work on the outline.
PAUSE_SECONDS = 30.0
# States of a correction that are remembered beside the undo history of its layer.
_STEPS = 8


class Steps:
    """States that steps of ours led from and to: where an undo arrives at one, it came from where that did."""

    def __init__(self) -> None:
        self._states: dict[Key, list[Annotation]] = {}

    def remember(self, annotation: Annotation) -> None:
        """Remember a state; the oldest is forgotten."""
        states = self._states.setdefault((annotation.provenance.scan_hash, annotation.target), [])
        states.append(annotation)
        del states[:-_STEPS]

    def origin(self, key: Key, mask: Mask) -> Annotation | None:
        """The latest state with this mask; None where there is none."""
        return next((s for s in reversed(self._states.get(key, [])) if np.array_equal(s.mask, mask)), None)

    def forget(self, key: Key) -> None:
        """Forget the states of a correction."""
        self._states.pop(key, None)


class Activity:
    """How long a person works on an outline.

    Parameters
    ----------
    clock : callable
        Seconds, from whatever start.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[Key, float] | None = None

    def seconds(self, key: Key) -> float:
        """Seconds of work on a correction since its last change; a long pause, or work on another, counts nothing."""
        now = self._clock()
        last, self._last = self._last, (key, now)
        if last is None or last[0] != key or now - last[1] > PAUSE_SECONDS:
            return 0.0
        return now - last[1]


def by_hand(session: Session, key: Key, mask: Mask) -> Annotation:
    """What was drawn without a prediction."""
    vocabulary = session.vocabulary
    scan = session.scan if key[0] == session.scan_hash else None
    provenance = new_provenance(
        scan_hash=key[0],
        scan_size=mask.shape,
        spacing=scan.spacing if scan is not None else None,
        spacing_from=scan.spacing_from if scan is not None else "",
        vocabulary_version=vocabulary.version,
        vocabulary_hash=vocabulary.digest,
    )
    return Annotation(key[1], mask, corrected=True, provenance=provenance)


def from_prediction(session: Session, target: str) -> Annotation | None:
    """A correction that nothing was changed in yet; None without a prediction."""
    predicted = session.predicted(target)
    return None if predicted is None else replace(predicted, corrected=True, prediction=predicted.mask)


def completed(session: Session, annotation: Annotation) -> Annotation:
    """With the pixel size and the words of the prompt as they are now, if they are of its scan and its target."""
    scan = session.scan
    if scan is None or annotation.provenance.scan_hash != session.scan_hash:
        return annotation
    made = replace(annotation.provenance, spacing=scan.spacing, spacing_from=scan.spacing_from)
    annotation = replace(annotation, provenance=made)
    if annotation.target != session.target_in_view.phrase:
        return annotation
    said, measured = session.words_about(annotation.target)
    return replace(annotation, said=said, measured=measured)


def same(one: Annotation, other: Annotation) -> bool:
    """Whether two hold the same answer."""
    return one.absent == other.absent and np.array_equal(one.mask, other.mask)


def with_effort(origin: Annotation, worked: Annotation) -> Annotation:
    """An annotation with the strokes, clicks and seconds of another."""
    spent = worked.provenance
    made = replace(origin.provenance, strokes=spent.strokes, clicks=spent.clicks, seconds=spent.seconds)
    return replace(origin, provenance=made)
