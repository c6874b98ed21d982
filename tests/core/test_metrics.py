import numpy as np
import pytest

from napari_medvlsm.core.metrics import dice, iou


def test_worked_example():
    a = np.array([[1, 1, 0, 0]])
    b = np.array([[0, 255, 255, 255]])
    assert dice(a, b) == pytest.approx(2 / 5)
    assert iou(a, b) == pytest.approx(1 / 4)


def test_empty_masks():
    empty, full = np.zeros((2, 2)), np.ones((2, 2))
    assert dice(empty, empty) == iou(empty, empty) == 1
    assert dice(empty, full) == iou(empty, full) == 0


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="one size"):
        dice(np.zeros((2, 2)), np.zeros((2, 3)))
