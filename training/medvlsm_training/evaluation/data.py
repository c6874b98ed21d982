"""Data sets on disk to cases: an image, one mask of it, and what is said of it.

A folder is measured as it stands (`read_data`), or with the rules of a recipe (`recipe_sets`): which targets, which
licences, both halves of a mask of the lungs, what is left out. Either way the same mask is the same case.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medvlsm_training.config import Recipe
from medvlsm_training.sources import beyond_the_mask, read_source, said_in
from napari_medvlsm.core.datasets.annotation_files import inside, read_binary, split_folders
from napari_medvlsm.core.datasets.items import Item, split_lungs
from napari_medvlsm.core.datasets.layouts import (
    ALL,
    GROUP_TABLES,
    REFERENCE,
    Entry,
    layout_of,
    read_groups,
    read_split,
    read_table,
    split_files,
)
from napari_medvlsm.core.prompts import Attributes, Vocabulary, load_vocabulary
from napari_medvlsm.core.prompts.reference import Dataset, load_datasets, reference_attributes

# Where an image comes from says what it belongs to, too.
_GROUP_TABLES = {**GROUP_TABLES, "licences.csv": "url"}
# CAMUS and CheXlocalize name the patient in the file name.
_PATIENT = re.compile(r"patient\d+")
_SIDES = ("left lung", "right lung")
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
        What the annotation of one of the paper's sets says, in the release's words.
    words : mapping
        What other annotations say beside what the mask shows, in the vocabulary's words.
    prompts : mapping
        Of the annotation file, by level; empty where there are no annotations.
    modality : str
        Key of the vocabulary's modalities; "" where unknown.
    half : bool
        Whether the target is one half of the mask, which shows both lungs.
    others : tuple of Case
        The image's masks of other targets.
    first : bool
        Whether it is the first case of its image: what is asked of an image is asked once.
    """

    name: str
    image: Path
    mask: Path
    group: str
    target: str
    said: Attributes | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str | list[str]] = field(default_factory=dict)
    modality: str = ""
    half: bool = False
    others: tuple[Case, ...] = ()
    first: bool = True

    def load_mask(self) -> Mask:
        """The true mask, shape (H, W), cut at 127.5: JPEG masks hold values in between."""
        mask = read_binary(self.mask)
        if not self.half:
            return mask
        sides = split_lungs(mask)
        if sides is None:
            raise ValueError(f"{self.mask} does not show two lungs apart any more.")
        return sides[_SIDES.index(self.target)]


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


def read_data(folder: Path, split: str, targets: Collection[str] = (), limit: int = 0) -> DataSet:
    """Read a split of a folder, in either layout of `core.io.folders`, as it stands.

    Parameters
    ----------
    folder : Path
    split : str
        Of a folder without any splits, everything is read, and the split is called "all".
    targets : collection of str
        Only these; with lists but no `targets.csv`, the one that the masks show.
    limit : int
        At most so many images, the first; 0 for all.

    Raises
    ------
    ValueError
        If the folder has neither form, lacks the split, or nothing of it is there.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no data set folder {folder}.")
    folder = folder.absolute()
    vocabulary, layout = load_vocabulary(), layout_of(folder)
    only = ""
    if layout != REFERENCE and not (folder / "targets.csv").is_file():
        if len(targets) != 1:
            raise ValueError(f"{folder.name} has no targets.csv; say with --target the one thing that its masks show.")
        only = next(iter(targets))
    if layout != REFERENCE and not split_files(folder, layout):
        split = ALL
    entries = list(read_split(folder, layout, split, only))
    reference = _reference(folder.name, [entry.facts.get("prompts", {}) for entry in entries])
    named = [_of_entry(entry, reference, vocabulary) for entry in entries]
    found = [case for case in named if case is not None]
    chosen = _joined([case for case in found if not targets or case.target in targets], found, limit)
    if not chosen:
        raise ValueError(f"The split {split!r} of {folder} has no case whose image and mask are there.")
    return _data_set(folder, folder.name, split, chosen, len(named) - len(found), reference)


def recipe_sets(recipe: Recipe, data: Path, split: str, targets: Collection[str] = (), limit: int = 0) -> list[DataSet]:
    """The data sets of a recipe with its rules; those that have nothing in the split are left out.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets.
    split : str
        "train", "val" or "test".
    targets : collection of str
        Only these.
    limit : int
        At most so many images of each, the first; 0 for all.

    Raises
    ------
    ValueError
        If the data are not as the recipe says.
    """
    vocabulary = load_vocabulary()
    items: dict[str, list[Item]] = {}
    columns = {source.folder: source.group_column for source in recipe.sources}
    for source in recipe.sources:
        found = read_source(data, source, vocabulary, "missing-file" in recipe.accept)
        if split not in found:
            raise ValueError(f"A recipe has the splits {', '.join(found)}, but not {split!r}.")
        items.setdefault(source.folder, []).extend(found[split])
    sets = []
    for name, own in items.items():
        folder = (data / name).absolute()
        reference = _reference(name, [said for item in own for said in item.prompts.values()])
        found_cases = [case for item in own for case in _of_item(folder, split, item, reference)]
        chosen = _joined([case for case in found_cases if not targets or case.target in targets], found_cases, limit)
        if chosen:
            sets.append(_data_set(folder, name, split, chosen, 0, reference, columns[name]))
    return sets


def _reference(name: str, prompts: Sequence[Mapping[str, str | list[str]]]) -> Dataset | None:
    """The paper's data set of that name; None for a folder of that name with other prompts than the release's."""
    dataset = load_datasets().get(name)
    if dataset is None or not any(prompts):
        return None
    try:
        for said in prompts:
            reference_attributes(dataset, said)
    except ValueError:
        return None
    return dataset


def _of_entry(entry: Entry, reference: Dataset | None, vocabulary: Vocabulary) -> Case | None:
    """None where a file is missing, or its name leaves the folder."""
    image, mask = inside(entry.images, entry.image), inside(entry.masks, entry.mask)
    if image is None or mask is None:
        return None
    prompts = entry.facts.get("prompts", {})
    if not prompts:
        case = Case(entry.mask, image, mask, "", entry.target)
    else:
        said = said_in(prompts, reference, vocabulary)
        words = {} if reference else beyond_the_mask(said, said.target, vocabulary)
        case = Case(entry.mask, image, mask, "", said.target, said if reference else None, words, prompts)
    return replace(case, modality=vocabulary.target(case.target).modality)


def _of_item(folder: Path, split: str, item: Item, reference: Dataset | None) -> Iterator[Case]:
    masks = split_folders(folder, split)[1] if (folder / "anns").is_dir() else folder / "masks"
    for target, mask in item.masks.items():
        name, prompts = mask.relative_to(masks.resolve()).as_posix(), item.prompts.get(target, {})
        said = replace(reference_attributes(reference, prompts), target=target) if reference else None
        yield Case(name, item.image, mask, "", target, said, item.words.get(target, {}), prompts, item.modality)
        if target == "lungs" and item.split_lungs and split_lungs(read_binary(mask)) is not None:
            for side in _SIDES:
                yield Case(f"{name} ({side})", item.image, mask, "", side, modality=item.modality, half=True)


def _joined(chosen: Sequence[Case], everything: Iterable[Case], limit: int) -> list[Case]:
    """The chosen cases of the first images, each with the image's other targets."""
    beside: dict[Path, list[Case]] = {}
    for case in everything:
        beside.setdefault(case.image, []).append(case)
    images = dict.fromkeys(case.image for case in chosen)
    kept = set(list(images)[: limit or None])
    seen: set[Path] = set()
    joined = []
    for case in chosen:
        if case.image in kept:
            others = {other.target: other for other in beside[case.image] if other.target != case.target}
            joined.append(replace(case, others=tuple(others.values()), first=case.image not in seen))
            seen.add(case.image)
    return joined


def _data_set(
    folder: Path,
    name: str,
    split: str,
    found: Sequence[Case],
    missing: int,
    reference: Dataset | None,
    column: str = "",
) -> DataSet:
    grouped_by, groups = _groups(folder, found, column)
    cases = tuple(
        replace(case, name=own, group=group)
        for case, own, group in zip(found, _numbered([c.name for c in found]), groups, strict=True)
    )
    return DataSet(name, split, cases, grouped_by, missing, _hash(cases), reference)


def _groups(folder: Path, cases: Sequence[Case], column: str) -> tuple[str, list[str]]:
    """What the cases are grouped by, and the group of each: a table of the set, the file names, or the images."""
    tables = {column: read_groups(folder, column)} if column else {}
    for name, own in _GROUP_TABLES.items():
        if (folder / name).is_file():
            tables.setdefault(own, {row["image"]: row.get(own, "") for row in read_table(folder / name, "image")})
    for own, known in tables.items():
        found = [known.get(case.image.name, "") for case in cases]
        if all(found):
            return ("case" if own == "url" else own), found
    patients = [_PATIENT.search(case.image.name) for case in cases]
    if all(patients):
        return "patient", [match.group() for match in patients if match]
    return "image", [case.image.name for case in cases]


def _numbered(names: Sequence[str]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


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
