"""What a run was begun with: hashes of its images, masks and words by split, without any name.

A resumed run compares them with what is there now, and says which changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from napari_medvlsm.core.datasets.items import Item, TargetMask
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.runs.folder import DATA_FILE

# Names that a sentence gives; of more it says how many there are.
_NAMED = 3
_WORDS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class ItemHash:
    """The first 16 hexadecimal digits of SHA-256 over the bytes of an item's image, over its targets, the bytes of
    their masks and how their values are read, and over what is said of it: attributes, prompts, modality, group.
    """

    image: str
    masks: str
    words: str


Fingerprint = dict[str, list[ItemHash]]


def fingerprint(items: Mapping[str, Sequence[Item]]) -> Fingerprint:
    """The hashes of all items by split, in their order, which decides what an epoch shows.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    files: dict[Path, bytes] = {}

    def content(path: Path) -> bytes:
        if path not in files:
            with path.open("rb") as file:
                files[path] = hashlib.file_digest(file, "sha256").digest()
        return files[path]

    def parts_of(target: str, mask: TargetMask) -> Iterator[bytes]:
        yield target.encode()
        yield from map(content, mask.paths)
        # The same bytes are another mask by another rule. That of exported cases goes without saying.
        if mask.foreground not in ("", "nonzero"):
            yield repr(mask.foreground).encode()

    def hashed(item: Item) -> ItemHash:
        masks = [part for target, mask in sorted(item.masks.items()) for part in parts_of(target, mask)]
        said = [(t, m.attributes, m.upstream, sorted(m.prompts.items())) for t, m in sorted(item.masks.items())]
        words = repr((item.modality, item.group, item.split_lungs, said))
        return ItemHash(_digits([content(item.image)]), _digits(masks), _digits([words.encode()]))

    return {split: [hashed(item) for item in found] for split, found in items.items()}


def write_fingerprint(run: Path, found: Fingerprint) -> None:
    """Keep it in a run's folder."""
    content = {split: [astuple(entry) for entry in entries] for split, entries in found.items()}
    with replacing(run / DATA_FILE) as temporary:
        temporary.write_text(json.dumps({"splits": content, "columns": list(asdict(ItemHash("", "", "")))}), "utf-8")


def read_fingerprint(run: Path) -> Fingerprint | None:
    """That of a run's folder; None for a run of an earlier version, and for a damaged file."""
    try:
        raw: Any = json.loads((run / DATA_FILE).read_text("utf-8"))
        return {str(split): [ItemHash(*map(str, entry)) for entry in rows] for split, rows in raw["splits"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def changes(before: Fingerprint, now: Fingerprint, items: Mapping[str, Sequence[Item]]) -> list[str]:
    """What is not as it was, one phrase for each kind of change in each split; empty where nothing is.

    Parameters
    ----------
    before, now : Fingerprint
    items : mapping of split to items
        Those of `now`, for their names.
    """
    return [
        f"{_WORDS.get(split, split)} split: {phrase}"
        for split, entries in now.items()
        if before.get(split, []) != entries
        for phrase in _split_changes(split, before, entries, items[split])
    ]


def changes_since(run: Path, items: Mapping[str, Sequence[Item]]) -> list[str]:
    """The same of a run that has begun; empty also for a run of an earlier version, which kept no hashes."""
    before = read_fingerprint(run)
    return [] if before is None else changes(before, fingerprint(items), items)


def _split_changes(split: str, before: Fingerprint, now: list[ItemHash], items: Sequence[Item]) -> list[str]:
    old = before.get(split, [])
    images, masks = {entry.image for entry in old}, {(entry.image, entry.masks) for entry in old}
    elsewhere = {entry.image for other, entries in before.items() if other != split for entry in entries}
    found: dict[str, list[str]] = {"other masks": [], "other words": [], "from another split": [], "new or changed": []}
    for item, entry in zip(items, now, strict=True):
        name = item.image.name
        if entry in old:
            continue
        if (entry.image, entry.masks) in masks:
            found["other words"].append(name)
        elif entry.image in images:
            found["other masks"].append(name)
        elif entry.image in elsewhere:
            found["from another split"].append(name)
        else:
            found["new or changed"].append(name)
    phrases = [f"{kind}: {_listed(names)}" for kind, names in found.items() if names]
    if gone := len(images - {entry.image for entry in now}):
        phrases.append(f"{gone} earlier image{'s are' if gone > 1 else ' is'} not there any more")
    return phrases or ["another order, or another number of times"]


def _listed(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = f" and {len(unique) - _NAMED} more" if len(unique) > _NAMED else ""
    return ", ".join(unique[:_NAMED]) + more


def _digits(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]
