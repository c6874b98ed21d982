"""Replay: earlier scans that a run shows beside its own, so that what its base knew is not forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medvlsm_training.cache import file_digest
from medvlsm_training.config import SHIPPED_REPLAY, Recipe
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.reader import read_items, with_info
from napari_medvlsm.core.datasets.replay import shipped_replay
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary

# What the images of the replay are called beside the splits.
REPLAY = "replay"


def read_replay(recipe: Recipe, data: Path, items: Mapping[str, Sequence[Item]]) -> list[Item]:
    """The training images of the folders that a recipe replays, in their order.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets.
    items : mapping of split to items
        Of the run: an image that it holds already, in whichever split, is not replayed.

    Raises
    ------
    ValueError
        If a folder is missing or holds no training images.
    """
    if not recipe.replay.share:
        return []
    own = {file_digest(item.image) for found in items.values() for item in found}
    replayed = []
    for folder in _folders(recipe, data):
        vocabulary = dataset_vocabulary([folder])
        found = read_items(folder, with_info(folder, SourceConfig(".")), "train", vocabulary).items
        if not found:
            raise ValueError(f"{folder} is to be replayed, but lists no training images.")
        replayed += [item for item in found if file_digest(item.image) not in own]
    return replayed


def _folders(recipe: Recipe, data: Path) -> list[Path]:
    folders = []
    for name in recipe.replay.folders:
        if name == SHIPPED_REPLAY:
            folders += shipped_replay()
        elif (data / name).is_dir():
            folders.append(data / name)
        else:
            raise ValueError(f"The folder to be replayed, {name}, is not there (nor in {data}).")
    return folders
