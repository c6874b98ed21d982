"""The drawn polyp, and a colour for an outline."""

import numpy as np

from napari_medvlsm.core.contrast import OUTLINE_COLORS, outline_color
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.synthetic import polyp_picture


def test_the_starter_finds_the_drawn_polyp():
    pixels, dome = polyp_picture()
    segmenter = load_segmenter(find_model("starter").folder, device="cpu")
    segmenter.set_image(pixels)
    assert dice(segmenter.segment("polyp")[0].mask(), dome) > 0.85
    np.testing.assert_array_equal(pixels, polyp_picture()[0])


def test_the_colour_of_an_outline_is_none_of_the_scans():
    def plane(color):
        return np.full((60, 70, 3), color, np.uint8)

    assert outline_color(plane((255, 225, 77))) != "#ffe14d"
    assert outline_color(plane((0, 229, 255))) != "#00e5ff"
    white = np.full((60, 70), 255, np.uint8)
    assert outline_color(white) != "#ffffff"
    first = outline_color(white)
    assert outline_color(white, taken=[first]) != first
    assert outline_color(white, taken=OUTLINE_COLORS) == first, "when all are taken, the best is"
