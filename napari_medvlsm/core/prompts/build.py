"""Attributes to text, in the words of the interface."""

from __future__ import annotations

from dataclasses import replace

from napari_medvlsm.core.prompts.attributes import LEVELS, LISTS, Attributes, Prompt
from napari_medvlsm.core.prompts.english import joined, with_articles
from napari_medvlsm.core.prompts.vocabulary import Vocabulary

# What upstream calls the outline of each type of tumor.
REGULARITY = {"benign": "regular", "malignant": "irregular"}


def level_of(attributes: Attributes, vocabulary: Vocabulary) -> str:
    """The simplest level whose template can hold all the attributes given ("p0" without a target)."""
    if not attributes.target:
        return "p0"
    return vocabulary.family(attributes.target).level_of(attributes.named())


def explain(attributes: Attributes, vocabulary: Vocabulary, level: str) -> str:
    """A level of the target's kind of scan in words, such as "name, shape and colour"."""
    return vocabulary.family(attributes.target).explain(level)


def build(attributes: Attributes, vocabulary: Vocabulary, level: str | None = None, wording: int = 0) -> Prompt:
    """Put attributes into words.

    Parameters
    ----------
    attributes : Attributes
        Empty ones are left out of the text, with the words that belong to them.
    vocabulary : Vocabulary
    level : str, optional
        "p0" to "p9", of which a kind of scan may have fewer; by default the simplest level that holds all the
        attributes given. Attributes beyond the level are left out.
    wording : int
        Which of the paraphrases, where the kind of scan has several.

    Returns
    -------
    Prompt
        Its attributes are those that the text says.

    Raises
    ------
    ValueError
        For a level that the target's kind of scan does not have.
    """
    level = level or level_of(attributes, vocabulary)
    family = vocabulary.family(attributes.target)
    if level != "p0" and level not in family.levels:
        known = ", ".join(name for name in LEVELS if name == "p0" or name in family.levels)
        raise ValueError(f"The prompt level must be one of {known}, but is {level!r}.")
    if level == "p0" or not attributes.target:
        return Prompt("", "p0", Attributes(), vocabulary.version)
    if attributes.number == "zero":
        said = Attributes(attributes.target, number="zero")
        text = family.clean_absent.fill({"target": attributes.target})
        return Prompt(text, level, said, vocabulary.version)
    said = attributes.only(family.levels[level])
    form = family.clean[wording % len(family.clean)]
    return Prompt(with_articles(form.fill(_words(said, vocabulary))), level, said, vocabulary.version)


def _words(attributes: Attributes, vocabulary: Vocabulary) -> dict[str, str]:
    target = vocabulary.target(attributes.target)
    plural = attributes.number not in ("", "one")
    words = {name: value for name, value in vars(attributes).items() if value}
    for name in LISTS & words.keys():
        words[name] = joined(words[name].split(", "))
    return words | {
        "targets": (target.plural or f"{target.phrase}s") if plural else target.phrase,
        "be": "are" if plural else "is",
        "be_findings": "are" if _several(attributes.findings, vocabulary) else "is",
        "regularity": REGULARITY.get(attributes.tumor_type, ""),
    }


def _several(findings: str, vocabulary: Vocabulary) -> bool:
    only = vocabulary.targets.get(findings)
    return ", " in findings or (only is not None and only.plural == only.phrase)


def fitting(attributes: Attributes, vocabulary: Vocabulary) -> Attributes:
    """The attributes that can be said about the target; the words of another kind of scan are dropped."""
    family = vocabulary.family(attributes.target)
    kept = attributes.only(frozenset(family.attributes))
    for name in family.words:
        known = vocabulary.words(name, attributes.target)
        if not {*getattr(kept, name).split(", ")} <= {"", *known}:
            kept = replace(kept, **{name: ""})
    return kept
