import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.images import read_image, read_scan, read_spacing


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
    # 72, 96, 150 and 600 dots per inch, as programs that count in centimetres round them; and a measured 0.353 mm.
    for dots, spacing in (
        (28.35, None),
        (37.79, None),
        (37.8, None),
        (59.06, None),
        (236.2, None),
        (10 / 0.353, 0.353),
    ):
        tifffile.imwrite(
            tmp_path / "d.tif", np.zeros((4, 6), np.uint8), resolution=(dots, dots), resolutionunit="CENTIMETER"
        )
        found = read_spacing(tmp_path / "d.tif")
        assert found == (spacing and pytest.approx((spacing, spacing)))


def test_planar_inverted_and_palette_tiff(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "planar.tif", rgb.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "planar.tif").pixels, rgb)
    tifffile.imwrite(tmp_path / "white.tif", np.array([[0, 255], [10, 20]], np.uint8), photometric="miniswhite")
    assert read_image(tmp_path / "white.tif").pixels.tolist() == [[255, 0], [245, 235]]
    missing = np.array([[0, 0.25], [1, np.nan]], np.float32)
    tifffile.imwrite(tmp_path / "white.tif", missing, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif").pixels, 1 - missing)
    wide = np.array([[-32768, -100], [0, 32767]], np.int16)
    tifffile.imwrite(tmp_path / "white.tif", wide, photometric="miniswhite")
    assert (np.diff(read_image(tmp_path / "white.tif").pixels.ravel().astype(int)) < 0).all()
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
        ("text.jpg", b"not a picture", "PNG, JPEG"),
        ("notes.txt", b"hello", "PNG, JPEG"),
        ("scan.png", bytes(128) + b"DICM", "DICOM"),
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
    monkeypatch.setattr("napari_medvlsm.core.images.MAX_PIXELS", 100)
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


def test_lzw_and_jpeg_tiff_grey_alpha_and_turned_photographs(tmp_path, rgb):
    for compression in ("lzw", "jpeg"):
        tifffile.imwrite(tmp_path / "c.tif", rgb, photometric="rgb", compression=compression)
        assert read_image(tmp_path / "c.tif").pixels.shape == rgb.shape
    seen = rgb[..., :2].copy()
    seen[:6, :, 1], seen[6:, :, 1] = 255, 0
    Image.fromarray(seen, "LA").save(tmp_path / "la.png")
    image = read_image(tmp_path / "la.png")
    assert not image.colour and np.array_equal(image.pixels[:6], rgb[:6, :, 0]) and not image.pixels[6:].any()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to show
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png").pixels, np.rot90(rgb, -1))
