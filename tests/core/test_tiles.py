from itertools import pairwise

import numpy as np
import pytest

from napari_medvlsm.core.tiles import Blend, grid, spans


@pytest.mark.parametrize(("length", "side", "overlap"), [(100, 30, 0.25), (100, 100, 0.25), (97, 16, 0.9), (31, 30, 0)])
def test_spans_cover_and_their_weights_sum_to_one(length, side, overlap):
    found = spans(length, side, overlap)
    assert found[0].start == 0 and found[-1].stop == length and {s.stop - s.start for s in found} == {side}
    for before, after in pairwise(found):
        assert before.stop - after.start >= int(side * overlap)
    total = np.zeros(length)
    for span in found:
        total[span.start : span.stop] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_spans_by_hand():
    assert [(s.start, s.stop) for s in spans(10, 4, 0.5)] == [(0, 4), (2, 6), (4, 8), (6, 10)]


def blended(size, side, overlap, answer, region=None):
    """Every pixel of a tile gets one value; what comes out is the map."""
    plane = np.zeros(size, np.uint8)
    region = region or (0, 0, *size)
    tiles = grid((region[2] - region[0], region[3] - region[1]), side, overlap)
    blend = Blend([plane], region, tiles.side)
    for row, col in tiles:
        shape = (1, row.stop - row.start, col.stop - col.start)
        blend.add(row, col, np.full(shape, answer(row, col), np.float32))
    blend.finish()
    return plane


@pytest.mark.parametrize("side", [16, 40, 200])
def test_agreeing_tiles_give_their_answer_everywhere(side):
    assert set(np.unique(blended((90, 130), side, 0.25, lambda *_: 0.6))) == {153}
    assert set(np.unique(blended((90, 130), side, 0.25, lambda *_: 1.0))) == {255}


def test_disagreeing_tiles_leave_no_seam():
    """Neighbours at 0 and 1 in a checkerboard, 20 shared pixels: a Hann blend climbs by less than 0.1 a pixel."""

    def answer(row, col):
        return (row.start + col.start) // 20 % 2

    plane = blended((160, 160), 40, 0.5, answer).astype(int)
    assert np.ptp(plane) > 200
    assert max(np.abs(np.diff(plane, axis=axis)).max() for axis in (0, 1)) < 0.1 * 255
    # Without an overlap there is nothing to blend.
    assert np.abs(np.diff(blended((160, 160), 20, 0, answer).astype(int), axis=0)).max() == 255


def test_outside_the_rectangle_nothing_is_written():
    plane = blended((60, 60), 16, 0.25, lambda *_: 1.0, region=(10, 5, 41, 58))
    inside = np.zeros((60, 60), bool)
    inside[10:41, 5:58] = True
    np.testing.assert_array_equal(plane, inside * 255)


@pytest.mark.parametrize("pixels", [1, 100, 2**18])
def test_several_maps_in_strips_of_any_height(pixels, rng, monkeypatch):
    """Against all weighted tiles summed in one array."""
    monkeypatch.setattr("napari_medvlsm.core.tiles._STRIP_PIXELS", pixels)
    tiles = grid((123, 57), 40, 0.6)
    maps = [np.zeros((123, 57), np.uint8) for _ in range(2)]
    blend, expected = Blend(maps, (0, 0, 123, 57), tiles.side), np.zeros((2, 123, 57))
    for row, col in tiles:
        answers = rng.random((2, 40, 40), np.float32)
        blend.add(row, col, answers)
        expected[:, row.start : row.stop, col.start : col.stop] += answers * row.weight[:, None] * col.weight
    blend.finish()
    np.testing.assert_allclose(maps, 255 * expected, atol=0.51)
