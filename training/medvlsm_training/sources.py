"""The data sets of a recipe: their metadata, vocabulary and items."""

from __future__ import annotations

import difflib
import logging
from dataclasses import replace
from pathlib import Path

from medvlsm_training.config import Recipe
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.reader import read_source, source_folder, with_info
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
from napari_medvlsm.core.prompts import Vocabulary

_log = logging.getLogger(__name__)


def resolved(recipe: Recipe, data: Path) -> Recipe:
    """The recipe with what its sources leave to the data: layout, and title, licence and citation for the card.

    A recipe that is resolved already stays as it is.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets; of a recipe with the source ".", the data set itself.

    Raises
    ------
    ValueError
        If a folder is missing or holds no data set.
    """
    return replace(recipe, sources=tuple(with_info(data, source) for source in recipe.sources))


def recipe_vocabulary(recipe: Recipe, data: Path) -> Vocabulary:
    """The words of a run: shipped ones, the user's own, and those that its data sets were written with.

    Raises
    ------
    ValueError
        If a name has two meanings in these.
    """
    return dataset_vocabulary(source_folder(data, source) for source in recipe.sources)


def read_items(recipe: Recipe, data: Path, vocabulary: Vocabulary) -> dict[str, list[Item]]:
    """All items of a recipe by split, training images not yet repeated.

    Raises
    ------
    ValueError
        If the data are not as the recipe says.
    """
    items: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for source in recipe.sources:
        for split, found in read_source(data, source, vocabulary, "missing-file" in recipe.accept).items():
            items[split] += per_mask(found) if recipe.prompts.per_mask else found
    _tell_misspelt({name for found in items.values() for item in found for name in item.masks}, vocabulary)
    return items


def _tell_misspelt(targets: set[str], vocabulary: Vocabulary) -> None:
    """Name the nearest known target of one that is not known: it may be new, or a slip."""
    known = {name: phrase for phrase, target in vocabulary.targets.items() for name in (phrase, *target.names)}
    for target in sorted(targets - known.keys()):
        if near := difflib.get_close_matches(target[:200], known, n=1, cutoff=0.8):
            _log.warning("The vocabulary does not have the target %r; is %r meant?", target[:200], near[0])


def per_mask(items: list[Item]) -> list[Item]:
    """One item for each mask, as upstream trains."""
    return [replace(item, masks={name: mask}) for item in items for name, mask in item.masks.items()]
