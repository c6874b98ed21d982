"""Means with intervals, and two models on the same cases. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


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
    weights = np.random.default_rng(seed).multinomial(len(count), np.full(len(count), 1 / len(count)), resamples)
    means = (weights @ total) / (weights @ count)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
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
