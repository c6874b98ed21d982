"""Data sets on disk to cases: an image, one mask of it, and what the annotations say."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_medvlsm.core.io.annotations import dataset_of, find_annotations, inside, read_annotations, read_mask
from napari_medvlsm.core.prompts import Attributes
from napari_medvlsm.core.prompts.reference import Dataset, reference_attributes

BINARISE = 127.5
# Files that tell which images belong together, and the column that says it.
GROUP_FILES = {"patients.csv": "patient", "sequences.csv": "sequence", "groups.csv": "group", "licences.csv": "url"}
# CAMUS and CheXlocalize name the patient in the file name.
_PATIENT = re.compile(r"patient\d+")
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Case:
    """One image and one mask.

    Attributes
    ----------
    name : str
        Of the mask's file within the set; a file that is named again gets "#2".
    image, mask : Path
    group : str
        Patient, video sequence, or the image's own name.
    target : str
        Phrase of the vocabulary.
    said : Attributes or None
        What the annotation says, in the release's words; None where there are no annotations.
    prompts : mapping
        The release's prompts by level.
    """

    name: str
    image: Path
    mask: Path
    group: str
    target: str
    said: Attributes | None = None
    prompts: Mapping[str, str | list[str]] = field(default_factory=dict)

    def load_mask(self) -> Mask:
        """The true mask, shape (H, W), cut at 127.5: JPEG masks hold values in between."""
        return read_mask(self.mask) > BINARISE


@dataclass(frozen=True, eq=False)
class DataSet:
    """One split of a data set.

    Attributes
    ----------
    name, split : str
    cases : tuple of Case
    grouped_by : str
        "patient", "sequence", ... or "image": what is drawn for the intervals.
    missing : int
        Cases that the split names but whose files are not there.
    sha256 : str
        Over the names, targets and bytes of all cases: another number means other data.
    reference : Dataset or None
        The data set of the paper.
    """

    name: str
    split: str
    cases: tuple[Case, ...]
    grouped_by: str
    missing: int
    sha256: str
    reference: Dataset | None = None


def read_data(folder: Path, split: str, targets: Collection[str] = ()) -> DataSet:
    """Read a split of a folder with annotations (named like one of the paper's sets) or with split lists.

    Parameters
    ----------
    folder : Path
        With `images`, `masks`, and `anns/<split>.json` or `splits/<split>.txt`; with lists, `targets.csv` (image,
        mask, target) where an image has several masks.
    split : str
    targets : collection of str
        Only these; with lists but no `targets.csv`, the one that the masks show.

    Raises
    ------
    ValueError
        If the folder has neither form, lacks the split, or nothing of it is there.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no data set folder {folder}.")
    folder = folder.absolute()
    reference = None
    if (folder / "splits").is_dir():
        named = list(_listed(folder, split, targets))
    else:
        reference = dataset_of(folder)
        named = list(_annotated(folder, split, reference))
    named = [case for case in named if not targets or case.target in targets]
    found = [case for case in named if case.image.is_file() and case.mask.is_file()]
    if not found:
        raise ValueError(f"The split {split!r} of {folder} has no case whose image and mask are there.")
    grouped_by, groups = _groups(folder, found)
    cases = tuple(
        replace(case, name=name, group=group)
        for case, name, group in zip(found, _numbered([c.name for c in found]), groups, strict=True)
    )
    return DataSet(folder.name, split, cases, grouped_by, len(named) - len(found), _hash(cases), reference)


def _annotated(folder: Path, split: str, dataset: Dataset) -> Iterator[Case]:
    files = {path.name.split(".")[0]: path for path in find_annotations(folder)}
    if split not in files:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(files)}.")
    # CAMUS keeps the files of its official parts apart, since their names repeat.
    part = "test" if split == "test" else "train"
    for item in read_annotations(files[split]):
        said = reference_attributes(dataset, item["prompts"])
        image, mask = (_find(folder, where, item, part) for where in ("images", "masks"))
        yield Case(str(item["mask_name"]), image, mask, "", said.target, said, item["prompts"])


def _find(folder: Path, where: str, item: Mapping[str, Any], part: str) -> Path:
    """The image or mask of an item; a path without a file where it is missing or leaves the folder."""
    name = str(item.get("img_name" if where == "images" else "mask_name"))
    hits = (inside(folder / where / below, name) for below in (".", part))
    return next((hit for hit in hits if hit is not None), folder / where / "missing" / Path(name).name)


def _listed(folder: Path, split: str, targets: Collection[str]) -> Iterator[Case]:
    path = folder / "splits" / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in (folder / "splits").glob("*.txt")))
        raise ValueError(f"{folder} has no split {split!r}; it has {known}.")
    names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    masks: dict[str, list[tuple[str, str]]] = {}
    if (folder / "targets.csv").is_file():
        for row in _rows(folder / "targets.csv"):
            masks.setdefault(row["image"], []).append((row["mask"], row["target"]))
    elif len(targets) != 1:
        raise ValueError(f"{folder.name} has no targets.csv; say with --target the one thing that its masks show.")
    for name in names:
        own = masks.get(name, []) if masks else [(f"{Path(name).stem}.png", next(iter(targets)))]
        for mask, target in own:
            image, drawn = inside(folder / "images", name), inside(folder / "masks", mask)
            gone = folder / "missing"
            yield Case(mask, image or gone / Path(name).name, drawn or gone / Path(mask).name, "", target)


def _groups(folder: Path, cases: Sequence[Case]) -> tuple[str, list[str]]:
    """What the cases are grouped by, and the group of each: a file of the set, the file names, or the images."""
    for name, column in GROUP_FILES.items():
        if (folder / name).is_file():
            known = {row["image"]: row.get(column, "") for row in _rows(folder / name)}
            found = [known.get(case.image.name, "") for case in cases]
            if all(found):
                return ("case" if column == "url" else column), found
    patients = [_PATIENT.search(case.image.name) for case in cases]
    if all(patients):
        return "patient", [match.group() for match in patients if match]
    return "image", [case.image.name for case in cases]


def _numbered(names: Sequence[str]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _hash(cases: Sequence[Case]) -> str:
    files: dict[Path, bytes] = {}
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda c: c.name):
        digest.update(f"{case.name} {case.image.name} {case.target}".encode())
        for path in (case.image, case.mask):
            if path not in files:
                files[path] = hashlib.sha256(path.read_bytes()).digest()
            digest.update(files[path])
    return digest.hexdigest()
