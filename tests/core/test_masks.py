import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_medvlsm.core.masks import Cleanup, binarize, quantise


def test_cut_is_at_least_and_never_takes_zero():
    probability = np.array([[0, 127, 128, 255]], np.uint8)
    assert binarize(probability, 0.5).tolist() == [[False, False, True, True]]
    assert binarize(probability, 0.0).tolist() == [[False, True, True, True]]
    assert binarize(probability, 1.0).tolist() == [[False, False, False, True]]
    with pytest.raises(ValueError, match="between 0 and 1"):
        binarize(probability, 1.5)


def test_quantised_cut_agrees_with_floats_away_from_the_edge(rng):
    probability = rng.random((50, 50)).astype(np.float32)
    for threshold in (0.1, 0.35, 0.5, 0.9):
        clear = abs(probability - threshold) > 1 / 255
        assert (binarize(quantise(probability), threshold) == (probability >= threshold))[clear].all()


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)))
def test_fill_holes_is_scipys(mask):
    np.testing.assert_array_equal(Cleanup(fill_holes=True).apply(mask), ndimage.binary_fill_holes(mask))


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14)))
def test_largest_is_one_component_and_no_smaller_than_any_other(mask):
    kept = Cleanup(keep_largest=True).apply(mask)
    eight = np.ones((3, 3))
    labels, count = ndimage.label(mask, eight)
    assert ndimage.label(kept, eight)[1] == min(1, count)
    assert kept.sum() == max((int((labels == i + 1).sum()) for i in range(count)), default=0)
    assert not (kept & ~mask).any()


def test_specks_go_and_the_rest_stays():
    mask = np.zeros((200, 200), bool)
    mask[5, 5] = True
    mask[50:60, 50:60] = True
    cleaned = Cleanup(drop_specks=True).apply(mask)
    assert cleaned.sum() == 100 and not cleaned[5, 5]
    assert Cleanup().apply(mask).sum() == 101
