"""Other wordings of a prompt: the levels, and contrasts that measure the prompt effect."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from napari_medvlsm.core.prompts.attributes import ATTRIBUTES, Attributes, Prompt
from napari_medvlsm.core.prompts.build import build
from napari_medvlsm.core.prompts.vocabulary import Target, Vocabulary

_MIRROR = MappingProxyType({"left": "right", "right": "left", "top": "bottom", "bottom": "top"})
_FAR_SIZE = MappingProxyType({"tiny": "large", "small": "large", "medium": "tiny", "large": "tiny"})


class Contrast(enum.Enum):
    """How a wording differs from the user's own; the value is shown in the panel."""

    YOURS = "your words"
    EMPTY = "no words at all"
    CLASS_ONLY = "the name alone"
    WRONG_SIDE = "the opposite side"
    WRONG_SIZE = "the wrong size"
    OTHER_TARGET = "something else of the same kind of scan"


@dataclass(frozen=True)
class Variant:
    """One other wording, and what it changes."""

    contrast: Contrast
    prompt: Prompt


def ladder(attributes: Attributes, vocabulary: Vocabulary) -> list[Prompt]:
    """The prompt of every level that the target's kind of scan has, P0 first.

    What is not said is left out, but a general description: the first that the target has stands in for it.
    """
    general = attributes.general or next(iter(vocabulary.target(attributes.target).general), "")
    levels = ("p0", *vocabulary.family(attributes.target).levels)
    return [build(replace(attributes, general=general), vocabulary, level) for level in levels]


def filled(
    attributes: Attributes, seen: Mapping[str, str], vocabulary: Vocabulary
) -> tuple[Attributes, frozenset[str]]:
    """The attributes with what was read from a mask where nothing is said, and the names of those taken from there."""
    sayable = vocabulary.family(attributes.target).attributes
    taken = {n: seen[n] for n in ATTRIBUTES if n in sayable and seen.get(n) and not getattr(attributes, n)}
    return replace(attributes, **taken), frozenset(taken)


def contrasts(
    prompt: Prompt, seen: Mapping[str, str], vocabulary: Vocabulary, known: Collection[str] = ()
) -> list[Variant]:
    """The person's prompt and its contrasts, those that the prompt allows.

    Parameters
    ----------
    prompt : Prompt
    seen : mapping
        "size" and "location" of the outline that the prompt gave: what is not said in the prompt is contradicted
        by adding the opposite of what the outline shows.
    vocabulary : Vocabulary
    known : collection of str
        Targets that the model was trained on; another target is taken from them if possible. Empty: any.

    Returns
    -------
    list of Variant
        The person's own first, and none that says the same as it. Without a recognised target only "no words at all"
        remains beside it.
    """
    said = prompt.attributes
    found = [Variant(Contrast.YOURS, prompt), Variant(Contrast.EMPTY, Prompt("", "p0"))]
    if not said.target:
        return found
    found.append(Variant(Contrast.CLASS_ONLY, build(said, vocabulary, "p1")))
    sayable = vocabulary.family(said.target).attributes
    side = opposite_side(said.location or seen.get("location", ""))
    if side and "location" in sayable:
        found.append(Variant(Contrast.WRONG_SIDE, _with(prompt, vocabulary, "location", side)))
    size = opposite_size(said.size or seen.get("size", ""))
    if size and "size" in sayable:
        found.append(Variant(Contrast.WRONG_SIZE, _with(prompt, vocabulary, "size", size)))
    other = other_target(vocabulary.target(said.target), vocabulary, known)
    if other:
        found.append(Variant(Contrast.OTHER_TARGET, build(Attributes(other), vocabulary, "p1")))
    # "No polyp" takes neither a side nor a size.
    return found[:1] + [variant for variant in found[1:] if variant.prompt.text != prompt.text]


def opposite_side(location: str) -> str:
    """The opposite of one or several places ("top left" of "bottom right"); "" where there is none.

    The center has none, nor have places that lie opposite one another.
    """
    places = location.split(", ")
    mirrored = [" ".join(_MIRROR.get(word, word) for word in place.split()) for place in places]
    return "" if {*mirrored} & {*places} else ", ".join(mirrored)


def opposite_size(size: str) -> str:
    """A size far from one or several ("tiny" of "medium, large"); "" where there is none."""
    sizes = size.split(", ")
    far = _FAR_SIZE.get(sizes[-1], "")
    return "" if far in sizes else far


def other_target(target: Target, vocabulary: Vocabulary, known: Collection[str] = ()) -> str:
    """Something else to ask for: the patient's other side, another target of such a scan, or what it cannot show."""
    swapped = " ".join(_MIRROR.get(word, word) for word in target.phrase.split())
    if target.names_a_side and swapped in vocabulary.targets:
        return swapped
    same = [t.phrase for t in vocabulary.targets.values() if t.modality == target.modality and t.modality]
    same = [phrase for phrase in same if phrase != target.phrase and (not known or phrase in known)]
    return next(iter([*same, *vocabulary.cannot_show(target.modality, (target.phrase,))]), "")


def _with(prompt: Prompt, vocabulary: Vocabulary, attribute: str, word: str) -> Prompt:
    """The prompt with one attribute changed; a typed text that does not say it gets it added."""
    if prompt.level == "free" and not getattr(prompt.attributes, attribute):
        added = (
            f"{prompt.text}, located in the {word} of the image" if attribute == "location" else f"{word} {prompt.text}"
        )
        return replace(prompt, text=added, attributes=replace(prompt.attributes, **{attribute: word}))
    return build(replace(prompt.attributes, **{attribute: word}), vocabulary)
