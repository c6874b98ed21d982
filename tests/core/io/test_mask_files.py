"""Masks of any program are read by what they hold; what could mean several things is refused with its values."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.core.io.mask_files import AmbiguousMask, read_foreground, read_grey


@pytest.fixture
def truth():
    mask = np.zeros((40, 50), bool)
    mask[8:25, 10:30] = True
    return mask


def saved(path, pixels, mode=None, **more):
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    image.save(path, **more)
    return path


def palette(index, *colours):
    image = Image.fromarray(index.astype(np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([c for colour in colours for c in colour])
    return image


BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 200, 0)


def test_one_value_beside_zero_is_foreground_whatever_it_is(tmp_path, truth):
    for value, dtype in ((1, np.uint8), (255, np.uint8), (60, np.uint8), (1, np.uint16), (65535, np.uint16)):
        np.testing.assert_array_equal(
            read_foreground(saved(tmp_path / "m.png", truth.astype(dtype) * dtype(value))).mask, truth
        )
    for value, dtype in ((1, np.int32), (2**31, np.uint32), (1.0, np.float32), (0.9, np.float64), (True, np.bool_)):
        tifffile.imwrite(tmp_path / "m.tif", truth * np.array(value, dtype))
        np.testing.assert_array_equal(read_foreground(tmp_path / "m.tif").mask, truth)
    Image.fromarray(truth).save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_foreground(tmp_path / "b.tif").mask, truth)
    Image.fromarray(truth).save(tmp_path / "g.tif", compression="group4")
    np.testing.assert_array_equal(read_foreground(tmp_path / "g.tif").mask, truth)


def test_colours_palettes_and_alpha(tmp_path, truth):
    t = truth.astype(np.uint8)
    red = np.dstack([t * 255, t * 0, t * 0])
    mixed = np.dstack([t * 200, t * 100, t * 0])
    white_alpha = np.dstack([np.full_like(t, 255)] * 3 + [t * 255])
    black_alpha = np.dstack([t * 0] * 3 + [t * 255])
    opaque = np.dstack([t * 255] * 3 + [np.full_like(t, 255)])
    for pixels in (red, mixed, white_alpha, black_alpha, opaque, np.dstack([t * 255, t * 255])):
        np.testing.assert_array_equal(read_foreground(saved(tmp_path / "m.png", pixels)).mask, truth)
    for index, colours in ((t, (BLACK, RED)), (t, (BLACK, WHITE)), (1 - t, (WHITE, BLACK)), (1 - t, (RED, BLACK))):
        palette(index, *colours).save(tmp_path / "p.png")
        np.testing.assert_array_equal(read_foreground(tmp_path / "p.png").mask, truth)
    saved(tmp_path / "m.gif", t * 255)
    np.testing.assert_array_equal(read_foreground(tmp_path / "m.gif").mask, truth)


def test_what_is_transparent_in_a_palette_is_background(tmp_path, truth):
    index = np.where(truth, 0, 1)
    for colours in ((RED, WHITE), (RED, GREEN), (BLACK, BLACK), (BLACK, WHITE)):
        for suffix, alpha in ((".png", 1), (".gif", 1), (".png", bytes([255, 0]))):
            path = tmp_path / f"p{suffix}"
            palette(index, *colours).save(path, transparency=alpha)
            np.testing.assert_array_equal(read_foreground(path).mask, truth)
    index[0, :4] = 2
    path = tmp_path / "p.png"
    palette(index, RED, GREEN, WHITE).save(path, transparency=1)
    with pytest.raises(AmbiguousMask, match="in colour and in transparency"):
        read_foreground(path)
    for rule, mask in (("alpha", index != 1), ("nonzero", index != 1), (0, truth), ((0, 2), index != 1)):
        np.testing.assert_array_equal(read_foreground(path, rule).mask, mask)


def test_the_key_that_a_sentence_names_settles_it(tmp_path, truth):
    """Of a palette the index, whole numbers of colours, and of colour beside transparency either."""
    index = np.where(truth, 1, 2)
    index[0, :4] = 3
    palette(index, WHITE, RED, BLACK, GREEN).save(tmp_path / "p.png")
    with pytest.raises(AmbiguousMask, match=r"such as 'foreground: \[3\]'"):
        read_foreground(tmp_path / "p.png")
    np.testing.assert_array_equal(read_foreground(tmp_path / "p.png", (3,)).mask, index == 3)
    white = np.uint8(255) * truth
    Image.fromarray(np.dstack([white, white, white, 255 - white])).save(tmp_path / "a.png")
    with pytest.raises(AmbiguousMask, match="'foreground: nonzero'"):
        read_foreground(tmp_path / "a.png")
    np.testing.assert_array_equal(read_foreground(tmp_path / "a.png", "nonzero").mask, truth)
    colours = np.array([BLACK, RED, GREEN], np.uint8)[np.where(index == 3, 2, truth)]
    Image.fromarray(colours).save(tmp_path / "c.png")
    for rule in ("", "half"):  # half of a colour is nothing
        with pytest.raises(AmbiguousMask, match=rf"such as 'foreground: \[{255 << 16}\]'"):
            read_foreground(tmp_path / "c.png", rule)
    Image.fromarray(colours).save(tmp_path / "c.jpg")
    with pytest.raises(AmbiguousMask, match="colours that JPEG has changed"):
        read_foreground(tmp_path / "c.jpg")


def test_soft_edges_and_noise_of_jpeg_are_cut_in_the_middle(tmp_path, truth):
    big = truth.repeat(4, 0).repeat(4, 1)
    small = Image.fromarray(big.astype(np.uint8) * 255)
    soft = read_foreground(saved(tmp_path / "s.png", np.asarray(small.resize((130, 99), Image.Resampling.BILINEAR))))
    assert soft.between > 0 and abs(soft.mask.mean() - truth.mean()) < 0.01
    small.save(tmp_path / "j.jpg", quality=60)
    lossy = read_foreground(tmp_path / "j.jpg")
    assert (lossy.mask == big).mean() > 0.999
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "e.jpg")
    assert not read_foreground(tmp_path / "e.jpg").mask.any()
    # 0 and 1 do not outlive a JPEG; what is left of them is no empty mask.
    Image.fromarray(big.astype(np.uint8)).save(tmp_path / "f.jpg", quality=95)
    with pytest.raises(AmbiguousMask, match=r"f\.jpg holds the values 0"):
        read_foreground(tmp_path / "f.jpg")


@pytest.mark.parametrize("name", ["scan.png", "scan.jpg", "scan.tif"])
def test_a_scan_in_the_place_of_a_mask_stops(tmp_path, rng, name):
    shades = np.clip(rng.normal(110, 60, (90, 80)), 0, 255).astype(np.uint8)
    with pytest.raises(AmbiguousMask, match=r"if it is a mask and no scan, write .*'foreground: half' to cut in the"):
        read_foreground(saved(tmp_path / name, shades))
    assert np.array_equal(read_foreground(tmp_path / name, "half").mask, read_grey(tmp_path / name) > 127)


def test_probabilities_are_cut_at_one_half_where_most_are_clear(tmp_path, truth, rng):
    clear = np.where(truth, 0.95, 0.02) + rng.uniform(-0.01, 0.01, truth.shape)
    tifffile.imwrite(tmp_path / "p.tif", clear.astype(np.float32))
    found = read_foreground(tmp_path / "p.tif")
    assert found.fractions and np.array_equal(found.mask, truth)
    # As a network gives them: every pixel another value.
    large = truth.repeat(4, 0).repeat(4, 1)
    clear = np.where(large, 0.95, 0.02) + rng.uniform(-0.01, 0.01, large.shape)
    tifffile.imwrite(tmp_path / "p.tif", clear.astype(np.float32))
    assert np.array_equal(read_foreground(tmp_path / "p.tif").mask, large)
    tifffile.imwrite(tmp_path / "v.tif", rng.random((30, 30)).astype(np.float32))
    with pytest.raises(AmbiguousMask, match="foreground: half"):
        read_foreground(tmp_path / "v.tif")
    assert 0.4 < read_foreground(tmp_path / "v.tif", "half").mask.mean() < 0.6


def test_several_labels_stop_with_their_values_until_a_key_settles_it(tmp_path, truth):
    labels = truth.astype(np.uint8) * 60
    labels[26:35, 5:20] = 250
    saved(tmp_path / "l.png", labels)
    with pytest.raises(AmbiguousMask, match=r"0 \(76 %\), 60 \(17 %\), 250 \(6\.8 %\).*foreground: nonzero.*\[250\]"):
        read_foreground(tmp_path / "l.png")
    assert np.array_equal(read_foreground(tmp_path / "l.png", "nonzero").mask, labels > 0)
    assert np.array_equal(read_foreground(tmp_path / "l.png", (60,)).mask, truth)
    assert np.array_equal(read_foreground(tmp_path / "l.png", "half").mask, labels == 250)
    index = (labels == 60) + 2 * (labels == 250)
    palette(index, BLACK, RED, GREEN).save(tmp_path / "p.png")
    with pytest.raises(AmbiguousMask, match="#ff0000"):
        read_foreground(tmp_path / "p.png")
    assert np.array_equal(read_foreground(tmp_path / "p.png", 1).mask, truth)
    saved(tmp_path / "t.png", np.where(truth, 2, 1).astype(np.uint8))
    with pytest.raises(AmbiguousMask, match=r"values 1 .* 2 "):
        read_foreground(tmp_path / "t.png")
    saved(tmp_path / "d.png", np.where(truth, 0, 255).astype(np.uint8))
    assert np.array_equal(read_foreground(tmp_path / "d.png", "dark").mask, truth)


def test_several_pages_and_frames_stop(tmp_path, truth):
    pages = np.stack([truth, np.roll(truth, 12, 0)]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", pages, photometric="minisblack")
    with pytest.raises(AmbiguousMask, match="holds 2 pages"):
        read_foreground(tmp_path / "s.tif")
    assert np.array_equal(read_foreground(tmp_path / "s.tif", "nonzero").mask, pages.any(axis=0))
    frames = [Image.fromarray(page * 255) for page in pages]
    for name in ("f.gif", "f.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(AmbiguousMask, match="holds 2 pictures"):
            read_foreground(tmp_path / name)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_own_masks_read_back_whatever_is_said_of_the_set(tmp_path, truth, suffix):
    save_mask(tmp_path / f"m{suffix}", Annotation("polyp", truth))
    (tmp_path / f"m{suffix}").rename(tmp_path / "m.dat")
    for rule in ("", "dark", (7,)):
        np.testing.assert_array_equal(read_foreground(tmp_path / "m.dat", rule).mask, truth)


def test_masks_are_turned_by_their_own_tag(tmp_path, truth):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path / "m.png", truth.astype(np.uint8) * 255, exif=exif)
    found = read_foreground(tmp_path / "m.png")
    assert found.orientation == 6 and np.array_equal(found.mask, np.rot90(truth, -1))


def test_grey_for_rules_that_need_it_is_what_a_viewer_shows(tmp_path, truth):
    grey = (truth * 200).astype(np.uint8)
    np.testing.assert_array_equal(read_grey(saved(tmp_path / "m.png", grey)), grey)
    tifffile.imwrite(tmp_path / "b.tif", truth)
    np.testing.assert_array_equal(read_grey(tmp_path / "b.tif") > 0, truth)
