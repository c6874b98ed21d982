"""Data sets on disk to items: the one reader of training, evaluation and the check of data.

What an exported case says as data (target, attributes, modality, group) is taken as it stands; prompts of other
annotation files are read back by upstream's templates, or else as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from napari_medvlsm.core.datasets.info import read_info
from napari_medvlsm.core.datasets.items import Item, TargetMask
from napari_medvlsm.core.datasets.layouts import (
    ALL,
    LISTS,
    UPSTREAM,
    ListedMask,
    existing,
    layout_of,
    read_split,
    split_files,
)
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.datasets.vocabularies import known_target, require_modality
from napari_medvlsm.core.io.mask_files import Foreground
from napari_medvlsm.core.plain_files import is_folder, is_there, read_table, shown
from napari_medvlsm.core.prompts import ATTRIBUTES, Attributes, Vocabulary, parse
from napari_medvlsm.core.prompts.upstream import Dataset, Prompts, load_datasets, upstream_attributes
from napari_medvlsm.core.validation_errors import first_problem

# Read from the mask itself, so never taken from an annotation.
FROM_MASK = frozenset({"number", "size", "location"})
# Levels of upstream whose texts hold a general description.
_WITH_SENTENCES = ("p7", "p8", "p9")
_ATTRIBUTES = TypeAdapter(dict[str, Attributes])


@dataclass(frozen=True, eq=False)
class SplitItems:
    """What one split of a data set gives.

    Attributes
    ----------
    split : str
        As asked, or "all" of a folder without splits.
    items : list of Item
    missing : int
        Masks that are listed, but whose file, or whose image's, is not there; only where these are passed over.
    """

    split: str
    items: list[Item]
    missing: int = 0


def source_folder(root: Path, source: SourceConfig) -> Path:
    """The folder of a data set: inside the data folder, or the data folder itself.

    Raises
    ------
    ValueError
        If it is not there.
    """
    if source.folder == ".":
        return root.absolute()
    inside = root / source.folder
    if is_folder(inside):
        return inside
    if root.absolute().name == source.folder and is_folder(root):
        return root.absolute()
    raise ValueError(f"The data set {shown(source.folder)} is not in {shown(root)}.")


def with_info(root: Path, source: SourceConfig) -> SourceConfig:
    """A source with what it leaves open: its folder's name and layout, and what `dataset.yaml` says for the card.

    Raises
    ------
    ValueError
        If the folder is not there, or is no data set.
    """
    folder = source_folder(root, source)
    info = read_info(folder)
    name = folder.name if source.folder == "." else source.folder
    return replace(
        source,
        folder=name,
        layout=source.layout or layout_of(folder),
        name=source.name or (info.title if info else "") or name,
        licence=source.licence or (info.licence if info else "") or "not stated",
        citation=source.citation or (info.citation if info else ""),
    )


def read_source(
    root: Path, source: SourceConfig, vocabulary: Vocabulary, skip_missing: bool = False
) -> dict[str, list[Item]]:
    """Items of a data set by split ("train", "val", "test").

    No image, and no group of the recipe's `group_column`, is in two splits, unless the recipe wants them `as_listed`:
    what is tested is taken out of training and validation, what is validated out of training. Copies under another
    name are not seen here, but by the check of the data (`check`).

    Parameters
    ----------
    root : Path
        Folder of data sets, or the data set itself.
    source : SourceConfig
    vocabulary : Vocabulary
        See `vocabularies.dataset_vocabulary`.
    skip_missing : bool
        Pass over masks whose file, or whose image's, is missing.

    Raises
    ------
    ValueError
        If a file is missing, a path leaves the data set's folder, the vocabulary does not have the modality, or a list
        of a split seems to have another name. A split without list is empty.
    """
    folder = source_folder(root, source)
    wanted = _listed_splits(folder, source, ("test",) if source.tested_only else SPLITS)
    items = {
        split: read_items(folder, source, split, vocabulary, skip_missing).items if split in wanted else []
        for split in SPLITS
    }
    if source.as_listed:
        return items

    def keys(item: Item) -> set[object]:
        return {item.image, item.group} - {""} if source.group_column else {item.image}

    tested = {key for item in items["test"] for key in keys(item)}
    held_out = tested | {key for item in items["val"] for key in keys(item)}
    items["train"] = [item for item in items["train"] if not keys(item) & held_out]
    items["val"] = [item for item in items["val"] if not keys(item) & tested]
    return items


def _listed_splits(folder: Path, source: SourceConfig, wanted: Sequence[str]) -> list[str]:
    """Those of the splits that have a list; all, of a folder without any."""
    files = split_files(folder, source.layout or layout_of(folder))
    lacking = [split for split in wanted if split not in files] if files else []
    for split in lacking:
        # Such as "validation", "valid" or "training".
        if other := next((name for name in files if name not in SPLITS and name.lower().startswith(split)), ""):
            raise ValueError(
                f"{source.folder} has no list of the split {split!r}, but one called {shown(other)}; if that is meant, "
                f"rename it, else add an empty list {split}{''.join(files[other].suffixes)}."
            )
    return [split for split in wanted if split not in lacking]


def read_items(
    folder: Path, source: SourceConfig, split: str, vocabulary: Vocabulary, skip_missing: bool = False
) -> SplitItems:
    """Items of one split of a data set's folder; parameters and errors as those of `read_source`.

    An image with two annotated masks of one target gives two items; masks that a table lists are united.
    """
    layout = source.layout or layout_of(folder)
    if layout == LISTS and not split_files(folder, layout):
        split = ALL
    listed = read_split(folder, layout, split, source.target, source.group_column)
    wanted = list(_wanted(listed, folder, source, layout))
    entries = [entry for entry in wanted if _is_there(entry)] if skip_missing else wanted
    known = load_datasets().get(folder.name) if layout == UPSTREAM else None
    if known is not None and not _is_upstreams(known, entries):
        known = None
    info = read_info(folder)
    rule = info.foreground if info and source.foreground == "" else source.foreground
    default = source.modality or (info.modality if info else "")
    items: dict[Path, list[Item]] = {}
    for entry in entries:
        target, mask = _mask(entry, source, known, vocabulary)
        mask = replace(mask, foreground=mask_rule(entry.record, rule))
        modality = source.modality or str(entry.record.get("modality") or "") or default
        modality = modality or vocabulary.target(target).modality
        require_modality(modality, vocabulary, f"The data set {source.folder}")
        image = existing(entry.image_path(), entry.image)
        _add(
            items.setdefault(image, []),
            Item(image, {target: mask}, modality, source.folder, entry.group, source.split_lungs),
            united=layout == LISTS,
        )
    return SplitItems(split, [item for same in items.values() for item in same], len(wanted) - len(entries))


def _wanted(entries: Iterable[ListedMask], folder: Path, source: SourceConfig, layout: str) -> Iterator[ListedMask]:
    """What a split lists, but for what the source leaves out."""
    licences = _licences(folder) if source.licences else None
    for entry in entries:
        if entry.image in source.leave_out:
            continue
        if licences is not None and licences.get(entry.image) not in source.licences:
            continue
        chosen = not source.only or source.target or not entry.mask or entry.target in source.only
        if layout == LISTS and not chosen:
            continue
        yield entry


def _is_there(entry: ListedMask) -> bool:
    try:
        return is_there(entry.image_path()) and is_there(entry.mask_path())
    except ValueError:  # a name that leaves the folder, or no mask
        return False


def _licences(folder: Path) -> dict[str, str]:
    path = folder / "licences.csv"
    return {row["image"]: row["licence"] for row in read_table(path, "image", "licence")} if is_there(path) else {}


def _add(same: list[Item], new: Item, united: bool) -> None:
    """Put a mask to its image's others; one that is listed twice counts once."""
    ((target, mask),) = new.masks.items()
    if any(target in item.masks and set(mask.paths) <= set(item.masks[target].paths) for item in same):
        return
    for i, item in enumerate(same):
        before = item.masks.get(target)
        if before is None:
            same[i] = replace(item, masks={**item.masks, target: mask})
            return
        if united:
            both = replace(before, paths=(*before.paths, *mask.paths))
            same[i] = replace(item, masks={**item.masks, target: both})
            return
    same.append(new)


def _is_upstreams(dataset: Dataset, entries: Iterable[ListedMask]) -> bool:
    """Whether all prompts are of upstream's forms: a folder of the name of a paper's data set may hold other ones."""
    try:
        for entry in entries:
            upstream_attributes(dataset, entry.record["prompts"])
    except ValueError:
        return False
    return True


def _mask(
    entry: ListedMask, source: SourceConfig, known: Dataset | None, vocabulary: Vocabulary
) -> tuple[str, TargetMask]:
    """(target, mask) of an entry."""
    path = existing(entry.mask_path(), entry.mask)
    if not entry.record:
        if not (target := source.target or entry.target):
            raise ValueError(f"{source.folder}: nothing says what the masks show; name the target, or add targets.csv.")
        target = known_target(target, vocabulary)
        return target, TargetMask((path,), entry.mask, Attributes(target))
    prompts: Prompts = entry.record["prompts"]
    if known is not None:
        upstream = upstream_attributes(known, prompts)
        target = source.target or upstream.target
        beyond = _beyond_the_mask(upstream, target, vocabulary)
        return target, TargetMask((path,), entry.mask, beyond, prompts, replace(upstream, target=target))
    attributes = stated_attributes(entry.record)
    if attributes is None:
        attributes = _beyond_the_mask(*_read_text(prompts, source, vocabulary), vocabulary)
    target = source.target or attributes.target
    return target, TargetMask((path,), entry.mask, replace(attributes, target=target), prompts)


def mask_rule(record: Mapping[str, object], stated: Foreground) -> Foreground:
    """What is known of the values of a mask: those of cases that this program exported, or else as stated."""
    return "nonzero" if "attributes" in record else stated


def stated_attributes(record: Mapping[str, object]) -> Attributes | None:
    """What an exported case says as data, but for what its mask shows; None of other annotation files.

    Raises
    ------
    ValueError
        If the fields are damaged.
    """
    if "attributes" not in record:
        return None
    try:
        stated = _ATTRIBUTES.validate_python(record["attributes"])
    except ValidationError as error:
        name = shown(record.get("mask_name"))
        raise ValueError(f"The attributes of {name} cannot be read ({first_problem(error)}).") from error
    said, measured = (stated.get(key, Attributes()) for key in ("said", "measured"))
    words = {name: getattr(said, name) or getattr(measured, name) for name in ATTRIBUTES if name not in FROM_MASK}
    return Attributes(str(record.get("target") or said.target), **words)


def _read_text(prompts: Prompts, source: SourceConfig, vocabulary: Vocabulary) -> tuple[Attributes, str]:
    """(attributes, target) of prompts in the vocabulary's words."""
    texts = [t if isinstance(t, str) else next(iter(t), "") for k, t in prompts.items() if k not in _WITH_SENTENCES]
    found = parse(max(texts, key=len, default=""), vocabulary).attributes
    target = source.target or found.target or min(filter(None, texts), key=len, default="")
    return found, target


def _beyond_the_mask(said: Attributes, target: str, vocabulary: Vocabulary) -> Attributes:
    """What cannot be measured, in the vocabulary's words; upstream's odd shapes and colours ("hot dog") go."""
    named = {name: getattr(said, name) for name in sorted(said.named() - FROM_MASK - {"general"})}
    words = {name: vocabulary.canonical(name, word) for name, word in named.items()}
    kept = {k: w for k, w in words.items() if k not in ("shape", "color") or w in vocabulary.words(k, target)}
    return Attributes(target, **kept)
