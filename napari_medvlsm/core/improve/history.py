"""Who made which model the present one of a project, and when: `PROJECT/models/history.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HISTORY_FILE = "history.json"
PROMOTED, ROLLED_BACK = "promoted", "rolled back"


@dataclass(frozen=True)
class Entry:
    """A change of the present model.

    Attributes
    ----------
    what : str
        "promoted" or "rolled back".
    model : str
        The present one from then on: a round's number, or the name of an installed model such as "starter".
    before : str
        The one until then.
    weights_hash : str
        Of `model`.
    person, remark : str
    at : str
        ISO time in UTC.
    """

    what: str
    model: str
    before: str
    weights_hash: str
    person: str
    remark: str
    at: str


def read_history(project: Path) -> list[Entry]:
    """All changes, the oldest first. Raises ValueError if the file is damaged."""
    raise NotImplementedError


def earlier_models(entries: list[Entry]) -> list[str]:
    """The models that can be rolled back to one after the other, the next one last."""
    raise NotImplementedError
