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
        try:
            raw = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            raw = {}
        self._values: dict[str, object] = raw if isinstance(raw, dict) else {}

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
        self._values = {**self._values, "author": " ".join(name.split())}
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
        last = self._values.get("last")
        return str(last.get(what) or "") if isinstance(last, dict) else ""

    def remember(self, what: str, value: str) -> None:
        """Remember what a dialog was left with; until the program ends where the file cannot be written."""
        last = self._values.get("last")
        self._values = {**self._values, "last": {**(last if isinstance(last, dict) else {}), what: value}}
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self._values, indent=1), "utf-8")
