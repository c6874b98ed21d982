"""Text to attributes: the inverse of `build`, and of upstream's templates.

A text of a known form is read exactly. Any other text is read word by word: what is known is placed, the
little words between are passed over, and the rest is returned as not placed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from napari_medvlsm.core.prompts.attributes import LISTS, Attributes, Prompt
from napari_medvlsm.core.prompts.build import REGULARITY, level_of
from napari_medvlsm.core.prompts.coverage import LITTLE_WORDS, normalise
from napari_medvlsm.core.prompts.english import NUMBER_WORDS
from napari_medvlsm.core.prompts.families import PromptFamily
from napari_medvlsm.core.prompts.forms import Form, matched_words, slot_pattern
from napari_medvlsm.core.prompts.upstream import upstream_sentences, upstream_words
from napari_medvlsm.core.prompts.vocabulary import Target, Vocabulary

# Attributes whose words can stand right before the name of the target.
BEFORE_THE_NAME = frozenset({"number", "size", "color", "shape", "tumor_type"})
# What may follow a side of the image; anything else is what has the side.
_AFTER_A_SIDE = frozenset(
    "of side half part corner edge third in and or image top upper bottom lower left right center centre middle".split()
)
# "s" is what is left of "patient's".
_OWNERS = frozenset("s patient patients his her their".split())
_BEFORE_A_GRADE = frozenset("stage grade type class level degree version".split())
_UNITS = frozenset("mm cm m um nm px pixel pixels percent x by hours days weeks months years year".split())
# Words that mean an attribute only together with others.
_AROUND = {"quality": ("{} image quality", "{} quality"), "view": ("{} view", "{}"), "sex": ("{}", "{} patient")}


@dataclass(frozen=True)
class Parsed:
    """A parsed prompt.

    Attributes
    ----------
    attributes : Attributes
        In the words of the vocabulary, where it has them.
    level : str
        The simplest level that says them.
    unplaced : tuple of str
        Parts of the text that name no attribute, in order.
    """

    attributes: Attributes
    level: str
    unplaced: tuple[str, ...] = ()


@lru_cache(maxsize=64)
def parse(text: str, vocabulary: Vocabulary) -> Parsed:
    """Read the attributes that a text names.

    Parameters
    ----------
    text : str
        Typed or pasted; capitals and spacing do not matter.
    vocabulary : Vocabulary

    Returns
    -------
    Parsed
        Without a target where none is recognised.
    """
    tidy = " ".join(text.split())
    # A "stomach ulcer" is none in the shape of a stomach.
    attributes = None if vocabulary.names_another(tidy) else parse_form(tidy, vocabulary)
    if attributes is not None:
        return Parsed(attributes, level_of(attributes, vocabulary))
    attributes, unplaced = _by_word(tidy, vocabulary)
    return Parsed(attributes, level_of(attributes, vocabulary), unplaced)


def free_text(text: str, vocabulary: Vocabulary) -> Prompt:
    """A prompt that a person typed, with the attributes that it names."""
    return Prompt(" ".join(text.split()), "free", parse(text, vocabulary).attributes, vocabulary.version)


# A text of a known form ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    family: PromptFamily
    absent: bool
    pattern: re.Pattern[str]


def parse_form(text: str, vocabulary: Vocabulary) -> Attributes | None:
    """The attributes of a text that has one of the known forms to the letter; None for any other."""
    for reading in _readings(vocabulary):
        if match := reading.pattern.fullmatch(text):
            found = _from_words(matched_words(match), reading, vocabulary)
            if found is not None:
                return found
    return None


@lru_cache(maxsize=4)
def _readings(vocabulary: Vocabulary) -> tuple[_Reading, ...]:
    """The patterns of all forms of the families that have targets, the interface's before upstream's."""
    families = {family.name: family for family in map(vocabulary.family, vocabulary.targets)}
    readings = []
    for family in families.values():
        of_slot = _slot_patterns(family, vocabulary)
        absent = [family.clean_absent, *filter(None, [family.upstream_absent])]
        said = [*family.clean, *(form for level in family.upstream for form in family.upstream_forms(level))]
        for form in (*absent, *said):
            # Upstream's space at the end of a sentence is not in a tidy text.
            if template := form.template.strip():
                readings.append(_Reading(family, form in absent, Form(template).pattern(of_slot.__getitem__)))
    return tuple(readings)


def _slot_patterns(family: PromptFamily, vocabulary: Vocabulary) -> dict[str, str]:
    words = _slot_words(family, vocabulary)
    patterns = {slot: slot_pattern(slot, known) for slot, known in words.items()}
    # In "foot ulcer", "foot" begins the name of a target and is not a shape before an "ulcer".
    no_name = f"(?!{patterns['targets']}(?![\\w-]))"
    return patterns | {name: no_name + patterns[name] for name in BEFORE_THE_NAME & patterns.keys()}


def _slot_words(family: PromptFamily, vocabulary: Vocabulary) -> dict[str, list[str]]:
    """All words that can stand in each slot."""
    targets = [t for t in vocabulary.targets.values() if t.family == family.name]
    names = [name for target in targets for name in vocabulary.names(target)]
    words = {"target": [*names, *family.upstream_names.values()]}
    words["targets"] = [*words["target"], *(f"{name}s" for name in family.upstream_names.values())]
    for name in family.attributes:
        known = {word for target in targets for word in vocabulary.words(name, target.phrase)}
        same = {s for synonyms in vocabulary.attributes.get(name, {}).values() for s in synonyms}
        words[name] = [*known, *same, *upstream_words(name)]
    words["number"] = [*words.get("number", ()), *NUMBER_WORDS]
    words["age"] = list(NUMBER_WORDS)
    return words | {"be": ["is", "are"], "be_findings": ["is", "are"], "regularity": list(REGULARITY.values())}


def _from_words(words: dict[str, str], reading: _Reading, vocabulary: Vocabulary) -> Attributes | None:
    name = words.get("target") or words.get("targets", "")
    names = {theirs: phrase for phrase, theirs in reading.family.upstream_names.items()}
    names |= {f"{theirs}s": phrase for theirs, phrase in names.items()}
    target = vocabulary.find_target(names.get(name, name))
    if target is None:
        return None  # letters that are alike only to a pattern, such as a long s
    said = {k: v for k, v in words.items() if k in vars(Attributes())} | {"target": target.phrase}
    if "regularity" in words:
        said["tumor_type"] = next(kind for kind, outline in REGULARITY.items() if outline == words["regularity"])
    for attribute in LISTS & said.keys():
        said[attribute] = ", ".join(re.split(r", | and ", said[attribute]))
    if "general" in said:
        said["general"] = _own_sentence(said["general"], target)
    spelled = {k: _spelled(k, v, target, vocabulary) for k, v in said.items() if k != "target"}
    return Attributes(target.phrase, **spelled | ({"number": "zero"} if reading.absent else {}))


def _spelled(attribute: str, word: str, target: Target, vocabulary: Vocabulary) -> str:
    """The interface's word, with the capitals it has there."""
    word = vocabulary.canonical(attribute, word)
    return next((own for own in vocabulary.words(attribute, target.phrase) if own.lower() == word), word)


def _own_sentence(sentence: str, target: Target) -> str:
    """The interface's sentence in the place of upstream's, which are listed in the same order."""
    of_upstream = upstream_sentences(target.phrase)
    known = sentence in of_upstream and len(of_upstream) <= len(target.general)
    return target.general[of_upstream.index(sentence)] if known else sentence


# Any other text ------------------------------------------------------------------------------------------------


def _by_word(text: str, vocabulary: Vocabulary) -> tuple[Attributes, tuple[str, ...]]:
    tokens = normalise(text).split()
    target = vocabulary.find_target(text)
    family = vocabulary.family(target.phrase if target else "")
    said: dict[str, str] = {}
    free: list[str | None] = list(tokens)
    # Places, counted in tokens, behind which the text has a comma or another stop.
    stops = set(accumulate(len(normalise(part).split()) for part in re.split(r"[,;.:](?:\s|$)", text)))
    name_at = len(tokens)
    if target is not None:
        start, stop = next((start, stop) for start, stop, named in vocabulary.named_in(tokens) if named is target)
        free[start:stop] = [None] * (stop - start)
        name_at = start
        said["target"] = target.phrase
        if start and tokens[start - 1] == "no":
            free[start - 1] = None
            said["number"] = "zero"
    phrases = _phrases(family, target.phrase if target else "", vocabulary)
    longest = max(map(len, phrases))
    left: list[str | None] = []
    i = 0
    while i < len(free):
        for length in range(longest, 0, -1):
            found = phrases.get(tuple(t or "" for t in free[i : i + length]))
            if (
                found
                and i + length <= len(free)
                and _means_it(found, tokens, i, i + length, name_at, i + length in stops)
            ):
                if not _place(said, *found):
                    continue
                left.append(None)
                i += length
                break
        else:
            left.append(free[i])
            i += 1
    return Attributes(**said), tuple(_runs(left))


def _means_it(found: tuple[str, str], tokens: list[str], start: int, stop: int, name_at: int, at_stop: bool) -> bool:
    """Whether tokens say an attribute, and not something that is only called alike.

    "left" before another word is a side of the patient ("the left foot"), no place in the image; a number that
    stands behind the name, before a unit or behind "stage" counts nothing.
    """
    attribute, word = found
    before = tokens[start - 1] if start else ""
    after = tokens[stop] if stop < len(tokens) and not at_stop else ""
    if attribute == "location" and {"left", "right"} & {*word.split()}:
        return before not in _OWNERS and (not after or after in _AFTER_A_SIDE)
    if attribute == "number":
        return stop <= name_at and before not in _BEFORE_A_GRADE and after not in _UNITS
    return True


def _place(said: dict[str, str], attribute: str, word: str) -> bool:
    """Take a word, unless the attribute has one already and holds no more."""
    if attribute not in said:
        said[attribute] = word
    elif attribute in LISTS:
        said[attribute] = ", ".join(dict.fromkeys([*said[attribute].split(", "), word]))
    else:
        return False
    return True


def _phrases(family: PromptFamily, target: str, vocabulary: Vocabulary) -> dict[tuple[str, ...], tuple[str, str]]:
    """Attribute and word by the tokens that say it."""
    phrases: dict[tuple[str, ...], tuple[str, str]] = {}

    def add(attribute: str, word: str, *texts: str) -> None:
        for text in texts:
            if text not in LITTLE_WORDS:
                phrases.setdefault(tuple(normalise(text).split()), (attribute, word))

    for name in family.attributes:
        for word in vocabulary.words(name, target):
            around = _AROUND.get(name, ("{}",))
            same = vocabulary.attributes.get(name, {}).get(word, ())
            add(name, word, *(form.format(text) for text in (word, *same) for form in around))
    if "number" in family.attributes:
        for number, word in enumerate(NUMBER_WORDS[:21]):
            add("number", vocabulary.canonical("number", word), word, str(number))
    if "age" in family.attributes:
        for number, word in enumerate(NUMBER_WORDS):
            add("age", word, f"{word} year old", f"{number} year old", f"{number} years", f"{number} years old")
    return phrases


def _runs(tokens: list[str | None]) -> Iterator[str]:
    """Neighbouring tokens together; a run of little words alone says nothing."""
    run: list[str] = []
    for token in [*tokens, None]:
        if token is not None:
            run.append(token)
        elif run:
            words = " ".join(run)
            while run and run[0] in LITTLE_WORDS:
                run.pop(0)
            while run and run[-1] in LITTLE_WORDS:
                run.pop()
            words = " ".join(run)
            if words:
                yield words
            run = []
