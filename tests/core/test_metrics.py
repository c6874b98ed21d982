import math

import numpy as np
import pytest

from napari_medvlsm.core.metrics import dice, iou, precision, recall
from napari_medvlsm.core.surface_metrics import hausdorff95, surface_dice, surface_scores


def disk(row, col, radius, size=(40, 60)):
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - row) ** 2 + (x - col) ** 2 < radius**2


def test_worked_example():
    a = np.array([[1, 1, 0, 0]])
    b = np.array([[0, 255, 255, 255]])
    assert dice(a, b) == pytest.approx(2 / 5)
    assert iou(a, b) == pytest.approx(1 / 4)
    assert precision(a, b) == pytest.approx(1 / 2)
    assert recall(a, b) == pytest.approx(1 / 3)


def test_empty_masks():
    empty, full = np.zeros((2, 2)), np.ones((2, 2))
    assert dice(empty, empty) == iou(empty, empty) == surface_dice(empty, empty, 1) == 1
    assert dice(empty, full) == iou(empty, full) == surface_dice(full, empty, 1) == 0
    assert math.isnan(precision(empty, full)) and recall(empty, full) == 0
    assert math.isnan(recall(full, empty)) and precision(full, empty) == 0
    assert all(math.isnan(hausdorff95(*pair)) for pair in ((empty, empty), (empty, full), (full, empty)))


def test_sizes_must_agree():
    for metric in (dice, precision, hausdorff95):
        with pytest.raises(ValueError, match="one size"):
            metric(np.zeros((2, 2)), np.zeros((2, 3)))


def test_distances_of_two_bars_by_hand():
    # Rows 0 to 9 of column 2 and of column 5: every pixel is an edge, 3 columns from the other.
    a, b = np.zeros((10, 8), bool), np.zeros((10, 8), bool)
    a[:, 2] = b[:, 5] = True
    assert hausdorff95(a, b) == 3 and hausdorff95(a, b, (1, 0.5)) == 1.5
    assert surface_dice(a, b, 2.9) == 0 and surface_dice(a, b, 3) == 1
    # One bar is longer by the rows 4 to 9: six of its pixels lie sqrt(9 + k^2) away, k = 1 to 6.
    a[4:] = False
    assert surface_dice(a, b, 3) == pytest.approx(8 / 14)
    there = [3] * 4 + [math.hypot(3, k) for k in range(1, 7)]
    for k in range(1, 7):
        assert surface_dice(a, b, math.hypot(3, k) + 1e-3) == pytest.approx((8 + k) / 14)
    assert hausdorff95(a, b) == pytest.approx(np.percentile(there, 95), rel=1e-6)


def test_distances_of_uneven_pixels_count_rows_and_columns_apart():
    a, b = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    a[2, 4] = b[5, 4] = True
    assert hausdorff95(a, b, (2, 1)) == 6 and hausdorff95(a.T, b.T, (2, 1)) == 3
    assert surface_scores(a, b, 6, (2, 1)) == (6, 1) and surface_scores(a, b, 5.9, (2, 1)) == (6, 0)


# MONAI announces its own internal changes.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.3)])
@pytest.mark.parametrize("second", [disk(22, 28, 9), disk(3, 57, 8) | disk(20, 10, 4), disk(20, 30, 2)])
def test_surface_metrics_are_monais(spacing, second):
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    first = disk(18, 25, 11)
    a, b = (torch.from_numpy(m)[None, None].float() for m in (first, second))
    far = compute_hausdorff_distance(a, b, include_background=True, percentile=95, spacing=spacing)
    near = compute_surface_dice(a, b, [2.0], include_background=True, spacing=spacing)
    assert hausdorff95(first, second, spacing) == pytest.approx(float(far), rel=1e-5)
    assert surface_dice(first, second, 2.0, spacing) == pytest.approx(float(near), abs=1e-6)
