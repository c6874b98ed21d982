"""Prompts made of attributes: vocabulary, templates P0 to P9, and what a model knows of a text.

The words live in `napari_medvlsm/data/vocabulary.json`. Location words are sides of the image as shown;
laterality ("left lung") is part of the target and is the patient's. The two are never mixed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

LEVELS = ("p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9")
# The attributes each level adds to the target (paper, Table 1), the richest level last.
_LEVEL_ATTRIBUTES = {
    "p0": frozenset[str](),
    "p1": frozenset[str](),
    "p2": frozenset({"shape"}),
    "p3": frozenset({"shape", "color"}),
    "p4": frozenset({"shape", "color", "size"}),
    "p5": frozenset({"shape", "color", "size", "number"}),
    "p6": frozenset({"shape", "color", "size", "number", "location"}),
    "p7": frozenset({"general"}),
    "p8": frozenset({"shape", "color", "size", "number", "general"}),
    "p9": frozenset({"shape", "color", "size", "number", "general", "location"}),
}


@dataclass(frozen=True)
class Attributes:
    """What a prompt says about a target; an empty string says nothing about it."""

    target: str = ""
    number: str = ""
    size: str = ""
    color: str = ""
    shape: str = ""
    location: str = ""
    general: str = ""

    def named(self) -> frozenset[str]:
        """The names of the attributes, target aside, that are filled in."""
        return frozenset(f.name for f in fields(self) if f.name != "target" and getattr(self, f.name))


@dataclass(frozen=True)
class Prompt:
    """A text for the model and where it came from.

    `level` is "p0" to "p9" for a template, "free" for a text that a person typed.
    """

    text: str
    level: str
    attributes: Attributes = Attributes()
    vocabulary_version: str = ""


@dataclass(frozen=True)
class Target:
    """One thing that can be outlined: `phrase` is what models read, `label` what people read."""

    phrase: str
    label: str
    modality: str
    synonyms: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    lateralised: bool = False
    display_color: str = "#ff4d4d"


@dataclass(frozen=True)
class Modality:
    """A kind of scan, with things that such a scan cannot show (negatives for training)."""

    label: str
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Targets, attribute words and templates. See `load_vocabulary`."""

    version: str
    templates: Mapping[str, str]
    attributes: Mapping[str, tuple[str, ...]]
    modalities: Mapping[str, Modality]
    targets: Mapping[str, Target]

    def words(self, attribute: str, target: str = "") -> tuple[str, ...]:
        """The words to offer for an attribute, those seen with the target first."""
        known = self.targets.get(target)
        first = (
            {"shape": known.shapes, "color": known.colors, "general": known.general}.get(attribute, ()) if known else ()
        )
        return tuple(dict.fromkeys((*first, *self.attributes.get(attribute, ()))))

    def target(self, phrase: str) -> Target:
        """The target of a phrase; one that nobody listed is its own label."""
        return self.targets.get(phrase) or Target(phrase, phrase.capitalize(), "")

    def find_target(self, text: str) -> Target | None:
        """The target whose phrase or synonym is the longest one contained in `text` as whole words."""
        padded = f" {normalise(text)} "
        hits = [
            (len(name), target)
            for target in self.targets.values()
            for name in (target.phrase, *target.synonyms)
            if f" {normalise(name)} " in padded
        ]
        return max(hits, key=lambda hit: hit[0])[1] if hits else None


@cache
def load_vocabulary() -> Vocabulary:
    """The vocabulary that ships with the package."""
    raw = json.loads((resources.files("napari_medvlsm") / "data" / "vocabulary.json").read_text("utf-8"))

    def tuples(entry: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}

    return Vocabulary(
        version=raw["version"],
        templates=raw["templates"],
        attributes={k: tuple(v) for k, v in raw["attributes"].items()},
        modalities={k: Modality(**tuples(v)) for k, v in raw["modalities"].items()},
        targets={k: Target(**tuples(v)) for k, v in raw["targets"].items()},
    )


def level_of(attributes: Attributes) -> str:
    """The simplest level whose template can hold all the attributes given ("p0" without a target)."""
    if not attributes.target:
        return "p0"
    named = attributes.named()
    return next(level for level in LEVELS[1:] if named <= _LEVEL_ATTRIBUTES[level])


def build(attributes: Attributes, vocabulary: Vocabulary, level: str | None = None) -> Prompt:
    """Fill a template.

    Parameters
    ----------
    attributes : Attributes
        Empty ones are left out of the text, with the words that belong to them.
    vocabulary : Vocabulary
        Gives the templates.
    level : str, optional
        "p0" to "p9"; by default the simplest level that holds all the attributes given.

    Returns
    -------
    Prompt

    Raises
    ------
    ValueError
        For an unknown level.
    """
    level = level or level_of(attributes)
    if level not in vocabulary.templates:
        raise ValueError(f"The prompt level must be one of {', '.join(LEVELS)}, but is {level!r}.")
    template = vocabulary.templates[level]
    if not attributes.location:
        template = re.sub(r",? located in \{location\} of the image", "", template)
    filled = template.format(**{f.name: getattr(attributes, f.name) for f in fields(attributes)})
    return Prompt(re.sub(r"\s+", " ", filled).strip(), level, attributes, vocabulary.version)


def free_text(text: str, vocabulary: Vocabulary) -> Prompt:
    """A prompt that a person typed; the target is recognised where its name or a synonym occurs."""
    found = vocabulary.find_target(text)
    return Prompt(" ".join(text.split()), "free", Attributes(target=found.phrase if found else ""), vocabulary.version)


def normalise(text: str) -> str:
    """Lower case, words only, single spaces: the form in which texts are compared."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@dataclass(frozen=True)
class Coverage:
    """How far a text lies within what a model was trained on.

    `unknown` are the words never seen in training; `nearest` are trained phrases close to the text;
    `known_target` tells whether the text names a trained target.
    """

    unknown: tuple[str, ...]
    nearest: tuple[str, ...]
    known_target: bool

    @property
    def complete(self) -> bool:
        """Whether every word was seen and a trained target is named."""
        return not self.unknown and self.known_target


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
    phrases = list(dict.fromkeys(normalise(p) for p in trained_phrases))
    known = {word for words in trained_words for word in normalise(words).split()}
    clean = normalise(text)
    unknown = tuple(dict.fromkeys(word for word in clean.split() if word not in known))
    has_target = any(f" {phrase} " in f" {clean} " for phrase in phrases)
    if not unknown and has_target:
        return Coverage((), (), True)
    shared = sorted(phrases, key=lambda p: -len(set(p.split()) & set(clean.split())))
    close = difflib.get_close_matches(clean, phrases, n=3, cutoff=0.5)
    for word in clean.split():
        close += [p for p in phrases if difflib.get_close_matches(word, p.split(), n=1, cutoff=0.75)]
    nearest = tuple(dict.fromkeys(close or shared))[:3]
    return Coverage(unknown, nearest, has_target)
