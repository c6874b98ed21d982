"""Prompts used before and favourites, kept between sessions in the user's own data folder.

The file never leaves the computer; it holds the words of prompts and when they were used, no scan and no file name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_data_path

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.prompts import Attributes, Prompt
from napari_medvlsm.core.prompts.coverage import normalise

# Prompts remembered beside the favourites.
HISTORY_LENGTH = 200
# How long another window may be at work on the file.
LOCK_SECONDS = 1.0
# Inode, time of the last change in ns, and size; None for no file.
_Identity = tuple[int, int, int] | None
_DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Entry:
    """A prompt that was used.

    `used` is an ISO time in UTC; `favourite` entries are never forgotten.
    """

    prompt: Prompt
    used: str
    favourite: bool = False


class PromptHistory:
    """History and favourites, the latest first.

    Parameters
    ----------
    path : Path, optional
        A JSON file; by default in the user's data folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_data_path("napari-medvlsm", appauthor=False) / "prompts.json"
        # The entries as last read, and what identified the file then: every keystroke asks for the favourites.
        self._cached: tuple[_Identity, list[Entry]] | None = None

    def entries(
        self, target: str = "", words: str = "", shown: Callable[[Prompt], str] = lambda prompt: prompt.text
    ) -> list[Entry]:
        """Favourites and then the rest, each the latest first.

        Parameters
        ----------
        target : str
            Only prompts about this target; "" for all.
        words : str
            Only prompts that hold all these words or beginnings of words.
        shown : callable
            A prompt as a person reads it, where the words are looked for.
        """
        wanted = normalise(words).split()
        found = [
            entry
            for entry in self._read()
            if (not target or entry.prompt.attributes.target == target)
            and all(any(w.startswith(part) for w in normalise(shown(entry.prompt)).split()) for part in wanted)
        ]
        return sorted(found, key=lambda entry: not entry.favourite)

    def add(self, *prompts: Prompt) -> None:
        """Remember prompts as used now.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with self._lock():
            entries = self._read()
            for prompt in prompts:
                known = next((e for e in entries if e.prompt.text == prompt.text), None)
                entries = [e for e in entries if e is not known]
                entries.insert(0, Entry(prompt, _now(), known.favourite if known else False))
            self._write(entries)

    def is_favourite(self, text: str) -> bool:
        """Whether the prompt with this text is a favourite."""
        return any(e.favourite for e in self._read() if e.prompt.text == text)

    def set_favourite(self, prompt: Prompt, favourite: bool) -> None:
        """Keep a prompt for good, or no longer; one that was never used comes onto the list.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with self._lock():
            entries = self._read()
            if all(e.prompt.text != prompt.text for e in entries):
                entries.insert(0, Entry(prompt, _now()))
            self._write([replace(e, favourite=favourite) if e.prompt.text == prompt.text else e for e in entries])

    def forget(self, text: str) -> None:
        """Drop the prompt with this text.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with self._lock():
            self._write([e for e in self._read() if e.prompt.text != text])

    def _lock(self) -> FileLock:
        # Two windows may be open; each reads, changes and writes in one go.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS)

    def _read(self) -> list[Entry]:
        """The entries; the file is read only if another window, or this one, has replaced it."""
        identity = self._identity()
        if self._cached is None or self._cached[0] != identity:
            self._cached = identity, self._parsed()
        return list(self._cached[1])

    def _parsed(self) -> list[Entry]:
        try:
            raw = json.loads(self.path.read_text("utf-8"))
            return list(_entries(raw))
        except _DAMAGED:
            return []  # a damaged file is no reason to stop; it is set aside before the next write

    def _identity(self) -> _Identity:
        try:
            found = self.path.stat()
        except OSError:
            return None
        # Every write renames a new file into place: another inode, however coarse the clock.
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _write(self, entries: list[Entry]) -> None:
        if self.path.exists() and not self._readable():
            self.path.replace(self.path.with_suffix(".damaged.json"))
        rest = [e for e in entries if not e.favourite][:HISTORY_LENGTH]
        kept = [e for e in entries if e.favourite or e in rest]
        text = json.dumps([_as_json(entry) for entry in kept], indent=1, ensure_ascii=False)
        with replacing(self.path) as temporary:
            temporary.write_text(text, "utf-8")

    def _readable(self) -> bool:
        try:
            list(_entries(json.loads(self.path.read_text("utf-8"))))
        except _DAMAGED:
            return False
        return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _as_json(entry: Entry) -> dict[str, Any]:
    prompt = asdict(entry.prompt)
    prompt["attributes"] = {k: v for k, v in prompt["attributes"].items() if v}
    return {"prompt": prompt, "used": entry.used, "favourite": entry.favourite}


def _entries(raw: Any) -> Iterator[Entry]:
    known = {f.name for f in fields(Attributes)}
    for item in raw:
        said = item["prompt"]
        attributes = Attributes(**{k: str(v) for k, v in said["attributes"].items() if k in known})
        measured = tuple(map(str, said.get("measured", ())))
        prompt = Prompt(str(said["text"]), str(said["level"]), attributes, str(said["vocabulary_version"]), measured)
        yield Entry(prompt, str(item["used"]), bool(item["favourite"]))
