"""Data sets on disk to items: one image with the masks and attribute words known of it."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from medvlsm_training.config import SourceConfig
from napari_medvlsm.core.prompts import Vocabulary

SPLITS = ("train", "val", "test")
BINARISE = 127.5
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes
    ----------
    image : Path
    masks : mapping of target phrase to the mask's file
    modality, source, group : str
        Key of the vocabulary, folder of the data set, patient or case.
    words : mapping
        Attribute words that cannot be read from the mask ("shape", "color"), where annotated.
    split_lungs : bool
        Whether the mask of "lungs" also gives "left lung" and "right lung".
    """

    image: Path
    masks: Mapping[str, Path]
    modality: str
    source: str
    group: str
    words: Mapping[str, str] = field(default_factory=dict)
    split_lungs: bool = False

    def load_image(self) -> npt.NDArray[np.uint8]:
        """The image as RGB, shape (H, W, 3)."""
        with Image.open(self.image) as image:
            return np.asarray(image.convert("RGB"))

    def load_masks(self) -> dict[str, Mask]:
        """Masks by target, shape (H, W), binarised at 127.5."""
        masks = {}
        for target, path in self.masks.items():
            with Image.open(path) as image:
                masks[target] = np.asarray(image.convert("L")) > BINARISE
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


def read_source(root: Path, config: SourceConfig, vocabulary: Vocabulary) -> dict[str, list[Item]]:
    """Items of a data set by split ("train", "val", "test"); no image and no group is in two splits.

    Raises
    ------
    ValueError
        If a file is missing or a path leaves the data set's folder.
    """
    folder = root / config.folder
    if not folder.is_dir():
        raise ValueError(f"The data set {config.folder} is not in {root}.")
    read = _read_reference if config.layout == "reference" else _read_lists
    items = {split: list(read(folder, config, split, vocabulary)) for split in SPLITS}
    held_out = {key for split in ("val", "test") for item in items[split] for key in (item.image, item.group)}
    items["train"] = [i for i in items["train"] if i.image not in held_out and i.group not in held_out]
    tested = {key for item in items["test"] for key in (item.image, item.group)}
    items["val"] = [i for i in items["val"] if i.image not in tested and i.group not in tested]
    return items


def data_hash(items: Iterable[Item]) -> str:
    """SHA-256 over the names and bytes of all images and masks."""
    digest = hashlib.sha256()
    for path in sorted({p for item in items for p in (item.image, *item.masks.values())}):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, which must exist and must not leave the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"The file name {name!r} leaves the data folder {folder}.")
    if not path.is_file():
        raise ValueError(f"The file {path} is named in the data set but does not exist.")
    return path


def _read_reference(folder: Path, config: SourceConfig, split: str, vocabulary: Vocabulary) -> Iterable[Item]:
    for entry in json.loads((folder / "anns" / f"{split}.json").read_text("utf-8")):
        image = inside(folder / "images", entry["img_name"])
        target = config.target or str(entry["prompts"]["p1"])
        yield Item(
            image=image,
            masks={target: inside(folder / "masks", entry["mask_name"])},
            modality=config.modality,
            source=config.folder,
            group=str(image),
            words=_shape_and_color(entry["prompts"], target, vocabulary),
        )


def _shape_and_color(prompts: dict[str, str | list[str]], target: str, vocabulary: Vocabulary) -> dict[str, str]:
    """Shape and colour from prompts P2 and P3 of the photographic form, in the vocabulary's words; odd ones go."""
    p2, p3 = prompts.get("p2", ""), prompts.get("p3", "")
    if not (isinstance(p2, str) and isinstance(p3, str) and p2.endswith(f" {target}") and p3.endswith(f" {p2}")):
        return {}
    words = {"shape": p2.removesuffix(f" {target}"), "color": p3.removesuffix(f" {p2}")}
    known = {k: vocabulary.canonical(k, w) for k, w in words.items()}
    return {k: w for k, w in known.items() if w in vocabulary.words(k, target)}


def _read_lists(folder: Path, config: SourceConfig, split: str, vocabulary: Vocabulary) -> Iterable[Item]:
    names = (folder / "splits" / f"{split}.txt").read_text("utf-8").split("\n")
    by_image = _masks_by_image(folder, config)
    facts = _facts_by_image(folder)
    for name in filter(None, (n.strip() for n in names)):
        if config.licences and facts.get(name, {}).get("licence") not in config.licences:
            continue
        masks = by_image.get(name) if config.target == "" else {config.target: _mask_of(folder, name)}
        if masks:
            image = inside(folder / "images", name)
            group = facts.get(name, {}).get(config.group_column, "") or str(image)
            item = Item(image, masks, config.modality, config.folder, group)
            yield replace(item, split_lungs=config.split_lungs)


def _mask_of(folder: Path, image_name: str) -> Path:
    return inside(folder / "masks", re.sub(r"\.[^.]+$", ".png", image_name))


def _masks_by_image(folder: Path, config: SourceConfig) -> dict[str, dict[str, Path]]:
    if config.target:
        return {}
    found: dict[str, dict[str, Path]] = {}
    with (folder / "targets.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not config.only or row["target"] in config.only:
                found.setdefault(row["image"], {})[row["target"]] = inside(folder / "masks", row["mask"])
    return found


def _facts_by_image(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "licences.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}
