"""Training, validation or hold-out for every group of scans that enters a project; never changed afterwards.

The hold-out ("test") is what models are judged by: one group in five, and at least five where there are ten or more
(half of them where there are fewer). One in ten, and at least one, is for validation. So that a project can be trained
on early, the first group is for training, the second for validation, the third held out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping

from napari_medvlsm.core.datasets.splits import TEST, TRAIN, VAL

_LEAST = 5


def wanted(groups: int) -> tuple[int, int]:
    """(held out, for validation) of so many groups."""
    held_out = max(math.ceil(groups / 5), min(_LEAST, groups // 2)) if groups >= 3 else 0
    return held_out, max(1, round(groups / 10)) if groups >= 2 else 0


def assign(new: Iterable[str], before: Mapping[str, int], salt: str) -> dict[str, str]:
    """The splits of groups that enter together.

    Parameters
    ----------
    new : iterable of str
        What tells the groups apart; which of them are held out follows from it and the salt, not from their order.
    before : mapping of split to int
        Groups that have their split.
    salt : str
        Of the project.

    Returns
    -------
    dict of str to str
        "train", "val" or "test" by group.
    """
    keys = sorted(dict.fromkeys(new), key=lambda key: hashlib.sha256(f"{salt}:{key}".encode()).digest())
    total = len(keys) + sum(before.values())
    held_out, validation = wanted(total)
    order = [split for split, least in ((TRAIN, 1), (VAL, min(1, validation))) if before.get(split, 0) < least]
    order += [TEST] * max(0, held_out - before.get(TEST, 0))
    order += [VAL] * max(0, validation - before.get(VAL, 0) - order.count(VAL))
    order = order[: len(keys)] + [TRAIN] * (len(keys) - len(order))
    return dict(zip(keys, order, strict=True))
