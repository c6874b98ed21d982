"""The prompts that an image is shown with: drawn by weights, by seed, and never but from what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medvlsm_training.config import ATTRIBUTES, RANDOM, SYNONYM, TYPED, PromptConfig
from medvlsm_training.mosaics import TELLING, sentence, telling
from napari_medvlsm.core.datasets.items import Item, Mask
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build
from napari_medvlsm.core.prompts.variants import opposite_side, opposite_size

# The longest word that is made up, and how many stand in a row.
_LETTERS, _MADE_UP = 8, 3
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"

Masks = Mapping[str, Mask]
Pick = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class SampledPrompt:
    """One prompt.

    Attributes
    ----------
    text : str
    target : str, optional
        Names the mask that it asks for; None: nothing is to be drawn.
    against : int
        Of a wrong sentence about that mask: the place, among the prompts drawn with it, of the right one, which must
        win there. -1: a prompt like others.
    """

    text: str
    target: str | None
    against: int = -1


class Prompter:
    """Draws prompts.

    Parameters
    ----------
    config : PromptConfig
    vocabulary : Vocabulary
    targets : sequence of str
        What the whole run trains on: those of other kinds of scans are absent targets.
    """

    def __init__(self, config: PromptConfig, vocabulary: Vocabulary, targets: Sequence[str]) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self._targets = [vocabulary.target(name) for name in sorted(targets)]
        total = sum(config.mix.values())
        self._kinds = tuple(config.mix)
        self._weights = [weight / total for weight in config.mix.values()]

    def draw(self, item: Item, masks: Masks, rng: np.random.Generator, epoch: int = 0) -> list[SampledPrompt]:
        """`per_image` prompts for training, or one for each mask.

        Parameters
        ----------
        item : Item
        masks : mapping of target to bool array of shape (H, W)
            As they are shown, so after any augmentation.
        rng : Generator
            The only source of chance.
        epoch : int
            From 0. In the first `negatives_start_epoch` every prompt asks for what is there.
        """
        negatives = epoch >= self.config.negatives_start_epoch
        names = [str(name) for name in rng.permutation(sorted(masks))]
        drawn = []
        for i in range(self.config.per_image or len(names)):
            name = names[i % len(names)]
            kind = str(rng.choice(self._kinds, p=self._weights))
            drawn.append(self._one(item, name, masks[name], kind, rng, negatives))
        if self.config.opposed:
            name = names[int(rng.integers(len(names)))]
            if pair := self._opposed(item, name, masks[name], rng):
                right, wrong = pair
                drawn += [SampledPrompt(right, name), SampledPrompt(wrong, name, len(drawn))]
        return drawn

    def draw_mosaic(
        self, item: Item, name: str, masks: Masks, parts: tuple[str, str], rng: np.random.Generator, epoch: int = 0
    ) -> list[SampledPrompt]:
        """Prompts for two images in one frame; empty where no words tell their lesions apart.

        Parameters
        ----------
        item : Item
            One of the two.
        name : str
            The target that both show.
        masks : mapping of name to bool array of shape (H, W)
            Of `name` in the whole frame, and of both `parts`.
        parts : (str, str)
        rng, epoch
            See `draw`.
        """
        told = telling(masks[parts[0]], masks[parts[1]])
        made = [(sentence(name, masks[part], told, self.vocabulary, rng), part) for part in parts]
        drawn = [SampledPrompt(self._carried(text, rng), part) for text, part in made if text]
        if drawn:
            kind = str(rng.choice(self._kinds, p=self._weights))
            negatives = epoch >= self.config.negatives_start_epoch
            drawn.append(self._one(item, name, masks[name], kind, rng, negatives, alone=True))
        return drawn

    def for_validation(self, item: Item, masks: Masks, rng: np.random.Generator) -> list[SampledPrompt]:
        """One prompt for each mask, of the kind that validation asks, and where training has negatives one of these."""
        drawn = []
        for name, mask in sorted(masks.items()):
            kind = self.config.validation or str(rng.choice(self._kinds, p=self._weights))
            drawn.append(SampledPrompt(self._positive(item, name, mask, kind, rng), name))
        if self.config.absent:
            drawn.append(SampledPrompt(self._absent(item, rng), None))
        return drawn

    def _one(
        self,
        item: Item,
        name: str,
        mask: Mask,
        kind: str,
        rng: np.random.Generator,
        negatives: bool,
        alone: bool = False,
    ) -> SampledPrompt:
        """A prompt of a kind, or a negative; `alone`: its name without what the annotation says of one image."""
        if alone:
            kind = SYNONYM if rng.random() < 0.5 else "p1"
        draw = rng.random() if negatives else 1.0
        if draw < self.config.absent:
            return SampledPrompt(self._carried(self._absent(item, rng), rng), None)
        if draw < self.config.absent + self.config.wrong and (wrong := self._wrong(item, name, mask, rng)):
            return SampledPrompt(wrong, None)
        return SampledPrompt(self._carried(self._positive(item, name, mask, kind, rng), rng), name)

    def _positive(self, item: Item, name: str, mask: Mask, kind: str, rng: np.random.Generator) -> str:
        pick = _picker(rng)
        if kind == TYPED:
            return self.config.typed
        if self.config.wording == "release":
            return released(item, name, kind, pick)
        target = self.vocabulary.target(name)
        if kind == SYNONYM:
            return pick(target.synonyms or (target.phrase,))
        levels = tuple(self.vocabulary.family(name).levels)
        if kind == RANDOM:
            kind = pick(levels)
        if kind in ("p0", "p1") or not mask.any():
            return "" if kind == "p0" else target.phrase
        facts = facts_of(item, name, mask)
        said = facts.only(frozenset(n for n in sorted(facts.named()) if rng.random() >= self.config.attribute_dropout))
        if kind == ATTRIBUTES:
            return build(said, self.vocabulary).text
        text = worded(said, kind, self.vocabulary, pick)
        if text is None:
            raise ValueError(f"{name} has no prompts of level {kind}; it has p0, {', '.join(levels)}.")
        return text

    def _wrong(self, item: Item, name: str, mask: Mask, rng: np.random.Generator) -> str | None:
        """The name with a side or size that the mask contradicts; None where neither has an opposite."""
        pair = self._opposed(item, name, mask, rng)
        return pair[1] if pair else None

    def _opposed(self, item: Item, name: str, mask: Mask, rng: np.random.Generator) -> tuple[str, str] | None:
        """(a true sentence, the same with the opposite side or size); None where neither has an opposite."""
        if not mask.any():
            return None
        facts = facts_of(item, name, mask)
        family = self.vocabulary.family(name)
        wrong = {"location": opposite_side(facts.location), "size": opposite_size(facts.size)}
        able = [k for k, word in wrong.items() if word and k in family.attributes]
        if not able:
            return None
        attribute = str(rng.choice(able))
        others = frozenset(n for n in sorted(facts.named() - wrong.keys()) if rng.random() < 0.5)
        right = facts.only(others | {attribute})
        return (
            build(right, self.vocabulary).text,
            build(replace(right, **{attribute: wrong[attribute]}), self.vocabulary).text,
        )

    def _absent(self, item: Item, rng: np.random.Generator) -> str:
        if self.config.made_up and rng.random() < self.config.made_up:
            return _made_up(rng)
        same = self.vocabulary.modalities[item.modality].absent
        others = [t for t in self._targets if t.modality != item.modality]
        if same and (rng.random() < self.config.absent_same or not others):
            return str(rng.choice(same))
        if not others:
            raise ValueError(
                f"Nothing is known that a scan of the kind {item.modality} cannot show; add it to the vocabulary's "
                "modalities, or set prompts.absent to 0."
            )
        target = others[int(rng.integers(len(others)))]
        if rng.random() < self.config.absent_described and not target.lateralised:
            sayable = self.vocabulary.family(target.phrase).attributes
            words = {n: str(rng.choice([*self.vocabulary.attributes[n]])) for n in TELLING if n in sayable}
            return build(Attributes(target.phrase, **words), self.vocabulary).text
        return str(rng.choice((target.phrase, *target.synonyms)))

    def _carried(self, text: str, rng: np.random.Generator) -> str:
        if not text or not self.config.carried or rng.random() >= self.config.carried:
            return text
        if self.config.carriers:
            text = str(rng.choice(self.config.carriers)).format(text)
        if not self.config.made_up:
            return text
        before, after = (_made_up(rng) if rng.random() < self.config.made_up else "" for _ in range(2))
        return f"{before} {text} {after}".strip()


def _made_up(rng: np.random.Generator) -> str:
    """One to three words of random letters."""
    lengths = rng.integers(1, _LETTERS + 1, size=rng.integers(1, _MADE_UP + 1))
    return " ".join("".join(rng.choice([*_ALPHABET], size=length)) for length in lengths)


def facts_of(item: Item, name: str, mask: Mask) -> Attributes:
    """What is known of a target: what its mask shows, and what the annotation says beside that."""
    seen = describe(mask).measured
    if seen["number"] == "zero":
        return Attributes(name)
    return Attributes(name, **{**item.words.get(name, {}), **seen})


def worded(facts: Attributes, level: str, vocabulary: Vocabulary, pick: Pick) -> str | None:
    """A level's text in the interface's words; None where the kind of scan has no such level.

    A general description that is not given is picked from the target's.
    """
    if level == "p0":
        return ""
    if level not in vocabulary.family(facts.target).levels:
        return None
    sentences = vocabulary.target(facts.target).general
    if sentences and not facts.general:
        facts = replace(facts, general=pick(sentences))
    return build(facts, vocabulary, level).text


def released(item: Item, name: str, level: str, pick: Pick) -> str:
    """The annotation file's prompt of a level, one of them where it has a list.

    Raises
    ------
    ValueError
        If the item has none of that level.
    """
    said = item.prompts.get(name, {})
    if level == RANDOM and (levels := [key for key in said if key != "p0"]):
        level = pick(levels)
    if level not in said:
        raise ValueError(
            f"{item.image.name} ({item.source}) has no prompt of level {level} in the release's wording; it has "
            f"{', '.join(said) or 'none'}. Choose one of these, or prompts.wording=interface."
        )
    text = said[level]
    return text if isinstance(text, str) else pick(text)


def _picker(rng: np.random.Generator) -> Pick:
    return lambda choices: str(choices[int(rng.integers(len(choices)))])


def every_text(config: PromptConfig, items: Sequence[Item], vocabulary: Vocabulary) -> tuple[set[str], set[str]]:
    """(names of the targets that occur, texts that hold every word a run can draw): for the card and the tokenizer.

    Made-up words are not among them: the tokenizer spells those.
    """
    targets = trained_targets(items)
    names = {n for t in targets for n in (t, *vocabulary.target(t).synonyms)}
    texts = names | {vocabulary.target(t).plural for t in targets} | {config.typed, *config.carriers}
    texts |= {a for m in {i.modality for i in items} for a in vocabulary.modalities[m].absent}
    texts |= {word for item in items for words in item.words.values() for word in words.values()}
    texts |= {sentence for t in targets for sentence in vocabulary.target(t).general}
    for attribute in ("number", "size", "location"):
        texts |= set(vocabulary.attributes[attribute])
    if config.wording == "release":
        for item in items:
            for said in item.prompts.values():
                texts |= {t for given in said.values() for t in ([given] if isinstance(given, str) else given)}
    return names, texts | {"seven eight nine ten many", ", located in the and of the image, which is"}


def trained_targets(items: Sequence[Item]) -> set[str]:
    """Names of the targets that occur in the items."""
    both = {"left lung", "right lung"} if any(item.split_lungs for item in items) else set()
    return both | {name for item in items for name in item.masks}
