"""Scans that enter a project: read once, checked, copied in if wanted, and given their split for good."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_medvlsm.core.datasets.groups import tidy
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.images import read_scan, walk_pictures
from napari_medvlsm.core.io.labels import is_own_mask
from napari_medvlsm.core.projects import outlines
from napari_medvlsm.core.projects.errors import ProjectError, told
from napari_medvlsm.core.projects.files import SCANS_FOLDER, file_digest
from napari_medvlsm.core.projects.grouping import GroupRule
from napari_medvlsm.core.projects.holdout import assign
from napari_medvlsm.core.projects.reading import searchable, sort_key
from napari_medvlsm.core.projects.store import ProjectStore

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class NewScan:
    """A scan to be added.

    Attributes
    ----------
    path : Path
    name : str
        For people; the file's name where it is "".
    group : str
        Such as "patient 7"; "" where nothing is known.
    split : str
        "train", "val" or "test" where it has one already; "" for the project to choose.
    modality : str
        Key of the vocabulary's modalities; "" where not stated.
    """

    path: Path
    name: str = ""
    group: str = ""
    split: str = ""
    modality: str = ""


@dataclass
class AddReport:
    """What became of scans to be added.

    Attributes
    ----------
    added : list of int
        Ids of the new ones.
    ids : dict of Path to int
        Of all that are in the project now, by the path they were given with.
    known, failed : list of str
        A sentence for each that was there already, and for each that could not be added.
    """

    added: list[int] = field(default_factory=list)
    ids: dict[Path, int] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Read:
    """What was read of a scan."""

    scan: NewScan
    name: str
    path: Path
    pixels_hash: str
    file_hash: str
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    file_bytes: int
    file_mtime_ns: int
    copied: str = ""


def scans_in(folder: Path) -> Iterator[NewScan]:
    """The scans in a folder and below, in alphabetical order, named by their place in it.

    Masks that this program saved are left out; others as of `walk_pictures`.
    """
    for path in walk_pictures(folder):
        if not is_own_mask(path):
            yield NewScan(path, path.relative_to(folder).as_posix())


def grouped(scans: Sequence[NewScan], rule: GroupRule | None) -> list[NewScan]:
    """The scans with the groups that a rule finds; where it finds none, a scan keeps the one that it has."""
    if rule is None:
        return list(scans)
    return [replace(scan, group=rule.of(scan.path, scan.name or scan.path.name) or scan.group) for scan in scans]


def add_scans(
    store: ProjectStore, scans: Sequence[NewScan], copy: bool = False, progress: Progress | None = None
) -> AddReport:
    """Add scans to a project, all that can be read in one transaction.

    A scan whose pixels the project has already is not added again. Each group gets its split now (`holdout`).

    Parameters
    ----------
    store : ProjectStore
    scans : sequence of NewScan
    copy : bool
        Copy the files into the project; else it remembers where they are, relative to its folder where it can.
    progress : callable, optional
        ``progress(done, of)``.

    Raises
    ------
    ProjectError
        If the disk fails; nothing is added then.
    """
    report = AddReport()
    read: dict[str, _Read] = {}
    same: dict[str, list[Path]] = {}
    for number, scan in enumerate(scans, 1):
        try:
            one = _read(scan)
        except (ValueError, OSError) as error:
            report.failed.append(f"{scan.path}: {error}")
        else:
            same.setdefault(one.pixels_hash, []).append(scan.path)
            there = store.find_case(one.pixels_hash)
            if there is not None:
                report.ids[scan.path] = there.id
                report.known.append(f"{scan.path} is {_regroup(store, there.id, scan.group)}")
            elif one.pixels_hash in read:
                report.known.append(f"{scan.path} has the same pixels as {read[one.pixels_hash].name}.")
            else:
                read[one.pixels_hash] = one
        if progress:
            progress(number, len(scans))
    new = list(read.values())
    if copy:
        new = _copied(store, new)
    with store.changing() as connection:
        splits = _splits(connection, new, store.salt, report)
        targets = [row["id"] for row in connection.execute("SELECT id FROM target WHERE asked")]
        for one in new:
            if one.pixels_hash in splits:
                case_id = _insert(connection, store.folder, one, splits[one.pixels_hash], targets)
                report.added.append(case_id)
                report.ids.update(dict.fromkeys(same[one.pixels_hash], case_id))
        connection.executemany("DELETE FROM incoming WHERE file = ?", [(one.copied,) for one in new if one.copied])
    return report


def set_group(store: ProjectStore, case_id: int, group: str) -> None:
    """Say which patient or sequence a scan belongs to, after it entered.

    Raises
    ------
    ProjectError
        If other scans of the group are in another split: that never changes.
    """
    group, case = tidy(group), store.case(case_id)
    with store.changing() as connection:
        row = connection.execute("SELECT id, split FROM scan_group WHERE name = ?", (group,)).fetchone()
        if row is not None and row["split"] != case.split:
            raise ProjectError(
                f"{case.name} is in {case.split}, but other scans of {group} are in {row['split']}, and a split never "
                "changes; say what belongs together when the scans are added."
            )
        if row is None:
            made = connection.execute("INSERT INTO scan_group (name, split) VALUES (?, ?)", (group, case.split))
        connection.execute(
            "UPDATE scan SET group_id = ?, search = ? WHERE id = ?",
            (made.lastrowid if row is None else row["id"], searchable(case.name, group), case_id),
        )


def _regroup(store: ProjectStore, case_id: int, group: str) -> str:
    """Give a scan that is there already the group that it is added with, if it has none; what to say."""
    case = store.case(case_id)
    there = f"in the project already, as {case.name}"
    if not group or case.group:
        return f"{there}."
    try:
        set_group(store, case_id, group)
    except ProjectError as error:
        return f"{there}. {error}"
    return f"{there}; it belongs to {group} now."


def _read(scan: NewScan) -> _Read:
    path = scan.path.resolve()
    name = scan.name or scan.path.name
    try:
        f"{path}{name}".encode()
    except UnicodeEncodeError:
        raise ProjectError("the file's name holds bytes that are no text; rename it.") from None
    pixels, facts = read_scan(path), path.stat()
    return _Read(
        scan,
        name,
        path,
        content_hash(pixels.pixels),
        file_digest(path),
        pixels.size,
        pixels.spacing,
        facts.st_size,
        facts.st_mtime_ns,
    )


def _copied(store: ProjectStore, new: Sequence[_Read]) -> list[_Read]:
    """The scans as copies in the project's folder; what is left of these after a crash is removed."""
    files = [f"{SCANS_FOLDER}/{one.path.stem[:80]}-{one.file_hash[:8]}{one.path.suffix}" for one in new]
    with store.changing() as connection:
        connection.executemany("INSERT OR IGNORE INTO incoming VALUES (?)", [(file,) for file in files])
    copied = []
    with store.writing(), told(store.folder, "copied"):
        (store.folder / SCANS_FOLDER).mkdir(exist_ok=True)
        for one, file in zip(new, files, strict=True):
            with replacing(store.folder / file) as temporary:
                shutil.copyfile(one.path, temporary)
            facts = (store.folder / file).stat()
            copied.append(replace(one, copied=file, file_mtime_ns=facts.st_mtime_ns))
    return copied


def _splits(
    connection: sqlite3.Connection, new: Sequence[_Read], salt: str, report: AddReport
) -> dict[str, tuple[int, str]]:
    """The group of each new scan by its pixels, as (id, name); a scan that contradicts its group is left out."""
    known = {
        row["name"]: (row["id"], row["split"])
        for row in connection.execute("SELECT id, name, split FROM scan_group WHERE name IS NOT NULL")
    }
    before = dict(connection.execute("SELECT split, count(*) FROM scan_group GROUP BY split").fetchall())
    given: dict[str, str] = {}
    chosen: list[_Read] = []
    for one in new:
        key, split = one.scan.group or one.pixels_hash, one.scan.split
        has = known[key][1] if key in known else given.get(key, "")
        if split and split not in SPLITS:
            report.failed.append(f"{one.scan.path}: the split {split!r} is none of {', '.join(SPLITS)}.")
        elif split and has and split != has:
            report.failed.append(
                f"{one.scan.path}: it is in {split}, but other scans of {key} are in {has}, and a split never changes."
            )
        else:
            given[key] = split or has
            chosen.append(one)
    for split in filter(None, (split for key, split in given.items() if key not in known)):
        before[split] = before.get(split, 0) + 1
    given |= assign((key for key, split in given.items() if not split), before, salt)
    groups: dict[str, tuple[int, str]] = {}
    for one in chosen:
        key = one.scan.group or one.pixels_hash
        if key not in known:
            made = connection.execute(
                "INSERT INTO scan_group (name, split) VALUES (?, ?)", (one.scan.group or None, given[key])
            )
            assert made.lastrowid is not None
            known[key] = (made.lastrowid, given[key])
        groups[one.pixels_hash] = (known[key][0], one.scan.group)
    return groups


def _insert(
    connection: sqlite3.Connection, project: Path, one: _Read, group: tuple[int, str], targets: Sequence[int]
) -> int:
    row_mm, column_mm = one.spacing or (None, None)
    now = outlines.now()
    values = {
        "group_id": group[0],
        "name": one.name,
        "sort_key": sort_key(one.name),
        "search": searchable(one.name, group[1]),
        "path": one.copied or relative_path(project, one.path),
        "absolute": str(project / one.copied if one.copied else one.path),
        "copied": bool(one.copied),
        "pixels_hash": one.pixels_hash,
        "file_hash": one.file_hash,
        "file_bytes": one.file_bytes,
        "file_mtime_ns": one.file_mtime_ns,
        "rows": one.size[0],
        "columns": one.size[1],
        "row_mm": row_mm,
        "column_mm": column_mm,
        "modality": one.scan.modality,
        "added": now,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    case_id = connection.execute(f"INSERT INTO scan ({names}) VALUES ({marks})", tuple(values.values())).lastrowid
    assert case_id is not None
    connection.executemany(
        "INSERT INTO task (scan_id, target_id, changed) VALUES (?, ?, ?)", [(case_id, id_, now) for id_ in targets]
    )
    return case_id


def relative_path(project: Path, path: Path) -> str:
    """A file's path relative to the project, with slashes; as it is where that is on another drive."""
    try:
        return Path(os.path.relpath(path, project)).as_posix()
    except ValueError:
        return path.as_posix()
