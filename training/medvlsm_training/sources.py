"""Data sets on disk to items: one image with the masks and attribute words known of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medvlsm_training.config import SourceConfig
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.layouts import REFERENCE, SPLITS, Entry, existing, read_split, read_table
from napari_medvlsm.core.prompts import Attributes, Vocabulary, parse
from napari_medvlsm.core.prompts.reference import Dataset, Prompts, load_datasets, reference_attributes

# Levels of the reference whose texts hold a general description.
_WITH_SENTENCES = ("p7", "p8", "p9")


def read_source(
    root: Path, config: SourceConfig, vocabulary: Vocabulary, skip_missing: bool = False
) -> dict[str, list[Item]]:
    """Items of a data set by split ("train", "val", "test").

    No image, and no group of the recipe's `group_column`, is in two splits, unless the recipe wants them `as_listed`:
    what is tested is taken out of training and validation, what is validated out of training. Copies under another
    name are not seen here, but by the check of the data (`napari_medvlsm.core.datasets.check`).

    Parameters
    ----------
    root : Path
        Folder of data sets.
    config : SourceConfig
    vocabulary : Vocabulary
    skip_missing : bool
        Pass over masks whose file, or whose image's, is missing.

    Raises
    ------
    ValueError
        If a file is missing or a path leaves the data set's folder.
    """
    folder = root / config.folder
    if not folder.is_dir():
        raise ValueError(f"The data set {config.folder} is not in {root}.")
    read = _read_reference if config.layout == REFERENCE else _read_lists
    wanted = ("test",) if config.tested_only else SPLITS
    listed = {split: _listed(folder, config, split, skip_missing) if split in wanted else () for split in SPLITS}
    items = {split: list(read(entries, folder, config, vocabulary)) for split, entries in listed.items()}
    if config.as_listed:
        return items

    def keys(item: Item) -> set[object]:
        return {item.image, item.group} if config.group_column else {item.image}

    tested = {key for item in items["test"] for key in keys(item)}
    held_out = tested | {key for item in items["val"] for key in keys(item)}
    items["train"] = [item for item in items["train"] if not keys(item) & held_out]
    items["val"] = [item for item in items["val"] if not keys(item) & tested]
    return items


def _listed(folder: Path, config: SourceConfig, split: str, skip_missing: bool) -> Iterator[Entry]:
    """What a split lists, but for what the recipe leaves out."""
    for entry in read_split(folder, config.layout, split, config.target, config.group_column):
        files = entry.image_path(), entry.mask_path()
        if entry.image not in config.leave_out and not (skip_missing and not all(path.is_file() for path in files)):
            yield entry


def _read_reference(
    entries: Iterable[Entry], folder: Path, config: SourceConfig, vocabulary: Vocabulary
) -> Iterable[Item]:
    """One item an image; several where it has two masks of one target."""
    known = load_datasets().get(folder.name)
    items: dict[Path, list[Item]] = {}
    for entry in entries:
        prompts = entry.facts["prompts"]
        said = said_in(prompts, known, vocabulary)
        target = config.target or said.target
        image, mask = existing(entry.image_path()), existing(entry.mask_path())
        words = beyond_the_mask(said, target, vocabulary)
        same = items.setdefault(image, [])
        if any(item.masks.get(target) == mask for item in same):
            continue  # listed twice
        for i, item in enumerate(same):
            if target not in item.masks:
                added: tuple[Mapping[str, Any], ...] = {target: mask}, {target: words}, {target: prompts}
                masks, spoken, texts = ({**a, **b} for a, b in zip(_of(item), added, strict=True))
                same[i] = replace(item, masks=masks, words=spoken, prompts=texts)
                break
        else:
            group = entry.group or str(image)
            same.append(
                Item(
                    image,
                    {target: mask},
                    config.modality,
                    config.folder,
                    group,
                    {target: words},
                    prompts={target: prompts},
                )
            )
    return [item for same in items.values() for item in same]


def _of(item: Item) -> tuple[Mapping[str, Any], ...]:
    return item.masks, item.words, item.prompts


def said_in(prompts: Prompts, known: Dataset | None, vocabulary: Vocabulary) -> Attributes:
    """What prompts say: of a set of the paper in the release's words, else in the vocabulary's."""
    if known is not None:
        try:
            return reference_attributes(known, prompts)
        except ValueError:
            pass  # a folder of that name with prompts of our own
    texts = [t if isinstance(t, str) else next(iter(t), "") for k, t in prompts.items() if k not in _WITH_SENTENCES]
    found = parse(max(texts, key=len, default=""), vocabulary).attributes
    return found if found.target else replace(found, target=min(filter(None, texts), key=len, default=""))


def beyond_the_mask(said: Attributes, target: str, vocabulary: Vocabulary) -> dict[str, str]:
    """What cannot be measured, in the vocabulary's words; the release's odd shapes and colours ("hot dog") go."""
    named = {name: getattr(said, name) for name in sorted(said.named() - {"number", "size", "location", "general"})}
    words = {name: vocabulary.canonical(name, word) for name, word in named.items()}
    return {k: w for k, w in words.items() if k not in ("shape", "color") or w in vocabulary.words(k, target)}


def _read_lists(entries: Iterable[Entry], folder: Path, config: SourceConfig, vocabulary: Vocabulary) -> Iterable[Item]:
    licences = _licences(folder) if config.licences else {}
    items: dict[str, Item] = {}
    for entry in entries:
        if config.licences and licences.get(entry.image) not in config.licences:
            continue
        if config.only and not config.target and entry.target not in config.only:
            continue
        if not entry.target:
            raise ValueError(f"{config.folder}: nothing says what the masks show; name the target, or add targets.csv.")
        mask = existing(entry.mask_path())
        if (item := items.get(entry.image)) is not None:
            items[entry.image] = replace(item, masks={**item.masks, entry.target: mask})
            continue
        image = existing(entry.image_path())
        item = Item(image, {entry.target: mask}, config.modality, config.folder, entry.group or str(image))
        items[entry.image] = replace(item, split_lungs=config.split_lungs)
    return items.values()


def _licences(folder: Path) -> dict[str, str]:
    path = folder / "licences.csv"
    return {row["image"]: row["licence"] for row in read_table(path, "image", "licence")} if path.is_file() else {}
