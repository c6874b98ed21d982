"""Pictures are known by content, stand upright, have their colours, and cost a bounded time and memory."""

import io
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from napari_medvlsm.core.io.images import read_image, read_scan, read_spacing
from napari_medvlsm.core.io.pictures import child, common, tiff_directories
from napari_medvlsm.core.io.pictures.formats import is_dicom


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)


def tiff(entries, pixels=b"", chain=0):
    """A little TIFF of tags (number, type, count, value), with `chain` as the offset of the next page."""
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + b"".join(struct.pack("<HHII", *e) for e in entries) + struct.pack("<I", chain) + pixels


def plain(rows, cols, *more, at=None, count=None, chain=0, pixels=b""):
    at = 8 + 2 + 12 * (8 + len(more)) + 4 if at is None else at
    tags = [(256, 4, 1, cols), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, at)]
    tags += [(277, 3, 1, 1), (279, 4, 1, rows * cols if count is None else count), *more]
    return tiff(sorted(tags), pixels, chain)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_white_is_white_whatever_the_depth(tmp_path, bits, photometric):
    levels = np.arange(1 << bits)
    packed = np.packbits((levels[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).ravel()).tobytes()
    tags = [(256, 4, 1, len(levels)), (257, 4, 1, 2), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric)]
    tags += [(273, 4, 1, 8 + 2 + 12 * 8 + 4), (277, 3, 1, 1), (279, 4, 1, 2 * len(packed))]
    (tmp_path / "few.tif").write_bytes(tiff(tags, 2 * packed))
    with Image.open(tmp_path / "few.tif") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "few.tif").pixels, np.asarray(image.convert("L")))
    assert read_image(tmp_path / "few.tif").pixels[0, [0, -1]].tolist() == ([0, 255] if photometric else [255, 0])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF"])
def test_a_wrong_ending_changes_nothing(tmp_path, rgb, kind):
    path = tmp_path / "scan.dat"
    Image.fromarray(rgb).save(path, kind)
    (tmp_path / "scan.tif").write_bytes(path.read_bytes())
    with Image.open(path) as image:
        shown = np.asarray(image.convert("RGB"))
    for name in ("scan.dat", "scan.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, shown)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM"),
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bytes(40), "DICOM"),
        (b"\x08\0\x08\0\x16\0\0\0ORIGINAL\\PRIMARY\\AXIAL", "DICOM"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"P6 2 2 255 ", "PNG, JPEG"),
    ],
)
def test_only_what_is_named_is_opened(tmp_path, head, words):
    (tmp_path / "x.png").write_bytes(head)
    with pytest.raises(ValueError, match=words) as raised:
        read_image(tmp_path / "x.png")
    assert str(raised.value).count("\n") == 0 and str(raised.value).endswith(".")


def test_pictures_are_no_dicom(tmp_path, rgb):
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        Image.fromarray(rgb).save(tmp_path / "x", kind)
        assert not is_dicom((tmp_path / "x").read_bytes()[:512])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_turns_every_kind_alike(tmp_path, rgb, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    tifffile.imwrite(
        tmp_path / "a.tif",
        rgb,
        photometric="rgb",
        extratags=[(274, 3, 1, orientation, True)],
        resolution=(50, 25),
        resolutionunit="CENTIMETER",
    )
    seen, turned = read_image(tmp_path / "a.png"), read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(seen.pixels, turned.pixels)
    assert seen.orientation == turned.orientation == orientation
    assert seen.pixels.shape[:2] == ((17, 12) if orientation > 4 else (12, 17))
    spacing = (0.2, 0.4) if orientation > 4 else (0.4, 0.2)
    assert turned.spacing == pytest.approx(spacing) and read_spacing(tmp_path / "a.tif") == pytest.approx(spacing)
    first = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (-1, 0), 7: (-1, -1), 8: (0, -1)}
    np.testing.assert_array_equal(seen.pixels[0, 0], rgb[first[orientation]])


def test_other_colour_spaces_come_as_rgb(tmp_path):
    smooth = np.stack(np.meshgrid(np.arange(0, 256, 8), np.arange(0, 256, 8)), -1).astype(np.uint8)
    picture = Image.fromarray(np.dstack([smooth, np.full((32, 32), 90, np.uint8)]))
    lab = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    for image in (picture.convert("CMYK"), picture.convert("YCbCr"), lab):
        image.save(tmp_path / "x.tif", compression=None)
        found = read_scan(tmp_path / "x.tif")
        assert found.kind == "colour, 8 bit"
        assert np.abs(found.pixels.astype(int) - np.asarray(picture)).mean() < 6
    # As profiles have it, a and b without a sign.
    for depth in (np.uint8, np.uint16):
        codes = (np.asarray(lab) ^ np.array([0, 128, 128], np.uint8)).astype(depth) << (8 if depth == np.uint16 else 0)
        tifffile.imwrite(tmp_path / "icc.tif", codes, photometric="icclab")
        np.testing.assert_array_equal(read_scan(tmp_path / "icc.tif").pixels, found.pixels)
    tifffile.imwrite(
        tmp_path / "x.tif", np.zeros((8, 8), np.uint16), photometric=32803, extratags=[(33421, 3, 2, (2, 2), 1)]
    )
    with pytest.raises(ValueError, match="camera"):
        read_image(tmp_path / "x.tif")


def test_colours_that_lie_over_black_are_not_darkened_again(tmp_path, rgb):
    alpha = np.linspace(0, 255, rgb.shape[1]).astype(np.uint8) * np.ones((rgb.shape[0], 1), np.uint8)
    over = (rgb * (alpha / 255)[..., None]).astype(np.uint8)
    for kind, pixels in (("assocalpha", over), ("unassalpha", rgb)):
        tifffile.imwrite(tmp_path / "a.tif", np.dstack([pixels, alpha]), photometric="rgb", extrasamples=[kind])
        assert np.abs(read_image(tmp_path / "a.tif").pixels.astype(int) - over).max() <= 1


def test_planes_are_those_that_the_file_describes(tmp_path, rgb, rng):
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:  # a small picture in colour, and a large one behind it
        file.write(rgb, photometric="rgb")
        file.write(np.zeros((90, 90), np.uint16), photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "two.tif").pixels, rgb)
    stack = rng.integers(0, 256, (2, 3, 12, 17, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "stack.tif").pixels, stack)


def test_transparent_parts_are_black_and_a_constant_alpha_is_nothing(tmp_path, rgb):
    alpha = np.full((12, 17), 255, np.uint8)
    Image.fromarray(np.dstack([rgb, alpha // 2])).save(tmp_path / "even.png")
    np.testing.assert_array_equal(read_scan(tmp_path / "even.png").pixels, rgb)
    alpha[:, 9:] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "half.png")
    found = read_scan(tmp_path / "half.png").pixels
    np.testing.assert_array_equal(found[:, :9], rgb[:, :9])
    assert not found[:, 9:].any()


def test_single_axes_are_dropped_and_channels_may_come_first(tmp_path, rgb):
    grey = rgb[..., 0]
    for i, pixels in enumerate((grey[None], grey[None, None], grey[None, None, :, :, None])):
        tifffile.imwrite(tmp_path / f"{i}.tif", pixels, photometric="minisblack")
        np.testing.assert_array_equal(read_scan(tmp_path / f"{i}.tif").pixels, grey)
    tifffile.imwrite(tmp_path / "c.tif", np.moveaxis(rgb, -1, 0), photometric="minisblack")
    tifffile.imwrite(tmp_path / "l.tif", rgb, photometric="minisblack", planarconfig="contig")
    for name in ("c.tif", "l.tif"):
        np.testing.assert_array_equal(read_scan(tmp_path / name).pixels, rgb)
    tifffile.imwrite(tmp_path / "z.tif", np.moveaxis(rgb, -1, 0), imagej=True, metadata={"axes": "ZYX"})
    assert read_image(tmp_path / "z.tif").pixels.shape == (3, 12, 17)


def test_smaller_copies_are_passed_over_and_others_are_told(tmp_path, rgb):
    with tifffile.TiffWriter(tmp_path / "t.tif") as writer:
        writer.write(rgb, photometric="rgb", metadata=None)
        writer.write(rgb[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    assert read_image(tmp_path / "t.tif").notes == ()
    np.testing.assert_array_equal(read_scan(tmp_path / "t.tif").pixels, rgb)
    with tifffile.TiffWriter(tmp_path / "o.tif") as writer:
        writer.write(rgb, photometric="rgb", metadata=None)
        writer.write(rgb[:3, :, 0], photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(read_scan(tmp_path / "o.tif").pixels, rgb)
    assert "1 more pages of another size" in read_image(tmp_path / "o.tif").notes[0]


def test_of_a_pyramid_that_is_too_large_the_largest_level_that_fits_is_read(tmp_path, monkeypatch, rng):
    level = rng.integers(0, 256, (32, 48), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        more = {"tile": (16, 16), "resolutionunit": "CENTIMETER", "metadata": None}
        writer.write(level.repeat(4, 0).repeat(4, 1), subifds=2, resolution=(400, 400), **more)
        writer.write(level.repeat(2, 0).repeat(2, 1), subfiletype=1, **more)
        writer.write(level, subfiletype=1, **more)
    monkeypatch.setattr("napari_medvlsm.core.images.MAX_PIXELS", 2000)
    found = read_image(tmp_path / "p.tif")
    np.testing.assert_array_equal(found.pixels, level)
    assert found.spacing == pytest.approx((0.1, 0.1)) and "32 (1 to 4)" in found.notes[0]


def test_values_for_no_data_are_told_and_are_no_numbers(tmp_path):
    pixels = np.arange(120, dtype=np.float32).reshape(10, 12)
    pixels[:3] = -9999
    tifffile.imwrite(tmp_path / "n.tif", pixels, extratags=[(42113, "s", 6, "-9999", True)])
    found = read_scan(tmp_path / "n.tif")
    assert np.isnan(found.pixels[:3]).all() and "30 %" in found.notes[0]
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 5), np.nan, np.float32))
    with pytest.raises(ValueError, match="no finite value"):
        read_scan(tmp_path / "a.tif")


# Damaged and hostile files --------------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(ValueError) as raised:
        read_image(path)
    return str(raised.value)


def test_pages_that_return_to_themselves_or_go_on_for_ever(tmp_path):
    (tmp_path / "loop.tif").write_bytes(plain(4, 4, chain=8, pixels=bytes(16)))
    assert "returns to itself" in refused(tmp_path / "loop.tif")
    page = plain(1, 1, at=8, count=1)[8:-4]
    chain = b"".join(page + struct.pack("<I", 8 + (i + 1) * (len(page) + 4)) for i in range(20_000))
    (tmp_path / "long.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 8) + chain)
    assert "more than the" in refused(tmp_path / "long.tif")


def test_what_is_cut_off_is_never_read_as_black(tmp_path, rgb):
    for i, more in enumerate(
        ({}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 2, "compression": "lzw"})
    ):
        path = tmp_path / f"{i}.tif"
        tifffile.imwrite(path, rgb.repeat(4, 0).repeat(4, 1), photometric="rgb", **more)
        whole = path.read_bytes()
        for keep in (len(whole) // 2, len(whole) - 40):
            path.write_bytes(whole[:keep])
            assert "cut off" in refused(path) or "broken" in refused(path)
    # The tables stand behind the pixels, and the last of them is cut.
    offset, numbers = 8 + 64, 10
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (273, 4, numbers, 400)]
    tags += [(277, 3, 1, 1), (279, 4, numbers, 4000)]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + bytes(4)
    (tmp_path / "t.tif").write_bytes(struct.pack("<2sHI", b"II", 42, offset) + bytes(64) + body + bytes(400))
    assert "cut off" in refused(tmp_path / "t.tif")


def test_memory_of_all_axes_samples_and_types_is_counted_first(tmp_path):
    one, all_of_them = (struct.pack("<HHII", 277, 3, 1, n) for n in (1, 65535))
    many = plain(200, 240, (284, 3, 1, 2)).replace(one, all_of_them)
    (tmp_path / "samples.tif").write_bytes(many)
    (tmp_path / "large.tif").write_bytes(plain(2**15, 2**15))
    (tmp_path / "narrow.tif").write_bytes(plain(4_000_000, 8))
    told = {"samples.tif": "3.1 GB of memory", "large.tif": "million pixels", "narrow.tif": "4000000 rows"}
    for name, words in told.items():
        assert words in refused(tmp_path / name)
    (tmp_path / "p.tif").write_bytes(plain(16_000, 16_000))
    assert "cut off" in refused(tmp_path / "p.tif")


def test_ome_files_that_name_others_open_none_of_them(tmp_path, rgb):
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, rgb[..., 0] // 2 + 100)
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint8" SizeX="17" SizeY="12" SizeZ="2" SizeC="1" SizeT="1">'
        '<TiffData IFD="0" FirstZ="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1"><UUID FileName="secret.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", rgb[..., 1], description=xml, metadata=None)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.ome.tif").pixels, rgb[..., 1])


def test_links_to_themselves_devices_and_odd_names_have_words(tmp_path, rgb):
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "loop.png cannot be opened" in refused(tmp_path / "loop.png")
    assert "folder or a device" in refused(tmp_path)
    (tmp_path / "a\nb.png").write_bytes(b"x")
    assert "\n" not in refused(tmp_path / "a\nb.png")
    Image.fromarray(rgb).save(tmp_path / "c\nd.png")
    assert "\n" not in read_scan(tmp_path / "c\nd.png").source


# The process that may die ---------------------------------------------------------------------------------------------


def test_formats_without_a_bound_are_decoded_in_another_process(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "z.tif", rgb, photometric="rgb", compression="zstd")
    np.testing.assert_array_equal(read_image(tmp_path / "z.tif").pixels, rgb)
    process = child._decoder._process
    assert process is not None and process.poll() is None
    process.kill()  # as a crash in a library would
    np.testing.assert_array_equal(read_image(tmp_path / "z.tif").pixels, rgb)
    with pytest.raises(ValueError, match="more than 0 seconds"):
        child.decode_apart(tmp_path / "z.tif", seconds=0.0)
    cut = (tmp_path / "z.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(cut.replace(b"\x28\xb5\x2f\xfd", bytes(4)))  # how zstd begins
    with pytest.raises(ValueError, match=r"^cut\.tif is broken") as refused:
        read_image(tmp_path / "cut.tif")
    assert str(refused.value).count("is broken") == 1
    np.testing.assert_array_equal(read_image(tmp_path / "z.tif").pixels, rgb)


def test_what_pillow_would_walk_through_for_long_is_not_even_opened_here(tmp_path, rgb, monkeypatch):
    png, grey = tmp_path / "a.png", rgb[..., 0]
    Image.fromarray(rgb).save(png)
    whole = png.read_bytes()
    empty = struct.pack(">I4sI", 0, b"prVt", zlib.crc32(b"prVt"))
    png.write_bytes(whole[:33] + empty * common._MOST_PARTS + whole[33:])
    Image.fromarray(rgb).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:2] + b"\xff\xe5\0\2" * common._MOST_PARTS + whole[2:])
    Image.fromarray(rgb).save(tmp_path / "p.jpg", progressive=True)
    Image.fromarray(grey).save(tmp_path / "a.gif")
    # One row of runs of one pixel each, RLE8.
    head = struct.pack("<IIiHHIIiiII", 40, 4, 2, 1, 8, 1, 16, 0, 0, 2, 0) + bytes(4) + b"\xff" * 4
    runs = b"\1\1" * 4 + b"\0\0" + b"\1\0" * 4 + b"\0\1"
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 62 + len(runs), 0, 0, 62) + head + runs)
    monkeypatch.setattr(common, "_MOST_WALKED", 30)
    monkeypatch.setattr(common, "_MOST_SCANNED", 100)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("p.jpg", "JPEG"), ("a.gif", "GIF"), ("a.bmp", "BMP")):
        assert not common.plan(tmp_path / name, kind).bounded, name
    np.testing.assert_array_equal(read_image(png).pixels, rgb)
    assert read_image(tmp_path / "a.bmp").pixels.shape[:2] == (2, 4)
    Image.fromarray(rgb).save(tmp_path / "usual.png")
    assert common.plan(tmp_path / "usual.png", "PNG").bounded
    # Sizes are counted there, too.
    large = bytearray((tmp_path / "a.gif").read_bytes())
    large[6:10] = b"\xff" * 4
    (tmp_path / "large.gif").write_bytes(large)
    assert "million pixels" in refused(tmp_path / "large.gif")


def test_the_tags_of_all_pages_are_counted(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((4, 5, 6), np.uint8))
    monkeypatch.setattr(tiff_directories, "_MAX_ALL_TAGS", 5)
    assert "more than 5 tags" in refused(tmp_path / "s.tif")


def test_the_other_process_ends_with_this_one(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "z.tif", rgb, photometric="rgb", compression="zstd")
    script = (
        "import sys; from pathlib import Path; from napari_medvlsm.core.io.images import read_image\n"
        "from napari_medvlsm.core.io.pictures import child\n"
        "read_image(Path(sys.argv[1])); print(child._decoder._process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "z.tif")], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    psutil = pytest.importorskip("psutil")
    assert not psutil.pid_exists(int(done.stdout))


def test_a_decoder_that_ends_in_the_middle_of_its_answer_crashed(tmp_path):
    process = SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(b'{"raster": {"shape": [12,'), kill=lambda: None)
    with pytest.raises(ValueError, match=r"x\.tif made its decoder crash; it is damaged"):
        child._Decoder()._ask(process, tmp_path / "x.tif", 20)
