"""Check of the data before training: files that are missing, broken, listed twice, or in two splits, as a table.

Each file is read once, two at a time; only its size and a hash stay in memory.
Images are compared by their pixels, so a copy under another name or in another lossless format is found;
one that was scaled or compressed again is not.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_medvlsm.core.datasets.annotation_files import find_annotations, split_folders
from napari_medvlsm.core.datasets.findings import (
    KINDS,
    DataReport,
    Finding,
    finding,
    in_order,
    joined,
    leak,
)
from napari_medvlsm.core.datasets.groups import read_groups
from napari_medvlsm.core.datasets.info import read_info
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.layouts import (
    ALL,
    TABLE,
    UPSTREAM,
    ListedMask,
    layout_of,
    not_there,
    read_split,
    rows_in_no_split,
    split_files,
)
from napari_medvlsm.core.datasets.reader import mask_rule, stated_attributes
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary, known_target, near_target, require_modality
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.io.images import read_image, to_scan
from napari_medvlsm.core.io.mask_files import AmbiguousMask, Foreground, read_foreground
from napari_medvlsm.core.plain_files import is_folder, is_system_file, is_there, read_bytes, shown


@dataclass(frozen=True)
class ListedPair:
    """An image with one of its masks, as something lists it.

    `place` tells equal names apart in sentences, `box` is the annotated one, where there is one, `listed` are the names
    of image and mask as they stand in the list, `foreground` what is known of the mask's values, and `target` what it
    shows, "" where that is not known apart.
    """

    split: str
    image: Path
    mask: Path
    group: str
    place: str = ""
    box: str = ""
    listed: tuple[str, str] = ("", "")
    foreground: Foreground = ""
    target: str = ""

    @property
    def name(self) -> str:
        """The image's name for sentences."""
        return f"{self.place}{shown(self.image.name)}"


Progress = Callable[[int, int], None]


def check_data(
    folder: Path, target: str = "", group_column: str = "", progress: Progress | None = None, workers: int = 2
) -> DataReport:
    """Check a data set's folder as it lists itself, in any of the layouts of `core.datasets.layouts`.

    Parameters
    ----------
    folder : Path
    target : str
        Layout "lists" with `targets.csv`: name a target to look at the masks named like their image instead.
    group_column : str
        Column of one of the folder's tables that names patient, sequence or case; "" for the rule of `groups`.
    progress : callable, optional
        Called with (files looked at, files in all).
    workers : int
        Threads.

    Raises
    ------
    ValueError
        If the folder holds no data set or a list cannot be read.
    """
    layout = layout_of(folder)
    files = split_files(folder, layout)
    splits = [split for split in SPLITS if split in files] if files else [ALL]
    info = read_info(folder)
    rule = info.foreground if info else ""
    vocabulary = dataset_vocabulary([folder])
    findings: list[Finding] = []
    pairs: list[ListedPair] = []
    targets = {target}
    modalities = {info.modality if info else ""}
    images: set[str] = set()
    for split in splits:
        entries = list(read_split(folder, layout, split, target, group_column))
        images |= {entry.image for entry in entries}
        if not entries:
            listed = files.get(split, folder / "images").relative_to(folder)
            findings.append(finding("empty-split", split, str(listed), f"{listed} lists nothing."))
        targets |= {entry.target for entry in entries}
        modalities |= {str(entry.record.get("modality") or "") for entry in entries}
        known = [replace(entry, target=known_target(entry.target, vocabulary)) for entry in entries]
        pairs += _pairs(folder, known, findings, rule)
    if read_groups(folder, group_column).names_none_of(images):
        sentence = (
            "The table of groups names none of the images that are listed, so no patient is known; write their names "
            "in it as they are listed."
        )
        findings.append(finding("groups-of-others", "", "", sentence))
    for modality in sorted(modalities):
        try:
            require_modality(modality, vocabulary, "The data set")
        except ValueError as error:
            findings.append(finding("unknown-modality", "", modality, str(error)))
    for named in sorted(targets):
        if near := near_target(named, vocabulary):
            sentence = f"The target {shown(repr(named))} is in no vocabulary; is {near!r} meant?"
            findings.append(finding("unknown-target", "", named, sentence))
    for split in SPLITS if files else ():
        if split not in files:
            sentence = f"There is no list of the split {split!r}."
            findings.append(finding("empty-split", split, split, sentence))
    for name in () if target or layout == UPSTREAM else rows_in_no_split(folder, files):
        sentence = f"{shown(name)} has a mask in {TABLE}, but no list in splits/ names it, so it is never used."
        findings.append(finding("in-no-split", "", name, sentence))
    findings += _repeated(folder, files)
    if layout == UPSTREAM:
        findings += _copies_of_others(folder, files)
    findings += check_pairs(pairs, progress, workers)
    return _report(folder.name, pairs, findings)


def check_items(
    name: str, items: Mapping[str, Sequence[Item]], progress: Progress | None = None, workers: int = 2
) -> DataReport:
    """Check what a training would see, over all its data sets together.

    Parameters
    ----------
    name : str
        Of the recipe.
    items : mapping of split to items
        As `read_source` gives them.
    progress, workers
        As in `check_data`.
    """
    pairs = [
        ListedPair(
            split,
            item.image,
            path,
            item.group and f"{prefix}{item.group}",
            prefix,
            foreground=mask.foreground,
            target=target,
        )
        for split, found in items.items()
        for item in found
        for prefix in (f"{item.source}/",)
        for target, mask in item.masks.items()
        for path in mask.paths
    ]
    return _report(name, pairs, check_pairs(pairs, progress, workers))


def check_pairs(pairs: Sequence[ListedPair], progress: Progress | None = None, workers: int = 2) -> list[Finding]:
    """All that can be found in images, masks and splits; files that are not there are findings too."""
    images = list(dict.fromkeys(pair.image for pair in pairs))
    masks = list(dict.fromkeys(pair.mask for pair in pairs))
    listed = {path: name for pair in pairs for path, name in zip((pair.image, pair.mask), pair.listed, strict=True)}
    names = {pair.image: pair.name for pair in pairs}
    splits: defaultdict[Path, set[str]] = defaultdict(set)
    for pair in pairs:
        splits[pair.image].add(pair.split)
        splits[pair.mask].add(pair.split)
    total = len(images) + len(masks)
    looks: dict[Path, _Image | _Mask | _Problem] = {}
    rules = {pair.mask: pair.foreground for pair in pairs}
    with ThreadPoolExecutor(workers) as pool:
        # A few at a time, so that an interruption takes effect and memory stays bounded.
        for look, what, paths in (
            (_look_at_image, "image", images),
            (lambda path: _look_at_mask(path, rules[path]), "mask", masks),
        ):
            for start in range(0, len(paths), 64):
                some = paths[start : start + 64]
                there = [path for path in some if is_there(path)]
                for path in (path for path in some if path not in {*there}):
                    looks[path] = _Problem("missing-file", not_there(path, listed[path] or path.name, what))
                looks.update(zip(there, pool.map(look, there), strict=True))
                if progress is not None:
                    progress(len(looks), total)
    findings = [
        finding(seen.kind, joined(splits[path]), path.name, seen.sentence)
        for path, seen in looks.items()
        if isinstance(seen, _Problem)
    ]
    findings += _sizes(pairs, looks)
    findings += _inverted(pairs, looks)
    findings += _not_shown(pairs, looks)
    for path, seen in looks.items():
        if isinstance(seen, _Mask):
            findings += _mask_findings(path, seen, joined(splits[path]))
    digests = {path: seen.digest for path, seen in looks.items() if isinstance(seen, _Image)}
    return [
        *findings,
        *_in_two_splits(pairs, splits),
        *_copies(digests, names, splits),
        *_groups(pairs),
        *_listed_twice(pairs),
    ]


@dataclass(frozen=True)
class _Image:
    size: tuple[int, int]
    digest: bytes
    orientation: int


@dataclass(frozen=True)
class _Mask:
    """`covered`: share of foreground, and `border`: that of the mask's outermost pixels; others as in `Reading`."""

    size: tuple[int, int]
    covered: float
    border: float
    between: int
    cut_off: int
    fractions: bool
    orientation: int


@dataclass(frozen=True)
class _Problem:
    kind: str
    sentence: str


def _look_at_image(path: Path) -> _Image | _Problem:
    try:
        image = read_image(path)
        scan: Scan = to_scan(image, path.name)
        pixels = np.ascontiguousarray(scan.pixels)
    except ValueError as error:
        return _Problem("unreadable", str(error))
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=16)
    digest.update(pixels.data)
    return _Image(pixels.shape[:2], digest.digest(), image.orientation)


def _look_at_mask(path: Path, rule: Foreground) -> _Mask | _Problem:
    try:
        seen = read_foreground(path, rule)
    except AmbiguousMask as error:
        return _Problem("ambiguous-mask", str(error))
    except ValueError as error:
        return _Problem("unreadable", str(error))
    mask = seen.mask
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return _Mask(
        size=(mask.shape[0], mask.shape[1]),
        covered=float(mask.mean()),
        border=float(border.mean()),
        between=seen.between,
        cut_off=seen.cut_off,
        fractions=seen.fractions,
        orientation=seen.orientation,
    )


def _mask_findings(path: Path, seen: _Mask, split: str) -> Iterator[Finding]:
    if not seen.covered:
        yield finding("empty-mask", split, path.name, f"{path.name} holds no foreground.")
    if seen.fractions:
        sentence = f"{path.name} holds fractions; what is above one half counts as foreground."
        yield finding("fraction-mask", split, path.name, sentence)
    elif seen.between:
        sentence = (
            f"{seen.between} of {seen.size[0] * seen.size[1]} pixels of {path.name} are neither black nor white; cut "
            f"in the middle, {seen.cut_off} of them are background, which a reader of anything above 0 takes for "
            "foreground."
        )
        yield finding("non-binary-mask", split, path.name, sentence)


def _inverted(pairs: Iterable[ListedPair], looks: Mapping[Path, object]) -> Iterator[Finding]:
    """Sets in which most masks cover more than half of their image, and of its border."""
    folders: defaultdict[Path, dict[Path, _Mask]] = defaultdict(dict)
    splits: defaultdict[Path, set[str]] = defaultdict(set)
    for pair in pairs:
        seen = looks[pair.mask]
        if isinstance(seen, _Mask) and seen.covered and pair.foreground == "":
            folders[pair.mask.parent][pair.mask] = seen
            splits[pair.mask.parent].add(pair.split)
    for folder, masks in folders.items():
        wide = [path for path, mask in masks.items() if mask.covered > 0.5 and mask.border > 0.5]
        if 2 * len(wide) > len(masks):
            sentence = (
                f"{len(wide)} of {len(masks)} masks in {folder.name}/ cover more than half of their image and of its "
                f"border, such as {wide[0].name}; if they are inverted, write 'foreground: dark' into dataset.yaml."
            )
            yield finding("inverted-masks", joined(splits[folder]), wide[0].name, sentence)


def _not_shown(pairs: Iterable[ListedPair], looks: Mapping[Path, object]) -> Iterator[Finding]:
    """What training could not learn, or by what its best model could not be chosen or judged."""
    masks: defaultdict[str, Counter[str]] = defaultdict(Counter)
    shown_in: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for split, path, target in dict.fromkeys((pair.split, pair.mask, pair.target) for pair in pairs):
        seen = looks[path]
        if isinstance(seen, _Mask):
            masks[split][target] += 1
            shown_in[split][target] += seen.covered > 0
    if not masks["train"]:
        return
    if not sum(shown_in["val"].values()):
        what = "shows what it is named after" if masks["val"] else "is listed"
        sentence = f"No validation mask {what}, so that the best model cannot be chosen."
        yield finding("no-validation", "val", "val", sentence)
    for target in dict.fromkeys(target for split in SPLITS for target in masks[split]):
        counts = {split: shown_in[split][target] for split in SPLITS if masks[split]}
        lacking = [split for split, count in counts.items() if not count]
        if not lacking or len(lacking) == len(counts) or (lacking == ["val"] and not sum(shown_in["val"].values())):
            continue
        named = repr(shown(target)) if target else "the target"
        told = ", ".join(f"{count} in {split}" for split, count in counts.items())
        means = {
            "train": "it is not learned",
            "val": "the best model is chosen without it",
            "test": "it is not measured",
        }
        sentence = f"The masks that show {named}: {told}; {' and '.join(means[split] for split in lacking)}."
        yield finding("target-not-shown", joined(lacking), target, sentence)


def _sizes(pairs: Iterable[ListedPair], looks: Mapping[Path, object]) -> Iterator[Finding]:
    told = set()
    for pair in pairs:
        image, mask = looks[pair.image], looks[pair.mask]
        if not (isinstance(image, _Image) and isinstance(mask, _Mask)) or (pair.image, pair.mask) in told:
            continue
        told.add((pair.image, pair.mask))
        if image.size == mask.size:
            # Of one that changes its sides, the size says that the mask was drawn upright.
            if image.orientation != mask.orientation and (mask.orientation != 1 or not _sides_tell(image)):
                sentence = (
                    f"{pair.name} is turned by its orientation tag ({image.orientation}), its mask "
                    f"{pair.mask.name} is not (tag {mask.orientation}); save both "
                    "anew, or accept it if they were drawn on the upright image."
                )
                yield finding("turned-image", pair.split, pair.name, sentence)
        else:
            is_size, was_size = (f"{cols} x {rows}" for rows, cols in (image.size, mask.size))
            sentence = f"{pair.name} is {is_size} pixels, but its mask {pair.mask.name} is {was_size}."
            yield finding("size-mismatch", pair.split, pair.name, sentence)


def _sides_tell(image: _Image) -> bool:
    return image.orientation in (5, 6, 7, 8) and image.size[0] != image.size[1]


def _in_two_splits(pairs: Iterable[ListedPair], splits: Mapping[Path, set[str]]) -> Iterator[Finding]:
    found: defaultdict[Path, list[ListedPair]] = defaultdict(list)
    for pair in pairs:
        if len(splits[pair.image]) > 1:
            found[pair.image].append(pair)
    for image, same in found.items():
        name, where = same[0].name, splits[image]
        sentence = f"{name} is listed in {joined(where)}{_boxes(same)}."
        yield leak("image-in-two-splits", where, name, sentence)


def _boxes(pairs: Iterable[ListedPair]) -> str:
    """Whether one mask is annotated with boxes that differ, as words to add."""
    boxes: defaultdict[Path, set[str]] = defaultdict(set)
    for pair in pairs:
        boxes[pair.mask].add(pair.box)
    return ", with different boxes" if any(len(b) > 1 for b in boxes.values()) else ""


def _copies(
    digests: Mapping[Path, bytes], names: Mapping[Path, str], splits: Mapping[Path, set[str]]
) -> Iterator[Finding]:
    same: defaultdict[bytes, list[Path]] = defaultdict(list)
    for path, digest in digests.items():
        same[digest].append(path)
    for paths in same.values():
        if len(paths) < 2:
            continue
        where = set().union(*(splits[path] for path in paths))
        first = names[paths[0]]
        told = ", ".join(f"{names[path]} ({joined(splits[path])})" for path in paths)
        sentence = f"These files hold the same image: {told}."
        if len(where) > 1:
            yield leak("copy-in-two-splits", where, first, sentence)
        else:
            yield finding("copy-in-split", joined(where), first, sentence)


def _groups(pairs: Iterable[ListedPair]) -> Iterator[Finding]:
    members: defaultdict[str, dict[Path, set[str]]] = defaultdict(dict)
    for pair in pairs:
        if pair.group:
            members[pair.group].setdefault(pair.image, set()).add(pair.split)
    for group, images in members.items():
        count = Counter(split for where in images.values() for split in where)
        # One image in two splits is a finding of its own.
        if len(count) > 1 and len(images) > 1:
            told = ", ".join(f"{number} in {split}" for split, number in sorted(count.items(), key=in_order))
            yield leak("group-in-two-splits", set(count), group, f"The images of {group} are spread: {told}.")


def _listed_twice(pairs: Iterable[ListedPair]) -> Iterator[Finding]:
    found: defaultdict[tuple[str, Path, Path], list[ListedPair]] = defaultdict(list)
    for pair in pairs:
        found[pair.split, pair.image, pair.mask].append(pair)
    for (split, _, mask), same in found.items():
        if len(same) > 1:
            sentence = f"{same[0].name} with {mask.name} is listed {len(same)} times in {split}{_boxes(same)}."
            yield finding("listed-twice", split, same[0].name, sentence)


def _pairs(
    folder: Path, entries: Iterable[ListedMask], findings: list[Finding], rule: Foreground
) -> Iterator[ListedPair]:
    for entry in entries:
        if not entry.mask:
            sentence = f"{shown(entry.image)} is listed, but {TABLE} has no row with a mask for it."
            findings.append(finding("missing-file", entry.split, entry.image, sentence))
            continue
        try:
            image, mask = entry.image_path(), entry.mask_path()
        except ValueError as error:
            findings.append(finding("outside-folder", entry.split, entry.image, str(error)))
            continue
        place = "" if entry.images.parent == folder else f"{entry.images.name}/"
        yield ListedPair(
            entry.split,
            image,
            mask,
            entry.group,
            place,
            str(entry.record.get("bbox", "")),
            (entry.image, entry.mask),
            mask_rule(entry.record, rule),
            entry.target or _stated_target(entry),
        )


def _stated_target(entry: ListedMask) -> str:
    try:
        stated = stated_attributes(entry.record)
    except ValueError:
        return ""  # reading says why
    return stated.target if stated is not None else ""


def _repeated(folder: Path, files: Mapping[str, Path]) -> Iterator[Finding]:
    """Lists of one content, such as testB of upstream, unless equal names are other images there."""
    seen: dict[tuple[bytes, Path], Path] = {}
    for split, path in files.items():
        content = read_bytes(path)
        if len(content.strip()) <= len(b"[]"):
            continue
        first = seen.setdefault((content, split_folders(folder, split)[0]), path)
        if first != path:
            yield finding("repeated-file", split, path.name, f"{path.name} repeats {first.name}.")


def _copies_of_others(folder: Path, files: Mapping[str, Path]) -> Iterator[Finding]:
    """Annotation files that a set beside this one has too: CVC-300 and ColonDB upstream."""
    own: dict[bytes, tuple[str, Path]] = {}
    for split, path in files.items():
        own.setdefault(read_bytes(path), (split, path))
    folder = folder.resolve()
    for other in sorted(p for p in folder.parent.iterdir() if is_folder(p) and not is_system_file(p) and p != folder):
        try:
            theirs = {path: read_bytes(path) for path in find_annotations(other)}
        except (ValueError, OSError):  # what lies beside is not what is checked, and may be anything
            continue
        for path, content in theirs.items():
            if content in own and len(content.strip()) > len(b"[]"):
                split, mine = own[content]
                sentence = f"{mine.name} is a copy of {other.name}'s {path.name}: one of them describes other images."
                yield finding("copy-of-another-set", split, mine.name, sentence)


def _report(name: str, pairs: Sequence[ListedPair], findings: Iterable[Finding]) -> DataReport:
    order = {kind: i for i, kind in enumerate(KINDS)}
    images = Counter(split for split, _ in {(pair.split, pair.image) for pair in pairs})
    masks = Counter(split for split, _, _ in {(pair.split, pair.image, pair.mask) for pair in pairs})
    arranged = sorted(findings, key=lambda f: order[f.kind])
    return DataReport(name, dict(sorted(images.items(), key=in_order)), dict(masks), tuple(arranged))
