"""What a model sees in the scans of a project that wait for an outline, and the order that follows from it.

`survey_project` looks at every waiting scan once, beside the window or from the command line, and writes the order into
the project's folder, where the worklist finds it (`read_order`). Imports no torch: the segmenter is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.improve.order import FIRST, Doubt, doubt_of, listens, next_cases
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Case, CaseQuery
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build

ORDER_FILE = "order.json"
# Longest side of the maps that doubt is measured on: models see scans no larger.
_SIDE = 256
# Other names of the target that are asked for where the model listens.
_WORDINGS = 2
_OPEN = (State.UNSEEN, State.DRAFT)


class Surveyor(Protocol):
    """What is needed of `core.inference.Segmenter`."""

    card: ModelCard

    def set_image(self, image: Scan) -> str:
        """Encode a scan."""

    def features(self) -> npt.NDArray[np.float32]:
        """What the encoder sees in it."""

    def segment(self, prompts: Sequence[str], *, size: tuple[int, int]) -> Sequence[Any]:
        """Answers with a `probability`."""


@dataclass(frozen=True)
class Ordered:
    """A scan of the order: its id in the project, and why it comes where it does, for people."""

    case_id: int
    reason: str


@dataclass(frozen=True)
class Order:
    """Which scans of a project to outline next.

    Attributes
    ----------
    target : str
    model, seed
        With which it was made.
    doubts : bool
        Whether the model's doubt counts already, or the kinds of scans alone.
    cases : tuple of Ordered
        The first comes next; scans of the hold-out are not among them.
    unread : tuple of str
        Names of scans that could not be read.
    """

    target: str
    model: str
    seed: int
    doubts: bool
    cases: tuple[Ordered, ...]
    unread: tuple[str, ...] = ()


def survey_project(
    store: ProjectStore,
    segmenter: Surveyor,
    target: str,
    vocabulary: Vocabulary,
    count: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Order:
    """Look at the scans that wait for an outline of a target, and write down in which order they are worth it.

    The first scans (`order.FIRST`) go by what the encoder sees alone; from then on by the model's doubt too. The
    hold-out is left out: its scans are outlined blind, and all of them.

    Parameters
    ----------
    store : ProjectStore
    segmenter : Surveyor
    target : str
        Phrase of the vocabulary, or the project's own.
    vocabulary : Vocabulary
    count : int
        Scans that are ordered.
    seed : int
    progress : callable, optional
        Gets the scans looked at, and all of them.
    """
    cases = [case for case in store.cases(query=CaseQuery(splits=("train", "val"))) if target in case.states]
    waiting = [case for case in cases if case.states[target] in _OPEN]
    outlined = [case for case in cases if case.states[target] not in _OPEN]
    doubting = len(outlined) >= FIRST
    name = build(Attributes(target), vocabulary, "p1").text
    others = [word for word in vocabulary.target(target).synonyms if word != name][:_WORDINGS]
    texts = [name, *others] if doubting and listens(segmenter.card.prompt_effect) else [name]
    features: dict[int, npt.NDArray[np.float32]] = {}
    doubts: dict[int, Doubt] = {}
    unread = []
    for number, case in enumerate([*waiting, *outlined], 1):
        try:
            segmenter.set_image(read_scan(store.scan_path(case.id)))
        except (ValueError, OSError):
            unread.append(case.name)
        else:
            features[case.id] = segmenter.features()
            if doubting and case.states[target] in _OPEN:
                doubts[case.id] = _doubt(segmenter, case, texts)
        if progress is not None:
            progress(number, len(cases))
    seen = [case.id for case in waiting if case.id in features]
    known = [features[case.id] for case in outlined if case.id in features]
    found = next_cases(
        np.stack([features[i] for i in seen]) if seen else np.zeros((0, 1)),
        count,
        seed,
        np.stack(known) if known else None,
        [doubts[i] for i in seen] if doubting else None,
    )
    cases_ordered = tuple(Ordered(seen[n.place], n.reason) for n in found)
    order = Order(target, segmenter.card.name, seed, doubting, cases_ordered, tuple(unread))
    with replacing(store.folder / ORDER_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(order), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return order


def read_order(project: Path) -> Order | None:
    """The order that was written last; None where there is none, or where the file is damaged."""
    path = project / ORDER_FILE
    if not path.is_file():
        return None
    try:
        return TypeAdapter(Order).validate_python(read_json(path))
    except (ValidationError, ValueError, OSError):
        return None


def _doubt(segmenter: Surveyor, case: Case, texts: Sequence[str]) -> Doubt:
    factor = min(1.0, _SIDE / max(case.size))
    size = max(1, round(factor * case.size[0])), max(1, round(factor * case.size[1]))
    own, *others = segmenter.segment(texts, size=size)
    return doubt_of(own.probability, segmenter.card.threshold, [o.probability for o in others], bool(others))
