"""The base that a trained model's folder keeps, for what only that one was trained on; see `core.kept_base`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medvlsm_training.config import Recipe
from medvlsm_training.models import load_plain
from napari_medvlsm.core.models.store.card import (
    ADAPTER_FILE,
    BASE_FOLDER,
    KeptBase,
    ModelCard,
    read_card,
    write_card,
)
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.prompts import Vocabulary, normalise


def keep_base(
    card: ModelCard, recipe: Recipe, trained: Iterable[str], vocabulary: Vocabulary, folder: Path
) -> ModelCard:
    """Copy the base into a model's folder, where the recipe wants it kept and it knows targets that the model does not.

    A base that keeps a base itself, and of whose own targets all were trained anew, is passed over for that one.

    Parameters
    ----------
    card : ModelCard
        Of the trained model alone.
    recipe : Recipe
    trained : iterable of str
        Targets of the training images. The card names those of the validation, too, which nothing was learned of.
    vocabulary : Vocabulary
        Of the run.
    folder : Path
        The model's; gets the folder `base`.

    Returns
    -------
    ModelCard
        The card, with what the base answers; the same where none is kept.
    """
    if not recipe.model.base:
        return card
    found, known = find_model(recipe.model.base).folder, find_model(recipe.model.base).card
    if not recipe.trainer.max_epochs:  # it is the base, with what that keeps
        if known.kept_base is not None:
            _copy(found / BASE_FOLDER, folder / BASE_FOLDER)
        return card
    if not recipe.model.keep_base:
        return card
    own = {target: _names(target, vocabulary) for target in sorted(trained)}
    called = {normalise(name) for names in own.values() for name in names}
    while known.kept_base is not None and {normalise(target) for target in known.kept_base.own} <= called:
        found = found / BASE_FOLDER
        known = read_card(found)
    answered = {t: names for t, names in _answered(known, vocabulary).items() if normalise(t) not in called}
    if not answered:
        return card
    _copy(found, folder / BASE_FOLDER)
    dice = {target: score for target in answered if (score := known.test_dice(target)) is not None}
    return replace(
        card,
        targets=tuple(dict.fromkeys((*card.targets, *(target for target in known.targets if target in answered)))),
        phrases=tuple(sorted({*card.phrases, *(name for names in answered.values() for name in names)})),
        words=tuple(sorted({*card.words, *known.words})),
        kept_base=KeptBase(known.title, answered, own, dice),
    )


def _answered(card: ModelCard, vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """All that a base was trained on, or answers by its own base, with everything that it is called."""
    if card.kept_base is not None:
        return card.kept_base.own | card.kept_base.targets
    listed = {target: _names(target, vocabulary) for target in card.targets}
    called = {normalise(name) for names in listed.values() for name in names}
    # Those that the vocabulary did not have stand among its phrases alone.
    return listed | {phrase: _names(phrase, vocabulary) for phrase in card.phrases if normalise(phrase) not in called}


def _names(target: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Everything that a target is called.

    One that the vocabulary does not have, but takes for another ("melanoma", "large polyp"), is called as that one,
    too: the window asks for it in that one's words.
    """
    meant = vocabulary.targets.get(target) or vocabulary.find_target(target) or vocabulary.target(target)
    return tuple(dict.fromkeys((target, *vocabulary.names(meant))))


def _copy(source: Path, folder: Path) -> None:
    if (source / ADAPTER_FILE).is_file():  # what it adapts may lie beside it, and not beside the copy
        folder.mkdir()
        load_plain(source).save(folder)
        write_card(read_card(source), folder)
        return
    # Without its permissions: an installed model may be one that nobody may write.
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
