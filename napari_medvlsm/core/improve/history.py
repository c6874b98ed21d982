"""Numbers of a project's models, and who made which the present one, and when: `PROJECT/models/history.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.validation_errors import first_problem

# Within a project.
MODELS_FOLDER = "models"
HISTORY_FILE = "history.json"
# The highest number of a model that was deleted.
DELETED_FILE = "deleted.json"
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
# Held while a number is given or the history written.
_LOCK_FILE = ".lock"
_LOCK_SECONDS = 30.0


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

    @property
    def sentence(self) -> str:
        """For people."""
        remark = f" ({self.remark})" if self.remark else ""
        to = "to " if self.what == ROLLED_BACK else ""
        when = self.at[:16].replace("T", " ")
        return f"{when} UTC: {self.person} {self.what} {to}{called(self.model)}, before {called(self.before)}{remark}"


def called(name: str) -> str:
    """A model of a project as people call it: "model 2", or the name of an installed one."""
    return f"model {name}" if name.isdecimal() else name


_ENTRIES = TypeAdapter(list[Entry])


def read_history(project: Path) -> list[Entry]:
    """All changes, the oldest first. Raises ValueError if the file is damaged."""
    path = project / MODELS_FOLDER / HISTORY_FILE
    if not path.is_file():
        return []
    try:
        return _ENTRIES.validate_python(read_json(path))
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read as the history of models: {first_problem(error)}.") from error


def append(project: Path, entry: Entry) -> None:
    """Add a change; within `changing`."""
    entries = [*read_history(project), entry]
    with replacing(project / MODELS_FOLDER / HISTORY_FILE) as temporary:
        temporary.write_text(json.dumps([asdict(e) for e in entries], indent=1, ensure_ascii=False) + "\n", "utf-8")


def present_name(entries: Sequence[Entry], default: str) -> str:
    """The present model's name; `default` where none was ever promoted."""
    return entries[-1].model if entries else default


def earlier_models(entries: Sequence[Entry]) -> list[str]:
    """The models that can be rolled back to one after the other, the next one last."""
    stack: list[str] = []
    for entry in entries:
        if entry.what == ROLLED_BACK:
            stack = stack[:-1]
        else:
            stack.append(entry.before)
    return stack


def next_number(project: Path) -> int:
    """The number of a new model; within `changing`. Raises ValueError if a file that tells it is damaged.

    None is given again, also where the model was deleted: the history, outlines that began from a prediction, and
    models that were trained from it call it by its number.
    """
    folder = project / MODELS_FOLDER
    names = {path.name for path in folder.iterdir()}
    names |= {name for entry in read_history(project) for name in (entry.model, entry.before)}
    return 1 + max(_deleted(folder), *(int(name) for name in names if name.isdecimal()), 0)


def note_deleted(project: Path, number: int) -> None:
    """Note that a number was given, before its model is deleted; within `changing`."""
    folder = project / MODELS_FOLDER
    with replacing(folder / DELETED_FILE) as temporary:
        temporary.write_text(json.dumps(max(number, _deleted(folder))), "utf-8")


def _deleted(folder: Path) -> int:
    path = folder / DELETED_FILE
    number = read_json(path) if path.is_file() else 0
    if not isinstance(number, int):
        raise ValueError(f"{path} must hold a number, the highest of all models that were deleted; write it there.")
    return number


@contextmanager
def changing(project: Path) -> Iterator[Path]:
    """The folder of a project's models, which no other program changes meanwhile.

    Raises
    ------
    ValueError
        If another program does for long.
    """
    folder = project / MODELS_FOLDER
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / _LOCK_FILE, timeout=_LOCK_SECONDS):
            yield folder
    except Timeout as error:
        raise ValueError(f"Another program is changing the models in {folder}; try again when it has ended.") from error
