"""How much of a text was in a model's training data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Function words, which are never unknown.
LITTLE_WORDS = frozenset(
    """a an and are as at be by end found from heart image in is it its located of old on or part present region scan
    shape shaped side sized that the there these this to view which with year""".split()
)


def normalise(text: str) -> str:
    """Lower case, words only, single spaces: the form in which texts are compared."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


@dataclass(frozen=True)
class Coverage:
    """How much of a text was in a model's training data.

    `unknown` are the words never seen in training; `known_target` tells whether the text names a trained target.
    """

    unknown: tuple[str, ...]
    known_target: bool

    @property
    def telling(self) -> tuple[str, ...]:
        """The unknown words, without function words."""
        return tuple(word for word in self.unknown if word not in LITTLE_WORDS)

    @property
    def complete(self) -> bool:
        """Whether every word that means something was seen and a trained target is named."""
        return not self.telling and self.known_target


def coverage(text: str, trained_phrases: Iterable[str], trained_words: Iterable[str]) -> Coverage:
    """Compare a text with a model's training vocabulary.

    Parameters
    ----------
    text : str
        The prompt.
    trained_phrases : iterable of str
        Names of targets that the model was trained on, synonyms included.
    trained_words : iterable of str
        All single words seen in training.
    """
    known = {word for words in trained_words for word in normalise(words).split()}
    clean = normalise(text)
    unknown = tuple(dict.fromkeys(word for word in clean.split() if word not in known))
    return Coverage(unknown, any(f" {normalise(phrase)} " in f" {clean} " for phrase in trained_phrases))
