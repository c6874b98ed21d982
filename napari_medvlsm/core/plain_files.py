"""Text, JSON, YAML and tables from outside: read within limits, and every fault as one sentence.

Files come from other programs, other people and damaged disks. What a parser would answer with a crash, with all the
memory or never is refused before it is parsed: sizes, depths, and what the aliases of YAML would unfold to. Imports
nothing of this project.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

# Bytes of JSON, tables and lists, after unpacking; the largest annotation file of the paper's sets has 2 MB. Parsed
# they take up to ten times as much memory.
MOST_BYTES = 64 * 2**20
# Bytes of YAML, which is read at about 1 MB/s: vocabularies, recipes and descriptions have some kB.
MOST_YAML_BYTES = 2**20
# Of a file that is read with its comments, ten times slower.
MOST_OWN_BYTES = 2**18
# Brackets within brackets: what any parser, and whatever walks through the result, takes without filling its stack.
DEEPEST = 64
# Values that YAML may unfold to through aliases.
_MOST_VALUES = 200_000
# Letters of a field of a table: a file's own text in a cell is no name of a file.
_LONGEST_FIELD = 2**20
# What systems and programs leave in folders, beside names that begin with a dot.
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"})
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class InvalidYaml(ValueError):
    """A text is no YAML."""


def is_system_file(path: Path | str) -> bool:
    """Whether a file is one that systems and programs leave behind (.DS_Store, ._x, Thumbs.db, ~$x ...), or hidden.

    These are never anybody's data. Only the last part of a path counts: a person may keep all data in a hidden folder.
    """
    name = Path(path).name
    if name.startswith((".", "~$")) or name.lower() in _SYSTEM_FILES:
        return True
    if os.name != "nt":
        return False
    try:
        return bool(Path(path).stat().st_file_attributes & stat.FILE_ATTRIBUTE_HIDDEN)  # type: ignore[attr-defined]
    except (OSError, ValueError):
        return False


def is_there(path: Path) -> bool:
    """Whether there is a regular file of this name, also for names that no system can have (too long, with zeros)."""
    return os.path.isfile(path)  # noqa: PTH113 - that of pathlib raises for these


def is_folder(path: Path) -> bool:
    """The same of a folder."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def shown(text: object, longest: int = 120) -> str:
    """Something from a file in a sentence: on one line, and its middle left out where it is long."""
    plain = str(text) if len(str(text)) <= 4 * longest else f"{str(text)[: 2 * longest]}{str(text)[-2 * longest :]}"
    line = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return line if len(line) <= longest else f"{line[: longest - 30]}...{line[-27:]}"


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file, unpacked where it is gzip.

    Raises
    ------
    ValueError
        If it is no regular file, cannot be read, or holds more than `most` bytes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ValueError(f"{shown(path)} is no file.")
        with path.open("rb") as file:
            start = file.read(2)
            file.seek(0)
            if start == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as packed:
                    content = packed.read(most + 1)
            else:
                content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{shown(path)} cannot be read ({shown(_reason(error))}).") from error
    if len(content) > most:
        raise ValueError(f"{shown(path)} holds more than {most // 2**20} MB, more than such a file can have.")
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark, which is taken off.

    Raises
    ------
    ValueError
        As `read_bytes`, or if it is in another encoding.
    """
    raw = read_bytes(path, most)
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown(path)} is no text in UTF-8 (byte {error.start}); save it as UTF-8.") from error


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """The value in a JSON file, plain or gzip.

    Raises
    ------
    ValueError
        As `read_text`, or if it is no JSON, or nested too deeply.
    """
    text = read_text(path, most)
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise _too_deep(path) from error
    except ValueError as error:  # numbers of thousands of digits among them
        raise ValueError(f"{shown(path)} is no valid JSON ({shown(error)}).") from error
    if _depth(value) > DEEPEST:
        raise _too_deep(path)
    return value


def read_yaml(path: Path) -> Any:
    """The value in a YAML file; no object is ever made.

    Raises
    ------
    ValueError
        As `read_text` and `check_yaml`.
    """
    text = read_text(path, MOST_YAML_BYTES)
    check_yaml(text, path)
    return parse_yaml(text, shown(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text that is short, or was checked; `where` begins the sentence of an error."""
    try:
        return yaml.load(text, _LOADER)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # Plain errors come from impossible dates and from numbers of thousands of digits.
        raise ValueError(f"{where} is no valid YAML ({shown(error)}).") from error


def check_yaml(text: str, path: Path) -> None:
    """Refuse YAML that a parser would answer with a crash or with all the memory.

    Raises
    ------
    InvalidYaml
        If it is no YAML.
    ValueError
        If values are nested too deeply, are part of themselves, or unfold to too many.
    """
    try:
        _check_events(yaml.parse(text, _LOADER), path)
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):
            raise _too_deep(path) from error
        raise InvalidYaml(f"{shown(path)} is no valid YAML ({shown(error)}).") from error


def _check_events(events: Iterable[Any], path: Path) -> None:
    """Raise ValueError if values are nested too deeply, are part of themselves, or unfold to too many."""
    values, begun, sizes = 0, list[tuple[str | None, int]](), dict[str | None, int]()
    for event in events:
        kind = type(event).__name__
        if kind == "AliasEvent":
            if any(anchor == event.anchor for anchor, _ in begun):
                raise ValueError(f"{shown(path)} holds a value that is a part of itself.")
            values += sizes.get(event.anchor, 1)
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            begun.append((event.anchor, values))
            values += 1
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            anchor, before = begun.pop()
            sizes[anchor] = values - before
        elif kind == "ScalarEvent":
            values += 1
        if len(begun) > DEEPEST:
            raise _too_deep(path)
        if values > _MOST_VALUES:
            raise ValueError(f"{shown(path)} unfolds to more than {_MOST_VALUES:,} values; write less of it.")


def read_table(path: Path, *columns: str, also: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table with a head line, whose columns are parted by commas, semicolons or tabs.

    Spaces around names and values do not count, nor do empty lines, nor capitals in the names of `columns` and of
    those that may be there `also`.

    Raises
    ------
    ValueError
        If it cannot be read, lacks one of `columns`, has one of them twice, or has a row of more fields than its head.
    """
    head, rows = _rows(read_text(path), path)
    # Written with capitals, they are the same, unless one is there without.
    known = {name.casefold(): name for name in (*also, *columns) if name not in head}
    names = {name: known.get(name.casefold(), name) for name in head}
    found = [names[name] for name in head]
    if missing := [column for column in columns if column not in found]:
        there = ", ".join(shown(name, 40) for name in head[:20]) or "none"
        raise ValueError(f"{shown(path)} lacks the column {missing[0]!r}; it has {there}.")
    if twice := [column for column in (*columns, *also) if found.count(column) > 1]:
        raise ValueError(f"{shown(path)} has the column {twice[0]!r} twice; give the other one another name.")
    return [{names[name]: value.strip() for name, value in row.items()} for row in rows]


def parse_rows(text: str, path: Path) -> list[dict[str, str]]:
    """The rows of a table that this program wrote (with commas); errors as of `read_table`."""
    return _rows(text, path, ",")[1]


def lines_of(text: str) -> list[str]:
    """The lines of a text that hold something, without spaces around it; only line ends part them."""
    return [line for raw in io.StringIO(text, newline=None) if (line := raw.strip())]


def _rows(text: str, path: Path, delimiter: str = "") -> tuple[list[str], list[dict[str, str]]]:
    text = text.removeprefix("\ufeff")
    first = text[: text.find("\n") + 1 or None]
    # Excel says so in the first line of its own tables.
    if first.lower().startswith("sep=") and len(first.strip()) == len("sep=;"):
        delimiter, text = first[4], text[len(first) :]
        first = text[: text.find("\n") + 1 or None]
    delimiter = delimiter or max(",;\t", key=first.count)
    if csv.field_size_limit() < _LONGEST_FIELD:
        csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        head = [name.strip() for name in next(reader, [])]
        rows = []
        for fields in reader:
            if not any(fields):
                continue
            if len(fields) > len(head) and any(fields[len(head) :]):
                raise ValueError(
                    f"{shown(path)}, line {reader.line_num}: {len(fields)} fields where the head has {len(head)}; put "
                    "a name that holds the separator in quotation marks."
                )
            rows.append(dict(zip(head, [*fields, *[""] * (len(head) - len(fields))], strict=False)))
    except csv.Error as error:
        raise ValueError(f"{shown(path)} cannot be read as a table ({error}).") from error
    return head, rows


def _depth(value: Any) -> int:
    """How deeply lists and mappings lie in one another; without recursion, and no further than is needed."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                below += [v for v in part.values() if isinstance(v, dict | list)]
            elif isinstance(part, list):
                below += [v for v in part if isinstance(v, dict | list)]
        depth, level = depth + 1, below
    return depth


def _too_deep(path: Path) -> ValueError:
    return ValueError(f"{shown(path)} has more than {DEEPEST} brackets within brackets; no such file needs that.")


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
