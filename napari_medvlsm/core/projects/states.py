"""The states of an outline in a project, and which may follow which."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.prompts import target_name


class State(enum.StrEnum):
    """Where the outline of one target in one scan stands.

    Attributes
    ----------
    UNSEEN
        No person answered yet; a prediction may wait. An outline that was emptied is a draft, not unseen.
    DRAFT
        Being outlined.
    SUBMITTED
        Waits for a second person.
    APPROVED
        Accepted by a second person: an outline, or the answer that there is nothing.
    ABSENT
        The answer that the scan does not show the target; waits for nobody, but can be approved.
    """

    UNSEEN = "unseen"
    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    ABSENT = "absent"


NEXT: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.UNSEEN: frozenset({State.DRAFT, State.SUBMITTED, State.ABSENT}),
        State.DRAFT: frozenset({State.DRAFT, State.SUBMITTED, State.ABSENT}),
        State.SUBMITTED: frozenset({State.DRAFT, State.APPROVED}),
        State.APPROVED: frozenset({State.DRAFT, State.UNSEEN}),
        State.ABSENT: frozenset({State.DRAFT, State.UNSEEN, State.APPROVED}),
    }
)
# Waits for an answer of a person.
TO_DO = (State.UNSEEN, State.DRAFT)
# Answered by a person, and of use to others.
ACCEPTED = frozenset({State.SUBMITTED, State.APPROVED, State.ABSENT})
# A scan with several targets is as far as the one that is least far.
PROGRESS = (State.UNSEEN, State.DRAFT, State.SUBMITTED, State.ABSENT, State.APPROVED)


def require_next(old: State, new: State, name: str, target: str) -> None:
    """Check that a state may follow another.

    Raises
    ------
    ProjectError
        If it may not; the sentence says what to do first.
    """
    if new in NEXT[old]:
        return
    what = f"{target_name(target)} in {name} is {old}"
    if old in ACCEPTED:
        raise ProjectError(f"{what}, so it cannot become {new}; reopen it first.")
    raise ProjectError(f"{what}, so it cannot become {new}; only a submitted outline or an absent target can.")


def least_far(states: Iterable[State]) -> State:
    """The state of a scan from those of its targets; unseen where it has none."""
    return min(states, key=PROGRESS.index, default=State.UNSEEN)
