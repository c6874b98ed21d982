import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_medvlsm.core.images import (
    Scan,
    content_hash,
    padding_of,
    resize,
    to_model_input,
    to_unit_rgb,
    to_unit_square,
    window_of,
)


def test_eight_bit_is_divided_by_255_and_grey_is_repeated():
    unit = to_unit_rgb(np.array([[0, 51], [255, 102]], np.uint8))
    assert unit.shape == (2, 2, 3) and unit.dtype == np.float32
    np.testing.assert_allclose(unit[..., 1], [[0, 0.2], [1, 0.4]], atol=1e-7)


def test_sixteen_bit_is_stretched_between_percentiles_and_hot_pixels_do_not_matter(rng):
    ramp = np.linspace(1000, 3000, 10_000).reshape(100, 100).astype(np.uint16)
    clean = to_unit_rgb(ramp)
    ramp[0, 0] = 65535
    assert clean[50, 50, 0] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(to_unit_rgb(ramp)[1:], clean[1:], atol=0.01)


@pytest.mark.parametrize(("value", "dtype"), [(-2000, np.int16), (65535, np.uint16), (-32768, np.float32)])
def test_padding_is_kept_out_of_the_window(value, dtype, rng):
    tissue = rng.integers(100, 1500, (60, 60)).astype(dtype)
    padded = tissue.copy()
    padded[:20] = value
    assert padding_of(padded) == {float(value): pytest.approx(1 / 3)} and padding_of(tissue) == {}
    low, high = vars(window_of(padded)).values()
    assert 100 <= low < 130 and 1470 < high <= 1500
    drawing = np.where(tissue > 800, dtype(900), dtype(0))
    assert padding_of(drawing) == {} and window_of(drawing).high == 900


def test_alpha_is_dropped_and_grey_alpha_is_grey(rng):
    rgba = rng.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(to_unit_rgb(rgba), to_unit_rgb(rgba[..., :3]))
    np.testing.assert_array_equal(to_unit_rgb(rgba[..., :2]), to_unit_rgb(rgba[..., 0]))


def test_colour_channels_share_one_window():
    tinted = np.stack([np.full((8, 8), v, np.uint16) for v in (100, 200, 300)], axis=-1)
    unit = to_unit_rgb(tinted)
    np.testing.assert_allclose(unit[0, 0], [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_harm_nobody_else(value, rng):
    image = rng.normal(size=(20, 20)).astype(np.float32)
    broken = image.copy()
    broken[3, 4] = value
    unit = to_unit_rgb(broken)
    assert np.isfinite(unit).all() and unit[3, 4, 0] == (1 if value == np.inf else 0)
    np.testing.assert_allclose(np.delete(unit[..., 0], 3, 0), np.delete(to_unit_rgb(image)[..., 0], 3, 0), atol=0.05)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.float32, np.float64, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
    )
)
def test_any_plane_comes_out_between_zero_and_one(pixels):
    unit = to_unit_rgb(pixels)
    assert unit.shape == (*pixels.shape, 3) and unit.dtype == np.float32
    assert np.isfinite(unit).all() and unit.min() >= 0 and unit.max() <= 1


def test_model_input_is_what_pillow_gives_for_eight_bits(rng):
    pixels = rng.integers(0, 256, (90, 140, 3), dtype=np.uint8)
    ours = to_model_input(pixels, 32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    pillow = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR)) / 255
    theirs = ((pillow - [0.5, 0.4, 0.3]) / [0.2, 0.25, 0.3]).transpose(2, 0, 1)
    assert ours.shape == (3, 32, 32)
    # Pillow rounds to whole grey values on the way: one of them is 1 / 255 / 0.2.
    np.testing.assert_allclose(ours, theirs, atol=1.5 / 255 / 0.2)


PLANES = {
    "8 bit colour": lambda rng: rng.integers(0, 256, (90, 140, 3), dtype=np.uint8),
    "16 bit grey": lambda rng: rng.integers(0, 4000, (211, 97)).astype(np.uint16),
    "16 bit colour": lambda rng: rng.integers(0, 4000, (97, 41, 3)).astype(np.uint16),
    "float with alpha": lambda rng: rng.normal(size=(57, 300, 2)),
    "huge": lambda rng: rng.normal(size=(60, 50)) * 1e200,
    "binary": lambda rng: rng.integers(0, 2, (33, 80)).astype(bool),
    "constant": lambda rng: np.full((40, 50), 7, np.int16),
    "smaller than the square": lambda rng: rng.integers(0, 256, (3, 5), dtype=np.uint8),
}


@pytest.mark.parametrize("kind", PLANES)
@pytest.mark.parametrize("values", [1, 700, 2**20])
def test_strips_give_what_the_whole_plane_gives(kind, values, rng, monkeypatch):
    monkeypatch.setattr("napari_medvlsm.core.images._STRIP_VALUES", values)
    pixels = PLANES[kind](rng)
    whole = resize(to_unit_rgb(pixels), (32, 32))
    np.testing.assert_allclose(to_unit_square(pixels, 32), whole, rtol=0, atol=1e-6)


def test_part_of_a_plane_keeps_the_window_of_the_whole(rng):
    pixels = rng.integers(0, 4000, (80, 80)).astype(np.uint16)
    pixels[:40] //= 100
    window = window_of(pixels)
    np.testing.assert_array_equal(to_unit_rgb(pixels[:40], window), to_unit_rgb(pixels)[:40])
    assert to_unit_rgb(pixels[:40], window).max() < 0.02 < 0.9 < to_unit_rgb(pixels[:40]).max()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((3, 4, 5, 3)), "one slice"),
        (np.zeros((0, 4)), "empty"),
        (np.zeros((4, 4), complex), "not supported"),
        (np.zeros((7, 7, 9)), "one slice"),
    ],
)
def test_what_is_no_scan_is_said_in_a_sentence(pixels, words):
    with pytest.raises(ValueError, match=words):
        Scan(pixels)


def test_scan_tells_its_size_and_kind():
    scan = Scan(np.zeros((4, 6), np.uint16), (0.1, 0.2))
    assert scan.size == (4, 6) and scan.kind == "grey, 16 bit"
    assert Scan(np.zeros((4, 6, 3), np.float32)).kind == "colour, 32 bit float"
    with pytest.raises(ValueError, match="positive"):
        Scan(np.zeros((4, 6)), (0.0, 1.0))


def test_content_hash_knows_content_shape_and_type():
    a = np.arange(12, dtype=np.uint8)
    assert content_hash(a.reshape(3, 4)) == content_hash(np.asfortranarray(a.reshape(3, 4)))
    keys = {content_hash(x) for x in (a.reshape(3, 4), a.reshape(4, 3), a.reshape(3, 4).astype(np.uint16))}
    assert len(keys) == 3
