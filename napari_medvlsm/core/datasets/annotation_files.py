"""Annotation files of upstream's layout, and how well our prompts and descriptions reproduce them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medvlsm.core.describe import describe_upstream
from napari_medvlsm.core.io.mask_files import read_grey
from napari_medvlsm.core.plain_files import is_system_file, is_there, read_json, shown
from napari_medvlsm.core.prompts.upstream import Dataset, load_datasets, rebuilt, upstream_attributes

# What can be read from a mask by upstream's rules.
MEASURED = ("number", "size", "location")


@dataclass
class Agreement:
    """How many items of one data set are reproduced.

    Attributes
    ----------
    items, rebuilt : int
        Items read, and those whose prompts are all built again character for character.
    first_failure : str
        The mask's name of the first item that is not.
    masks : int
        Items whose mask was found and that have the attributes to compare.
    equal : dict
        For each measured attribute, in how many of these the mask says the same as the annotation.
    """

    items: int = 0
    rebuilt: int = 0
    first_failure: str = ""
    masks: int = 0
    equal: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURED, 0))


def find_annotations(folder: Path) -> list[Path]:
    """The annotation files (.json or .json.gz) of one data set: in its folder, or in `anns` inside.

    Raises
    ------
    ValueError
        If there are none.
    """
    inside = folder / "anns" if (folder / "anns").is_dir() else folder
    found = (p for p in inside.glob("*.json*") if p.name.endswith((".json", ".json.gz")))
    files = sorted(p for p in found if not is_system_file(p))
    if not files:
        raise ValueError(f"There are no annotation files (*.json, *.json.gz) in {inside}.")
    return files


def read_annotations(path: Path) -> list[dict[str, Any]]:
    """The items of an annotation file, gzip or plain.

    Raises
    ------
    ValueError
        If the file is damaged, or no list of items with prompts: by level a text, or a list of texts.
    """
    items = read_json(path)
    if not isinstance(items, list):
        raise ValueError(f"{path} holds no list of items with prompts.")
    for number, item in enumerate(items, 1):
        if problem := _problem(item):
            raise ValueError(f"{path}, item {number}: {problem}.")
    return items


def _problem(item: object) -> str:
    """What an item of an annotation file lacks; "" where it is as it should be."""
    if not isinstance(item, dict) or not isinstance(item.get("prompts"), dict):
        return "it holds no prompts"
    for key in ("img_name", "mask_name"):
        if key in item and not (isinstance(item[key], str) and item[key]):
            return f"{key} must be the name of a file, but is {shown(repr(item[key]), 60)}"
    for level, said in item["prompts"].items():
        several = isinstance(said, list) and said and all(isinstance(text, str) for text in said)
        if not isinstance(said, str) and not several:
            return f"the prompt {shown(level, 60)} must be a text or a list of texts, but is {shown(repr(said), 60)}"
    return ""


def annotation_files(folder: Path) -> dict[str, Path]:
    """The annotation files of one data set by name without ending: "train", "val", "test", and what else there is.

    Raises
    ------
    ValueError
        If there are none, or one is there both plain and compressed.
    """
    found: dict[str, Path] = {}
    for path in find_annotations(folder):
        name = path.name.split(".")[0]
        if name in found:
            raise ValueError(
                f"{folder} holds both {found[name].name} and {path.name}; remove the one that is not meant."
            )
        found[name] = path
    return found


def split_folders(folder: Path, split: str) -> tuple[Path, Path]:
    """(folder of the images, folder of the masks) of a split.

    CAMUS has two parts, `images/train` and `images/test`, in which equal file names are different people; validation
    images are of the first.
    """
    part = "test" if split == "test" else "train"
    images, masks = folder / "images", folder / "masks"
    if (images / part).is_dir() or (folder.name == "camus" and not images.is_dir()):
        return images / part, masks / part
    return images, masks


def dataset_of(folder: Path) -> Dataset:
    """The data set that a folder is named after.

    Raises
    ------
    ValueError
        If there is none; the sentence lists the known names.
    """
    datasets = load_datasets()
    if folder.name not in datasets:
        raise ValueError(f"{folder.name!r} is none of the paper's data sets ({', '.join(datasets)}).")
    return datasets[folder.name]


def check(dataset: Dataset, items: Iterable[dict[str, Any]], masks: Path | None = None) -> Agreement:
    """Build the prompts of items again, and describe their masks where these are at hand.

    Parameters
    ----------
    dataset : Dataset
    items : iterable of dict
        As in the annotation files.
    masks : Path, optional
        Their folder.
    """
    result = Agreement()
    for item in items:
        result.items += 1
        if not rebuilt(dataset, item["prompts"]):
            result.first_failure = result.first_failure or str(item.get("mask_name", f"item {result.items}"))
            continue
        result.rebuilt += 1
        if masks is None or not {"number", "location"} & {*dataset.family.attributes}:
            continue
        said = upstream_attributes(dataset, item["prompts"])
        path = inside(masks, str(item["mask_name"]))
        if path is None:
            continue
        seen = describe_upstream(read_grey(path))
        result.masks += 1
        for name in MEASURED:
            result.equal[name] += getattr(seen, name) == getattr(said, name)
    return result


def located(folder: Path, name: str) -> Path:
    """`folder / name`, whether or not it exists.

    Raises
    ------
    ValueError
        If it leaves the folder.
    """
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder.resolve()):
            return path
    except (OSError, RuntimeError, ValueError) as error:  # links that go in circles, zeros in a name
        raise ValueError(f"{shown(repr(name))} cannot be the name of a file ({shown(error)}).") from error
    raise ValueError(f"The file name {shown(repr(name))} leaves the data folder {folder}.")


def inside(folder: Path, name: str) -> Path | None:
    """`folder / name` if it exists and does not leave the folder."""
    try:
        path = located(folder, name)
    except ValueError:
        return None
    return path if is_there(path) else None
