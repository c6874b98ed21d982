"""Data sets to the cases of an evaluation: an image, one target in it, and what is known of it.

A folder is measured as it stands (`read_data`), or with the rules of a recipe (`recipe_sets`): which targets, which
licences, both halves of a mask of the lungs, what is left out. Either way the same mask is the same case.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from medvlsm_training.config import Recipe
from napari_medvlsm.core.datasets.groups import IMAGE, grouped_by
from napari_medvlsm.core.datasets.items import LUNGS, SIDES, Item, Mask, TargetMask, split_lungs
from napari_medvlsm.core.datasets.layouts import LISTS, layout_of
from napari_medvlsm.core.datasets.reader import read_items, read_source, source_folder, with_info
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.prompts import Attributes, Vocabulary
from napari_medvlsm.core.prompts.upstream import Dataset, Prompts, load_datasets


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """One image and one target in it.

    Attributes
    ----------
    name : str
        Of the mask's file within the set, with the side in brackets where a mask of both lungs is split; a file that is
        named again gets "#2".
    item : Item
    target : str
        Phrase of the vocabulary.
    group : str
        Such as "patient 7", or the image's own name.
    annotation : TargetMask
        The mask's file, and what its annotation says; for one half of a mask of the lungs nothing but the file.
    others : tuple of EvaluationCase
        The image's masks of other targets.
    first : bool
        Whether it is the first case of its image: what is asked of an image is asked once.
    """

    name: str
    item: Item
    target: str
    group: str
    annotation: TargetMask
    others: tuple[EvaluationCase, ...] = ()
    first: bool = True

    @property
    def image(self) -> Path:
        """The image's file."""
        return self.item.image

    @property
    def modality(self) -> str:
        """Key of the vocabulary's modalities; "" where unknown."""
        return self.item.modality

    @property
    def upstream(self) -> Attributes | None:
        """What the annotation of one of the paper's sets says, in upstream's words."""
        return self.annotation.upstream

    @property
    def prompts(self) -> Prompts:
        """Of the annotation file, by level; empty where there are no annotations."""
        return self.annotation.prompts

    def load_mask(self) -> Mask:
        """The true mask, shape (H, W)."""
        mask = self.annotation.load()
        if self.target in self.item.masks:
            return mask
        sides = split_lungs(mask)
        if sides is None:
            raise ValueError(f"{self.annotation.paths[0]} does not show two lungs apart any more.")
        return sides[SIDES.index(self.target)]


@dataclass(frozen=True)
class CaseLabel:
    """What results call a case, its image and its group: what they are recognised by, but names only if asked for.

    Attributes
    ----------
    case, image, group : str
        By default `image` is the beginning of SHA-256 over the file, `case` that with the target (and "#2" where it
        comes again), and groups are numbered: file names and columns of tables often hold names or numbers of patients.
    """

    case: str
    image: str
    group: str


@dataclass(frozen=True, eq=False)
class DataSet:
    """One split of a data set.

    Attributes
    ----------
    name, split : str
    cases : tuple of EvaluationCase
    grouped_by : str
        "patient", "sequence", ... or "image": what the bootstrap of the intervals resamples.
    missing : int
        Cases that the split names but whose files are not there.
    sha256 : str
        Over the names, targets and bytes of all cases, and how masks are read: another number means other data.
    vocabulary : Vocabulary
        That the targets and attributes are of.
    labels : tuple of CaseLabel
        Of the cases.
    file_names : bool
        Whether these are names of files and groups as they were found.
    paper_dataset : Dataset or None
        The data set of the paper, where all its prompts are upstream's.
    """

    name: str
    split: str
    cases: tuple[EvaluationCase, ...]
    grouped_by: str
    missing: int
    sha256: str
    vocabulary: Vocabulary
    labels: tuple[CaseLabel, ...]
    file_names: bool = False
    paper_dataset: Dataset | None = None

    def label(self, case: EvaluationCase) -> CaseLabel:
        """What results call one of the cases."""
        return self._label_of[case.name]

    def shown(self, modality: str) -> set[str]:
        """The targets that scans of a kind show in this set."""
        return {own.target for case in self.cases if case.modality == modality for own in (case, *case.others)}

    @cached_property
    def _label_of(self) -> dict[str, CaseLabel]:
        return {case.name: label for case, label in zip(self.cases, self.labels, strict=True)}


def read_data(
    folder: Path,
    split: str,
    vocabulary: Vocabulary,
    targets: Collection[str] = (),
    limit: int = 0,
    file_names: bool = False,
) -> DataSet:
    """Read a split of a folder, in either layout of `core.datasets.layouts`, as it stands.

    Parameters
    ----------
    folder : Path
    split : str
        Of a folder without any splits, everything is read, and the split is called "all".
    vocabulary : Vocabulary
        See `core.datasets.vocabularies.dataset_vocabulary`.
    targets : collection of str
        Only these; with lists but no `targets.csv`, the one that the masks show.
    limit : int
        At most so many images, the first; 0 for all.
    file_names : bool
        Whether results may name files and groups; see `CaseLabel`.

    Raises
    ------
    ValueError
        If the folder has neither form, lacks the split, or nothing of it is there.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no data set folder {folder}.")
    folder = folder.absolute()
    layout, only = layout_of(folder), ""
    if layout == LISTS and not (folder / "targets.csv").is_file():
        if len(targets) != 1:
            raise ValueError(f"{folder.name} has no targets.csv; say with --target the one thing that its masks show.")
        only = next(iter(targets))
    source = SourceConfig(folder.name, layout, target=only, as_listed=True)
    found = read_items(folder, source, split, vocabulary, skip_missing=True)
    data = _data_set(folder, found.split, found.items, vocabulary, targets, limit, found.missing, file_names)
    if data is None and targets and (there := sorted({name for item in found.items for name in item.masks})):
        wanted = ", ".join(map(repr, targets))
        near = next((n for name in targets for n in difflib.get_close_matches(name[:200], there, n=1)), "")
        hint = f" Did you mean {near!r}?" if near else ""
        raise ValueError(f"No case of {folder.name} shows {wanted}; its masks show {', '.join(there)}.{hint}")
    if data is None:
        raise ValueError(f"The split {split!r} of {folder} has no case whose image and mask are there.")
    return data


def recipe_sets(
    recipe: Recipe,
    data: Path,
    split: str,
    vocabulary: Vocabulary,
    targets: Collection[str] = (),
    limit: int = 0,
    file_names: bool = False,
) -> list[DataSet]:
    """The data sets of a recipe with its rules; those that have nothing in the split are left out.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets; of a recipe with the source ".", the data set itself.
    split : str
        "train", "val" or "test".
    vocabulary : Vocabulary
        See `sources.recipe_vocabulary`.
    targets : collection of str
        Only these.
    limit : int
        At most so many images of each, the first; 0 for all.
    file_names : bool
        Whether results may name files and groups, whatever the recipe says; see `CaseLabel`.

    Raises
    ------
    ValueError
        If the data are not as the recipe says.
    """
    sets, named = [], file_names or recipe.measure.file_names
    for source in recipe.sources:
        source = with_info(data, source)
        found = read_source(data, source, vocabulary, "missing-file" in recipe.accept)
        if split not in found:
            raise ValueError(f"A recipe has the splits {', '.join(found)}, but not {split!r}.")
        folder = source_folder(data, source).absolute()
        if made := _data_set(folder, split, found[split], vocabulary, targets, limit, file_names=named):
            sets.append(made)
    return sets


def _data_set(
    folder: Path,
    split: str,
    items: Sequence[Item],
    vocabulary: Vocabulary,
    targets: Collection[str],
    limit: int,
    missing: int = 0,
    file_names: bool = False,
) -> DataSet | None:
    """None where no case is left."""
    everything = _numbered(case for item in items for case in _cases(item))
    chosen = _joined([case for case in everything if not targets or case.target in targets], everything, limit)
    if not chosen:
        return None
    upstream = all(mask.upstream is not None for item in items for mask in item.masks.values())
    by = grouped_by(case.item.group for case in chosen)
    paper_dataset = load_datasets().get(folder.name) if upstream else None
    files = _file_hashes(chosen)
    labels = _labels(chosen, files, file_names)
    sha256 = _hash(chosen, files)
    return DataSet(
        folder.name, split, tuple(chosen), by, missing, sha256, vocabulary, labels, file_names, paper_dataset
    )


def _cases(item: Item) -> Iterator[EvaluationCase]:
    group = item.group or f"{IMAGE} {item.image.name}"
    for target, mask in item.masks.items():
        case = EvaluationCase(mask.name, item, target, group, mask)
        yield case
        if target == LUNGS and item.split_lungs and split_lungs(mask.load()) is not None:
            for side in SIDES:
                yield replace(
                    case,
                    name=f"{mask.name} ({side})",
                    target=side,
                    annotation=TargetMask(mask.paths, mask.name, foreground=mask.foreground),
                )


def _numbered(cases: Iterable[EvaluationCase]) -> list[EvaluationCase]:
    """The cases with names that each stand once."""
    seen: Counter[str] = Counter()
    numbered = []
    for case in cases:
        seen[case.name] += 1
        numbered.append(case if seen[case.name] == 1 else replace(case, name=f"{case.name}#{seen[case.name]}"))
    return numbered


def _joined(chosen: Sequence[EvaluationCase], everything: Iterable[EvaluationCase], limit: int) -> list[EvaluationCase]:
    """The chosen cases of the first images, each with the image's other targets."""
    beside: dict[Path, list[EvaluationCase]] = {}
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


def _labels(cases: Sequence[EvaluationCase], files: Mapping[Path, bytes], file_names: bool) -> tuple[CaseLabel, ...]:
    if file_names:
        return tuple(CaseLabel(case.name, case.image.name, case.group) for case in cases)
    numbers: dict[str, int] = {}
    seen: Counter[str] = Counter()
    labels = []
    for case in cases:
        image = files[case.image].hex()[:12]
        name = f"{image} {case.target}"
        seen[name] += 1
        number = numbers.setdefault(case.group, len(numbers) + 1)
        again = f"#{seen[name]}" if seen[name] > 1 else ""
        labels.append(CaseLabel(name + again, image, f"{case.group.split(' ')[0]} {number}"))
    return tuple(labels)


def _file_hashes(cases: Sequence[EvaluationCase]) -> dict[Path, bytes]:
    paths = {path for case in cases for path in (case.image, *case.annotation.paths)}
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in paths}


def _hash(cases: Sequence[EvaluationCase], files: Mapping[Path, bytes]) -> str:
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda c: c.name):
        digest.update(f"{case.name} {case.image.name} {case.target}".encode())
        for path in (case.image, *case.annotation.paths):
            digest.update(files[path])
        # The same bytes are another mask by another rule. That of exported cases goes without saying.
        if case.annotation.foreground not in ("", "nonzero"):
            digest.update(repr(case.annotation.foreground).encode())
    return digest.hexdigest()
