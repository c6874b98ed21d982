"""Which scans belong together, by a rule: a column of a table, a part of the file's name, or a field of its header."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from napari_medvlsm.core.datasets.groups import tidy
from napari_medvlsm.core.io.pictures.header import read_header
from napari_medvlsm.core.plain_files import read_table
from napari_medvlsm.core.projects.errors import ProjectError

# Columns in which a table may name the scans.
_NAMES = ("image", "scan", "file", "filename", "name")
_PART = re.compile(r"\{(\w+)\}|\*")


class GroupRule(Protocol):
    """Says what group a scan belongs to."""

    def of(self, path: Path, name: str) -> str:
        """The group, such as "patient 7", of a file that is called `name` in the project; "" where none is found."""


@dataclass(frozen=True)
class ByTable:
    """The column of a table that names the scans in a column "image", "scan", "file", "filename" or "name"."""

    groups: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, column: str) -> ByTable:
        """Read a table (CSV).

        Raises
        ------
        ValueError
            If it cannot be read, lacks the column, or names no scans.
        """
        rows = read_table(path, column, also=_NAMES)
        if not rows:
            raise ProjectError(f"{path} names no scans: it has a first line and nothing below.")
        names = next((name for name in _NAMES if name in rows[0]), None)
        if names is None:
            raise ProjectError(f"{path} has no column that names the scans; call it {_NAMES[0]!r}.")
        kind = column.strip().lower()
        return cls({row[names].strip(): _named(kind, row[column]) for row in rows if row[column].strip()})

    def of(self, path: Path, name: str) -> str:
        """By its name in the project, by the file's name, or by that without its ending."""
        plain = PurePosixPath(name)
        return next((g for key in (name, plain.name, plain.stem) if (g := self.groups.get(key))), "")


@dataclass(frozen=True)
class ByName:
    """A part of the file's name.

    Parameters
    ----------
    pattern : str
        The name with the part in braces, and * for whatever else: "{patient}_*", "case{patient}-*.png",
        "{sequence}/*" for a folder. The word in braces says what the group is.

    Raises
    ------
    ProjectError
        If nothing is in braces.
    """

    pattern: str
    _form: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        marked = [part for part in _PART.finditer(self.pattern) if part[1]]
        if len(marked) != 1:
            raise ProjectError(
                f"The rule {self.pattern!r} must mark one part of the file's name in braces, such as '{{patient}}_*'."
            )
        form, at = "", 0
        for part in _PART.finditer(self.pattern):
            form += re.escape(self.pattern[at : part.start()])
            form += f"(?P<{part[1]}>[^/]+?)" if part[1] else ".*"
            at = part.end()
        object.__setattr__(self, "_form", re.compile(form + re.escape(self.pattern[at:]), re.IGNORECASE))

    def of(self, path: Path, name: str) -> str:
        """By the file's name; with a slash in the rule by its folders, with a dot by its ending too."""
        plain = PurePosixPath(name)
        seen = plain if "/" in self.pattern else PurePosixPath(plain.name)
        text = str(seen) if "." in self.pattern or self.pattern.endswith("*") else str(seen.with_suffix(""))
        match = self._form.fullmatch(text)
        if match is None:
            return ""
        kind, value = next(iter(match.groupdict().items()))
        return _named(kind.lower(), value)


@dataclass(frozen=True)
class ByHeader:
    """A field of the file's header: a tag of TIFF or EXIF, or a text of a PNG, such as "PatientID".

    What it holds may be a person's number, so a short hash of it with the project's salt stands for it. DICOM files,
    whose headers name patients, cannot be opened yet, so neither can they be grouped.
    """

    name: str
    salt: str

    def of(self, path: Path, name: str) -> str:
        """By the header; "" for a file that has no such field, or cannot be read."""
        try:
            value = str(read_header(path).get(self.name.lower(), "")).strip()
        except ValueError:
            return ""
        if not value:
            return ""
        lower = self.name.lower()
        kind = "patient" if "patient" in lower else "sequence" if re.search("sequence|series|study", lower) else "group"
        return f"{kind} {hashlib.sha256(f'{self.salt}:{value}'.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class GroupPreview:
    """What a rule would do.

    Attributes
    ----------
    groups : mapping of group to the names of its scans
    without : tuple of str
        Scans in which the rule finds nothing: each would be a group of its own.
    """

    groups: Mapping[str, tuple[str, ...]]
    without: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For people."""
        scans = sum(map(len, self.groups.values()))
        found = f"{scans} scans in {len(self.groups)} groups" if scans else "No scan has a group by this rule"
        alone = f"; {len(self.without)} without one, such as {self.without[0]}" if self.without else ""
        return f"{found}{alone}."


def preview(rule: GroupRule, scans: Iterable[tuple[Path, str]]) -> GroupPreview:
    """What a rule says of scans, given as path and name, before any of them is added."""
    return preview_of((name, rule.of(path, name)) for path, name in scans)


def preview_of(scans: Iterable[tuple[str, str]]) -> GroupPreview:
    """What groups scans are in, given as name and group."""
    found: dict[str, list[str]] = {}
    without = []
    for name, group in scans:
        if group:
            found.setdefault(group, []).append(name)
        else:
            without.append(name)
    return GroupPreview({group: tuple(names) for group, names in found.items()}, tuple(without))


def _named(kind: str, value: str) -> str:
    value = " ".join(value.split())
    return tidy(value if kind == "group" or value.lower().startswith(f"{kind} ") else f"{kind} {value}")
