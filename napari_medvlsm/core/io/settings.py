"""What a person set once: a small file in the user's configuration folder."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from platformdirs import user_config_path

from napari_medvlsm.core.io.atomic import replacing


class Settings:
    """The user's settings.

    Parameters
    ----------
    path : Path, optional
        A JSON file; by default in the user's configuration folder. One that is missing or damaged gives the defaults.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_config_path("napari-medvlsm", appauthor=False) / "settings.json"
        self._values = self._stored()
        # What was changed in this window.
        self._changed: dict[str, object] = {}
        self._changed_last: dict[str, object] = {}

    @property
    def author(self) -> str:
        """The name that is written into corrections, as the person entered it; "" where none was entered."""
        return str(self._values.get("author") or "")

    def set_author(self, name: str) -> None:
        """Remember the name; "" forgets it.

        Raises
        ------
        OSError
            If the file cannot be written; the name holds until the program ends.
        """
        self._changed["author"] = " ".join(name.split())
        self._values = {**self._values, **self._changed}
        self._write()

    def folder(self, purpose: str) -> str:
        """The folder that a dialog for some purpose ended with; "" where it is not there any more."""
        found = self.recall(purpose)
        return found if found and Path(found).is_dir() else ""

    def set_folder(self, purpose: str, folder: str) -> None:
        """Remember the folder that a dialog ended with."""
        self.remember(purpose, folder)

    def recall(self, what: str) -> str:
        """What a dialog was left with; "" for nothing."""
        return str(_last(self._values).get(what) or "")

    def remember(self, what: str, value: str) -> None:
        """Remember what a dialog was left with; until the program ends where the file cannot be written."""
        self._changed_last[what] = value
        self._values = {**self._values, "last": {**_last(self._values), **self._changed_last}}
        with contextlib.suppress(OSError):
            self._write()

    def _stored(self) -> dict[str, object]:
        try:
            raw = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return raw if isinstance(raw, dict) else {}

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # What another window has written meanwhile stays, but is not what this one works with.
        before = self._stored() or self._values
        content = {**before, **self._changed, "last": {**_last(before), **self._changed_last}}
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), "utf-8")


def _last(values: dict[str, object]) -> dict[str, object]:
    """What dialogs were left with."""
    found = values.get("last")
    return found if isinstance(found, dict) else {}
