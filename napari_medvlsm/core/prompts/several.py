"""Several targets in one text: "left lung and right lung" is two prompts."""

from __future__ import annotations

import re
from functools import lru_cache

from napari_medvlsm.core.prompts.parse import BEFORE_THE_NAME, parse_form
from napari_medvlsm.core.prompts.vocabulary import Target, Vocabulary

_WORD = re.compile(r"[^\W_]+")
_AND = frozenset({"and", "plus"})
# Between two words: parts them; and parts them more than a comma does.
_STOP, _STRONG_STOP = re.compile(r"[,;&+/]|\.\s"), re.compile(r"[;&+/]|\.\s")
_ARTICLES = frozenset({"a", "an", "the", "and", "plus", "s", "shaped", "sized"})


@lru_cache(maxsize=64)
def parts(text: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The parts of a text that name a target each.

    A text is parted between two targets that "and", a comma or the like stands between: "polyp and ulcer", but not
    "polyp near an ulcer". "left and right lung" names two lungs. A text that names one target, or one target twice,
    or that has one of the known forms to the letter, is one part.

    Parameters
    ----------
    text : str
    vocabulary : Vocabulary

    Returns
    -------
    tuple of str
        At least one; without what stands between them.
    """
    tidy = " ".join(text.split())
    if parse_form(tidy, vocabulary) is not None:
        return (tidy,)
    tidy = _with_heads(tidy, vocabulary)
    words = list(_WORD.finditer(tidy))
    tokens = [word[0].lower() for word in words]
    cuts: list[tuple[int, int]] = []
    targets: list[Target] = []
    behind = 0
    for start, stop, target in vocabulary.named_in(tokens):
        if not targets:
            targets.append(target)
        elif target not in targets and (place := _cut(tidy, words, behind, start, vocabulary)) is not None:
            targets.append(target)
            cuts.append(place)
        behind = stop
    edges = [0, *(edge for cut in cuts for edge in cut), len(tidy)]
    found = tuple(tidy[a:b].strip(" ,;") for a, b in zip(edges[::2], edges[1::2], strict=True))
    # "Edema and fracture present" tells of the whole X-ray.
    return (tidy,) if any(part.endswith(" present") for part in found) else found


def _cut(
    text: str, words: list[re.Match[str]], behind: int, start: int, vocabulary: Vocabulary
) -> tuple[int, int] | None:
    """Where the words between one name (ending before word `behind`) and the next (at word `start`) are parted.

    What describes a target can stand right before its name: the cut lies before it, at the last "and", or else at the
    first comma.
    """
    describing = _describing(vocabulary)
    first = start
    while first > behind and words[first - 1][0].lower() in describing:
        first -= 1
    commas, strong = [], []
    for i in range(max(1, first), start + 1):
        before, after = words[i - 1].end(), words[i].start()
        between = text[before:after]
        if words[i][0].lower() in _AND and i < start:
            strong.append((before, words[i + 1].start()))
        elif _STRONG_STOP.search(between):
            strong.append((before, after))
        elif _STOP.search(between):
            commas.append((before, after))
    return strong[-1] if strong else commas[0] if commas else None


@lru_cache(maxsize=4)
def _describing(vocabulary: Vocabulary) -> frozenset[str]:
    """Single words that can stand between "and" and the name of a target."""
    phrases: set[str] = set()
    for name in BEFORE_THE_NAME:
        phrases.update(word for target in vocabulary.targets for word in vocabulary.words(name, target))
        phrases.update(same for every in vocabulary.attributes.get(name, {}).values() for same in every)
    return _ARTICLES | {word.lower() for phrase in phrases for word in _WORD.findall(phrase)}


def _with_heads(text: str, vocabulary: Vocabulary) -> str:
    """A text with the noun that two names share behind each: "left lung and right lung" of "left and right lung"."""
    words = list(_WORD.finditer(text))
    tokens = [word[0].lower() for word in words]
    named = vocabulary.named_in(tokens)
    taken = {i for start, stop, _ in named for i in range(start, stop)}
    for start, stop, target in reversed(named):
        head = tokens[start + 1 : stop]
        joint = start >= 2 and tokens[start - 1] in _AND
        first = start - 2 if joint else start - 1
        if not head or first < 0 or first in taken:
            continue
        if not joint and not _STOP.search(text[words[first].end() : words[start].start()]):
            continue
        other = vocabulary.named_in([tokens[first], *head])
        if other and other[0][:2] == (0, 1 + len(head)) and other[0][2] is not target:
            text = f"{text[: words[first].end()]} {' '.join(head)}{text[words[first].end() :]}"
    return text
