import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.images import read_image, read_scan, read_spacing
from napari_medvlsm.core.io.labels import load_mask, save_mask, story
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.prompts import Attributes, build, load_vocabulary

VOCABULARY = load_vocabulary()


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_colour_files_come_back_exactly(tmp_path, rgb, suffix):
    path = tmp_path / f"scan{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, rgb, photometric="rgb")
    else:
        Image.fromarray(rgb).save(path)
    image = read_image(path)
    assert image.colour and image.spacing is None
    np.testing.assert_array_equal(image.pixels, rgb)


def test_palette_bilevel_and_sixteen_bit_png(tmp_path, rng):
    palette = Image.new("P", (9, 8))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.putpixel((3, 2), 1)
    palette.save(tmp_path / "p.png")
    image = read_image(tmp_path / "p.png")
    assert image.colour and image.pixels[2, 3].tolist() == [255, 0, 0]
    Image.new("1", (5, 4)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").pixels.dtype == bool
    deep = rng.integers(0, 2**16, (6, 7), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_image(tmp_path / "d.png").pixels, deep)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_tiff_of_any_depth(tmp_path, rng, dtype):
    pixels = (rng.random((10, 11)) * 200).astype(dtype)
    tifffile.imwrite(tmp_path / "g.tif", pixels)
    scan = read_scan(tmp_path / "g.tif")
    assert scan.pixels.dtype == dtype and scan.source == "g.tif"
    np.testing.assert_array_equal(scan.pixels, pixels)


def test_ome_tiff_gives_millimetres_and_rows_come_first(tmp_path):
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 200.0,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "mm",
    }
    tifffile.imwrite(tmp_path / "s.ome.tif", np.zeros((4, 6), np.uint16), metadata=metadata)
    assert read_scan(tmp_path / "s.ome.tif").spacing == pytest.approx((0.5, 0.2))


def test_tiff_resolution_is_a_spacing_unless_it_is_a_screens(tmp_path):
    for name, resolution, unit in (("a", (50, 25), "CENTIMETER"), ("b", (72, 72), "INCH"), ("c", (1, 1), "NONE")):
        tifffile.imwrite(
            tmp_path / f"{name}.tif", np.zeros((4, 6), np.uint8), resolution=resolution, resolutionunit=unit
        )
    assert read_spacing(tmp_path / "a.tif") == pytest.approx((0.4, 0.2))
    assert read_spacing(tmp_path / "b.tif") is None and read_spacing(tmp_path / "c.tif") is None


def test_planar_inverted_and_palette_tiff(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "planar.tif", rgb.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "planar.tif").pixels, rgb)
    tifffile.imwrite(tmp_path / "white.tif", np.array([[0, 255], [10, 20]], np.uint8), photometric="miniswhite")
    assert read_image(tmp_path / "white.tif").pixels.tolist() == [[255, 0], [245, 235]]
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 7] = [65535, 256, 0]
    tifffile.imwrite(tmp_path / "pal.tif", np.full((3, 4), 7, np.uint8), photometric="palette", colormap=colormap)
    image = read_image(tmp_path / "pal.tif")
    assert image.colour and image.pixels[1, 1].tolist() == [255, 1, 0]


def test_stack_is_read_as_a_stack_and_refused_as_a_scan(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 20, 30), np.uint8), photometric="minisblack")
    assert read_image(tmp_path / "stack.tif").pixels.shape == (5, 20, 30)
    with pytest.raises(ValueError, match="stack of 5 planes"):
        read_scan(tmp_path / "stack.tif")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.png", b"", "empty"),
        ("broken.png", b"\x89PNG\r\n\x1a\nnonsense", "broken"),
        ("broken.tif", b"II*\x00nonsense", "broken"),
        ("text.jpg", b"not a picture", "broken"),
        ("notes.txt", b"hello", "PNG, JPEG"),
        ("scan.dcm", b"DICM", "PNG, JPEG"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_image(tmp_path / name)


def test_truncated_and_missing_files(tmp_path, rgb):
    Image.fromarray(rgb.repeat(20, 0).repeat(20, 1)).save(tmp_path / "t.png")
    whole = (tmp_path / "t.png").read_bytes()
    (tmp_path / "t.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="broken"):
        read_image(tmp_path / "t.png")
    with pytest.raises(ValueError, match="no file"):
        read_image(tmp_path / "absent.png")


def test_too_large_is_refused_before_a_pixel_is_read(tmp_path, monkeypatch, rgb):
    monkeypatch.setattr("napari_medvlsm.core.io.images.MAX_PIXELS", 100)
    Image.fromarray(rgb).save(tmp_path / "l.png")
    tifffile.imwrite(tmp_path / "l.tif", rgb, photometric="rgb")
    for name in ("l.png", "l.tif"):
        with pytest.raises(ValueError, match="cut out the part"):
            read_image(tmp_path / name)


def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_mask_and_its_story_come_back(tmp_path, rng, suffix):
    mask = rng.random((20, 30)) > 0.5
    prompt = build(Attributes("polyp", size="small"), VOCABULARY)
    made = story(prompt, "starter", 0.35, Cleanup(fill_holes=True), corrected=False, scan_hash="ab")
    save_mask(tmp_path / f"m{suffix}", mask, made, spacing=(0.4, 0.2))
    again, description = load_mask(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(again, mask)
    assert description["prompt"]["text"] == "small polyp" and description["threshold"] == 0.35
    assert description["cleanup"] == ["fill_holes"] and description["spacing_mm"] == [0.4, 0.2]
    if suffix == ".tif":
        assert read_spacing(tmp_path / "m.tif") == pytest.approx((0.4, 0.2))
        assert tifffile.imread(tmp_path / "m.tif").max() == 1


def test_mask_of_a_wrong_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="saved as"):
        save_mask(tmp_path / "m.jpg", np.zeros((3, 3)), {})
    with pytest.raises(ValueError, match="2D"):
        save_mask(tmp_path / "m.tif", np.zeros((3, 3, 3)), {})


def test_autosave_offers_only_what_earlier_sittings_left(tmp_path, rng):
    mask = rng.random((8, 9)) > 0.5
    first = AutosaveStore(tmp_path)
    first.save("abc", "left lung", mask, {"model": "m"})
    assert first.find("abc") == []
    second = AutosaveStore(tmp_path)
    assert second.find("abc") == [], "the first sitting still runs"
    first.close()
    second.save("abc", "left lung", ~mask, {})
    (found,) = second.find("abc")
    assert found.target == "left lung"
    np.testing.assert_array_equal(second.load(found)[0], mask)
    (tmp_path / "abc-x-y.tif").write_bytes(b"broken")
    assert len(second.find("abc")) == 1 and second.find("other") == []
    second.discard(found)
    assert second.find("abc") == []
    second.close()
    assert AutosaveStore(tmp_path).find("abc")


def test_a_killed_sitting_leaves_its_correction_to_the_next(tmp_path):
    code = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from napari_medvlsm.core.io.autosave import AutosaveStore\n"
        "AutosaveStore(Path(sys.argv[1])).save('abc', 'polyp', np.eye(5), {}); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (found,) = AutosaveStore(tmp_path).find("abc")
    assert found.target == "polyp"


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_damaged_files_always_give_a_sentence(tmp_path, rng, suffix):
    mask = rng.random((64, 64)) > 0.5
    save_mask(tmp_path / f"m{suffix}", mask, {"software": "napari-medvlsm"})
    whole = (tmp_path / f"m{suffix}").read_bytes()
    refused = 0
    for _ in range(60):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            broken[place] = rng.integers(256)
        (tmp_path / f"b{suffix}").write_bytes(broken)
        for read in (read_image, load_mask):
            try:
                read(tmp_path / f"b{suffix}")
            except ValueError:
                refused += 1
    assert refused > 20


def test_lzw_and_jpeg_tiff_grey_alpha_and_turned_photographs(tmp_path, rgb):
    for compression in ("lzw", "jpeg"):
        tifffile.imwrite(tmp_path / "c.tif", rgb, photometric="rgb", compression=compression)
        assert read_image(tmp_path / "c.tif").pixels.shape == rgb.shape
    Image.fromarray(rgb[..., :2].copy(), "LA").save(tmp_path / "la.png")
    image = read_image(tmp_path / "la.png")
    assert not image.colour and np.array_equal(image.pixels, rgb[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to show
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png").pixels, np.rot90(rgb, -1))


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_saved_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_text("x")
    save_mask(tmp_path / "m.tif", np.eye(5), {})
    assert (tmp_path / "m.tif").stat().st_mode == (tmp_path / "other").stat().st_mode
