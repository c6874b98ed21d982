"""One template: filled in with words, or matched against a text to get the words back.

The notation is explained in `data/prompts/families/photographic.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from napari_medvlsm.core.prompts.attributes import LISTS

_TOKEN = re.compile(r"\{(?P<slot>\w+)(?::(?P<style>\w+))?\}|(?P<mark>[\[\]|])|(?P<text>[^{}\[\]|]+)")


@dataclass(frozen=True)
class Slot:
    """A place for a word. `case` is "", "capital" (first letter) or "title" (every word)."""

    name: str
    case: str

    def dress(self, word: str) -> str:
        """The word with this slot's capitals."""
        if self.case == "title":
            return re.sub(r"(?<![\w])[a-z]", lambda m: m[0].upper(), word)
        return word[:1].upper() + word[1:] if self.case == "capital" else word


@dataclass(frozen=True)
class Group:
    """A part that may be missing; of several alternatives, the first that can be filled is taken."""

    alternatives: tuple[tuple[Node, ...], ...]


Node = str | Slot | Group


@dataclass(frozen=True)
class Form:
    """A template such as "[{size} ]{target}"."""

    template: str

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The template taken apart."""
        tokens = list(_TOKEN.finditer(self.template))
        nodes, rest = _read(tokens)
        marks = [t["mark"] for t in tokens]
        if rest or marks.count("[") != marks.count("]") or "".join(t[0] for t in tokens) != self.template:
            raise ValueError(f"The form {self.template!r} has a bracket or brace too many.")
        return nodes

    @cached_property
    def slots(self) -> frozenset[str]:
        """Names of all slots."""
        return frozenset(t["slot"].lower() for t in _TOKEN.finditer(self.template) if t["slot"])

    def fill(self, words: Mapping[str, str]) -> str:
        """The text with `words` (by slot name; "" or missing is empty) in it.

        Raises
        ------
        ValueError
            If a word outside any bracket is missing.
        """
        text = _fill(self.nodes, words)
        if text is None:
            missing = sorted(slot for slot in self.slots if not words.get(slot))
            raise ValueError(f"The form {self.template!r} needs {', '.join(missing)}.")
        return text

    def pattern(self, of_slot: Callable[[str], str]) -> re.Pattern[str]:
        """A pattern for the texts of this form; `of_slot` gives the pattern of the words in a slot.

        Words stand in groups called `<slot>__<number>`; a slot may occur in several alternatives.
        """
        numbers = iter(range(1000))

        def build(nodes: tuple[Node, ...]) -> str:
            parts = []
            for node in nodes:
                if isinstance(node, str):
                    # The interface writes "an" where the word in the next slot asks for it.
                    parts.append(re.sub(r"\ba\\ $", r"an?\\ ", re.escape(node)))
                elif isinstance(node, Slot):
                    parts.append(f"(?P<{node.name}__{next(numbers)}>{of_slot(node.name)})")
                else:
                    parts.append(f"(?:{'|'.join(build(a) for a in node.alternatives)})?")
            return "".join(parts)

        return re.compile(build(self.nodes), re.IGNORECASE)


def slot_pattern(slot: str, words: Iterable[str]) -> str:
    """A pattern for one of `words`, or for several of them in a slot that holds a list."""
    one = "|".join(re.escape(word) for word in sorted({*words}, key=len, reverse=True)) or r"(?!)"
    return f"(?:{one})(?:(?:, | and )(?:{one}))*" if slot in LISTS else f"(?:{one})"


def matched_words(match: re.Match[str]) -> dict[str, str]:
    """The words in the slots of a match of `Form.pattern`, in lower case."""
    return {name.split("__")[0]: word.lower() for name, word in match.groupdict().items() if word}


def _read(tokens: list[re.Match[str]]) -> tuple[tuple[Node, ...], list[re.Match[str]]]:
    """Nodes up to an unmatched "]" or "|", and the tokens from there on."""
    nodes: list[Node] = []
    while tokens:
        token, tokens = tokens[0], tokens[1:]
        if token["slot"]:
            name = token["slot"]
            case = token["style"] or ("capital" if name[0].isupper() else "")
            nodes.append(Slot(name.lower(), case))
        elif token["text"]:
            nodes.append(token["text"])
        elif token["mark"] == "[":
            alternatives = []
            mark = "|"
            while mark == "|":
                inner, tokens = _read(tokens)
                alternatives.append(inner)
                mark, tokens = (tokens[0]["mark"], tokens[1:]) if tokens else ("]", [])
            nodes.append(Group(tuple(alternatives)))
        else:
            return tuple(nodes), [token, *tokens]
    return tuple(nodes), []


def _fill(nodes: tuple[Node, ...], words: Mapping[str, str]) -> str | None:
    parts = []
    for node in nodes:
        if isinstance(node, str):
            parts.append(node)
        elif isinstance(node, Group):
            filled = (_fill(alternative, words) for alternative in node.alternatives)
            parts.append(next((text for text in filled if text is not None), ""))
        elif word := words.get(node.name):
            parts.append(node.dress(word))
        else:
            return None
    return "".join(parts)
