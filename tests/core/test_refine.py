"""Refining by pointing, on a bright disc that the outline misses a part of."""

import numpy as np
import pytest

from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.refine import Hint, refine

SIZE = (120, 150)


def disc(row, col, radius):
    rows, cols = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


TRUTH = disc(60, 70, 30)


@pytest.fixture
def pixels(rng):
    grey = np.where(TRUTH, 170, 90) + rng.normal(0, 6, SIZE)
    return grey.clip(0, 255).astype(np.uint8)


@pytest.fixture
def missing():
    """Without its right third."""
    return TRUTH & (np.arange(SIZE[1]) < 80)


def click(row, col, include=True):
    return [Hint(((row, col),), include)]


def test_this_too_takes_in_the_missing_part_and_stops_at_the_edge(pixels, missing):
    found = refine(missing, pixels, click(60, 90))
    assert dice(found, TRUTH) > 0.97 > dice(missing, TRUTH)
    assert not (missing & ~found).any(), "what is outlined stays"


def test_not_this_takes_away_what_is_too_much(pixels):
    too_much = TRUTH | disc(60, 108, 14)
    found = refine(too_much, pixels, click(60, 112, include=False))
    assert dice(found, TRUTH) > 0.96 > dice(too_much, TRUTH)
    assert not (found & ~too_much).any()


def test_the_models_probability_counts_where_the_image_shows_no_edge(missing):
    flat = np.full(SIZE, 100, np.uint8)
    unsure = np.where(TRUTH, 120, 5).astype(np.uint8)  # below the threshold, but not everywhere alike
    unsure[missing] = 250
    found = refine(missing, flat, click(60, 90), unsure, 0.6)
    assert dice(found, TRUTH) > dice(refine(missing, flat, click(60, 90)), TRUTH)
    assert dice(found, TRUTH) > 0.95


def test_a_stroke_does_as_clicks_do(pixels, missing):
    stroke = Hint(tuple((row, 90) for row in range(45, 76)), True)
    assert dice(refine(missing, pixels, [stroke]), TRUTH) > 0.97


def test_nothing_changes_outside_of_the_box(pixels, missing):
    box = (0, 0, 60, SIZE[1])
    found = refine(missing, pixels, click(50, 88), box=box)
    assert np.array_equal(found[60:], missing[60:]) and found[:60].sum() > missing[:60].sum()
    assert np.array_equal(refine(missing, pixels, click(70, 88), box=box), missing)


def test_the_pixel_that_was_pointed_at_is_as_it_was_said(pixels, rng):
    for _ in range(20):
        mask = rng.random(SIZE) > rng.random()
        row, col, include = int(rng.integers(SIZE[0])), int(rng.integers(SIZE[1])), bool(rng.integers(2))
        assert refine(mask, pixels, click(row, col, include))[row, col] == include


def test_earlier_hints_hold(pixels, missing):
    earlier = Hint(((60, 96),), False)
    assert refine(missing, pixels, click(60, 90))[60, 96]
    assert not refine(missing, pixels, [earlier, *click(60, 88)])[60, 96]


@pytest.mark.parametrize("shape", [(120, 150, 3), (120, 150, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_kind_of_pixels(pixels, missing, shape, dtype):
    colour = np.repeat(pixels[..., None], shape[2], axis=2).astype(dtype)
    assert dice(refine(missing, colour, click(60, 90)), TRUTH) > 0.95


@pytest.mark.parametrize("size", [(2, 2), (3, 200), (200, 3)])
@pytest.mark.parametrize("filled", [False, True])
def test_thin_scans_and_empty_or_full_outlines(size, filled):
    mask = np.full(size, filled)
    for include in (True, False):
        found = refine(mask, np.zeros(size, np.uint8), click(1, 1, include), np.zeros(size, np.uint8))
        assert found[1, 1] == include and found.shape == size


def test_an_empty_outline_begins_around_the_click(pixels):
    found = refine(np.zeros(SIZE, bool), pixels, click(60, 70))
    assert found.any() and (found & ~TRUTH).sum() < 0.1 * found.sum()


def test_a_large_scan_is_solved_on_a_small_grid():
    large = np.kron(TRUTH, np.ones((16, 16), bool))
    pixels = np.where(large, 170, 90).astype(np.uint8)
    outline = large & (np.arange(large.shape[1]) < 16 * 80)
    assert dice(refine(outline, pixels, click(16 * 60, 16 * 90)), large) > 0.95


def test_hints_that_the_outline_contradicts_no_longer_hold():
    assert Hint(((60, 70),), True).holds(TRUTH) and not Hint(((60, 70), (61, 70)), False).holds(TRUTH)
    with pytest.raises(ValueError, match="at least one point"):
        Hint((), True)
