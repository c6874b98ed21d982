"""Replay: earlier scans that a run shows beside its own, so that what its base knew is not forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medvlsm_training.config import SHIPPED_REPLAY, Recipe
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.reader import read_items, with_info
from napari_medvlsm.core.datasets.replay import shipped_replay
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
from napari_medvlsm.core.images import content_hash

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
        Of the run: an image that it holds already, in whichever split, is not replayed, nor is a copy of it with the
        same pixels.

    Raises
    ------
    ValueError
        If a folder is missing or holds no training images.
    """
    if not recipe.replay.share:
        return []
    listed = []
    for folder in _folders(recipe, data):
        vocabulary = dataset_vocabulary([folder])
        found = read_items(folder, with_info(folder, SourceConfig(".")), "train", vocabulary).items
        if not found:
            raise ValueError(f"{folder} is to be replayed, but lists no training images.")
        listed += found
    # By pixels and not by files: what a project exports is written anew.
    own = _pictures(item for found in items.values() for item in found)
    pictures = _pictures(listed)
    own_pixels = {*own.values()}
    return [item for item in listed if pictures[item.image] not in own_pixels]


def _pictures(items: Iterable[Item]) -> dict[Path, str]:
    """Hashes of the pixels of their images, as colours: a grey scan is the same picture with three channels."""
    by_path = {item.image: item for item in items}
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(by_path, pool.map(lambda item: content_hash(item.load_image()), by_path.values()), strict=True))


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
