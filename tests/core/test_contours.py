import numpy as np
import pytest

from napari_medvlsm.core.contours import boundaries


@pytest.mark.parametrize("thickness", [1, 3, 7])
def test_a_line_lies_inside_of_its_outline_and_is_as_thick_as_asked(thickness):
    mask = np.zeros((80, 90), np.uint8)
    mask[20:60, 10:75] = 1
    inner = np.zeros_like(mask)
    inner[20 + thickness : 60 - thickness, 10 + thickness : 75 - thickness] = 1
    np.testing.assert_array_equal(boundaries(mask, thickness), mask - inner)


def test_there_is_no_line_along_the_edge_of_the_image():
    mask = np.ones((9, 12), np.uint8)
    assert not boundaries(mask, 2).any()
    mask[:, 8:] = 0
    np.testing.assert_array_equal(np.unique(np.nonzero(boundaries(mask, 2))[1]), [6, 7])


def test_labels_that_touch_are_told_apart_and_nothing_has_no_line():
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 2:10], labels[5:15, 10:18] = 1, 2
    found = boundaries(labels, 1)
    assert (found[6:14, 9] == 1).all() and (found[6:14, 10] == 2).all() and not found[7:13, 4:8].any()
    assert not boundaries(np.zeros((5, 5), np.uint8), 3).any()
