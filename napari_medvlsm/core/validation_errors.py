"""Validation errors of files, as sentences."""

from __future__ import annotations

from pydantic import ValidationError

from napari_medvlsm.core.plain_files import shown

# Letters of a value that is repeated.
_LONGEST = 60


def first_problem(error: ValidationError) -> str:
    """The first problem, in one line: the key, and what is expected there."""
    first = error.errors(include_url=False)[0]
    where = shown(".".join(str(part) for part in first["loc"]))
    what = shown(first["msg"].removeprefix("Value error, "), 300)
    given = repr(first["input"])
    # Our own sentences name the value themselves.
    told = first["type"] in ("missing", "value_error") or len(given) > _LONGEST
    but = "" if told else f", but it is {given}"
    return f"{where}: {what}{but}" if where else what
