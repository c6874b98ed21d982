"""The eleven data sets of the paper: every prompt of upstream, to the letter, from the attributes of an item.

Annotations: naamiinepal/medvlsm (MIT licence), called upstream here. Templates lie in `data/prompts/families`, the
words of each data set in `data/datasets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from napari_medvlsm.core.datasets.catalogue import read_catalogue
from napari_medvlsm.core.prompts.attributes import Attributes
from napari_medvlsm.core.prompts.build import REGULARITY
from napari_medvlsm.core.prompts.english import NUMBER_WORDS
from napari_medvlsm.core.prompts.families import PromptFamily, load_families
from napari_medvlsm.core.prompts.forms import matched_words, slot_pattern

Prompts = dict[str, str | list[str]]


@dataclass(frozen=True)
class Dataset:
    """One data set of the paper.

    Attributes
    ----------
    name, title, family : str
    targets : tuple of str
    words : mapping
        Every shape and colour of its annotations, the most frequent first.
    general : tuple of str
        Its general descriptions, each of which gives a prompt of P7, P8 and P9.
    """

    name: str
    title: str
    family: PromptFamily
    targets: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    general: tuple[str, ...] = ()


@cache
def load_datasets() -> dict[str, Dataset]:
    """The eleven data sets by name."""
    return {name: _dataset(name, raw["prompts"]) for name, raw in sorted(read_catalogue().items()) if "prompts" in raw}


def upstream_prompts(dataset: Dataset, attributes: Attributes) -> Prompts:
    """Every prompt that upstream has for an item, character for character.

    Parameters
    ----------
    dataset : Dataset
    attributes : Attributes
        Of the item, in upstream's own words; a number of "zero" is an item without the target.

    Returns
    -------
    dict
        Level to text, or to a list of texts where upstream has a list.

    Raises
    ------
    ValueError
        If an attribute that a level says is missing.
    """
    family = dataset.family
    words = _upstream_words(attributes, family)
    prompts: Prompts = {}
    for level, forms in family.upstream.items():
        per_sentence = any("general" in form.slots for form in family.upstream_forms(level))
        if attributes.number == "zero" and level != "p0" and family.upstream_absent:
            text = family.upstream_absent.fill(words)
            prompts[level] = [text] if per_sentence else text
        elif per_sentence:
            (form,) = family.upstream_forms(level)
            prompts[level] = [form.fill(words | {"general": sentence}) for sentence in dataset.general]
        elif isinstance(forms, tuple):
            prompts[level] = [form.fill(words) for form in forms]
        else:
            prompts[level] = forms.fill(words)
    return prompts


def upstream_attributes(dataset: Dataset, prompts: Mapping[str, str | list[str]]) -> Attributes:
    """The attributes of an item of upstream, in its own words, from its richest prompts.

    Raises
    ------
    ValueError
        If the prompts have another form than those of the data set.
    """
    found: dict[str, str] = {}
    for level, pattern, absent in _readings(dataset.name):
        given = prompts.get(level, "")
        text = given if isinstance(given, str) else (given[0] if given else "")
        if match := pattern.fullmatch(text):
            found |= matched_words(match)
            if absent:
                found["number"] = "zero"
                break
    name = found.pop("target", "") or found.pop("targets", "")
    if not name:
        raise ValueError(f"These prompts are not of the form of {dataset.title}: {dict(prompts)}.")
    phrases = {theirs: phrase for phrase, theirs in dataset.family.upstream_names.items()}
    singular = name.removesuffix("s") if name.removesuffix("s") in phrases else name
    said = {k: v for k, v in found.items() if k in vars(Attributes()) and k != "general"}
    return Attributes(phrases.get(singular, name), **said)


def rebuilt(dataset: Dataset, prompts: Mapping[str, str | list[str]]) -> bool:
    """Whether the item's attributes give all its prompts again, character for character."""
    try:
        return upstream_prompts(dataset, upstream_attributes(dataset, prompts)) == prompts
    except ValueError:
        return False


@cache
def upstream_words(attribute: str) -> tuple[str, ...]:
    """Every word of an attribute in the annotations of all data sets."""
    every = (word for d in load_datasets().values() for word in (*d.words.get(attribute, ()),))
    if attribute == "general":
        every = (sentence for d in load_datasets().values() for sentence in d.general)
    return tuple(dict.fromkeys(every))


def upstream_sentences(target: str) -> tuple[str, ...]:
    """Upstream's general descriptions of a target, in its order."""
    return next((d.general for d in load_datasets().values() if target in d.targets), ())


def _dataset(name: str, raw: Mapping[str, Any]) -> Dataset:
    return Dataset(
        name=name,
        title=raw["title"],
        family=load_families()[raw["family"]],
        targets=tuple(raw["targets"]),
        words={k: tuple(v) for k, v in raw["words"].items()},
        general=tuple(raw.get("general", ())),
    )


def _upstream_words(attributes: Attributes, family: PromptFamily) -> dict[str, str]:
    name = family.upstream_names.get(attributes.target, attributes.target)
    return {k: v for k, v in vars(attributes).items() if v} | {
        "target": name,
        "targets": name if attributes.number in ("", "one") else f"{name}s",
        "regularity": REGULARITY.get(attributes.tumor_type, ""),
    }


@lru_cache(maxsize=16)
def _readings(name: str) -> tuple[tuple[str, re.Pattern[str], bool], ...]:
    """(level, pattern, whether of an absent target) of the levels that say everything between them."""
    dataset = load_datasets()[name]
    family = dataset.family
    names = [family.upstream_names.get(target, target) for target in dataset.targets]
    slots = {"target": names, "targets": [*names, *(f"{n}s" for n in names)]}
    # The words of all sets: upstream's CVC-300 files describe ColonDB.
    slots |= {k: [*v] for k, v in family.words.items()} | {k: [*upstream_words(k)] for k in ("shape", "color")}
    slots |= {"number": list(NUMBER_WORDS), "age": list(NUMBER_WORDS), "general": [*upstream_words("general")]}
    slots |= {"size": list(_SIZES), "location": list(_LOCATIONS), "regularity": list(REGULARITY.values())}
    patterns = {slot: slot_pattern(slot, words) for slot, words in slots.items()}
    readings = []
    if family.upstream_absent:
        readings.append(("p1", family.upstream_absent.pattern(patterns.__getitem__), True))
    for level in family.upstream:
        if level != "p0":
            form = family.upstream_forms(level)[0]
            readings.append((level, form.pattern(patterns.__getitem__), False))
    return tuple(readings)


_SIZES = ("tiny", "small", "medium", "large")
_LOCATIONS = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
