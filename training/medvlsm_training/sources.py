"""Data sets on disk to items: one image with the masks and attribute words known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medvlsm_training.config import SourceConfig
from napari_medvlsm.core.images import to_unit_rgb
from napari_medvlsm.core.io.annotations import read_binary
from napari_medvlsm.core.io.folders import REFERENCE, SPLITS, Entry, existing, read_split, read_table
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.prompts import Attributes, Vocabulary, parse
from napari_medvlsm.core.prompts.reference import Dataset, Prompts, load_datasets, reference_attributes

Mask = npt.NDArray[np.bool_]
# Levels of the reference whose texts hold a general description.
_WITH_SENTENCES = ("p7", "p8", "p9")


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes
    ----------
    image : Path
    masks : mapping of target phrase to the mask's file
    modality, source, group : str
        Key of the vocabulary, folder of the data set, patient or case.
    words : mapping of target to mapping
        Attribute words that cannot be read from the mask ("shape", "view", ...), where annotated.
    split_lungs : bool
        Whether the mask of "lungs" also gives "left lung" and "right lung".
    prompts : mapping
        Of the annotation file, for each target: level to text, or to a list of which one is drawn.
    """

    image: Path
    masks: Mapping[str, Path]
    modality: str
    source: str
    group: str
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    split_lungs: bool = False
    prompts: Mapping[str, Prompts] = field(default_factory=dict)

    def load_image(self) -> npt.NDArray[np.uint8]:
        """The image as RGB, shape (H, W, 3)."""
        pixels = read_scan(self.image).pixels
        if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
            return pixels.astype(np.uint8, copy=False)
        return np.rint(to_unit_rgb(pixels) * 255).astype(np.uint8)

    def load_masks(self) -> dict[str, Mask]:
        """Masks by target, shape (H, W), binarised at 127.5."""
        masks = {target: read_binary(path) for target, path in self.masks.items()}
        if self.split_lungs and "lungs" in masks:
            sides = split_lungs(masks["lungs"])
            if sides is not None:
                masks["left lung"], masks["right lung"] = sides
        return masks


def split_lungs(lungs: Mask) -> tuple[Mask, Mask] | None:
    """(the patient's left lung, the patient's right lung) of a frontal X-ray shown the usual way.

    The patient's left is the right side of the image. None unless the two largest components lie on
    different sides of one another and hold nearly everything.
    """
    labels, count = ndimage.label(lungs)
    if count < 2:
        return None
    areas = np.bincount(labels.ravel())[1:]
    first, second = np.argsort(areas)[::-1][:2]
    if areas[second] < 0.2 * areas[first]:
        return None
    columns = [ndimage.center_of_mass(labels == i + 1)[1] for i in (first, second)]
    image_left, image_right = (first, second) if columns[0] < columns[1] else (second, first)
    return labels == image_right + 1, labels == image_left + 1


def read_source(
    root: Path, config: SourceConfig, vocabulary: Vocabulary, skip_missing: bool = False
) -> dict[str, list[Item]]:
    """Items of a data set by split ("train", "val", "test").

    No image, and no group of the recipe's `group_column`, is in two splits, unless the recipe wants them `as_listed`:
    what is tested is taken out of training and validation, what is validated out of training. Copies under another
    name are not seen here, but by the check of the data (`medvlsm_training.check`).

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


def data_hash(items: Iterable[Item]) -> str:
    """SHA-256 over the names and bytes of all images and masks."""
    digest = hashlib.sha256()
    for path in sorted({p for item in items for p in (item.image, *item.masks.values())}):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
