"""Outlines that exist already enter a project: masks beside scans, and data sets in the layouts that training reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_medvlsm.core.annotation import Annotation, from_dict, is_record, new_provenance
from napari_medvlsm.core.datasets.check import ListedPair, check_pairs
from napari_medvlsm.core.datasets.info import read_info
from napari_medvlsm.core.datasets.items import TargetMask
from napari_medvlsm.core.datasets.layouts import (
    ALL,
    LISTS,
    ListedMask,
    existing,
    image_stem,
    layout_of,
    read_split,
    split_files,
)
from napari_medvlsm.core.datasets.reader import mask_rule, stated_attributes
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.datasets.vocabularies import known_target, require_modality
from napari_medvlsm.core.io.images import walk_pictures
from napari_medvlsm.core.io.labels import is_own_mask, load_mask
from napari_medvlsm.core.io.mask_files import AmbiguousMask, Foreground
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.projects.adding import AddReport, NewScan, Progress, add_scans
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.prompts import Attributes, Vocabulary, parse


@dataclass(frozen=True)
class GivenMask:
    """An outline that exists already.

    Attributes
    ----------
    scan : Path
    name : str
        Of the mask, for sentences.
    load : callable
        Gives the annotation; raises ValueError with a sentence if it cannot be read.
    paths : tuple of Path
        Its files, where it has some of its own.
    foreground : Foreground
        What is known of their values.
    """

    scan: Path
    name: str
    load: Callable[[], Annotation]
    paths: tuple[Path, ...] = ()
    foreground: Foreground = ""


@dataclass
class ImportReport:
    """What became of scans and outlines.

    Attributes
    ----------
    scans : AddReport
    outlines : int
        That were taken in.
    known, failed : list of str
        A sentence for each outline that was there already, and for each that was not taken in.
    """

    scans: AddReport
    outlines: int = 0
    known: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def import_outlines(
    store: ProjectStore,
    scans: Sequence[NewScan],
    masks: Iterable[GivenMask],
    state: State = State.SUBMITTED,
    copy: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Add scans and their outlines. What a person did in the project already stays as it is: the outline is a version.

    Parameters
    ----------
    store : ProjectStore
    scans : sequence of NewScan
    masks : iterable of GivenMask
    state : State
        That outlines get: draft, submitted or approved. One that says that no person drew it becomes a prediction, and
        the answer "absent" stays one.
    copy, progress
        As of `add_scans`.
    """
    report = ImportReport(add_scans(store, scans, copy, progress))
    for given in masks:
        case_id = report.scans.ids.get(given.scan)
        if case_id is None:
            continue  # why its scan is not there was said
        try:
            taken = store.import_outline(case_id, given.load(), state)
        except ValueError as error:
            report.failed.append(f"{given.name}: {error}")
            continue
        if taken is None:
            report.known.append(f"{given.name} is in the project already.")
        else:
            report.outlines += 1
    return report


def refuse_misleading(masks: Iterable[GivenMask], accept: Collection[str] = ()) -> None:
    """See that masks are not inverted, and are turned as their scans are; kinds of findings as of the data check.

    Raises
    ------
    ProjectError
        With the first of the findings that are not in `accept`.
    """
    pairs = [
        ListedPair("", given.scan, path, "", foreground=given.foreground) for given in masks for path in given.paths
    ]
    hints = {"inverted-masks": "say it with --foreground dark, or ", "turned-image": ""}
    for found in check_pairs(pairs):
        if found.kind in hints and found.kind not in accept:
            hint = f"{hints[found.kind]}go on with --accept {found.kind}"
            raise ProjectError(f"{found.sentence} Nothing was added; here, {hint}.")


def masks_beside(
    scans: Sequence[NewScan], folder: Path, target: str, author: str = "", foreground: Foreground = ""
) -> list[GivenMask]:
    """The masks of scans in a folder: with the scan's name, or with "_mask" or the target behind it.

    Several with such a word, as "_mask" and "_mask_1", are united.

    Parameters
    ----------
    scans : sequence of NewScan
    folder : Path
    target : str
        That masks show which do not say so themselves.
    author : str
        Who drew them, where they do not say so.
    foreground : Foreground
        What is known of their values; see `pictures.foreground`.

    Raises
    ------
    ProjectError
        If the folder holds no mask of any of the scans, or two of which either could be meant.
    """
    if not folder.is_dir():
        raise ProjectError(f"There is no folder {folder}.")
    files: dict[str, list[Path]] = {}
    with_word: dict[str, list[Path]] = {}
    themselves = {scan.path.resolve() for scan in scans}
    for path in walk_pictures(folder):
        if path.resolve() not in themselves:
            stem = path.relative_to(folder).with_suffix("").as_posix()
            files.setdefault(stem, []).append(path)
            with_word.setdefault(image_stem(stem), []).append(path)
    found = []
    ends = [f"_{target}", f"_{target.replace(' ', '-')}", f"_{target.replace(' ', '_')}"] if target else []
    for scan in scans:
        names = [Path(scan.name).with_suffix("").as_posix()] if scan.name else []
        stems = list(dict.fromkeys([*names, scan.path.stem]))
        same = next(
            (files[name] for stem in stems for name in (stem, *(stem + end for end in ends)) if name in files), []
        )
        if len(same) > 1:
            raise ProjectError(
                f"{folder} holds {' and '.join(path.name for path in same)} for the scan {scan.path.name}; remove the "
                "one that is not meant."
            )
        paths = same or next((with_word[stem] for stem in stems if stem in with_word), [])
        if paths:
            name = " and ".join(path.name for path in paths)
            reader = _Reader(tuple(paths), target, author, foreground)
            found.append(GivenMask(scan.path, name, reader, tuple(paths), foreground))
    if not found:
        raise ProjectError(
            f"{folder} holds no mask of these scans; a mask has the name of its scan, such as "
            f"{scans[0].path.stem if scans else 'scan'}.png."
        )
    return found


@dataclass(frozen=True)
class _Reader:
    """Reads a mask file that may hold a record of its own, or unites several that hold none."""

    paths: tuple[Path, ...]
    target: str
    author: str = ""
    foreground: Foreground = ""

    def __call__(self) -> Annotation:
        if len(self.paths) == 1 and is_own_mask(self.paths[0]):
            own = load_mask(self.paths[0])
            return own if own.target else replace(own, target=self.target)
        if not self.target:
            raise ProjectError("nothing says what the mask shows; name the target.")
        try:
            mask = TargetMask(self.paths, foreground=self.foreground).load()
        except AmbiguousMask as error:
            raise ProjectError(f"{error} Without a dataset.yaml, say it with --foreground.") from error
        return by_a_person(self.target, mask, self.author)


def by_a_person(target: str, mask: Mask, author: str = "", said: Attributes | None = None) -> Annotation:
    """An outline of which no more is known than that somebody made it."""
    made = new_provenance(author=author, scan_size=mask.shape)
    return Annotation(target, mask, corrected=True, said=said or Attributes(), provenance=made)


def read_dataset(
    folder: Path, vocabulary: Vocabulary, target: str = "", group_column: str = "", foreground: Foreground = ""
) -> tuple[list[NewScan], list[GivenMask]]:
    """The scans and masks of a data set: the paper's layout, a folder that was exported, or images/ and masks/.

    Its own splits are kept: "test" becomes the hold-out. Splits of other names are left to the project. Several masks
    of one target in one image are united.

    Parameters
    ----------
    folder : Path
    vocabulary : Vocabulary
        Reads the target from prompts, where nothing else says it.
    target : str
        That all masks show; "" to take it from each.
    group_column : str
        See `datasets.groups.read_groups`.
    foreground : Foreground
        What is known of the masks' values; "" to take it from `dataset.yaml`.

    Raises
    ------
    ValueError
        If the folder is no data set, or lists nothing.
    """
    scans: dict[Path, NewScan] = {}
    readers: dict[tuple[Path, str, str], _ListedReader] = {}
    info = read_info(folder)
    rule = foreground if foreground != "" or info is None else info.foreground
    for split, entry in _entries(folder, target, group_column):
        image = entry.image_path()
        known = split if split in SPLITS else ""
        modality = str(entry.record.get("modality") or "") or (info.modality if info else "")
        require_modality(modality, vocabulary, f"The data set {folder.name}")
        scans.setdefault(image, NewScan(image, entry.image, entry.group, known, modality))
        reader = _ListedReader((entry,), target, vocabulary, mask_rule(entry.record, rule))
        shown = reader.shown()
        key = (image, shown, "" if shown else entry.mask)
        if key in readers:
            reader = readers[key].with_another(entry)
        readers[key] = reader
    if not readers:
        raise ProjectError(f"{folder} lists no masks.")
    given = [
        GivenMask(image, reader.name, reader, reader.paths(), reader.foreground)
        for (image, *_), reader in readers.items()
    ]
    return list(scans.values()), given


def _entries(folder: Path, target: str, group_column: str) -> Iterator[tuple[str, ListedMask]]:
    layout = layout_of(folder)
    splits = list(split_files(folder, layout))
    for split in splits or ([ALL] if layout == LISTS else []):
        for entry in read_split(folder, layout, split, target, group_column):
            yield split, entry


@dataclass(frozen=True)
class _ListedReader:
    """Reads the masks that a data set lists for one target of one image; the first one's words count."""

    entries: tuple[ListedMask, ...]
    target: str
    vocabulary: Vocabulary
    foreground: Foreground = ""

    @property
    def name(self) -> str:
        return " and ".join(entry.mask or entry.image for entry in self.entries)

    def paths(self) -> tuple[Path, ...]:
        """The files, as far as they may be opened."""
        found = []
        for entry in self.entries:
            with suppress(ValueError):
                found.append(entry.mask_path())
        return tuple(found)

    def with_another(self, entry: ListedMask) -> _ListedReader:
        """The same with one more mask, unless that is one of them."""
        if any(entry.mask == other.mask for other in self.entries):
            return self
        return replace(self, entries=(*self.entries, entry))

    def shown(self) -> str:
        """What the masks show; "" where nothing says it, or what says it is damaged."""
        try:
            own = self.entries[0].record.get("annotation")
            if isinstance(own, dict) and is_record(own):
                return str(own.get("target") or "")
            return self._said()[0]
        except ValueError:
            return ""

    def __call__(self) -> Annotation:
        record = self.entries[0].record
        paths = tuple(existing(entry.mask_path(), entry.mask) for entry in self.entries)
        mask = TargetMask(paths, foreground=self.foreground).load()
        own = record.get("annotation")
        if is_record(own):
            return from_dict(own, mask)
        target, said = self._said()
        if not target:
            raise ProjectError("nothing says what the mask shows; name the target.")
        absent = bool(record.get("absent")) and not mask.any()
        return replace(by_a_person(target, mask, said=replace(said, target=target)), absent=absent)

    def _said(self) -> tuple[str, Attributes]:
        """The target, and the attributes that are said of it."""
        entry = self.entries[0]
        stated = stated_attributes(entry.record)
        if stated is None:
            texts = [text for text in _texts(entry.record.get("prompts", {})) if text]
            stated = parse(max(texts, key=len, default=""), self.vocabulary).attributes
            shortest = min(texts, key=len, default="")
            stated = replace(stated, target=stated.target or shortest)
        return known_target(self.target or entry.target or stated.target, self.vocabulary), stated


def _texts(prompts: object) -> Iterator[str]:
    if isinstance(prompts, dict):
        for text in prompts.values():
            yield text if isinstance(text, str) else next(iter(text), "")
