"""Questions to a project's database: scans by state, target, group and text, counts, versions, events."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.projects.database import Database
from napari_medvlsm.core.projects.states import PROGRESS, State, least_far
from napari_medvlsm.core.projects.values import Case, CaseQuery, Counts, Event, Version

_SCANS = "scan JOIN scan_group ON scan_group.id = group_id"
_TASKS = "task JOIN target ON target.id = target_id"
# How far an outline is, as a number that grows.
_FAR = "CASE task.state " + " ".join(f"WHEN '{s.value}' THEN {i}" for i, s in enumerate(PROGRESS)) + " END"
_ORDER = {
    "name": "scan.sort_key",
    "state": f"(SELECT min({_FAR}) FROM task WHERE task.scan_id = scan.id)",
    "group": "coalesce(scan_group.name, '')",
    "added": "scan.id",
    "changed": "(SELECT max(changed) FROM task WHERE task.scan_id = scan.id)",
}
# SQLite takes 32766 values in a statement, older ones 999.
_AT_ONCE = 500


def sort_key(name: str) -> str:
    """A key that sorts names as people do: "scan 2" before "scan 10", without regard to case."""
    return re.sub(r"\d+", lambda digits: f"{len(digits[0].lstrip('0')):02}{digits[0].lstrip('0')}", name.casefold())


def searchable(name: str, group: str) -> str:
    """What a search looks in."""
    return f"{name} {group}".casefold()


def case_ids(database: Database, query: CaseQuery) -> list[int]:
    """The ids of the scans that a query finds, in its order."""
    where, values = _where(query)
    direction = "DESC" if query.descending else "ASC"
    order = f"{_ORDER[query.sort]} {direction}, scan.sort_key {direction}, scan.id {direction}"
    rows = database.query(f"SELECT scan.id FROM {_SCANS} WHERE {where} ORDER BY {order}", *values)
    found = dict.fromkeys(row[0] for row in rows)
    first = dict.fromkeys(id_ for id_ in query.first if id_ in found)
    return [*first, *(id_ for id_ in found if id_ not in first)]


def cases(database: Database, ids: Sequence[int]) -> list[Case]:
    """Scans by id, in the order of the ids; those that are not there are left out."""
    found: dict[int, Case] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        states: dict[int, dict[str, State]] = {}
        changed: dict[int, str] = {}
        for row in database.query(
            f"SELECT scan_id, phrase, state, changed FROM {_TASKS} WHERE scan_id IN ({marks}) ORDER BY target.id",
            *some,
        ):
            states.setdefault(row["scan_id"], {})[row["phrase"]] = State(row["state"])
            changed[row["scan_id"]] = max(row["changed"], changed.get(row["scan_id"], ""))
        for row in database.query(
            f"SELECT scan.*, scan_group.name AS group_name, split FROM {_SCANS} WHERE scan.id IN ({marks})",
            *some,
        ):
            found[row["id"]] = _case(row, states.get(row["id"], {}), changed.get(row["id"], row["added"]))
    return [found[id_] for id_ in ids if id_ in found]


def neighbour(database: Database, case_id: int | None, step: int, query: CaseQuery) -> int | None:
    """The next scan (`step` 1) or the previous one (-1); see `ProjectStore.neighbour`."""
    ids = case_ids(database, query)
    if case_id is None:
        return ids[0 if step > 0 else -1] if ids else None
    if case_id in ids:
        place = ids.index(case_id) + step
        return ids[place] if 0 <= place < len(ids) else None
    every = case_ids(database, CaseQuery(sort=query.sort, descending=query.descending, first=query.first))
    wanted = set(ids)
    place = every.index(case_id)
    beyond = every[place + 1 :] if step > 0 else every[:place][::-1]
    return next((other for other in beyond if other in wanted), None)


def counts(database: Database, query: CaseQuery) -> Counts:
    """How far the scans of a query are; with targets, their outlines alone count."""
    where, values = _where(query)
    scans = f"SELECT scan.id FROM {_SCANS} WHERE {where}"
    by_split = database.query(f"SELECT split, count(*) AS n FROM {_SCANS} WHERE {where} GROUP BY split", *values)
    marks = ", ".join("?" * len(query.targets))
    of_targets = f"AND target_id IN (SELECT id FROM target WHERE phrase IN ({marks}))" if query.targets else ""
    states = database.query(
        f"SELECT state, count(*) AS n, sum(state = 'unseen' AND prediction_id IS NOT NULL) AS waiting FROM task "
        f"WHERE scan_id IN ({scans}) {of_targets} GROUP BY state",
        *values,
        *query.targets,
    )
    splits = dict.fromkeys(SPLITS, 0) | {row["split"]: row["n"] for row in by_split}
    return Counts(
        sum(splits.values()),
        dict.fromkeys(State, 0) | {State(row["state"]): row["n"] for row in states},
        splits,
        sum(row["waiting"] for row in states),
    )


def to_predict(database: Database, target: str, prompt: str, weights: str) -> list[int]:
    """The scans in which a target is unseen and has no prediction by this prompt and these weights (SHA-256)."""
    rows = database.query(
        f"SELECT scan_id FROM {_TASKS} JOIN scan ON scan.id = scan_id LEFT JOIN version ON version.id = prediction_id "
        "WHERE phrase = ? AND state = 'unseen' AND (prediction_id IS NULL OR version.prompt != ? "
        "OR version.weights_hash != ?) ORDER BY scan.sort_key",
        target,
        prompt,
        weights,
    )
    return [row["scan_id"] for row in rows]


def versions(database: Database, case_id: int, target: str) -> list[Version]:
    """All versions of an outline, the oldest first."""
    return _versions(database, "scan_id = ? AND phrase = ?", case_id, target)


def version(database: Database, version_id: int) -> Version | None:
    """The version of an id."""
    return next(iter(_versions(database, "version.id = ?", version_id)), None)


def events(database: Database, case_id: int, target: str = "") -> list[Event]:
    """What was done to the outlines of a scan, or to one of them, in its order."""
    rows = database.query(
        f"SELECT event.*, scan_id, phrase FROM {_TASKS} JOIN event ON task_id = task.id "
        "WHERE scan_id = ? AND (? = '' OR phrase = ?) ORDER BY event.id",
        case_id,
        target,
        target,
    )
    return [
        Event(
            row["id"],
            row["scan_id"],
            row["phrase"],
            row["what"],
            State(row["state"]),
            row["version_id"],
            row["person"],
            row["remark"],
            _time(row["at"]),
        )
        for row in rows
    ]


def groups(database: Database) -> dict[str, int]:
    """The groups that have a name, in order, and how many scans each has."""
    rows = database.query(
        "SELECT scan_group.name, count(scan.id) AS n FROM scan_group LEFT JOIN scan ON group_id = scan_group.id "
        "WHERE scan_group.name IS NOT NULL GROUP BY scan_group.id"
    )
    return {row["name"]: row["n"] for row in sorted(rows, key=lambda row: sort_key(row["name"]))}


def _where(query: CaseQuery) -> tuple[str, list[Any]]:
    parts = ["1"]
    values: list[Any] = []

    def one_of(column: str, choices: Sequence[str]) -> str:
        values.extend(str(choice) for choice in choices)
        return f"{column} IN ({', '.join('?' * len(choices))})"

    outline = []
    if query.targets:
        outline.append(one_of("phrase", query.targets))
    if query.states:
        outline.append(one_of("task.state", query.states))
    if query.predicted is not None:
        waiting = "task.state = 'unseen' AND prediction_id IS NOT NULL"
        outline.append(waiting if query.predicted else f"NOT ({waiting})")
    if outline:
        parts.append(f"EXISTS (SELECT 1 FROM {_TASKS} WHERE scan_id = scan.id AND {' AND '.join(outline)})")
    if query.groups:
        parts.append(one_of("scan_group.name", query.groups))
    if query.splits:
        parts.append(one_of("split", query.splits))
    for word in query.text.casefold().split():
        parts.append("instr(scan.search, ?) > 0")
        values.append(word)
    return " AND ".join(parts), values


def _case(row: sqlite3.Row, states: dict[str, State], changed: str) -> Case:
    spacing = None if row["row_mm"] is None else (row["row_mm"], row["column_mm"])
    return Case(
        row["id"],
        row["name"],
        row["group_name"] or "",
        row["split"],
        states,
        least_far(states.values()),
        (row["rows"], row["columns"]),
        spacing,
        row["modality"],
        row["pixels_hash"],
        _time(row["added"]),
        _time(changed),
    )


def _versions(database: Database, where: str, *values: object) -> list[Version]:
    rows = database.query(
        "SELECT version.*, scan_id, phrase, coalesce(current_id = version.id, 0) AS is_current "
        f"FROM {_TASKS} JOIN version ON task_id = task.id WHERE {where} ORDER BY version.id",
        *values,
    )
    return [
        Version(
            row["id"],
            row["scan_id"],
            row["phrase"],
            row["number"],
            row["origin"],
            _time(row["created"]),
            row["author"],
            row["prompt"],
            row["model"],
            row["weights_hash"],
            bool(row["corrected"]),
            bool(row["absent"]),
            bool(row["predicted"]),
            row["foreground"],
            row["seconds"],
            row["strokes"],
            row["clicks"],
            row["pixels_changed"],
            row["dice"],
            bool(row["is_current"]),
            bool(row["lost"]),
            row["file"],
        )
        for row in rows
    ]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
