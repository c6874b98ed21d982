"""Masks as TIFF and PNG: what is saved is loaded, and so are the files of earlier versions."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.io.images import read_image, read_spacing
from napari_medvlsm.core.io.labels import ForeignMask, is_correction, is_own_mask, load_mask, save_mask
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.options import WHOLE_SCAN
from napari_medvlsm.core.prompts import Attributes, Prompt

# Written by the label writers of 0.1.0 and of the last version before the schema, by way of their own code.
DATA = Path(__file__).parents[1] / "data"
SUFFIXES = pytest.mark.parametrize("suffix", [".tif", ".png"])


@SUFFIXES
def test_an_annotation_comes_back(tmp_path, rng, suffix):
    mask = rng.random((20, 30)) > 0.5
    provenance = Provenance(
        spacing=(0.4, 0.2), prompt=Prompt("small polyp", "p4"), threshold=0.35, author="Ärztin Ω", strokes=3
    )
    path = tmp_path / f"m{suffix}"
    save_mask(path, Annotation("polyp", mask, corrected=True, provenance=provenance, prediction=~mask))
    found = load_mask(path)
    np.testing.assert_array_equal(found.mask, mask)
    np.testing.assert_array_equal(found.prediction, ~mask)
    assert found.mask.dtype == bool and found.provenance == provenance and found.target == "polyp"
    assert is_own_mask(path) and is_correction(path)
    if suffix == ".tif":
        assert read_spacing(path) == pytest.approx((0.4, 0.2))
        assert tifffile.imread(path).max() == 1
    else:
        assert np.asarray(Image.open(path)).max() == 255


def test_what_another_program_saved_anew_is_the_same_outline(tmp_path, rng):
    mask = rng.random((20, 30)) > 0.5
    save_mask(tmp_path / "m.png", Annotation("polyp", mask, corrected=True))
    with Image.open(tmp_path / "m.png") as image:
        text = image.info["Description"]
    white_first = Image.fromarray((~mask).astype(np.uint8))
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    info = PngInfo()
    info.add_text("Description", text)
    white_first.save(tmp_path / "palette.png", pnginfo=info)
    inverted = 255 * (~mask).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "white.tif", inverted, photometric="miniswhite", description=text, metadata=None, software="another"
    )
    Image.fromarray(mask).save(tmp_path / "bits.png", pnginfo=info)
    for name in ("palette.png", "white.tif", "bits.png"):
        found = load_mask(tmp_path / name).mask
        np.testing.assert_array_equal(found, mask)
        assert found.flags.writeable


@SUFFIXES
def test_absent_comes_back(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    save_mask(path, Annotation("polyp", np.zeros((5, 7), bool), corrected=True, absent=True))
    assert load_mask(path).absent and not load_mask(path).mask.any()


@SUFFIXES
def test_files_of_0_1_0_open(suffix):
    found = load_mask(DATA / f"mask_0.1.0{suffix}")
    assert found.mask.sum() == 15 and found.mask[1:4, 2:7].all() and found.mask.shape == (6, 9)
    assert found.corrected and found.said == Attributes("polyp", size="small") and found.target == "polyp"
    made = found.provenance
    assert (made.spacing, made.threshold, made.cleanup) == ((0.5, 0.25), 0.5, Cleanup(drop_specks=True))
    assert (made.model, made.scan_hash, made.scan_size) == ("starter", "ab" * 16, (6, 9))
    assert made.options == WHOLE_SCAN and made.created.year == 2026


@SUFFIXES
def test_files_from_before_the_schema_open(suffix):
    found = load_mask(DATA / f"mask_schema_1{suffix}")
    assert found.mask.sum() == 15 and not found.corrected and not is_correction(DATA / f"mask_schema_1{suffix}")
    assert (found.said, found.measured) == (Attributes("polyp", size="small"), Attributes("polyp", "one"))
    assert found.provenance.options.region == (0, 1, 5, 8)


def test_files_that_name_a_shape_open_here_and_in_other_programs(tmp_path):
    old = load_mask(DATA / "mask_schema_1_shape.tif")
    assert old.said == Attributes("polyp", shape="round") and old.mask.sum() == 15
    save_mask(tmp_path / "m.tif", Annotation("polyp", old.mask, said=old.said))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "m.tif"), old.mask)
    assert load_mask(tmp_path / "m.tif").said == old.said


def test_foreign_and_wrong_files_are_told_apart(tmp_path):
    tifffile.imwrite(tmp_path / "other.tif", np.eye(5, dtype=np.uint8))
    Image.fromarray(np.eye(5, dtype=np.uint8)).save(tmp_path / "other.png")
    for name in ("other.tif", "other.png"):
        with pytest.raises(ForeignMask, match="not saved by napari-medvlsm"):
            load_mask(tmp_path / name)
        assert not is_own_mask(tmp_path / name) and not is_correction(tmp_path / name)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 5, 5), np.uint8))
    (tmp_path / "text.tif").write_text("no picture")
    for name, sentence in (("stack.tif", "no 2D mask"), ("text.tif", "cannot be read")):
        with pytest.raises(ValueError, match=sentence) as caught:
            load_mask(tmp_path / name)
        assert caught.type is ValueError
    with pytest.raises(ValueError, match="saved as"):
        save_mask(tmp_path / "m.jpg", Annotation("polyp", np.eye(3) > 0))


@SUFFIXES
def test_damaged_files_always_give_a_sentence(tmp_path, rng, suffix):
    mask = rng.random((64, 64)) > 0.5
    save_mask(tmp_path / f"m{suffix}", Annotation("polyp", mask, prediction=~mask))
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


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
def test_saved_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_text("x")
    save_mask(tmp_path / "m.tif", Annotation("polyp", np.eye(5) > 0))
    assert (tmp_path / "m.tif").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_masks_of_ours_are_known_by_content(tmp_path):
    mask = np.eye(6) > 0
    for suffix in (".tif", ".png"):
        save_mask(tmp_path / f"m{suffix}", Annotation("polyp", mask, corrected=True))
        (tmp_path / f"m{suffix}").rename(tmp_path / "m.jpg")
        assert is_own_mask(tmp_path / "m.jpg") and is_correction(tmp_path / "m.jpg")
        np.testing.assert_array_equal(load_mask(tmp_path / "m.jpg").mask, mask)
    (tmp_path / "e.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    assert not is_own_mask(tmp_path / "e.png") and not is_own_mask(tmp_path / "loop.tif") and not is_own_mask(tmp_path)
