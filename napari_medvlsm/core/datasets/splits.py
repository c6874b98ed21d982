"""Training, validation or test: chosen once for every group of scans, and never changed afterwards.

A new group (a patient, a video sequence; a scan of which nothing is known is its own group) gets its split by its
rank: how many groups the folder was given before it. Nothing that comes later matters. The first groups come in the
fixed order train, val, test, train, train, so that three scans have all splits; then come blocks, as in the
randomisation of clinical trials: five groups (3 train, 1 val, 1 test), then ten at a time (8, 1, 1), each block in an
order of its own that the folder's salt fixes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medvlsm.core.datasets.items import Item

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
# Of data sets whose splits leave nothing to train on.
_HOW = (
    "An image that several splits list is for testing, or else for validation, and without lists all images are for "
    "testing: list each in one of anns/ or splits/ (train, val, test), or let 'medvlsm project' divide them."
)
_FIRST_BLOCK = (TRAIN, VAL, TEST, TRAIN, TRAIN)
_LATER_BLOCK = (*[TRAIN] * 8, VAL, TEST)


@dataclass(frozen=True)
class Placed:
    """A case that has its split.

    Attributes
    ----------
    split : str
    image : str
        Name of the image's file, which says its content.
    group : str
        "" where nothing is known.
    rank : int or None
        Of its group, from 0; None of cases of version 0.1.0, which are all in train.
    """

    split: str
    image: str
    group: str = ""
    rank: int | None = None


def place(image: str, group: str, earlier: Sequence[Placed], salt: str) -> Placed:
    """The case with its split: that of its image or group where these are known, else that of the next rank.

    Parameters
    ----------
    image, group : str
        As in `Placed`.
    earlier : sequence of Placed
        All cases of the folder.
    salt : str
        Of the folder; never changed.

    Raises
    ------
    ValueError
        If the image and the group have different splits already.
    """
    of_image = {case.split for case in earlier if case.image == image}
    of_group = {case.split for case in earlier if group and case.group == group}
    if of_group and of_image and of_group != of_image:
        raise ValueError(
            f"This scan is in {_listed(of_image)} already, but other scans of {group} are in {_listed(of_group)}, and "
            "one group must stay in one split. Export it without the group, or into another folder."
        )
    if known := of_group or of_image:
        same = [case.rank for case in earlier if case.image == image or (group and case.group == group)]
        return Placed(min(known, key=SPLITS.index), image, group, next((r for r in same if r is not None), None))
    rank = 1 + max((case.rank for case in earlier if case.rank is not None), default=-1)
    return Placed(split_of_rank(rank, salt), image, group, rank)


def split_of_rank(rank: int, salt: str) -> str:
    """The split of the group that comes when `rank` others are there."""
    five, ten = len(_FIRST_BLOCK), len(_LATER_BLOCK)
    if rank < five:
        return _FIRST_BLOCK[rank]
    if rank < 2 * five:
        return _shuffled(_FIRST_BLOCK, f"{salt}:0")[rank - five]
    block, place = divmod(rank - 2 * five, ten)
    return _shuffled(_LATER_BLOCK, f"{salt}:{block + 1}")[place]


def _shuffled(block: Sequence[str], key: str) -> list[str]:
    # By hash: a generator's shuffle may change with the version of Python.
    order = sorted(range(len(block)), key=lambda i: hashlib.sha256(f"{key}:{i}".encode()).digest())
    return [block[i] for i in order]


def require_enough(name: str, items: Mapping[str, Sequence[Item]], foreground: bool = True) -> None:
    """Check that there is something to train on and something to choose the best model by.

    Parameters
    ----------
    name : str
        Of the recipe, for the sentence.
    items : mapping of split to items
    foreground : bool
        Whether a validation mask that shows its target is needed: Dice is undefined without. One for training is
        needed in any case.

    Raises
    ------
    ValueError
        With one sentence: what there is, what is missing, and what to do.
    """
    counts = {split: len({item.image for item in items.get(split, ())}) for split in SPLITS}
    there = ", ".join(f"{split} {count}" for split, count in counts.items())
    if not counts[TRAIN]:
        raise ValueError(f"The data sets of {name} leave no training images (images: {there}). {_HOW}")
    if not counts[VAL]:
        raise ValueError(
            f"The data sets of {name} leave no validation images, by which the best model is chosen (images: {there}). "
            f"Export more scans (of every five new ones, patients or sequences, one is for validation). {_HOW}"
        )
    if not _shows_a_target(items[TRAIN]):
        raise ValueError(
            f"No training image of {name} shows what its mask is named after (images: {there}), so that nothing can be "
            "learned. Export or list scans that show the target, or check how the masks were saved."
        )
    if foreground and not _shows_a_target(items[VAL]):
        raise ValueError(
            f"No validation image of {name} shows what its mask is named after (images: {there}), so that the best "
            "model cannot be chosen. Export more scans that show the target, or list some for validation."
        )


def _shows_a_target(items: Iterable[Item]) -> bool:
    return any(mask.any() for item in items for mask in item.load_masks().values())


def _listed(splits: Collection[str]) -> str:
    return " and ".join(sorted(splits, key=SPLITS.index))
