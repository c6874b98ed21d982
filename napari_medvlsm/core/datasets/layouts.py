"""How data sets lie on disk: which mask belongs to which image, in which split.

Two layouts, told apart by what a folder holds:

- "upstream": `images/`, `masks/`, `anns/{train,val,test}.json` (or `.json.gz`), as the paper's code has it and as our
  export writes it. Where `images/` has the parts `train` and `test` (CAMUS), `masks/` has them too.
- "lists": `images/`, `masks/`, `splits/{train,val,test}.txt` with an image's name a line. A mask has its image's
  name, or `targets.csv` (image, mask, target) names the masks of each. Without `splits/`, all images are one split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_medvlsm.core.datasets.annotation_files import annotation_files, located, read_annotations, split_folders
from napari_medvlsm.core.datasets.groups import read_groups
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.io.images import list_pictures, walk_pictures
from napari_medvlsm.core.plain_files import is_folder, is_system_file, is_there, lines_of, read_table, read_text, shown

Layout = Literal["upstream", "lists"]
UPSTREAM: Layout = "upstream"
LISTS: Layout = "lists"
# Masks and targets by image, in the layout "lists".
TABLE = "targets.csv"
# The split of a folder without any.
ALL = "all"


@dataclass(frozen=True)
class ListedMask:
    """One mask of one image, as a data set lists it; nothing says yet that the files exist.

    Attributes
    ----------
    split : str
    image, mask : str
        Names as listed; slashes for folders. The mask is "" where `targets.csv` has no row for the image.
    images, masks : Path
        The folders that these are in.
    target : str
        Phrase, where a table says it.
    group : str
        Such as "patient 7", where known; see `groups`.
    record : mapping
        Of the annotation file: "prompts", usually "bbox" ([x1, y1, x2, y2] in pixels), and what our export adds.
    """

    split: str
    image: str
    mask: str
    images: Path
    masks: Path
    target: str = ""
    group: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)

    def image_path(self) -> Path:
        """Where the image should be. Raises ValueError if that is outside of its folder."""
        return located(self.images, self.image)

    def mask_path(self) -> Path:
        """Where the mask should be. Raises ValueError if that is outside of its folder, or if no mask is named."""
        if not self.mask:
            raise ValueError(
                f"{shown(self.image)} is listed in {self.split}, but {TABLE} has no row with a mask for it; add one, "
                "or take the image out of the list."
            )
        return located(self.masks, self.mask)


def existing(path: Path, name: str) -> Path:
    """The path of a file that a data set names, and the name as it stands there.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    if not is_there(path):
        raise ValueError(not_there(path, name))
    return path


def not_there(path: Path, name: str, what: str = "file") -> str:
    """That a file is missing: its name as listed, where it was looked for, and what is near."""
    sentence = f"The {what} {shown(name)} is listed, but there is no {shown(path, 300)}"
    # A folder's name that is listed too, a path of Windows, or another ending.
    plain = name.replace("\\", "/")
    first, _, rest = plain.partition("/")
    if rest and is_there(path.parents[name.count("/")] / rest):
        return f"{sentence}; list it without {name[: len(first) + 1]}."
    if is_folder(path):
        return f"The {what} {shown(name)} is listed, but {shown(path, 300)} is a folder."
    beside = [p for p in _siblings(path) if p != path]
    near = next((p for p in beside if p.stem == path.stem), None) or next(
        (p for p in beside if path.stem in p.stem and p.suffix), None
    )
    return f"{sentence}; is {shown(near.name)} meant?" if near else f"{sentence}."


def _siblings(path: Path) -> list[Path]:
    try:
        return sorted(p for p in path.parent.iterdir() if not is_system_file(p))
    except (OSError, ValueError):
        return []


def layout_of(folder: Path) -> Layout:
    """The layout, "upstream" or "lists", of a data set's folder.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if not is_folder(folder):
        raise ValueError(f"There is no folder {shown(folder)}.")
    if (folder / "anns").is_dir():
        return UPSTREAM
    found = (path for pattern in ("*.json", "*.json.gz") for path in folder.glob(pattern))
    beside = [path for path in found if not is_system_file(path)]
    # Beside lists or their table a JSON file may be anybody's notes, unless it is named after a split.
    listed = is_folder(folder / "splits") or is_there(folder / TABLE)
    if beside and not (listed and not any(path.name.lower().startswith(SPLITS) for path in beside)):
        return UPSTREAM
    if is_folder(folder / "images"):
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
        If a layout with annotation files has none, or a split seems to be listed in another way.
    """
    if layout == UPSTREAM:
        return annotation_files(folder)
    listed, others = {}, []
    for path in _siblings(folder / "splits" / "train.txt"):
        if path.suffix.lower() == ".txt":
            listed[path.stem] = path
        elif path.stem.lower().startswith(SPLITS):
            others.append(path.name)
    if others:
        raise ValueError(
            f"{folder / 'splits'} holds {', '.join(map(shown, others[:3]))}, but a split is listed in a text file such "
            "as train.txt, with the name of an image a line; write it so, or put the file elsewhere."
        )
    return listed


def read_split(folder: Path, layout: str, split: str, target: str = "", group_column: str = "") -> Iterator[ListedMask]:
    """What a data set lists in one split, in its order; one entry for each mask.

    Parameters
    ----------
    folder : Path
    layout : str
        "upstream" or "lists".
    split : str
        "all" for a plain folder without lists.
    target : str
        Layout "lists": the one target, whose mask has its image's name; "" to take `targets.csv` where there is one.
    group_column : str
        See `groups.read_groups`.

    Raises
    ------
    ValueError
        If the split or a table cannot be read.
    """
    groups = read_groups(folder, group_column)
    images, masks = split_folders(folder, split) if layout == UPSTREAM else (folder / "images", folder / "masks")
    part = "" if images.name == "images" else images.name
    for image, mask, named, record in _listed(folder, layout, split, target):
        group = groups.of(image, str(record.get("group") or ""), part)
        yield ListedMask(split, image, mask, images, masks, named, group, record)


def _listed(folder: Path, layout: str, split: str, target: str) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """(image, mask, target, record of the annotation file) of each mask."""
    files = split_files(folder, layout)
    if split not in files and not (split == ALL and layout == LISTS):
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(files) or 'none'}.")
    if layout == UPSTREAM:
        for number, item in enumerate(read_annotations(files[split]), 1):
            if lacking := [key for key in ("img_name", "mask_name") if key not in item]:
                raise ValueError(f"{files[split]}, item {number}: {lacking[0]}, the name of a file, is missing.")
            yield item["img_name"], item["mask_name"], "", item
        return
    names = _image_names(folder) if split == ALL else _lines(files[split])
    table = folder / TABLE
    if target or not is_there(table):
        masks = _Masks(folder / "masks")
        for name in names:
            for mask in masks.of(name):
                yield name, mask, target, {}
        return
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_table(table, "image", "mask", "target"):
        rows.setdefault(row["image"], []).append(row)
    # Without lists the table is one, too: what it names that is not there is missing.
    for name in dict.fromkeys([*names, *rows]) if split == ALL else names:
        # An image without a row is listed all the same.
        for row in rows.get(name, ({"mask": "", "target": ""},)):
            yield name, row["mask"], row["target"], {}


def rows_in_no_split(folder: Path, files: Mapping[str, Path]) -> list[str]:
    """Images that `targets.csv` names, but none of the lists of splits."""
    table = folder / TABLE
    if not files or not is_there(table):
        return []
    listed = {name for path in files.values() for name in _lines(path)}
    return [name for name in dict.fromkeys(row["image"] for row in read_table(table, "image")) if name not in listed]


def _lines(path: Path) -> list[str]:
    return lines_of(read_text(path))


def _image_names(folder: Path) -> list[str]:
    return [path.relative_to(folder / "images").as_posix() for path in walk_pictures(folder / "images")]


# What programs add to an image's name for its masks' names, of which there may be several.
_MASK_WORDS = re.compile(r"(.+?)[_ .-]?(masks?|segmentation|seg|gt|labels?|annotation)([_ -]?\d+)?", re.IGNORECASE)


def image_stem(mask: str) -> str:
    """The image's name that a mask's, such as "case 4_mask_1", is made of, both without ending; "" if of none."""
    found = _MASK_WORDS.fullmatch(mask)
    return found[1] if found else ""


class _Masks:
    """The masks of a folder by the stems of their names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def of(self, image: str) -> list[str]:
        """Names of an image's masks: of the same stem whatever their ending, or else with a word such as "_mask"."""
        part, _, name = image.rpartition("/")
        stem = re.sub(r"\.[^.]+$", "", name)
        plain, with_word = self._listing(part)
        same = plain.get(stem) or with_word.get(stem, [])
        prefix = f"{part}/" if part else ""
        if len(plain.get(stem, ())) > 1:
            raise ValueError(
                f"{self._folder} holds {' and '.join(map(shown, same))} for the image {shown(image)}; remove the one "
                "that is not meant."
            )
        return [prefix + n for n in same] or [f"{prefix}{stem}.png"]

    def _listing(self, part: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Names by their stem, and by the stem of the image that they are made of."""
        if part not in self._known:
            folder = self._folder / part
            inside = is_folder(folder) and folder.resolve().is_relative_to(self._folder.resolve())
            found = list_pictures(folder) if inside else []
            plain: dict[str, list[str]] = {}
            with_word: dict[str, list[str]] = {}
            for path in found:
                plain.setdefault(path.stem, []).append(path.name)
                with_word.setdefault(image_stem(path.stem), []).append(path.name)
            self._known[part] = plain, with_word
        return self._known[part]
