"""Measurements, with numbers worked out by hand and uneven spacing on purpose."""

import math

import numpy as np
import pytest

from napari_medvlsm.core.measurements import measure, spacing_from_length


def test_a_rectangle_with_uneven_spacing():
    mask = np.zeros((40, 50), bool)
    mask[5:15, 10:40] = True  # 10 rows x 30 columns
    found = measure(mask, (2.0, 0.5))  # 20 mm x 15 mm
    assert found.area == pytest.approx(300)
    assert found.longest == pytest.approx(25)
    # At right angles to a diagonal of 25: twice the height of the triangle of 20, 15 and 25.
    assert found.shortest == pytest.approx(2 * 20 * 15 / 25)
    assert found.in_mm and found.parts == 1
    assert str(found) == "Area 3 cm²; longest × shortest axis 25 × 24 mm"


def test_pixels_where_the_size_is_unknown():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    found = measure(mask, None)
    assert (found.area, found.longest) == (1, pytest.approx(math.sqrt(2)))
    mask[0, 0] = True
    assert str(measure(mask, None)).startswith("Area 2 pixels; ")
    assert "largest of 2 parts" in str(measure(mask, None))


def test_a_disc_measures_its_diameter_both_ways():
    rows, cols = np.ogrid[:200, :200]
    found = measure((rows - 100) ** 2 + (cols - 100) ** 2 <= 60**2, (0.1, 0.1))
    assert found.longest == pytest.approx(12, rel=0.02) and found.shortest == pytest.approx(12, rel=0.02)
    assert found.area == pytest.approx(math.pi * 36, rel=0.01)


def test_axes_are_those_of_the_largest_part_and_the_area_of_all():
    mask = np.zeros((30, 60), bool)
    mask[2:4, 2:42] = mask[20:25, 50:55] = True
    found = measure(mask, None)
    assert found.area == 80 + 25 and found.longest == pytest.approx(math.hypot(40, 2))


def test_nothing_measures_nothing():
    assert measure(np.zeros((4, 4), bool), None) is None


def test_a_drawn_length_gives_the_pixel_size():
    assert spacing_from_length((0, 0), (30, 40), 10) == (0.2, 0.2)
    with pytest.raises(ValueError, match="too short"):
        spacing_from_length((3, 3), (3, 4), 10)
    with pytest.raises(ValueError, match="positive"):
        spacing_from_length((0, 0), (30, 40), 0)
    with pytest.raises(ValueError, match="positive"):
        spacing_from_length((0, 0), (30, 40), float("nan"))
