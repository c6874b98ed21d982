"""What a project says of its scans and outlines: plain values, read from its database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from napari_medvlsm.core.projects.states import State

Sort = Literal["name", "state", "group", "added", "changed"]


@dataclass(frozen=True)
class Case:
    """One scan of a project.

    Attributes
    ----------
    id : int
    name : str
        Of the file, for people.
    group : str
        Such as "patient 7"; "" where nothing is known.
    split : str
        "train", "val", or "test" for the hold-out; never changes.
    states : mapping of target to State
    state : State
        Of the target that is least far.
    size : (int, int)
        Rows and columns.
    spacing : (float, float) or None
        Millimetres per pixel as (row, col); None where unknown.
    modality : str
        Key of the vocabulary's modalities; "" where not stated.
    pixels_hash : str
        `core.images.content_hash` of the scan's pixels.
    added, changed : datetime
        In UTC.
    """

    id: int
    name: str
    group: str
    split: str
    states: Mapping[str, State]
    state: State
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    modality: str
    pixels_hash: str
    added: datetime
    changed: datetime


@dataclass(frozen=True)
class CaseQuery:
    """Which scans, in which order.

    Attributes
    ----------
    states, targets, groups, splits : tuple of str
        Empty: all. With `states` and `targets`, scans in which one of these targets is in one of these states.
    text : str
        Words that the name or the group must hold, in either case of letters.
    predicted : bool or None
        Whether a prediction waits for an answer; None: either.
    sort : str
        "name" (numbers by value), "state" (of the target that is least far), "group", "added" or "changed".
    descending : bool
    first : tuple of int
        Ids of scans that come before all others, in this order.
    """

    states: tuple[State, ...] = ()
    targets: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    text: str = ""
    predicted: bool | None = None
    sort: Sort = "name"
    descending: bool = False
    first: tuple[int, ...] = ()


EVERYTHING = CaseQuery()


def version_name(model: str, weights_hash: str) -> str:
    """A model version for people: its name with the beginning of its weights' hash."""
    return f"{model} {weights_hash[:8]}".strip() or "unknown model"


@dataclass(frozen=True)
class Version:
    """One version of an outline; its mask and its full record are in a file (`ProjectStore.load`).

    Attributes
    ----------
    id : int
        In the project.
    case_id : int
    target : str
    number : int
        Of the outline, from 1.
    origin : str
        How it came: "prediction", "draft", "submitted", "absent", "imported", "restored" or "recovered".
    created : datetime
        When it was last written, in UTC, by this computer's clock.
    author, prompt, model, weights_hash : str
        As in `core.annotation.Provenance`; `prompt` is the text.
    corrected, absent : bool
        As in `Annotation`.
    predicted : bool
        Whether the outline began from a prediction.
    foreground : int
        Pixels of the mask.
    seconds : float
    strokes, clicks : int
    pixels_changed : int or None
        Of the prediction, or of an empty mask where there was none; None where unknown.
    dice : float or None
        Between prediction and mask; None where it began without a prediction.
    current : bool
        Whether it is what the outline is now.
    lost : bool
        Whether its file is gone or was changed by another program.
    file : str
        Relative to the project, with slashes.
    """

    id: int
    case_id: int
    target: str
    number: int
    origin: str
    created: datetime
    author: str
    prompt: str
    model: str
    weights_hash: str
    corrected: bool
    absent: bool
    predicted: bool
    foreground: int
    seconds: float
    strokes: int
    clicks: int
    pixels_changed: int | None
    dice: float | None
    current: bool
    lost: bool
    file: str

    @property
    def model_version(self) -> str:
        """Of the prediction that it is, or that it began from."""
        return version_name(self.model, self.weights_hash)


@dataclass(frozen=True)
class Event:
    """Something that was done to an outline; never changed afterwards.

    Attributes
    ----------
    id : int
        Gives the order, whatever the clock said.
    case_id : int
    target : str
    what : str
        "predicted", "drawn", "submitted", "approved", "sent back", "reopened", "absent", "imported", "restored",
        "recovered", "repaired" or "lost"; with " aside" of a version that did not become the outline.
    state : State
        After it.
    version : int or None
        Id of the version.
    person, remark : str
    at : datetime
        In UTC.
    """

    id: int
    case_id: int
    target: str
    what: str
    state: State
    version: int | None
    person: str
    remark: str
    at: datetime


@dataclass(frozen=True)
class Counts:
    """How far a project, or a part of it, is.

    Attributes
    ----------
    cases : int
    states : mapping of State to int
        Outlines (a scan and a target) in each state.
    by_split : mapping of split to int
        Scans.
    predictions : int
        That wait for an answer.
    """

    cases: int
    states: Mapping[State, int]
    by_split: Mapping[str, int]
    predictions: int

    @property
    def outlines(self) -> int:
        """All of them."""
        return sum(self.states.values())

    @property
    def answered(self) -> int:
        """Submitted, approved or absent."""
        return self.states[State.SUBMITTED] + self.states[State.APPROVED] + self.states[State.ABSENT]


NO_STATES: Mapping[str, State] = MappingProxyType({})
