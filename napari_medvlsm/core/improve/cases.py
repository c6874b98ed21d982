"""Which outlines of a project a training would use, and what is wrong with them before it starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medvlsm.core.datasets.splits import SPLITS, TEST, TRAIN, VAL
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.projects.states import ACCEPTED, State
from napari_medvlsm.core.projects.values import CaseQuery

if TYPE_CHECKING:
    from napari_medvlsm.core.projects.store import ProjectStore

# Fewer hold-out scans than this tell nothing about two models.
FEW = 10
# Fewer training scans than this are no base for a training.
FEWEST = 3


@dataclass(frozen=True)
class TrainingCase:
    """One outline (a scan and a target) that a round uses.

    Attributes
    ----------
    case_id : int
        Of the scan in the project.
    name, group, split : str
        As in `projects.values.Case`; "test" is the hold-out, which is only measured.
    target : str
    version : int
        Id of the outline's version.
    state : State
    absent : bool
        The answer that the scan does not show the target.
    assisted : bool
        Whether the outline began from a prediction; a truth made this way favours that model.
    pixels_hash : str
        Of the scan's pixels (`core.images.content_hash`); exported files are named by its first 16 digits.
    """

    case_id: int
    name: str
    group: str
    split: str
    target: str
    version: int
    state: State
    absent: bool
    assisted: bool
    pixels_hash: str


@dataclass(frozen=True)
class Finding:
    """Something about the data that a person should know before the start.

    Attributes
    ----------
    kind : str
        "nothing", "too-few", "no-validation", "no-holdout", "few-holdout", "target-not-trained",
        "target-not-validated", "target-not-held-out", "outline-missing", "empty-outline", "scan-missing",
        "scan-changed", "scan-unreadable", "held-out-seen".
    sentence : str
    stops : bool
        Whether a round cannot start with it.
    case_id : int or None
        The scan to show; None where it is about all of them.
    target : str
    """

    kind: str
    sentence: str
    stops: bool
    case_id: int | None = None
    target: str = ""


@dataclass(frozen=True)
class Chosen:
    """The outlines that would be used, and what the database says against them.

    Attributes
    ----------
    cases : tuple of TrainingCase
    findings : tuple of Finding
        What stops comes first.
    """

    cases: tuple[TrainingCase, ...]
    findings: tuple[Finding, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """In the order of their first outline."""
        return tuple(dict.fromkeys(case.target for case in self.cases))

    def count(self, split: str = "", target: str = "", absent: bool | None = None) -> int:
        """How many outlines are in a split, of a target, absent or not; by default all."""
        return sum(
            split in ("", case.split) and target in ("", case.target) and absent in (None, case.absent)
            for case in self.cases
        )

    def scans(self, split: str) -> int:
        """How many scans are in a split."""
        return len({case.case_id for case in self.cases if case.split == split})


def choose_cases(store: ProjectStore, states: Collection[State] = ACCEPTED, targets: Collection[str] = ()) -> Chosen:
    """The outlines of a project that a round would use, from the database alone: quick, reads no file.

    Parameters
    ----------
    store : ProjectStore
    states : collection of State
        Of the outlines; by default submitted, approved and absent.
    targets : collection of str
        All by default.
    """
    raise NotImplementedError


def check_scans(
    store: ProjectStore,
    cases: Sequence[TrainingCase],
    seen: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Read every scan and outline that a round would use: what is missing, changed or empty. Takes a while.

    Parameters
    ----------
    store : ProjectStore
    cases : sequence of TrainingCase
    seen : mapping of str to str
        Pixel hashes that the base model was trained on, with the name of that model (`versions.trained_scans`): a
        hold-out case among these stops.
    progress : callable, optional
        ``progress(done, of)`` in scans.
    """
    raise NotImplementedError
