"""The prompts of a training image: sampled by weight and seed, from what is known of the image alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from medvlsm_training.config import ATTRIBUTES, RANDOM, SYNONYM, TYPED, UPSTREAM, PromptConfig
from medvlsm_training.mosaics import DISTINGUISHING, distinguishing, sentence
from napari_medvlsm.core.datasets.items import LUNGS, SIDES, Item, Mask
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.prompts import Attributes, Target, Vocabulary, build
from napari_medvlsm.core.prompts.variants import opposite_side, opposite_size

# Nonsense: the most letters of a word, and the most words in a row.
_LETTERS, _NONSENSE_WORDS = 8, 3
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
        Names the mask that it asks for; None: the true mask is empty.
    against : int
        Of a sentence that is wrong about that mask: the place, among the prompts sampled with it, of the right one,
        which must win there (`LossConfig.opposition`). -1: a prompt like others.
    """

    text: str
    target: str | None
    against: int = -1


class Prompter:
    """Samples prompts.

    Parameters
    ----------
    config : PromptConfig
    vocabulary : Vocabulary
    targets : sequence of str
        What the whole run trains on: those of other kinds of scans are absent targets. Where it has none, all other
        targets of the vocabulary are.
    shown : mapping of str to collection of str
        By kind of scan the targets that its scans show in the whole run (`shown_targets`). These, and what an item
        shows itself, are never asked for as absent, whatever the vocabulary says of such scans.
    """

    def __init__(
        self,
        config: PromptConfig,
        vocabulary: Vocabulary,
        targets: Sequence[str],
        shown: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self._targets = [vocabulary.target(name) for name in sorted(targets)]
        self._other_targets = sorted(vocabulary.targets.values(), key=lambda target: target.phrase)
        both = [*self._targets, *self._other_targets]
        self._called = {target.phrase: vocabulary.called((target.phrase,)) for target in both}
        self._shown = shown
        total = sum(config.mix.values())
        self._kinds = tuple(config.mix)
        self._weights = [weight / total for weight in config.mix.values()]

    def sample(self, item: Item, masks: Masks, rng: np.random.Generator, epoch: int = 0) -> list[SampledPrompt]:
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
        prompts = []
        for i in range(self.config.per_image or len(names)):
            name = names[i % len(names)]
            kind = str(rng.choice(self._kinds, p=self._weights))
            prompts.append(self._one(item, name, masks[name], kind, rng, negatives))
        if self.config.opposed:
            name = names[int(rng.integers(len(names)))]
            if pair := self._opposed(item, name, masks[name], rng):
                right, wrong = pair
                prompts += [SampledPrompt(right, name), SampledPrompt(wrong, name, len(prompts))]
        return prompts

    def sample_mosaic(
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
            See `sample`.
        """
        told = distinguishing(masks[parts[0]], masks[parts[1]])
        made = [(sentence(name, masks[part], told, self.vocabulary, rng), part) for part in parts]
        prompts = [SampledPrompt(self._in_template(text, rng), part) for text, part in made if text]
        if prompts:
            # What the annotation says of one of the images is not true of both: the name alone.
            kind = SYNONYM if rng.random() < 0.5 else "p1"
            negatives = epoch >= self.config.negatives_start_epoch
            prompts.append(self._one(item, name, masks[name], kind, rng, negatives))
        return prompts

    def for_validation(self, item: Item, masks: Masks, rng: np.random.Generator) -> list[SampledPrompt]:
        """One prompt for each mask, of validation's kind, and one negative if training has negatives."""
        prompts = []
        for name, mask in sorted(masks.items()):
            kind = self.config.validation or str(rng.choice(self._kinds, p=self._weights))
            prompts.append(SampledPrompt(self._positive(item, name, mask, kind, rng), name))
        if self.config.absent and (absent := self._absent(item, rng)) is not None:
            prompts.append(SampledPrompt(absent, None))
        return prompts

    def _one(
        self, item: Item, name: str, mask: Mask, kind: str, rng: np.random.Generator, negatives: bool
    ) -> SampledPrompt:
        chance = rng.random() if negatives else 1.0
        if chance < self.config.absent and (absent := self._absent(item, rng)) is not None:
            return SampledPrompt(self._in_template(absent, rng), None)
        negative = self.config.absent + self.config.wrong
        if self.config.absent <= chance < negative and (wrong := self._wrong(item, name, mask, rng)):
            return SampledPrompt(wrong, None)
        return SampledPrompt(self._in_template(self._positive(item, name, mask, kind, rng), rng), name)

    def _positive(self, item: Item, name: str, mask: Mask, kind: str, rng: np.random.Generator) -> str:
        pick = _picker(rng)
        if kind == TYPED:
            return self.config.typed
        if self.config.wording == UPSTREAM:
            return upstream_prompt(item, name, kind, pick)
        target = self.vocabulary.target(name)
        if kind == SYNONYM:
            return pick(target.synonyms or (target.phrase,))
        levels = tuple(self.vocabulary.family(name).levels)
        if kind == RANDOM:
            kind = pick(levels)
        if kind in ("p0", "p1") or not mask.any():
            return "" if kind == "p0" else target.phrase
        known = known_attributes(item, name, mask)
        kept = known.only(frozenset(n for n in sorted(known.named()) if rng.random() >= self.config.attribute_dropout))
        if kind == ATTRIBUTES:
            return build(kept, self.vocabulary).text
        text = worded(kept, kind, self.vocabulary, pick)
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
        known = known_attributes(item, name, mask)
        family = self.vocabulary.family(name)
        wrong = {"location": opposite_side(known.location), "size": opposite_size(known.size)}
        able = [k for k, word in wrong.items() if word and k in family.attributes]
        if not able:
            return None
        attribute = str(rng.choice(able))
        others = frozenset(n for n in sorted(known.named() - wrong.keys()) if rng.random() < 0.5)
        right = known.only(others | {attribute})
        return (
            build(right, self.vocabulary).text,
            build(replace(right, **{attribute: wrong[attribute]}), self.vocabulary).text,
        )

    def _absent(self, item: Item, rng: np.random.Generator) -> str | None:
        """The name of what the scan cannot show; None where nothing is known of the kind of scan."""
        if self.config.nonsense_prob and rng.random() < self.config.nonsense_prob:
            return _nonsense(rng)
        if item.modality not in self.vocabulary.modalities:
            return None
        shown = {*trained_targets([item]), *self._shown.get(item.modality, ())}
        same = self.vocabulary.cannot_show(item.modality, shown)
        others = self._of_other_scans(self._targets, item, shown)
        if not others and not same:
            others = self._of_other_scans(self._other_targets, item, shown)
        if same and (rng.random() < self.config.absent_same or not others):
            return str(rng.choice(same))
        if not others:
            return None
        target = others[int(rng.integers(len(others)))]
        if rng.random() < self.config.absent_described and not target.lateralised:
            sayable = self.vocabulary.family(target.phrase).attributes
            words = {n: str(rng.choice([*self.vocabulary.attributes[n]])) for n in DISTINGUISHING if n in sayable}
            return build(Attributes(target.phrase, **words), self.vocabulary).text
        return str(rng.choice((target.phrase, *target.synonyms)))

    def _of_other_scans(self, targets: Sequence[Target], item: Item, shown: Collection[str]) -> list[Target]:
        """Targets that are known to be of other kinds of scans, and not shown by such scans of the run."""
        called = self.vocabulary.called(shown)
        elsewhere = [target for target in targets if target.modality not in ("", item.modality)]
        return [target for target in elsewhere if not self._called[target.phrase] & called]

    def _in_template(self, text: str, rng: np.random.Generator) -> str:
        if not text or not self.config.template_prob or rng.random() >= self.config.template_prob:
            return text
        if self.config.templates:
            text = str(rng.choice(self.config.templates)).format(text)
        if not self.config.nonsense_prob:
            return text
        before, after = (_nonsense(rng) if rng.random() < self.config.nonsense_prob else "" for _ in range(2))
        return f"{before} {text} {after}".strip()


def _nonsense(rng: np.random.Generator) -> str:
    """One to three words of random letters."""
    lengths = rng.integers(1, _LETTERS + 1, size=rng.integers(1, _NONSENSE_WORDS + 1))
    return " ".join("".join(rng.choice([*_ALPHABET], size=length)) for length in lengths)


def known_attributes(item: Item, name: str, mask: Mask) -> Attributes:
    """The attributes of a target: measured on its mask, and annotated."""
    seen = describe(mask, suggest=False).measured
    if seen["number"] == "zero":
        return Attributes(name)
    stated = item.masks[name].attributes if name in item.masks else Attributes()
    return replace(stated, target=name, **seen)


def worded(attributes: Attributes, level: str, vocabulary: Vocabulary, pick: Pick) -> str | None:
    """A level's text in the interface's words; None where the kind of scan has no such level.

    A general description that is not given is picked from the target's.
    """
    if level == "p0":
        return ""
    if level not in vocabulary.family(attributes.target).levels:
        return None
    sentences = vocabulary.target(attributes.target).general
    if sentences and not attributes.general:
        attributes = replace(attributes, general=pick(sentences))
    return build(attributes, vocabulary, level).text


def upstream_prompt(item: Item, name: str, level: str, pick: Pick) -> str:
    """The annotation file's prompt of a level, one of them where it has a list.

    Raises
    ------
    ValueError
        If the item has none of that level.
    """
    prompts = item.masks[name].prompts if name in item.masks else {}
    if level == RANDOM and (levels := [key for key in prompts if key != "p0"]):
        level = pick(levels)
    if level not in prompts:
        raise ValueError(
            f"{item.image.name} ({item.source}) has no prompt of level {level} in upstream's wording; it has "
            f"{', '.join(prompts) or 'none'}. Choose one of these, or prompts.wording=interface."
        )
    text = prompts[level]
    return text if isinstance(text, str) else pick(text)


def _picker(rng: np.random.Generator) -> Pick:
    return lambda choices: str(choices[int(rng.integers(len(choices)))])


def every_text(config: PromptConfig, items: Sequence[Item], vocabulary: Vocabulary) -> tuple[set[str], set[str]]:
    """(names of the targets that occur, texts that hold every word a run can sample): for the card and the tokenizer.

    Nonsense words are not among them: the tokenizer spells those.
    """
    targets = trained_targets(items)
    names = {n for t in targets for n in (t, *vocabulary.target(t).synonyms)}
    texts = names | {vocabulary.target(t).plural for t in targets} | {config.typed, *config.templates}
    modalities = [m for i in items if (m := vocabulary.modalities.get(i.modality)) is not None]
    texts |= {absent for modality in modalities for absent in modality.absent}
    masks = [mask for item in items for mask in item.masks.values()]
    texts |= {word for mask in masks for name, word in vars(mask.attributes).items() if name != "target" and word}
    texts |= {sentence for t in targets for sentence in vocabulary.target(t).general}
    for attribute in ("number", "size", "location"):
        texts |= set(vocabulary.attributes[attribute])
    if config.wording == UPSTREAM:
        for mask in masks:
            texts |= {t for given in mask.prompts.values() for t in ([given] if isinstance(given, str) else given)}
    return names, texts | {"seven eight nine ten many", ", located in the and of the image, which is"}


def shown_targets(items: Sequence[Item]) -> dict[str, set[str]]:
    """Names of the targets that occur in the items, by kind of scan."""
    return {kind: trained_targets([i for i in items if i.modality == kind]) for kind in {i.modality for i in items}}


def trained_targets(items: Sequence[Item]) -> set[str]:
    """Names of the targets that occur in the items."""
    both = {*SIDES} if any(item.split_lungs and LUNGS in item.masks for item in items) else set()
    return both | {name for item in items for name in item.masks}
