import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import ImageColor
from skimage.draw import polygon2mask

from napari_medvlsm.core.describe import Contradiction, Description, contradictions, describe, describe_upstream
from napari_medvlsm.core.prompts import Attributes

PLACES = (("top left", "top", "top right"), ("left", "center", "right"), ("bottom left", "bottom", "bottom right"))


def blank(rows, cols, *blocks):
    """A bool mask with blocks given as (first row, end row, first col, end col)."""
    mask = np.zeros((rows, cols), bool)
    for r0, r1, c0, c1 in blocks:
        mask[r0:r1, c0:c1] = True
    return mask


@st.composite
def masks(draw):
    """One to five blocks, which may touch, in an image of 12 to 40 pixels a side."""
    rows, cols = draw(st.integers(12, 40)), draw(st.integers(12, 40))
    blocks = draw(
        st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39), st.integers(1, 9), st.integers(1, 9)), max_size=5)
    )
    return blank(rows, cols, *((r % rows, r % rows + h, c % cols, c % cols + w) for r, c, h, w in blocks))


# ---------------------------------------------------------------------------------------------------------------------
# The rules of upstream


def test_upstream_measures_x_with_the_height():
    # Thirds of the width are 100 and 200, of the height 30 and 60. The block lies half in the left and half in the
    # middle cell, so the centre of its box decides: x = (80 + 119) / 2 = 99.5, beyond 60.
    mask = blank(90, 300, (40, 50, 80, 120))
    assert describe_upstream(mask).location == "right"
    assert describe(mask).location == "center"
    # All in one cell: the centre is not asked.
    assert describe_upstream(blank(90, 300, (40, 50, 120, 140))).location == "center"


@pytest.mark.parametrize(
    ("first", "end", "place"),
    [(20, 41, "center"), (19, 41, "top"), (50, 71, "center"), (50, 72, "bottom")],
)
def test_upstream_middle_includes_its_bounds(first, end, place):
    # Thirds at 30 and 60; the centres are 30, 29.5, 60 and 60.5.
    assert describe_upstream(blank(90, 90, (first, end, 40, 50))).location == place


def test_upstream_ignores_cells_with_less_than_a_tenth():
    # 20 pixels in the top cell, 180 in the middle: exactly a tenth, so the box decides: (10 + 39) / 2 = 24.5, top.
    mask = blank(90, 90, (10, 30, 45, 46), (30, 40, 40, 58))
    assert describe_upstream(mask).location == "top"
    mask[30, 58] = True
    assert describe_upstream(mask).location == "center"


def test_upstream_bounds_are_whole_numbers():
    # Thirds of 100 are cut to 33 and 66: the centre (66 + 67) / 2 lies beyond 66, though not beyond 66.67.
    assert describe_upstream(blank(100, 100, (57, 77, 40, 50))).location == "bottom"


def test_upstream_takes_the_bits_of_a_jpeg_mask_for_components():
    mask = np.zeros((90, 90), np.uint8)
    mask[40:50, 40:50] = 255
    mask[50, 40:50] = 200  # belongs to the block
    mask[35, 45] = 127  # below the cut
    mask[80:82, 80:82] = 254  # a speck without one pixel of 255
    seen = describe_upstream(mask)
    assert (seen.number, seen.location) == ("two", "center, top left")
    assert seen.parts == (110 / 8100, 4 / 8100)


def test_upstream_shares_count_pixels_of_255_only():
    # Grey pixels fill the top cell, but the white ones lie in the middle.
    mask = np.zeros((90, 90), np.uint8)
    mask[1:30, 40:50] = 254
    mask[30:33, 40:50] = 255
    assert describe_upstream(mask).location == "center"
    mask[mask > 0] = 255
    assert describe_upstream(mask).location == "top"


def test_upstream_order_is_that_of_first_pixels_and_diagonals_do_not_connect():
    mask = blank(90, 90, (6, 60, 2, 5), (5, 8, 80, 85))
    assert describe_upstream(mask).location == "top right, left"
    assert describe_upstream(np.eye(20, dtype=bool)).number == "twenty"


@pytest.mark.parametrize(
    ("side", "pixels", "size"),
    [
        (100, 1, ""),
        (100, 2, "tiny"),
        (200, 39, "tiny"),
        (200, 40, "small"),
        (100, 800, "small"),
        (100, 801, "medium"),
        (100, 3000, "medium"),
        (100, 3001, "large"),
    ],
)
def test_upstream_size_limits(side, pixels, size):
    mask = np.zeros((side, side), bool)
    mask.ravel()[:pixels] = True
    assert describe_upstream(mask).size == size


def test_upstream_sizes_run_from_tiny_to_large():
    mask = blank(100, 100, (0, 40, 0, 90), (50, 52, 0, 2), (60, 90, 0, 40), (60, 70, 50, 60), (80, 90, 50, 60))
    assert describe_upstream(mask).size == "tiny, small, medium, large"
    assert describe_upstream(mask).number == "five"


@pytest.mark.parametrize(
    "of", [np.uint8, np.float32, lambda m: m * np.uint8(255), lambda m: m * 0.6, lambda m: m * 65535]
)
def test_upstream_reads_every_kind_of_mask_alike(of):
    mask = blank(60, 60, (5, 20, 5, 20), (40, 44, 40, 44))
    assert describe_upstream(of(mask)) == describe_upstream(mask)


@pytest.mark.parametrize("rule", [describe, describe_upstream])
def test_empty_mask(rule):
    assert rule(np.zeros((5, 7), np.uint8)) == Description("zero")


@pytest.mark.parametrize("rule", [describe, describe_upstream])
def test_only_planes_are_described(rule):
    with pytest.raises(ValueError, match=r"2D plane.*\(2, 3, 4\)"):
        rule(np.zeros((2, 3, 4), bool))


# ---------------------------------------------------------------------------------------------------------------------
# The clean rule


def test_one_component_top_right():
    seen = describe(blank(90, 120, (5, 20, 100, 115)) * np.uint8(255))
    assert seen.measured == {"number": "one", "size": "small", "location": "top right"}
    assert seen.fraction == 225 / 10800 and seen.parts == (225 / 10800,)


def test_sizes_run_from_tiny_to_large_and_places_in_reading_order():
    seen = describe(blank(100, 100, (60, 99, 1, 99), (10, 20, 10, 20), (10, 20, 24, 32)))
    assert seen.measured == {"number": "three", "size": "small, large", "location": "top left, bottom"}
    assert seen.parts == (0.3822, 0.01, 0.008)


def test_crumbs_beside_an_outline_are_no_objects():
    # A fiftieth of 50 x 50 pixels is 50.
    assert describe(blank(200, 200, (100, 150, 100, 150), (0, 5, 0, 10))).number == "one"
    assert describe(blank(200, 200, (100, 150, 100, 150), (0, 5, 0, 10), (20, 23, 20, 37))).number == "two"


def test_columns_are_thirds_of_the_width():
    assert describe(blank(30, 300, (12, 18, 140, 160))).location == "center"


def test_bounds_of_the_grid():
    # The centroid of columns 20 to 39 lies at 30 pixels from the edge, a third of 90.
    assert describe(blank(90, 90, (40, 50, 20, 40))).location == "center"
    assert describe(blank(90, 90, (40, 50, 19, 40))).location == "left"


def test_specks_do_not_count_unless_alone():
    mask = blank(200, 200, (0, 2, 0, 2))  # four pixels are 0.01 %
    assert describe(mask).measured == {"number": "one", "size": "tiny", "location": "top left"}
    mask[100:150, 100:150] = True
    assert describe(mask).measured == {"number": "one", "size": "small", "location": "center"}
    mask[0:6, 2:12] = True
    assert describe(mask).number == "two"


def test_more_than_ten_are_many():
    mask = np.zeros((50, 50), bool)
    mask[::5, 0] = True
    assert describe(mask).number == "ten"
    mask[2, 20] = True
    assert describe(mask).number == "many"


def test_noise_is_described_by_its_largest_parts():
    mask = np.zeros((400, 400), bool)
    mask[::2, ::2] = True
    seen = describe(mask)
    assert (seen.number, seen.fraction, len(seen.parts)) == ("many", 0.25, 100)


@given(masks())
def test_rotating_the_mask_rotates_the_places(mask):
    # A quarter turn to the left takes cell (row, col) to (2 - col, row).
    turned = {
        PLACES[2 - c][r] for r in range(3) for c in range(3) if PLACES[r][c] in describe(mask).location.split(", ")
    }
    seen = describe(np.rot90(mask))
    assert seen.location == ", ".join(place for row in PLACES for place in row if place in turned)
    assert (seen.number, seen.size) == (describe(mask).number, describe(mask).size)


@given(masks(), st.sampled_from([2, 4]))
def test_resolution_does_not_matter(mask, factor):
    fine = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    assert describe(fine).measured == describe(mask).measured


# ---------------------------------------------------------------------------------------------------------------------
# Shape


def ellipse(long, short, angle=0.0, shift=(0.0, 0.0)):
    """Half axes in pixels; the angle, in degrees, is that of the long one with the rows."""
    side = int(2 * long + 8)
    y, x = np.mgrid[:side, :side] - np.reshape(shift, (2, 1, 1)) - side / 2
    turn = np.deg2rad(angle)
    return ((x * np.cos(turn) + y * np.sin(turn)) / long) ** 2 + (
        (y * np.cos(turn) - x * np.sin(turn)) / short
    ) ** 2 <= 1


def polygon(points, angle):
    """Corners (row, col) in pixels around the origin, turned by an angle in degrees."""
    turn = np.deg2rad(angle)
    turned = np.asarray(points) @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    reach = int(np.abs(turned).max()) + 3
    return polygon2mask((2 * reach, 2 * reach), turned + reach)


angles = st.floats(0, 180)
shifts = st.tuples(st.floats(0, 1), st.floats(0, 1))


@example(7.5, (0.0, 0.0))  # octagons on pixels
@example(6.375, (0.5, 0.5))
@given(st.floats(6, 60), shifts)
def test_discs_are_round(radius, shift):
    assert describe(ellipse(radius, radius, shift=shift)).shape == "round"


@given(st.floats(6, 40), angles, shifts)
def test_ellipses_of_two_to_one_are_oval(short, angle, shift):
    assert describe(ellipse(2 * short, short, angle, shift)).shape == "oval"


@given(st.floats(4, 30), st.floats(3, 6), angles)
def test_slender_ellipses_are_elongated(short, ratio, angle):
    assert describe(ellipse(ratio * short, short, angle)).shape == "elongated"


@given(st.floats(10, 60), st.floats(1, 2), angles)
def test_rectangles(half, ratio, angle):
    w = half * ratio
    assert describe(polygon([(-half, -w), (-half, w), (half, w), (half, -w)], angle)).shape == "rectangular"


@given(st.floats(10, 60), st.floats(-0.5, 0.5), st.floats(0, 360))
def test_triangles(half, skew, angle):
    points = [(-half, -half), (-half, half), (half, 2 * skew * half)]
    assert describe(polygon(points, angle)).shape == "triangular"


@given(st.floats(15, 60), st.integers(4, 7), angles)
def test_stars_are_irregular(radius, spikes, angle):
    turns = np.pi * np.arange(2 * spikes) / spikes
    reach = np.where(np.arange(2 * spikes) % 2, 0.4, 1) * radius
    star = polygon(np.stack([reach * np.cos(turns), reach * np.sin(turns)], axis=1), angle)
    assert describe(star).shape == "irregular"


@given(st.floats(8, 30), st.floats(1.6, 2.5))
def test_spacing_undoes_anisotropic_pixels(radius, ratio):
    # A disc of `ratio * radius` mm, seen with pixels `ratio` mm high and 1 mm wide, at half axes of r and ratio * r.
    mask = ellipse(ratio * radius, radius)
    assert describe(mask).shape != "round"
    assert describe(mask, spacing=(ratio, 1)).shape == "round"
    assert describe(mask.T, spacing=(1, ratio)).shape == "round"


def test_spacing_turns_a_disc_into_a_slender_thing():
    assert describe(ellipse(20, 20), spacing=(3, 1)).shape == "elongated"


def test_what_is_measured_does_not_need_the_suggestions():
    mask = ellipse(20, 20)
    image = np.full((*mask.shape, 3), (200, 30, 30), np.uint8)
    whole, quick = describe(mask, image), describe(mask, image, suggest=False)
    assert quick.measured == whole.measured and whole.shape == "round" and whole.color
    assert set(quick.suggested.values()) == {""}


def test_holes_do_not_change_the_shape():
    assert describe(ellipse(40, 40) & ~np.pad(ellipse(30, 30), 10)).shape == "round"


def test_lines_are_elongated():
    assert describe(blank(50, 50, (10, 11, 5, 45))).shape == "elongated"
    assert describe(polygon([(-30, -1.5), (-30, 1.5), (30, 1.5), (30, -1.5)], 37)).shape == "elongated"


def test_bent_bands_are_elongated_and_crosses_are_not():
    band = ellipse(60, 60) & ~np.pad(ellipse(44, 44), 16)
    assert describe(band[:28]).shape == "elongated"
    assert describe(blank(100, 100, (48, 52, 5, 95), (35, 65, 20, 24), (30, 70, 70, 74))).shape == "irregular"


def test_shape_is_that_of_the_largest_part_and_needs_30_pixels():
    mask = np.pad(ellipse(10, 10), ((0, 0), (0, 60)))
    mask[2:4, 40:80] = True
    assert describe(mask).shape == "round"
    assert describe(blank(20, 20, (2, 7, 2, 8))).shape == "rectangular"
    assert describe(blank(20, 20, (2, 7, 2, 8), (7, 8, 2, 7)) & ~blank(20, 20, (2, 4, 2, 5))).shape == ""


def test_large_parts_are_reduced_but_thin_ones_are_not_lost():
    assert describe(ellipse(700, 700)).shape == "round"
    assert describe(blank(1500, 1500, (3, 1490, 5, 7))).shape == "elongated"


# ---------------------------------------------------------------------------------------------------------------------
# Colour

DISC = np.pad(ellipse(10, 10), 16)
GREEN = (0, 140, 60)


def photograph(color, background=GREEN):
    image = np.empty((*DISC.shape, 3), np.uint8)
    image[:] = background
    image[DISC] = color
    return image


@pytest.mark.parametrize(
    ("color", "word"),
    [
        ("white", "white"),
        ("yellow", "yellow"),
        ("saddlebrown", "brown"),
        ((166, 111, 85), "brown"),  # the middle of ISIC's lesions
        ((207, 130, 110), "pink"),  # mucosa in good light
        ("hotpink", "pink"),
        ((240, 150, 60), "orange"),
        ("tan", "tan"),
        ((200, 30, 30), "red"),
        ((10, 10, 12), "black"),
        ((120, 122, 125), "gray"),
        ((40, 60, 200), "blue"),
        ("purple", "purple"),
        ((60, 180, 70), "green"),
    ],
)
def test_color_words(color, word):
    rgb = ImageColor.getrgb(color) if isinstance(color, str) else color
    assert describe(DISC, photograph(rgb)).color == word


def test_highlights_do_not_matter():
    image = photograph((166, 111, 85))
    rows, cols = np.nonzero(DISC)
    image[rows[::3], cols[::3]] = 255
    assert describe(DISC, image).color == "brown"


def test_grey_scans_have_no_color():
    grey = np.random.default_rng(0).integers(0, 255, DISC.shape, np.uint8)
    assert describe(DISC, grey).color == ""
    assert describe(DISC, np.dstack([grey, grey])).color == ""
    rgb = np.dstack([grey, grey, grey])
    rgb[0, :40] = (255, 255, 0)  # a mark of the machine, 1.6 % of the pixels
    assert describe(DISC, rgb).color == ""
    assert describe(DISC).color == ""


def test_depth_and_alpha_do_not_change_the_color():
    image = photograph((207, 130, 110), (0, 0, 255))
    alpha = np.full((*DISC.shape, 1), 9, np.uint8)
    for same in (image.astype(np.uint16) * 257, image / 255, np.dstack([image, alpha])):
        assert describe(DISC, same).color == "pink"
    # The grey range of 16 bits is that of the whole image, not of the evenly coloured part under the mask.
    middle = blank(*DISC.shape, (27, 33, 27, 33))
    assert describe(middle, image.astype(np.uint16) * 257).color == "pink"


def test_color_at_the_border_and_of_large_parts():
    image = np.full((1500, 1500, 3), (207, 130, 110), np.uint8)
    image[:, 700:] = (10, 20, 200)
    assert describe(blank(1500, 1500, (1499, 1500, 0, 1)), image).color == "pink"
    assert describe(blank(1500, 1500, (0, 1500, 0, 1500)), image).color == "blue"


def test_mask_and_image_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(30, 30\) and \(31, 30, 3\)"):
        describe(np.ones((30, 30), bool), np.zeros((31, 30, 3), np.uint8))


# ---------------------------------------------------------------------------------------------------------------------
# Contradictions


def seen(number="one", location="center", *parts):
    """A description whose size words do not matter here."""
    return Description(number, "medium", location, fraction=sum(parts) or 0.1, parts=parts or (0.1,))


@pytest.mark.parametrize(
    ("said", "place", "wrong"),
    [
        ("left", "right", True),
        ("top left", "bottom left", True),
        ("top left", "bottom right", True),
        ("top", "bottom right", True),
        ("left", "top left", False),
        ("center", "left", False),
        ("left", "center", False),
        ("top", "left", False),
        ("top left", "top right", True),
        ("left", "right, top left", False),
        ("left, right", "right", True),
        ("left, center", "right", True),
        ("Left", "bottom right, right", True),
        ("left lung", "right", False),
        ("", "right", False),
    ],
)
def test_opposite_places_contradict(said, place, wrong):
    found = contradictions(Attributes(location=said), seen("one", place))
    assert [c.attribute for c in found] == ["location"] * wrong


@pytest.mark.parametrize(
    ("said", "number", "wrong"),
    [
        ("two", "two", False),
        ("two", "three", True),
        ("Two", "one", True),
        ("one", "one", False),
        ("many", "many", False),
        ("many", "three", False),
        ("many", "two", True),
        ("ten", "many", True),
        ("twelve", "many", False),
        ("a couple", "one", False),
        ("zero", "one", True),
        ("", "two", False),
    ],
)
def test_other_numbers_contradict(said, number, wrong):
    assert bool(contradictions(Attributes(number=said), seen(number))) == wrong


@pytest.mark.parametrize(
    ("said", "parts", "wrong"),
    [
        ("small", (0.099,), False),  # the limit is 0.08, and 0.10 with the margin
        ("small", (0.101,), True),
        ("medium", (0.061,), False),  # 0.06 with the margin
        ("medium", (0.059,), True),
        ("medium", (0.37,), False),
        ("medium", (0.38,), True),
        ("large", (0.22,), True),
        ("large", (0.23,), False),
        ("tiny", (0.0012,), False),
        ("tiny", (0.0013,), True),
        ("small", (0.2, 0.05), False),
        ("small, large", (0.15, 0.05), True),
        ("large", (0.2, 0.2), False),  # together
        ("sizeable", (0.2,), False),
    ],
)
def test_sizes_beyond_the_margin_contradict(said, parts, wrong):
    assert bool(contradictions(Attributes(size=said), seen("one", "center", *parts))) == wrong


def test_sentences():
    mask = blank(100, 100, (10, 70, 72, 99), (80, 99, 50, 99), (5, 8, 80, 99))
    said = Attributes(target="left lung", number="two", size="small, tiny", color="blue", shape="oval", location="left")
    assert contradictions(said, describe(mask)) == (
        Contradiction("number", "two", "three", "You wrote two; the outline has three parts."),
        Contradiction(
            "size",
            "small, tiny",
            "small, medium",
            "You wrote small, tiny; the outline is small and medium (26 % of the image).",
        ),
        Contradiction(
            "location",
            "left",
            "top right, right, bottom right",
            "You wrote left; the outline is in the top right, on the right and in the bottom right of the image.",
        ),
    )


@pytest.mark.parametrize(
    ("block", "size", "sentence"),
    [
        ((0, 10, 0, 10), "large", "You wrote large; the outline is small (1 % of the image)."),
        ((0, 1, 0, 5), "large", "You wrote large; the outline is tiny (0.05 % of the image)."),
        ((0, 100, 0, 100), "tiny", "You wrote tiny; the outline is large (100 % of the image)."),
    ],
)
def test_size_sentences_give_the_fraction(block, size, sentence):
    assert [c.sentence for c in contradictions(Attributes(size=size), describe(blank(100, 100, block)))] == [sentence]


def test_a_speck_is_less_than_a_hundredth_of_a_percent():
    found = contradictions(Attributes(size="large"), describe(blank(200, 200, (0, 1, 0, 1))))
    assert found[0].sentence == "You wrote large; the outline is tiny (less than 0.01 % of the image)."


def test_number_sentences_for_one_and_none():
    one, none = describe(blank(9, 9, (3, 6, 3, 6))), describe(blank(9, 9))
    assert contradictions(Attributes(number="two"), one)[0].sentence == "You wrote two; the outline has one part."
    said = Attributes(number="one", size="small", location="left")
    assert [c.sentence for c in contradictions(said, none)] == ["You wrote one; nothing is outlined."]
    assert contradictions(Attributes(number="zero"), none) == ()


@given(masks())
def test_what_the_mask_says_never_contradicts_it(mask):
    assert contradictions(Attributes(**describe(mask).measured), describe(mask)) == ()
