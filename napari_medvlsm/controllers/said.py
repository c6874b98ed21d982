"""What a person said: choices or typed words, and the prompts that they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.describe import Description
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.prompts import Attributes, Parsed, Prompt, Vocabulary, build, parse
from napari_medvlsm.core.prompts.build import fitting
from napari_medvlsm.core.prompts.parse import free_text
from napari_medvlsm.core.prompts.several import parts
from napari_medvlsm.core.prompts.trained import in_trained_words
from napari_medvlsm.core.prompts.variants import filled

# What describes one target says nothing about another; what describes scan and patient stays.
_OF_THE_SCAN = frozenset({"view", "cycle", "sex", "age", "quality", "findings"})
# Of one patient: they never go on to the next scan.
_OF_THE_PATIENT = frozenset({"sex", "age", "quality", "findings", "tumor_type"})


@dataclass(frozen=True)
class Said:
    """What a person said; each method gives what is said then.

    Attributes
    ----------
    attributes : Attributes
        The choices.
    measured : frozenset of str
        Names of those that were read from the person's outline.
    level : str or None
        The level to which the prompt is cut; None for all that is chosen.
    typed : str or None
        Typed words, which win over the choices.
    """

    attributes: Attributes = field(default_factory=Attributes)
    measured: frozenset[str] = frozenset()
    level: str | None = None
    typed: str | None = None

    @classmethod
    def in_prompt(cls, prompt: Prompt) -> Said:
        """What a prompt says."""
        if prompt.level == "free":
            return cls(prompt.attributes, typed=prompt.text)
        return cls(prompt.attributes, frozenset(prompt.measured))

    @classmethod
    def about(cls, target: str, vocabulary: Vocabulary) -> Said:
        """The name of a target alone."""
        return cls(Attributes(target)) if target in vocabulary.targets else cls(typed=target)

    @classmethod
    def of_outline(cls, annotation: Annotation) -> Said:
        """What was said of the target of an outline, and measured in it, when that got its present form."""
        said, measured = annotation.said, annotation.measured
        names = measured.named() - said.named() - {"target"}
        words = {name: getattr(measured, name) for name in names}
        return cls(replace(said, **words, target=annotation.target), frozenset(names))

    def parts(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        """The parts of the typed words that name a target each; none where nothing is typed."""
        return parts(self.typed, vocabulary) if self.typed is not None else ()

    def parsed(self, vocabulary: Vocabulary) -> Parsed:
        """What the first part of the typed words says."""
        return parse((*self.parts(vocabulary), "")[0], vocabulary)

    def prompts(self, vocabulary: Vocabulary, card: ModelCard | None) -> tuple[Prompt, ...]:
        """The prompt, or one for each target that the typed words name, in words that the model of `card` knows."""
        if self.typed is None:
            prompt = build(self.attributes, vocabulary, self.level)
            return (replace(prompt, measured=tuple(sorted(self.measured & prompt.attributes.named()))),)
        if card is None or card.open_vocabulary:
            return tuple(free_text(part, vocabulary) for part in self.parts(vocabulary))
        return tuple(in_trained_words(part, vocabulary, card) for part in self.parts(vocabulary))

    def by_target(self, prompts: Sequence[Prompt], vocabulary: Vocabulary) -> dict[str, Said]:
        """What is said of each target of its prompts; nothing of one without words."""
        own = self.parts(vocabulary)
        said = [self] if len(own) < 2 else [Said(typed=part) for part in own]
        return {target_of(p): one for p, one in zip(prompts, said, strict=True) if p.text}

    def with_target(self, place: int, phrase: str, vocabulary: Vocabulary) -> Said:
        """Another target typed in the place of the one in a part of what is said."""
        parts = list(self.parts(vocabulary)) or [""]
        parts[place] = vocabulary.target(phrase).name
        return replace(self, typed=" and ".join(parts))

    def settled(self, vocabulary: Vocabulary) -> Said:
        """The choices that the typed words make, in their place; all of it is the person's."""
        return (
            self
            if self.typed is None
            else replace(self, typed=None, measured=frozenset(), attributes=self.parsed(vocabulary).attributes)
        )

    def chosen(self, words: dict[str, str], vocabulary: Vocabulary) -> Said:
        """Attributes picked beside those that are chosen."""
        said = self.settled(vocabulary)
        attributes, measured = said.attributes, said.measured
        if words.get("target", attributes.target) != attributes.target:
            attributes, measured = attributes.only(_OF_THE_SCAN), frozenset()
        said = replace(said, attributes=replace(attributes, **words), measured=measured - words.keys())
        return said.fitting(vocabulary)

    def at_level(self, level: str | None, vocabulary: Vocabulary) -> Said:
        """Cut to a level ("p1" to "p9"), or with None not cut.

        Raises
        ------
        ValueError
            For a level that the target's kind of scan does not have.
        """
        said = self.settled(vocabulary)
        levels = vocabulary.family(said.attributes.target).levels
        if level is not None and level not in levels:
            raise ValueError(f"The prompt level must be one of {', '.join(levels)}, but is {level!r}.")
        return replace(said, level=level)

    def fitting(self, vocabulary: Vocabulary) -> Said:
        """Without the words and the level that the vocabulary does not have."""
        attributes = fitting(self.attributes, vocabulary)
        level = self.level if self.level in vocabulary.family(attributes.target).levels else None
        return replace(self, attributes=attributes, measured=self.measured & attributes.named(), level=level)

    def filled(self, seen: Description | None, vocabulary: Vocabulary) -> Said:
        """What is not said filled in from an outline, and taken back with None; what a person said stays."""
        own = self.attributes.only(self.attributes.named() - self.measured)
        if seen is None or seen.number == "zero":
            return replace(self, attributes=own, measured=frozenset())
        attributes, measured = filled(own, seen.measured | seen.suggested, vocabulary)
        return replace(self, attributes=attributes, measured=measured)

    def of_the_next_scan(self) -> Said:
        """What another scan begins with: nothing of the patient, and nothing that was measured."""
        kept = self.attributes.named() - self.measured - _OF_THE_PATIENT
        return replace(self, attributes=self.attributes.only(kept), measured=frozenset())


def target_of(prompt: Prompt) -> str:
    """What a prompt outlines: its target, or its whole text where none is recognised."""
    return prompt.attributes.target or prompt.text or "everything"


def by_origin(every: Attributes, measured: frozenset[str], target: str) -> tuple[Attributes, Attributes]:
    """Attributes of a target apart: what a person said, and what was measured."""
    every, names = replace(every, target=target), measured & every.named()
    return every.only(every.named() - names), every.only(names)


def listed(queue: Iterable[Prompt], prompts: Iterable[Prompt]) -> list[Prompt]:
    """A list of prompts with others, each in the place of an earlier one for its target."""
    return list(({target_of(p): p for p in queue} | {target_of(p): p for p in prompts}).values())


def checked(prompts: tuple[Prompt, ...], vocabulary: Vocabulary, typed: bool) -> tuple[Prompt, ...]:
    """Prompts that can be asked.

    Raises
    ------
    ValueError
        If one says nothing, or that there is nothing; the sentence says what to do.
    """
    if not prompts[0].text:
        raise ValueError(
            "The prompt is empty: type what to outline, or choose it from the list."
            if typed
            else "Choose what to outline, or type it."
        )
    for prompt in prompts:
        if prompt.attributes.number == "zero":
            text = vocabulary.shown(prompt)
            raise ValueError(f"“{text}” says that there is nothing to outline; write what to look for.")
    return prompts
