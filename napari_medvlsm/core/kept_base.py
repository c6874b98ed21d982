"""`load_segmenter`: a model that answers prompts, with the base that its folder keeps. Imports torch.

A model that is trained on a new target forgets those that it is no longer shown (`training/loop.md`), and the scans of
most of them may not be passed on to be replayed. So its folder keeps the model that it was trained from, and prompts
that name a target of which only that one was trained are answered by it, as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from napari_medvlsm.core.inference import Segmenter, decoded
from napari_medvlsm.core.models.architectures.base import VLSM, Activations
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import KeptBase, ModelCard, kept_bases
from napari_medvlsm.core.models.store.registry import STARTER, ModelEntry, find_model
from napari_medvlsm.core.options import AUTO
from napari_medvlsm.core.prompts import Target, Vocabulary, normalise

# Thresholds of 0 and 1 have no logit.
_LEAST = 1e-4


def load_segmenter(
    model: str | ModelEntry = STARTER,
    device: str = AUTO,
    precision: str = AUTO,
    notify: Callable[[str], None] | None = None,
) -> Segmenter:
    """Load a model, by its name or by the path of its folder, to segment with.

    Parameters
    ----------
    model : str or ModelEntry
    device, precision, notify
        As `Segmenter`.

    Raises
    ------
    ValueError
        If there is no such model or its folder is broken, or if the device or the precision cannot be used.
    """
    entry = model if isinstance(model, ModelEntry) else find_model(model)
    return segmenter_of(load_model(entry.folder), entry.card, entry.folder, device, precision, notify)


def segmenter_of(
    model: VLSM,
    card: ModelCard,
    folder: Path,
    device: str = AUTO,
    precision: str = AUTO,
    notify: Callable[[str], None] | None = None,
) -> Segmenter:
    """The segmenter of a model that is loaded already; what it keeps is loaded from its folder.

    Parameters
    ----------
    model : VLSM
    card : ModelCard
    folder : Path
        Of the model.
    device, precision, notify
        As `Segmenter`.

    Raises
    ------
    ValueError
        If a base that it keeps is missing or broken, or if the device or the precision cannot be used.
    """
    bases = kept_bases(folder, card)
    if not bases:
        return Segmenter(model, card, device, precision, notify=notify)
    chain = [(model, card), *((load_model(within), of) for within, of in bases)]
    return SegmenterWithBase(chain, device, precision, notify)


class SegmenterWithBase(Segmenter):
    """A model and those that it was trained from: each answers the prompts about what it knows.

    Logits of a base are mapped so that the model's own thresholds, of outline and of presence, mean on them what the
    base's mean: but for rounding, and for tiles that disagree where they overlap, its outlines are those that it makes
    alone.

    Parameters
    ----------
    chain : sequence of (VLSM, ModelCard)
        The model, and its bases, each the base of the one before it. The cards of all but the last keep a base.
    device, precision, notify
        As `Segmenter`.

    Raises
    ------
    ValueError
        As `Segmenter`; or if one takes images of another size or normalisation.
    """

    def __init__(
        self,
        chain: Sequence[tuple[VLSM, ModelCard]],
        device: str = AUTO,
        precision: str = AUTO,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        (model, card), *bases = chain
        for other, of in bases:
            ours, theirs = ((m.image_size, m.mean, m.std) for m in (model, other))
            if ours != theirs:
                raise ValueError(
                    f"{card.name} takes images of size {ours[0]}, mean {ours[1]} and deviation {ours[2]}, but "
                    f"{of.name}, which it keeps, of {theirs[0]}, {theirs[1]} and {theirs[2]}. Copy the folder again."
                )
        self._bases = [model.eval() for model, _ in bases]
        self._maps = [ThresholdMap.between(of, card) for _, of in bases]
        self._who = [Answering(of.kept_base) for _, of in chain[:-1] if of.kept_base is not None]
        super().__init__(model, card, device, precision, notify=notify)
        # Only now is all of it on one device: a model that was trained or measured before may come on a graphics card.
        self._same_encoder = [_same(model, base) for base in self._bases]

    def place_of(self, text: str) -> int:
        """Who answers a prompt: 0 for the model itself, 1 for its base, 2 for the base of that, and so on."""
        return next((i for i, who in enumerate(self._who) if not who.base_answers(text)), len(self._who))

    def _answering(self, text: str) -> VLSM:
        return [self.model, *self._bases][self.place_of(text)]

    def _move(self, device: torch.device) -> None:
        super()._move(device)
        for base in self._bases:
            base.to(device)

    def _encode(self, pixels: Tensor) -> Activations:
        """Activations of the model, followed by those of its bases."""
        with torch.inference_mode(), self._computing_in(self.precision):
            encoded = self.model.encode_frozen(pixels)
            found = list(self.model.complete(encoded))
            for base, same in zip(self._bases, self._same_encoder, strict=True):
                found += base.complete(encoded if same else base.encode_frozen(pixels))
        return tuple(found)

    def _own(self, activations: Activations) -> Activations:
        return self._of(activations, 0)

    def _of(self, activations: Activations, place: int) -> Activations:
        count = len(activations) // (1 + len(self._bases))
        return activations[place * count : (place + 1) * count]

    def _decode(self, activations: Activations, texts: Sequence[str]) -> Tensor:
        places = [self.place_of(text) for text in texts]
        parts: dict[int, Tensor] = {}
        for place in sorted({*places}):
            asked = [text for text, of in zip(texts, places, strict=True) if of == place]
            here = self._of(activations, place)
            parts[place] = super()._decode(here, asked) if place == 0 else self._of_base(place - 1, here, asked)
        if len(parts) == 1:
            return parts[places[0]]
        # By image and prompt.
        planes = {place: part.unflatten(0, (len(activations[0]), -1)).unbind(1) for place, part in parts.items()}
        waiting = {place: iter(found) for place, found in planes.items()}
        return torch.stack([next(waiting[place]) for place in places], dim=1).flatten(0, 1)

    def _of_base(self, place: int, activations: Activations, texts: Sequence[str]) -> Tensor:
        base = self._bases[place]
        with torch.inference_mode(), self._computing_in(self.precision):
            return self._maps[place].apply(decoded(base, activations, base.encode_text(texts)))


class Answering:
    """Tells by the names in a prompt whether a base answers it.

    Of names within one another the longest counts, as in `Vocabulary.named_in`; what both know is the model's own.

    Parameters
    ----------
    kept : KeptBase
    """

    def __init__(self, kept: KeptBase) -> None:
        named = {**kept.targets, **kept.own}
        targets = {phrase: Target(phrase, phrase, synonyms=tuple(names)) for phrase, names in named.items()}
        self._vocabulary = Vocabulary("", {}, {}, targets)
        self._of_base = kept.targets.keys() - kept.own.keys()

    def base_answers(self, text: str) -> bool:
        """Whether a prompt names targets of the base, and none other."""
        named = self._vocabulary.named_in(normalise(text).split())
        return bool(named) and all(target.phrase in self._of_base for _, _, target in named)


@dataclass(frozen=True)
class ThresholdMap:
    """Logits of one model as those of another: an increasing function that brings thresholds to thresholds.

    Attributes
    ----------
    shift : float
        What is added from the middle of both thresholds upwards, so that outlines stay the same.
    presence : (float, float), optional
        The logit of the threshold of presence, and what it becomes; None where one of the models has none.
    middle : float
    """

    shift: float
    presence: tuple[float, float] | None = None
    middle: float = 0.0

    @classmethod
    def between(cls, one: ModelCard, other: ModelCard) -> ThresholdMap:
        """From the thresholds of a card to those of another."""
        outline, becomes = _logit(one.threshold), _logit(other.threshold)
        shift = becomes - outline
        present = _logit(one.presence)
        if not one.presence or not other.presence or present >= outline:
            return cls(shift)
        middle = (present + outline) / 2
        return cls(shift, (present, min(_logit(other.presence), middle + shift)), middle)

    def apply(self, logits: Tensor) -> Tensor:
        """Logits of any shape."""
        moved = logits + self.shift
        if self.presence is None:
            return moved
        present, becomes = self.presence
        slope = (self.middle + self.shift - becomes) / (self.middle - present)
        between = becomes + slope * (logits - present)
        below = logits + (becomes - present)
        return torch.where(logits < present, below, torch.where(logits < self.middle, between, moved))


def _logit(probability: float) -> float:
    inside = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(inside / (1 - inside))


def _same(one: VLSM, other: VLSM) -> bool:
    """Whether both encode images and texts alike."""
    ours, theirs = (model.get_submodule(model.ENCODERS).state_dict() for model in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())
