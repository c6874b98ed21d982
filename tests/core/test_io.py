import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import export_case as export_annotation
from napari_medvlsm.core.datasets.export import training_prompts
from napari_medvlsm.core.images import Scan, to_unit_rgb
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.images import read_image, read_scan, read_spacing
from napari_medvlsm.core.prompts import LEVELS, Attributes, build, load_vocabulary, parse

VOCABULARY = load_vocabulary()


def export_case(folder, scan, mask, attributes, vocabulary, seed=0):
    annotation = Annotation(attributes.target, np.asarray(mask) > 0, said=attributes)
    return export_annotation(folder, scan, annotation, vocabulary, seed=seed).annotations


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


def test_export_writes_the_reference_layout(tmp_path, rng):
    scan = Scan(rng.integers(0, 4000, (90, 120)).astype(np.uint16), source="Jane Doe 1950-01-01.tif")
    mask = np.zeros((90, 120), np.uint8)
    mask[5:20, 100:115] = 1
    path = export_case(tmp_path, scan, mask, Attributes("polyp", color="pink", shape="round"), VOCABULARY)
    (entry,) = json.loads(path.read_text())
    assert entry["prompts"]["p6"] == "one small pink round polyp, located in the top right of the image"
    assert list(entry["prompts"]) == list(LEVELS) and entry["bbox"] == [99, 4, 115, 20]
    image = np.asarray(Image.open(tmp_path / "images" / entry["img_name"]))
    np.testing.assert_array_equal(image, np.rint(to_unit_rgb(scan.pixels) * 255).astype(np.uint8))
    stored = np.asarray(Image.open(tmp_path / "masks" / entry["mask_name"]))
    assert sorted(np.unique(stored)) == [0, 255] and (stored > 0).sum() == mask.sum()
    assert {p.name for p in (tmp_path / "anns").iterdir()} == {"train.json", "val.json", "test.json"}
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*.*")) + str(list(tmp_path.rglob("*"))).encode()
    assert b"Jane" not in everything and b"1950" not in everything


def test_export_again_replaces_and_other_targets_add(tmp_path, rng):
    scan = Scan(rng.integers(0, 255, (30, 30), dtype=np.uint8))
    for target, value in (("polyp", 0), ("polyp", 1), ("foot ulcer", 1)):
        path = export_case(tmp_path, scan, np.full((30, 30), value), Attributes(target), VOCABULARY)
    entries = json.loads(path.read_text())
    assert len(entries) == 2 and len(list((tmp_path / "images").iterdir())) == 1
    assert entries[0]["prompts"]["p5"] == "one large rectangular polyp"


def test_a_case_of_another_split_is_replaced_where_it_is(tmp_path, rng):
    scan = Scan(rng.integers(0, 255, (30, 30), dtype=np.uint8))
    path = export_case(tmp_path, scan, np.zeros((30, 30)), Attributes("polyp"), VOCABULARY)
    (tmp_path / "anns" / "val.json").write_text(path.read_text())
    path.write_text("[]")
    again = export_case(tmp_path, scan, np.ones((30, 30)), Attributes("polyp"), VOCABULARY)
    assert again.name == "val.json" and json.loads(path.read_text()) == []
    assert json.loads(again.read_text())[0]["prompts"]["p1"] == "polyp"


@pytest.fixture
def left_half(rng):
    """A colour scan, brown on the left, and a mask of two parts there."""
    pixels = np.full((90, 120, 3), (139, 69, 19), np.uint8)
    pixels[:, 60:] = rng.integers(0, 255, (90, 60, 3))
    mask = np.zeros((90, 120), bool)
    mask[5:15, 5:25] = mask[40:55, 5:25] = True
    return Scan(pixels), mask


def test_prompts_have_every_level_of_the_targets_kind_of_scan(left_half):
    scan, mask = left_half
    polyp = training_prompts(scan, mask, Attributes("polyp"), VOCABULARY)
    assert list(polyp) == [f"p{i}" for i in range(10)] and polyp["p0"] == "" and polyp["p1"] == "polyp"
    assert polyp["p6"] == "two small brown rectangular polyps, located in the top left and left of the image"
    tumor = training_prompts(scan, mask, Attributes("breast tumor", tumor_type="malignant"), VOCABULARY)
    assert list(tumor) == [f"p{i}" for i in range(7)]
    assert tumor["p5"] in (
        "two small malignant breast tumors, located in the top left and left of the image",
        "two small irregular-shaped breast tumors, located in the top left and left of the image",
    )
    said = Attributes("myocardium", view="two-chamber", cycle="diastole", sex="male", age="eighty", quality="good")
    heart = training_prompts(scan, mask, said, VOCABULARY)
    assert list(heart) == [f"p{i}" for i in range(8)]
    assert heart["p5"].endswith("at the end of diastole of an eighty-year-old male")
    assert heart["p7"].startswith("rectangular myocardium in the two-chamber view of the ")
    chest = training_prompts(scan, mask, Attributes("edema", view="frontal", findings="edema, fracture"), VOCABULARY)
    assert list(chest) == [f"p{i}" for i in range(7)]
    assert chest["p4"] == (
        "rectangular edema in the frontal view of a chest X-ray, located in the top left and left of the image"
    )
    assert chest["p6"] == "edema; edema and fracture are present"


def test_number_size_and_place_are_the_masks_and_the_rest_the_persons(left_half):
    scan, mask = left_half
    said = Attributes("polyp", "one", "large", "pink", "round", "right", "odd")
    prompts = training_prompts(scan, mask, said, VOCABULARY)
    assert prompts["p8"] == "two small pink round polyps which are odd"
    assert prompts["p6"].endswith("located in the top left and left of the image")
    unsaid = training_prompts(scan, mask, Attributes("polyp", shape="round"), VOCABULARY)
    assert unsaid["p3"] == "brown round polyp"


@pytest.mark.parametrize("value", [0, -1])
def test_what_is_absent_is_asked_for_in_the_words_of_what_is_not(left_half, value):
    scan, mask = left_half
    said = Attributes("polyp", "zero", "small", shape="round", color="pink", general="odd")
    prompts = training_prompts(scan, np.full(mask.shape, value), said, VOCABULARY)
    assert prompts["p4"] == prompts["p6"] == "pink round polyp" and prompts["p7"] == "polyp which is odd"


def test_descriptions_and_paraphrases_are_drawn_by_seed(left_half):
    scan, mask = left_half
    said = Attributes("myocardium", view="two-chamber")

    def drawn(seed, of=scan):
        return training_prompts(of, mask, Attributes("polyp"), VOCABULARY, seed), training_prompts(
            of, mask, said, VOCABULARY, seed
        )

    assert drawn(3) == drawn(3) and drawn(3, Scan(scan.pixels.copy(), source="b")) == drawn(3)
    polyps, hearts = zip(*(drawn(seed) for seed in range(40)), strict=True)
    general = VOCABULARY.targets["polyp"].general
    assert {p["p7"] for p in polyps} == {f"polyp which is {sentence}" for sentence in general}
    assert {h["p2"] for h in hearts} == {
        "myocardium in the two-chamber view of the heart",
        "myocardium in the two-chamber view of the cardiac ultrasound",
    }
    # Each level and each scan draws for itself.
    assert any(general.index(p["p7"].removeprefix("polyp which is ")) != _drawn_at(p["p8"]) for p in polyps)
    others = [Scan(np.full((90, 120), i, np.uint8)) for i in range(20)]
    assert len({training_prompts(s, mask, Attributes("polyp"), VOCABULARY)["p7"] for s in others}) > 1
    # What is not drawn is the same whatever the seed.
    assert len({p["p6"] for p in polyps}) == 1


def _drawn_at(text):
    return next(i for i, s in enumerate(VOCABULARY.targets["polyp"].general) if text.endswith(s))


def test_the_seed_reaches_the_file(tmp_path, left_half):
    scan, mask = left_half
    found = []
    for seed in (0, 0, 1, 2, 3):
        path = export_case(tmp_path / str(len(found)), scan, mask, Attributes("polyp"), VOCABULARY, seed)
        found.append(json.loads(path.read_text())[0]["prompts"])
    assert found[0] == found[1] and len({str(prompts) for prompts in found}) > 1


def test_clean_words_are_written_not_the_releases(left_half):
    scan, mask = left_half
    for seed in range(10):
        for target in VOCABULARY.targets:
            for text in training_prompts(scan, mask, Attributes(target), VOCABULARY, seed).values():
                assert parse(text, VOCABULARY).attributes.target == (target if text else "")
                assert "mucuos" not in text and "Xray" not in text


def test_export_refuses_what_it_cannot_do_and_changes_nothing(tmp_path):
    scan = Scan(np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="Choose what was outlined"):
        export_case(tmp_path, scan, np.zeros((5, 5)), Attributes(), VOCABULARY)
    with pytest.raises(ValueError, match="one size"):
        export_case(tmp_path, scan, np.zeros((5, 6)), Attributes("polyp"), VOCABULARY)
    (tmp_path / "anns").mkdir()
    (tmp_path / "anns" / "val.json").write_text("{broken")
    with pytest.raises(ValueError, match="nothing was changed"):
        export_case(tmp_path, scan, np.zeros((5, 5)), Attributes("polyp"), VOCABULARY)
    assert not list((tmp_path / "images").iterdir()) and (tmp_path / "anns" / "val.json").read_text() == "{broken"


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


def test_targets_of_any_script_get_files_of_their_own(tmp_path):
    scan = Scan(np.zeros((30, 30), np.uint8))
    long = " ".join(["очень длинное название"] * 10)
    for target in ("полип", "язва", "polyp", "polyp?", "../polyp", long, f"{long}!"):
        path = export_case(tmp_path, scan, np.ones((30, 30)), Attributes(target), VOCABULARY)
    assert len(json.loads(path.read_text())) == 7 and len(list((tmp_path / "masks").iterdir())) == 7
