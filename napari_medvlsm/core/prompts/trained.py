"""A typed text in the words that a model was trained on, and the trained targets nearest to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from napari_medvlsm.core.prompts.attributes import Prompt
from napari_medvlsm.core.prompts.build import build
from napari_medvlsm.core.prompts.coverage import LITTLE_WORDS, Coverage, coverage, normalise
from napari_medvlsm.core.prompts.parse import free_text, parse
from napari_medvlsm.core.prompts.vocabulary import Target, Trained, Vocabulary

# Targets that are offered for a text beyond what was trained.
_NEAREST = 3
# Similarity of whole names and of single words, 0 to 1, from which they are close, and how much less close than the
# closest another may be; chosen by looking at slips of the pen ("polip", "footulcer") and other organs ("left kidney").
_CLOSE_NAME, _CLOSE_WORD, _AS_CLOSE = 0.85, 0.75, 0.1
# Words of names that say nothing about what is named.
_NO_NOUNS = LITTLE_WORDS | {"left", "right", "both", "field", "fields", "patient", "s"}


def covered(text: str, vocabulary: Vocabulary, model: Trained) -> Coverage:
    """How much of a text was in a model's training; of a target in the vocabulary the whole name counts.

    A "lung lesion" is not known to a model that learned lungs and skin lesions, nor a "brain tumor" to one that learned
    tumors of the breast.
    """
    found, target = coverage(text, *vocabulary.trained(model)), vocabulary.find_target(text)
    of_target = target.phrase in model.targets if target is not None else not vocabulary.names_another(text)
    known = found.known_target and of_target
    return Coverage(found.unknown, known)


def in_trained_words(text: str, vocabulary: Vocabulary, model: Trained) -> Prompt:
    """The prompt of a typed text, with the vocabulary's words for those that the model never learned.

    A text of which the model knows every word stays as it is typed.

    Parameters
    ----------
    text : str
        For example "big polyps".
    vocabulary : Vocabulary
    model : Trained

    Returns
    -------
    Prompt
        Of level "free", for example "large polyp"; parts that say nothing known stand at its end, as typed.
    """
    typed = free_text(text, vocabulary)
    unknown = covered(typed.text, vocabulary, model).telling
    parsed = parse(text, vocabulary)
    if not unknown or parsed.attributes.target not in model.targets:
        return typed
    other = ", ".join([build(parsed.attributes, vocabulary).text, *parsed.unplaced])
    if len(covered(other, vocabulary, model).telling) >= len(unknown):
        return typed
    return Prompt(other, "free", parsed.attributes, vocabulary.version)


def nearest(text: str, vocabulary: Vocabulary, trained: Iterable[str], modality: str = "") -> tuple[Target, ...]:
    """Trained targets to offer for a text that names none, those whose names are closest first, at most three.

    Parameters
    ----------
    text : str
    vocabulary : Vocabulary
    trained : iterable of str
        Phrases of the targets that the model was trained on.
    modality : str
        The kind of scan in view, if it is known. Of it alone targets are offered, or of that of a target that the
        text names.
    """
    clean = normalise(text)
    named = vocabulary.find_target(text)
    modality = (named.modality if named is not None else "") or modality
    offered = [t for t in map(vocabulary.target, trained) if not modality or t.modality == modality]
    scored = [(_closeness(clean, t, vocabulary), t) for t in offered]
    # What such a scan can show is worth offering, however it is called.
    least = 0.0 if modality else max(0.01, max((score for score, _ in scored), default=0) - _AS_CLOSE)
    close = sorted((pair for pair in scored if pair[0] >= least), key=lambda pair: -pair[0])
    return tuple(t for _, t in close[:_NEAREST])


def _closeness(clean: str, target: Target, vocabulary: Vocabulary) -> float:
    """Of a text to the names of a target, 0 to 1; 0 where nothing is alike."""
    names = [normalise(name) for name in vocabulary.names(target)]
    nouns = {word for name in names for word in name.split()} - _NO_NOUNS
    words = {*clean.split()} - _NO_NOUNS
    near = [_alike(word, hit[0]) for word in words if (hit := difflib.get_close_matches(word, nouns, 1, _CLOSE_WORD))]
    whole = max(_alike(clean, name) for name in names)
    # A name that is alike as a whole, side and all, is closer than one that shares a word.
    return (max([0.0, *near]) + whole) / 2 if near or whole >= _CLOSE_NAME else 0.0


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
