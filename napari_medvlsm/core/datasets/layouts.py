"""Data sets on disk: which mask belongs to which image, in which split. Training and the check of data read here.

Two layouts, told apart by what a folder holds:

- "reference": `images/`, `masks/`, `anns/{train,val,test}.json` (or `.json.gz`), as the paper's code has it and as our
  export writes it. Where `images/` has the parts `train` and `test` (CAMUS), `masks/` has them too.
- "lists": `images/`, `masks/`, `splits/{train,val,test}.txt` with an image's name a line. A mask has its image's
  name, or `targets.csv` (image, mask, target) names the masks of each. Without `splits/`, all images are one split.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medvlsm.core.datasets.annotation_files import annotation_files, located, read_annotations, split_folders
from napari_medvlsm.core.io.images import SUFFIXES

SPLITS = ("train", "val", "test")
REFERENCE, LISTS = "reference", "lists"
# The split of a folder without any.
ALL = "all"
# Tables that tell which images belong together, and the column that says it; the first that is there counts.
GROUP_TABLES = {"patients.csv": "patient", "sequences.csv": "sequence", "groups.csv": "group"}
# CAMUS and CheXlocalize name the patient first in every file name.
_PATIENT = re.compile(r"patient\d+")


@dataclass(frozen=True)
class Entry:
    """One mask of one image, as a data set lists it; nothing says yet that the files exist.

    Attributes
    ----------
    split : str
    image, mask : str
        Names as listed; slashes for folders.
    images, masks : Path
        The folders that these are in.
    target : str
        Phrase, where a table says it.
    group : str
        Patient, video sequence or case, where known.
    facts : mapping
        Of the annotation file: "prompts", and usually "bbox" ([x1, y1, x2, y2] in pixels).
    """

    split: str
    image: str
    mask: str
    images: Path
    masks: Path
    target: str = ""
    group: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def image_path(self) -> Path:
        """Where the image should be. Raises ValueError if that is outside of its folder."""
        return located(self.images, self.image)

    def mask_path(self) -> Path:
        """Where the mask should be. Raises ValueError if that is outside of its folder."""
        return located(self.masks, self.mask)


def existing(path: Path) -> Path:
    """The path of a file that a data set names.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"The file {path} is named in the data set but does not exist.")
    return path


def layout_of(folder: Path) -> str:
    """The layout, "reference" or "lists", of a data set's folder.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    if (folder / "anns").is_dir() or any(folder.glob("*.json")) or any(folder.glob("*.json.gz")):
        return REFERENCE
    if (folder / "images").is_dir():
        return LISTS
    raise ValueError(
        f"{folder} holds no data set: images/ and masks/ are needed, with anns/{{train,val,test}}.json or "
        "splits/{train,val,test}.txt for the splits."
    )


def split_files(folder: Path, layout: str) -> dict[str, Path]:
    """The files that say what is in each split; of other names too, such as "testB".

    Raises
    ------
    ValueError
        If a layout with annotation files has none.
    """
    if layout == REFERENCE:
        return annotation_files(folder)
    return {path.stem: path for path in sorted((folder / "splits").glob("*.txt"))}


def read_split(folder: Path, layout: str, split: str, target: str = "", group_column: str = "") -> Iterator[Entry]:
    """What a data set lists in one split, in its order; one entry for each mask.

    Parameters
    ----------
    folder : Path
    layout : str
        "reference" or "lists".
    split : str
        "all" for a plain folder without lists.
    target : str
        Layout "lists": the one target, whose mask has its image's name; "" to take `targets.csv` where there is one.
    group_column : str
        See `read_groups`.

    Raises
    ------
    ValueError
        If the split or a table cannot be read.
    """
    groups = read_groups(folder, group_column)
    images, masks = split_folders(folder, split) if layout == REFERENCE else (folder / "images", folder / "masks")
    for image, mask, named, facts in _listed(folder, layout, split, target):
        group = groups.get(image, "")
        if not group and not group_column and (patient := _PATIENT.match(image)):
            # The two parts of CAMUS number their patients from 1 each.
            group = patient[0] if images.name == "images" else f"{images.name}/{patient[0]}"
        yield Entry(split, image, mask, images, masks, named, group, facts)


def read_groups(folder: Path, column: str = "") -> dict[str, str]:
    """Patient, sequence or case by image name.

    Parameters
    ----------
    folder : Path
    column : str
        Of any table (`*.csv`) of the folder that has the column "image" too; "" for one of `GROUP_TABLES`.

    Raises
    ------
    ValueError
        If no table has the column.
    """
    if not column:
        for name, own in GROUP_TABLES.items():
            if (path := folder / name).is_file():
                return {row["image"]: f"{own} {row[own]}" for row in read_table(path, "image", own) if row[own]}
        return {}
    for path in sorted(folder.glob("*.csv")):
        rows = read_table(path)
        if rows and {"image", column} <= rows[0].keys():
            return {row["image"]: row[column] for row in rows if row[column]}
    raise ValueError(f"No table in {folder} has the columns 'image' and {column!r}.")


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a table with a head line.

    Raises
    ------
    ValueError
        If it cannot be read or lacks one of `columns`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
            head = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table ({error}).") from error
    if missing := [column for column in columns if column not in head]:
        raise ValueError(f"{path} lacks the column {missing[0]!r}; it has {', '.join(head) or 'none'}.")
    return rows


def _listed(folder: Path, layout: str, split: str, target: str) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """(image, mask, target, facts) of each mask."""
    files = split_files(folder, layout)
    if split not in files and not (split == ALL and layout == LISTS):
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(files) or 'none'}.")
    if layout == REFERENCE:
        for item in read_annotations(files[split]):
            yield str(item.get("img_name", "")), str(item.get("mask_name", "")), "", item
        return
    names = _image_names(folder) if split == ALL else _lines(files[split])
    table = folder / "targets.csv"
    if target or not table.is_file():
        for name in names:
            yield name, _mask_name(folder / "masks", name), target, {}
        return
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_table(table, "image", "mask", "target"):
        rows.setdefault(row["image"], []).append(row)
    for name in names:
        for row in rows.get(name, ()):
            yield name, row["mask"], row["target"], {}


def _lines(path: Path) -> list[str]:
    try:
        return [line for raw in path.read_text("utf-8-sig").splitlines() if (line := raw.strip())]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a list of images ({error}).") from error


def _image_names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "images").iterdir() if p.suffix.lower() in SUFFIXES)


def _mask_name(masks: Path, image: str) -> str:
    """The mask's name for an image's: of the same stem, PNG unless another file is there."""
    stem = re.sub(r"\.[^.]+$", "", image)
    names = (stem + suffix for suffix in (".png", *SUFFIXES))
    return next((name for name in names if (masks / name).is_file()), f"{stem}.png")
