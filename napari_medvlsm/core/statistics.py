"""Means with intervals, and two models on the same cases. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
LEVEL = 0.95
# Numbers of resamples that are held at a time: 16 MiB.
_AT_ONCE = 2**21


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval.

    Attributes
    ----------
    mean, low, high : float
        The bounds are NaN where there is a single group, all three where there are no cases.
    cases, groups : int
        Cases that count, and the patients, sequences or images that are resampled.
    """

    mean: float
    low: float
    high: float
    cases: int
    groups: int


@dataclass(frozen=True)
class Paired:
    """Two models on the same cases: the mean of second - first, and how often each of them is better."""

    first: float
    second: float
    difference: Estimate
    wins: int
    losses: int
    ties: int


def estimate(values: Sequence[float], groups: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The mean of values with a percentile interval of 95 %.

    Whole groups are resampled with replacement, since frames of one video or scans of one patient are not
    independent; each case counts the same.

    Parameters
    ----------
    values : sequence of float
        One for each case; NaN leaves the case out.
    groups : sequence of str
        The patient, sequence or image that each case belongs to.
    seed, resamples : int

    Returns
    -------
    Estimate
    """
    kept = [(value, group) for value, group in zip(values, groups, strict=True) if not math.isnan(value)]
    if not kept:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    _, which = np.unique([group for _, group in kept], return_inverse=True)
    count = np.bincount(which)
    total = np.bincount(which, weights=[value for value, _ in kept])
    mean = float(total.sum() / count.sum())
    if len(count) == 1:
        return Estimate(mean, math.nan, math.nan, len(kept), 1)
    totals, counts = _drawn(np.random.default_rng(seed), (total, count), resamples)
    low, high = np.quantile(totals / counts, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), len(kept), len(count))


def paired(first: Sequence[float], second: Sequence[float], groups: Sequence[str], seed: int = 0) -> Paired:
    """Compare two models on the same cases, in the same order; a case with NaN in either is left out.

    A difference of less than a billionth is a tie.
    """
    both = [(a, b, g) for a, b, g in zip(first, second, groups, strict=True) if not (math.isnan(a) or math.isnan(b))]
    gains = [b - a for a, b, _ in both]
    difference = estimate(gains, [g for _, _, g in both], seed)
    wins, losses = sum(g > 1e-9 for g in gains), sum(g < -1e-9 for g in gains)
    means = [float(np.mean([row[i] for row in both])) if both else math.nan for i in (0, 1)]
    return Paired(means[0], means[1], difference, wins, losses, len(gains) - wins - losses)


@dataclass(frozen=True)
class Difference:
    """Two means of different cases, and second - first with its bootstrap interval; NaN as in `Estimate`."""

    first: float
    second: float
    mean: float
    low: float
    high: float


def difference(
    first: Sequence[tuple[float, str]], second: Sequence[tuple[float, str]], seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """The difference of the means of two sets of cases, with a percentile interval of 95 %.

    Parameters
    ----------
    first, second : sequence of (float, str)
        Value and group of each case; NaN leaves the case out. Groups are resampled as in `estimate`, those that are on
        both sides together.
    seed, resamples : int

    Returns
    -------
    Difference
    """
    sides = [[(value, group) for value, group in side if not math.isnan(value)] for side in (first, second)]
    if not all(sides):
        means = [float(np.mean([value for value, _ in side])) if side else math.nan for side in sides]
        return Difference(means[0], means[1], math.nan, math.nan, math.nan)
    groups = sorted({group for side in sides for _, group in side})
    place = {group: number for number, group in enumerate(groups)}
    count, total = np.zeros((2, len(groups))), np.zeros((2, len(groups)))
    for which, side in enumerate(sides):
        for value, group in side:
            count[which, place[group]] += 1
            total[which, place[group]] += value
    means = [float(value) for value in total.sum(axis=1) / count.sum(axis=1)]
    if min(np.count_nonzero(count, axis=1)) == 1:
        return Difference(means[0], means[1], means[1] - means[0], math.nan, math.nan)
    # Groups of one side, of the other and of both are drawn apart, so that no side is ever without any.
    kinds = (count[0] > 0) + 2 * (count[1] > 0)
    generator, columns = np.random.default_rng(seed), (*total, *count)
    sums = np.zeros((4, resamples))
    for kind in np.unique(kinds):
        sums += _drawn(generator, [values[kinds == kind] for values in columns], resamples)
    drawn = sums[:2] / sums[2:]
    low, high = np.quantile(drawn[1] - drawn[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(means[0], means[1], means[1] - means[0], float(low), float(high))


def _drawn(
    generator: np.random.Generator, values: Sequence[npt.NDArray[Any]], resamples: int
) -> npt.NDArray[np.float64]:
    """Sums over groups that are drawn with replacement, all of `values` with the same draws.

    `values` holds arrays of shape (groups,); the sums have shape (len(values), resamples). Only a few resamples are
    drawn at a time, since ten thousand groups drawn 2000 times would take 160 MB.
    """
    groups = len(values[0])
    some = max(1, _AT_ONCE // groups)
    sums = np.empty((len(values), resamples))
    for start in range(0, resamples, some):
        block = slice(start, min(start + some, resamples))
        times = generator.multinomial(groups, np.full(groups, 1 / groups), block.stop - start)
        for number, value in enumerate(values):
            sums[number, block] = times @ value
    return sums
