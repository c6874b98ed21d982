"""Edits of a whole outline."""

import numpy as np
import pytest

from napari_medvlsm.core.edits import count_parts, grow, part_at, shrink, smooth, step_of


@pytest.fixture
def disc():
    rows, cols = np.ogrid[:80, :90]
    return (rows - 40) ** 2 + (cols - 45) ** 2 <= 20**2


def test_growing_and_shrinking_move_the_boundary_by_so_many_pixels(disc):
    rows = np.flatnonzero(disc.any(axis=1))
    assert np.flatnonzero(grow(disc, 3).any(axis=1))[[0, -1]].tolist() == [rows[0] - 3, rows[-1] + 3]
    assert np.flatnonzero(shrink(disc, 3).any(axis=1))[[0, -1]].tolist() == [rows[0] + 3, rows[-1] - 3]
    assert not (shrink(disc, 2) & ~disc).any()


def test_growing_stops_at_the_edge_of_the_scan_and_shrinking_leaves_it_there():
    mask = np.zeros((20, 30), bool)
    mask[:, :10] = True
    assert grow(mask, 4)[:, :14].all() and not grow(mask, 4)[:, 14:].any()
    assert shrink(mask, 4)[:, :6].all() and not shrink(mask, 4)[:, 6:].any()
    everything = np.ones((5, 6), bool)
    assert shrink(everything, 2).all()


def test_growing_keeps_holes_that_are_wider_than_the_step(disc):
    disc[36:45, 40:50] = False
    assert grow(disc, 2).sum() < grow(np.pad(disc, 0) | False, 6).sum()
    assert not grow(disc, 2)[40, 45]
    assert grow(disc, 6)[40, 45]


def test_smoothing_takes_teeth_off_and_keeps_the_area(disc):
    rough = disc.copy()
    rough[:, ::4] &= shrink(disc, 2)[:, ::4]
    edge = lambda m: np.count_nonzero(m[:, 1:] != m[:, :-1]) + np.count_nonzero(m[1:] != m[:-1])  # noqa: E731
    evened = smooth(rough)
    assert edge(evened) < 0.8 * edge(rough)
    assert evened.sum() == pytest.approx(rough.sum(), rel=0.06)
    assert evened.shape == rough.shape


def test_smoothing_never_deletes_an_outline_nor_invents_one():
    mask = np.zeros((40, 40), bool)
    assert not smooth(mask).any()
    mask[20, 5:30] = True
    assert np.array_equal(smooth(mask), mask)


def test_an_outline_that_the_edge_of_the_scan_cuts_off_stays_there_when_smoothed():
    mask = np.zeros((60, 60), bool)
    mask[:30, :30] = True
    assert smooth(mask)[0, 0] and smooth(mask)[0, :25].all()


def test_a_part_is_what_touches_the_pixel_even_at_a_corner():
    mask = np.zeros((10, 10), bool)
    mask[1:3, 1:3] = mask[3, 3] = mask[7, 7] = True
    part = part_at(mask, 1, 1)
    assert part is not None and part.sum() == 5 and part[3, 3] and not part[7, 7]
    assert part_at(mask, 0, 0) is None
    assert part_at(mask, -1, 4) is None and part_at(mask, 4, 10) is None
    assert count_parts(mask) == 2 and count_parts(np.zeros((4, 4), bool)) == 0


def test_the_step_follows_the_size_of_the_scan():
    assert [step_of((n, 100)) for n in (100, 500, 2000)] == [1, 1, 4]
