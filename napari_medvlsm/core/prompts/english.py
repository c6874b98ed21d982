"""Number words and articles. Small enough to own: the usual library takes a second to import."""

from __future__ import annotations

import re

_ONES = tuple(
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen""".split()
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_word(number: int) -> str:
    """A whole number from 0 to 999 in words, as in "sixty-four" and "one hundred and twelve".

    Raises
    ------
    ValueError
        Outside that range.
    """
    if not 0 <= number < 1000:
        raise ValueError(f"Only numbers from 0 to 999 are written in words, not {number}.")
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = _TENS[number // 10 - 2], number % 10
        return f"{tens}-{_ONES[ones]}" if ones else tens
    rest = number % 100
    return f"{_ONES[number // 100]} hundred" + (f" and {number_word(rest)}" if rest else "")


# What one counts in a scan, and the years of a life.
NUMBER_WORDS = tuple(number_word(n) for n in range(131))


def with_articles(text: str) -> str:
    """`text` with "a" as "an" before a vowel sound ("an eighteen-year-old"; but "a one-year-old", "a unilateral")."""
    return re.sub(r"\b([Aa]) (?=(?!ones?\b|one-|once\b|eu|uni|u[^lmnp])[aeiou])", r"\1n ", text)


def plural(name: str) -> str:
    """The regular plural of a name ("breast mass" gives "breast masses"); what may be one already stays as it is."""
    if name.endswith(("ss", "sh", "ch", "x")):
        return f"{name}es"
    if name.endswith("s"):
        return name
    return f"{name[:-1]}ies" if re.search(r"[^aeiou]y$", name) else f"{name}s"


def joined(words: list[str]) -> str:
    """Words as "a, b and c", each once."""
    once = list(dict.fromkeys(words))
    return " and ".join([", ".join(once[:-1]), once[-1]]) if len(once) > 1 else "".join(once)
