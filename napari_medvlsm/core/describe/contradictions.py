"""Contradictions between a prompt's attributes and a mask."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medvlsm.core.describe.description import CELLS, COUNTED, MANY, NAMED, SIZE_RANGES, Description
from napari_medvlsm.core.prompts import Attributes
from napari_medvlsm.core.prompts.english import number_word

# A size is wrong only when the area lies outside its range by more than this part of the limit.
_SIZE_MARGIN = 0.25
# "Many" stands for "several" too, and three are several.
_FEWEST_MANY = 3
_COUNTS = {number_word(n): n for n in range(NAMED + 1)}
_PLACES = {name: (row, col) for row, names in enumerate(CELLS) for col, name in enumerate(names)}
_PREPOSITIONS = {"left": "on the", "right": "on the", "top": "at the", "bottom": "at the"}


@dataclass(frozen=True)
class Contradiction:
    """One attribute that says something else than the mask, with a sentence for the person who wrote it."""

    attribute: str
    said: str
    seen: str
    sentence: str


def contradictions(said: Attributes, seen: Description) -> tuple[Contradiction, ...]:
    """Where a person's words disagree with the outline, in the order number, size, location.

    Words that are not in the vocabulary are left alone, and so are shape and colour, which are opinions. The target
    is never looked at: in "left lung", left is the patient's side.

    - number: another count. "many" disagrees with fewer than three, and a number above ten agrees with "many".
    - size: some size said fits no part, nor all parts together, even when its range is 25 % wider on either side.
    - location: some place said is opposite, from side to side or from top to bottom, to every place seen.

    Parameters
    ----------
    said : Attributes
        What was written; several sizes or places are joined by ", ".
    seen : Description
        From `describe`; the locations of `describe_upstream` are biased to the right.

    Returns
    -------
    tuple of Contradiction
        Empty when nothing disagrees.
    """
    outline = "the outline has one part" if seen.number == "one" else f"the outline has {seen.number} parts"
    found = {
        "number": (_wrong_number(said.number.lower(), seen.number), outline if seen.parts else "nothing is outlined"),
        "size": (
            _wrong_size(said.size, seen),
            f"the outline is {_and(seen.size)} ({_percent(seen.fraction)} of the image)",
        ),
        "location": (
            _wrong_place(said.location, seen.location),
            f"the outline is {_where(seen.location)} of the image",
        ),
    }
    return tuple(
        Contradiction(name, getattr(said, name), getattr(seen, name), f"You wrote {getattr(said, name)}; {sentence}.")
        for name, (wrong, sentence) in found.items()
        if wrong
    )


def _wrong_number(said: str, seen: str) -> bool:
    if said == MANY:
        return seen != MANY and _COUNTS[seen] < _FEWEST_MANY
    if said not in _COUNTS:
        return False
    return _COUNTS[said] <= COUNTED if seen == MANY else said != seen


def _wrong_size(said: str, seen: Description) -> bool:
    ranges = [SIZE_RANGES[word] for word in _listed(said) if word in SIZE_RANGES]
    areas = {seen.fraction, *seen.parts}
    return bool(seen.size) and any(
        not any(low * (1 - _SIZE_MARGIN) <= area <= high * (1 + _SIZE_MARGIN) for area in areas) for low, high in ranges
    )


def _wrong_place(said: str, seen: str) -> bool:
    places = [_PLACES[word] for word in _listed(seen)]
    wanted = [_PLACES[word] for word in _listed(said) if word in _PLACES]
    # Cells two apart on an axis are opposite.
    return bool(places) and any(all(abs(row - r) == 2 or abs(col - c) == 2 for r, c in places) for row, col in wanted)


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.lower().split(",") if word.strip()]


def _where(location: str) -> str:
    return _and(", ".join(f"{_PREPOSITIONS.get(place, 'in the')} {place}" for place in _listed(location)))


def _and(words: str) -> str:
    return " and ".join(words.rsplit(", ", 1))


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    if percent < 0.01:
        return "less than 0.01 %"
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"
