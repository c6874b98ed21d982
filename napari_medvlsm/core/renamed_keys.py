"""Keys of results, curves, events and model cards that earlier versions wrote under other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RENAMED = {
    "absent_drawn": "false_positive_rate",
    "absent_any": "any_false_positive_rate",
    "val_absent_drawn": "val_false_positive_rate",
    "drawn_fraction": "predicted_fraction",
}
# Values that were renamed, by key.
_RENAMED_VALUES = {("wording", "release"): "upstream"}


def with_current_keys(value: Any) -> Any:
    """The same mappings and lists with today's keys, at any depth; a key that has today's name already wins."""
    if isinstance(value, Mapping):
        old = {_RENAMED[k]: with_current_keys(v) for k, v in value.items() if k in _RENAMED}
        return old | {k: _current(k, v) for k, v in value.items() if k not in _RENAMED}
    if isinstance(value, list):
        return [with_current_keys(v) for v in value]
    return value


def _current(key: str, value: Any) -> Any:
    current = _RENAMED_VALUES.get((key, value)) if isinstance(value, str) else None
    return with_current_keys(value) if current is None else current


def with_current_metrics(metrics: Any) -> Any:
    """The metrics of a model card with today's keys."""
    current = with_current_keys(metrics)
    absent = current.get("test_absent") if isinstance(current, dict) else None
    if isinstance(absent, dict) and "drawn" in absent:
        rate = {"false_positive_rate": absent["drawn"]}
        current["test_absent"] = rate | {k: v for k, v in absent.items() if k != "drawn"}
    return current
