"""Which case next: the order in which cases not outlined yet are worth a person's time, each with its reason.

No method beats a random choice reliably: first cases are therefore spread over the kinds of scans, later ones are those
of which the model is unsure, with chance and spread, and one in five is drawn at random, whatever the model thinks.
Means over the whole image mislead (most of it is background, of which every model is sure), so that doubt is measured
where something is outlined, and along its edge. Imports no torch: features and probabilities are the model's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from napari_medvlsm.core.effect import LITTLE
from napari_medvlsm.core.masks import Bytes, Mask, binarize
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.presence import HIGHEST_FRACTION
from napari_medvlsm.core.prompts.variants import Contrast

# Of every so many cases one is drawn at random.
ONE_IN = 5
# Cases that are outlined before the model's doubt is asked: a model that has seen none of them is sure of wrong things.
FIRST = 10
UNLIKE = "unlike the others"
EDGE = "the model is unsure along the edge"
INSIDE = "the model is unsure within the outline"
NOTHING = "the model outlines nothing, but is not sure"
WORDS = "other words for it change the outline"
AT_RANDOM = "chosen at random"
# Half the width of the rim, as a fraction of the square root of the outline's area, and its least, in pixels.
_RIM, _LEAST_RIM = 0.1, 1
# Deviation of the noise on the logarithm of a doubt: one case in six is taken for 1.6 times as doubtful as it is.
_NOISE = 0.5
# The most doubtful cases from which some are spread out, as a multiple of these.
_SHORTLIST = 3

Features = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Doubt:
    """How unsure a model is of one case: mean entropies, 0 (sure) to 1 (even odds), and how much words change.

    Attributes
    ----------
    region, rim : float
        Within the outline, and along its edge; where nothing is outlined, both over the most probable pixels.
    outlined : bool
        Whether anything is.
    words : float
        1 - Dice between answers to wordings that mean the same; 0 where that was not asked or says nothing (`listens`).
    """

    region: float
    rim: float
    outlined: bool = True
    words: float = 0.0

    @property
    def total(self) -> float:
        """By which cases are ordered."""
        return (self.region + self.rim) / 2 + self.words

    @property
    def reason(self) -> str:
        """Its largest part, in words."""
        if self.words > max(self.region, self.rim):
            return WORDS
        if not self.outlined:
            return NOTHING
        return EDGE if self.rim >= self.region else INSIDE


@dataclass(frozen=True)
class Next:
    """A case that is worth outlining: its place among those given, and why."""

    place: int
    reason: str


def doubt_of(probability: Bytes, threshold: float, wordings: Sequence[Bytes] = (), listens: bool = False) -> Doubt:
    """How unsure an answer is.

    Parameters
    ----------
    probability : uint8 array of shape (H, W)
        255 for 1.
    threshold : float
        The model's.
    wordings : sequence of uint8 arrays of shape (H, W)
        Answers to other wordings of the same.
    listens : bool
        Whether the model follows its prompt, see `listens`: if not, agreement between wordings says nothing.
    """
    mask = binarize(probability, threshold)
    entropy = _entropy(probability)
    if not mask.any():
        count = max(1, round(HIGHEST_FRACTION * mask.size))
        highest = np.argpartition(probability, mask.size - count, axis=None)[mask.size - count :]
        region = rim = float(entropy.ravel()[highest].mean())
    else:
        edge = _rim(mask)
        inside = mask & ~edge
        rim = float(entropy[edge].mean())
        region = float(entropy[inside].mean()) if inside.any() else rim
    change = 0.0
    if listens and wordings:
        change = float(np.mean([1 - dice(binarize(other, threshold), mask) for other in wordings]))
    return Doubt(region, rim, bool(mask.any()), change)


def listens(prompt_effect: Mapping[str, Any]) -> bool:
    """Whether a card's measured prompt effect says that a model follows its words.

    That is so if on some data set asking for something else, the opposite side or a wrong size changes more than a
    little of the outline (`effect.LITTLE`); an unmeasured model is taken for one that does not.
    """
    telling = {contrast.value for contrast in (Contrast.OTHER_TARGET, Contrast.WRONG_SIDE, Contrast.WRONG_SIZE)}
    for measured in prompt_effect.values():
        contrasts = measured.get("contrasts", {}) if isinstance(measured, Mapping) else {}
        if any(contrasts.get(name, {}).get("change", 0) > LITTLE for name in telling):
            return True
    return False


def next_cases(
    features: Features, count: int, seed: int, outlined: Features | None = None, doubts: Sequence[Doubt] | None = None
) -> list[Next]:
    """Which cases to outline next, in order.

    Parameters
    ----------
    features : array of shape (N, D)
        Of the cases that are not outlined yet, from the model's image encoder.
    count : int
        At most so many; fewer where there are fewer.
    seed : int
        Of clusters, noise and chance: the same seed gives the same order.
    outlined : array of shape (M, D), optional
        Of the cases that are: new ones are to be unlike these too.
    doubts : sequence of N Doubt, optional
        Once a model has learned from the first cases; before, the order goes by clusters of the features alone.

    Raises
    ------
    ValueError
        If there are not as many doubts as cases.
    """
    if doubts is not None and len(doubts) != len(features):
        raise ValueError(f"There are {len(features)} cases, but {len(doubts)} doubts.")
    count = min(count, len(features))
    if not count:
        return []
    rng = np.random.default_rng(seed)
    unit = _normalised(features)
    before = _normalised(outlined) if outlined is not None and len(outlined) else unit[:0]
    drawn = dict.fromkeys(rng.permutation(len(unit))[: count // ONE_IN].tolist(), AT_RANDOM)
    left = np.array([i for i in range(len(unit)) if i not in drawn])
    wanted = count - len(drawn)
    if doubts is None:
        chosen = [(int(left[i]), UNLIKE) for i in _spread(unit[left], before, wanted, rng)]
    else:
        score = np.array([np.log(doubts[i].total + 1e-6) for i in left]) + rng.normal(0, _NOISE, len(left))
        shortlist = left[np.argsort(-score)[: _SHORTLIST * wanted]]
        ranked = dict(zip(left.tolist(), score.tolist(), strict=True))
        labels = _clusters(unit[shortlist], wanted, rng)
        chosen = [(int(i), doubts[int(i)].reason) for i in _best_of_each(shortlist, labels, ranked, wanted)]
    return _mixed(chosen, list(drawn.items()))


def _spread(unit: Features, before: Features, count: int, rng: np.random.Generator) -> list[int]:
    """The most typical case of each cluster without an outlined case, in turn that which is farthest from the others.

    Typical ones, because the farthest of all are often the broken ones.
    """
    labels = _clusters(np.concatenate([unit, before]), count + len(before), rng)
    own, taken = labels[: len(unit)], set(labels[len(unit) :].tolist())
    sizes = {label: int((own == label).sum()) for label in np.unique(own).tolist() if label not in taken}
    typical = []
    for label in sorted(sizes, key=lambda each: (-sizes[each], each)):
        members = np.flatnonzero(own == label)
        away = ((unit[members] - unit[members].mean(axis=0)) ** 2).sum(axis=1)
        typical.append(int(members[np.argmin(away)]))
    chosen = _farthest(unit, before, typical, count)
    rest = [i for i in range(len(unit)) if i not in chosen]
    return chosen + _farthest(unit, np.concatenate([before, unit[chosen]]), rest, count - len(chosen))


def _farthest(unit: Features, known: Features, among: list[int], count: int) -> list[int]:
    """Of some cases so many, each the farthest from what is known and chosen; the first of all where nothing is."""
    chosen: list[int] = []
    gap = np.full(len(among), np.inf)
    for vector in known:
        gap = np.minimum(gap, ((unit[among] - vector) ** 2).sum(axis=1))
    while len(chosen) < min(count, len(among)):
        best = int(np.argmax(gap))
        chosen.append(among[best])
        gap = np.minimum(gap, ((unit[among] - unit[among[best]]) ** 2).sum(axis=1))
        gap[[among.index(i) for i in chosen]] = -1
    return chosen


def _best_of_each(
    shortlist: npt.NDArray[np.int_], labels: npt.NDArray[np.int_], ranked: Mapping[int, float], count: int
) -> list[int]:
    """The most doubtful case of each cluster, then the second ones, until there are enough."""
    order = sorted(shortlist.tolist(), key=lambda i: -ranked[i])
    of = dict(zip(shortlist.tolist(), labels.tolist(), strict=True))
    turns: dict[int, int] = {}
    turn = {}
    for i in order:
        turn[i] = turns[of[i]] = turns.get(of[i], -1) + 1
    return sorted(order, key=lambda i: (turn[i], -ranked[i]))[:count]


def _clusters(unit: Features, count: int, rng: np.random.Generator) -> npt.NDArray[np.int_]:
    """Labels of k-means; every case its own cluster where there are no more cases than clusters."""
    if len(unit) <= count:
        return np.arange(len(unit))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        _, labels = scipy.cluster.vq.kmeans2(unit.astype(np.float64), count, minit="++", seed=rng)
    return np.asarray(labels)


def _mixed(chosen: list[tuple[int, str]], drawn: list[tuple[int, str]]) -> list[Next]:
    """Those drawn at random at every fifth place."""
    order, rest, chance = [], iter(chosen), iter(drawn)
    for place in range(1, len(chosen) + len(drawn) + 1):
        found = next(chance, None) if place % ONE_IN == 0 else next(rest, None)
        found = found or next(rest, None) or next(chance, None)
        assert found is not None
        order.append(Next(*found))
    return order


def _normalised(features: Features) -> Features:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _entropy(probability: Bytes) -> npt.NDArray[np.float64]:
    """Of every pixel, in bits."""
    p = np.clip(np.arange(256) / 255, 1e-6, 1 - 1e-6)
    table = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    table[[0, 255]] = 0
    found: npt.NDArray[np.float64] = table[probability]
    return found


def _rim(mask: Mask) -> Mask:
    """A band on both sides of the edge of a mask that is not empty."""
    width = max(_LEAST_RIM, round(_RIM * float(mask.sum()) ** 0.5))
    both = scipy.ndimage.distance_transform_edt(mask) + scipy.ndimage.distance_transform_edt(~mask)
    rim: Mask = both <= width
    return rim
