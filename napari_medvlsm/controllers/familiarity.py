"""What a model knows of a prompt: words that it never learned, the nearest that it did, targets at which it is weak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.prompts import Prompt, Target, Vocabulary
from napari_medvlsm.core.prompts.trained import covered, nearest

# Below this mean Dice on test scans the panel warns before the model is used: most outlines need redrawing.
WEAK_DICE = 0.7
# Words that are named; of the others it is said how many.
_NAMED = 4


@dataclass(frozen=True)
class Familiarity:
    """What a model knows of one or several prompts.

    Attributes
    ----------
    unknown : tuple of str
        Words that it never learned, function words aside.
    known_target : bool
        Whether each prompt names a target that it learned.
    nearest : tuple of Target
        What it knows, to offer in the place of the first prompt that it does not know.
    place : int
        Which of the prompts that is, from 0.
    weak_dice : float or None
        The lowest of its test Dice for the targets, where it is too low to rely on.
    """

    unknown: tuple[str, ...] = ()
    known_target: bool = True
    nearest: tuple[Target, ...] = ()
    place: int = 0
    weak_dice: float | None = None

    @property
    def complete(self) -> bool:
        """Whether the model learned every word that means something, and the targets."""
        return not self.unknown and self.known_target

    @property
    def sentence(self) -> str:
        """What it does not know, for people; "" where it knows all."""
        if self.complete:
            return ""
        if not self.unknown:
            return "This names nothing the model learned to outline."
        words = ", ".join(f"“{word}”" for word in self.unknown[:_NAMED])
        rest = len(self.unknown) - _NAMED
        words += f" and {rest} more {'word' if rest == 1 else 'words'}" if rest > 0 else ""
        return f"This model never learned {words}; the outline may mean nothing."

    @property
    def weak_sentence(self) -> str:
        """How weak it is at the target, for people; "" where it can be relied on."""
        if self.weak_dice is None:
            return ""
        return (
            f"This model is weak here: mean Dice {self.weak_dice:.2f} on test scans (1 is perfect). Expect to redraw."
        )


def familiarity(
    prompts: Sequence[Prompt], vocabulary: Vocabulary, card: ModelCard | None, modality: str
) -> Familiarity:
    """What a model knows of prompts.

    Parameters
    ----------
    prompts : sequence of Prompt
    vocabulary : Vocabulary
    card : ModelCard or None
        None for no model.
    modality : str
        The kind of scan in view, where it is known.
    """
    if card is None:
        return Familiarity()
    scores = [card.test_dice(p.attributes.target or p.text) for p in prompts]
    weak = min((score for score in scores if score is not None and score < WEAK_DICE), default=None)
    if card.open_vocabulary:
        return Familiarity(weak_dice=weak)
    found = [covered(prompt.text, vocabulary, card) for prompt in prompts]
    place = next((i for i, one in enumerate(found) if not one.complete), None)
    if place is None:
        return Familiarity(weak_dice=weak)
    return Familiarity(
        unknown=tuple(dict.fromkeys(word for one in found for word in one.telling)),
        known_target=all(one.known_target for one in found),
        nearest=nearest(prompts[place].text, vocabulary, card.targets, modality),
        place=place,
        weak_dice=weak,
    )
