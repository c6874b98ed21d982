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


def with_current_keys(value: Any) -> Any:
    """The same mappings and lists with today's keys, at any depth; a key that has today's name already wins."""
    if isinstance(value, Mapping):
        old = {_RENAMED[k]: with_current_keys(v) for k, v in value.items() if k in _RENAMED}
        return old | {k: with_current_keys(v) for k, v in value.items() if k not in _RENAMED}
    if isinstance(value, list):
        return [with_current_keys(v) for v in value]
    return value


def with_current_metrics(metrics: Any) -> Any:
    """The metrics of a model card with today's keys."""
    current = with_current_keys(metrics)
    absent = current.get("test_absent") if isinstance(current, dict) else None
    if isinstance(absent, dict) and "drawn" in absent:
        rate = {"false_positive_rate": absent["drawn"]}
        current["test_absent"] = rate | {k: v for k, v in absent.items() if k != "drawn"}
    return current
