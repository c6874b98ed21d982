"""How two outlines differ, and the lines that are drawn of one."""

import math

import numpy as np
import pytest

from napari_medvlsm.core.contours import contours
from napari_medvlsm.core.differences import differences
from napari_medvlsm.core.images import to_screen, to_unit_rgb


def square(rows, cols, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[slice(*rows), slice(*cols)] = True
    return mask


def test_edges_that_are_two_rows_apart_are_so_in_millimetres():
    """A line of pixels in row 5 and one in row 7: every pixel of either is two rows of 0.5 mm away."""
    found = differences(square((5, 6), (4, 14)), square((7, 8), (4, 14)), (0.5, 3))
    assert (found.mean_distance, found.largest_distance, found.in_mm) == (1, 1, True)
    assert (found.dice, found.first, found.second, found.only_first, found.only_second) == (0, 10, 10, 10, 10)
    assert differences(square((5, 6), (4, 14)), square((7, 8), (4, 14))).mean_distance == 2


def test_the_largest_distance_is_looked_for_from_either_side():
    small, large = square((5, 10), (5, 10)), square((5, 10), (5, 25))
    assert differences(small, large).largest_distance == differences(large, small).largest_distance == 15


def test_empty_masks_have_no_distance():
    nothing, something = square((0, 0), (0, 0)), square((2, 4), (2, 4))
    both, one = differences(nothing, nothing), differences(nothing, something)
    assert both.same and both.dice == 1 and math.isnan(both.mean_distance)
    assert one.dice == 0 and one.only_second == 4 and math.isnan(one.largest_distance)
    with pytest.raises(ValueError, match="one size"):
        differences(nothing, np.zeros((3, 3), bool))


def test_lines_run_half_a_pixel_around_the_mask_also_at_the_border():
    (line,) = contours(square((0, 3), (27, 30)))
    assert line.min(axis=0).tolist() == [-0.5, 26.5] and line.max(axis=0).tolist() == [2.5, 29.5]
    assert (line[0] == line[-1]).all() and contours(square((0, 0), (0, 0))) == []
    ring = square((2, 12), (2, 12)) & ~square((5, 8), (5, 8))
    assert len(contours(ring)) == 2


def test_a_large_scan_is_shown_at_every_other_pixel(rng):
    pixels = rng.integers(0, 4000, (300, 700), np.uint16)
    shown, step = to_screen(pixels, 400)
    assert step == 2 and shown.shape == (150, 350, 3)
    assert np.abs(shown / 255 - to_unit_rgb(pixels)[::2, ::2]).max() < 0.002
    assert to_screen(pixels, 700)[1] == 1
