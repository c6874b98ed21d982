import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from napari_medvlsm.core.calibration import Calibration
from napari_medvlsm.core.statistics import difference, estimate, paired


def test_interval_is_scipys_where_every_case_stands_alone(rng):
    values = rng.normal(0.7, 0.2, 60)
    found = estimate(values.tolist(), [str(i) for i in range(60)], seed=3, resamples=20000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=rng).confidence_interval
    assert found.mean == pytest.approx(values.mean()) and (found.cases, found.groups) == (60, 60)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_frames_of_one_video_are_drawn_together():
    """Three videos of ten equal frames hold three facts, not thirty."""
    values, videos = [0.2] * 10 + [0.5] * 10 + [0.8] * 10, ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    together, alone = estimate(values, videos), estimate(values, [str(i) for i in range(30)])
    assert together.mean == pytest.approx(0.5) and alone.mean == pytest.approx(0.5) and together.groups == 3
    assert (together.low, together.high) == pytest.approx((0.2, 0.8))
    assert alone.high - alone.low < 0.25


def test_a_video_with_more_frames_weighs_more():
    assert estimate([1, 1, 1, 0], ["a", "a", "a", "b"]).mean == 0.75


def test_interval_is_seeded_and_absent_where_there_is_one_group():
    values, groups = [0.1, 0.9, 0.4, 0.6], ["a", "b", "c", "d"]
    assert estimate(values, groups, seed=1) == estimate(values, groups, seed=1)
    single = estimate([0.1, 0.3], ["a", "a"])
    assert single.mean == pytest.approx(0.2) and math.isnan(single.low)
    nothing = estimate([math.nan], ["a"])
    assert nothing.cases == 0 and math.isnan(nothing.mean)


def test_many_groups_are_drawn_a_few_resamples_at_a_time_with_the_same_result(rng, monkeypatch):
    first = [(value, f"a{i % 40}") for i, value in enumerate(rng.normal(0, 1, 60))]
    second = [(value, f"b{i % 40}" if i % 2 else f"a{i % 40}") for i, value in enumerate(rng.normal(1, 1, 60))]

    def both():
        return [*astuple(estimate(*zip(*first, strict=True))), *astuple(difference(first, second))]

    whole = both()
    monkeypatch.setattr("napari_medvlsm.core.statistics._AT_ONCE", 40 * 7)
    # Sums of other lengths round otherwise.
    assert both() == pytest.approx(whole, abs=1e-12)


def test_pairs_leave_out_what_either_lacks():
    found = paired([0.5, 0.5, math.nan, 0.5], [0.75, 0.25, 0.9, 0.5], ["a", "b", "c", "d"])
    assert (found.first, found.second, found.difference.mean) == (0.5, 0.5, 0)
    assert (found.wins, found.losses, found.ties) == (1, 1, 1) and found.difference.cases == 3


def test_calibration_by_hand():
    """Four pixels at 0.2, of which half are true, and four at 1, all true: the error is 0.5 * 0.3."""
    probability = np.array([[51] * 4, [255] * 4], np.uint8)
    truth = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    counted = Calibration()
    counted.add(probability, truth)
    low, high = counted.bins()
    assert (low.low, low.pixels, low.frequency) == (0.2, 4, 0.5) and low.confidence == pytest.approx(0.2)
    assert (high.high, high.pixels, high.confidence, high.frequency) == (1, 4, 1, 1)
    assert counted.expected_error() == pytest.approx(0.15)
    counted.add(np.zeros((1, 8), np.uint8), np.zeros((1, 8), bool))
    assert counted.expected_error() == pytest.approx(0.075)
