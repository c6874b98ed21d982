"""What was handed over to be opened."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.images import list_pictures, read_scan, walk_pictures
from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.core.io.listing import list_scans, natural_key
from napari_medvlsm.core.io.pictures.formats import DICOM, kind_of

PART_10 = b"\0" * 128 + b"DICM\2\0\0\0UL\4\0\xc0\0\0\0" + b"\0" * 200
EXPLICIT = b"\x08\0\5\0CS\x0a\0ISO_IR 100" + b"\0" * 200
IMPLICIT = b"\x08\0\0\0\4\0\0\0\x9e\1\0\0" + b"\0" * 200


@pytest.fixture
def picture(tmp_path):
    def make(name, folder=tmp_path):
        path = folder / name
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(path, format="PNG")
        return path

    return make


@pytest.mark.parametrize("content", [PART_10, b"II*\0" + PART_10[4:], EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619", "scan.png", "a.tif"])
def test_dicom_is_told_by_its_content_whatever_its_name(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert kind_of(path) == DICOM and list_scans([path]).dicom == (path,)
    with pytest.raises(ValueError, match="is a DICOM file"):
        read_scan(path)


def test_other_files_are_no_dicom(tmp_path, picture):
    (tmp_path / "x").write_bytes(b"\x08\0")
    (tmp_path / "words").write_text("Some words that are long enough to hold something at the place of the mark." * 3)
    (tmp_path / "empty").touch()
    for path in (picture("a.png"), tmp_path / "x", tmp_path / "words", tmp_path / "empty"):
        assert kind_of(path) != DICOM
    (tmp_path / "named.dcm").write_bytes(b"anything")
    assert kind_of(tmp_path / "named.dcm") == DICOM, "the name says what it means to be"


def test_a_folder_is_a_list_of_scans_without_what_people_do_not_see(tmp_path, picture):
    for name in ("scan 10.png", "scan 2.png", "Scan 1.png", ".hidden.png", "._scan 2.png", "~$x.png"):
        picture(name)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "desktop.ini").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "IM1").write_bytes(PART_10)
    (tmp_path / "within").mkdir()
    picture("deeper.png", tmp_path / "within")
    save_mask(tmp_path / "scan 2_polyp.tif", Annotation("polyp", np.ones((4, 5), bool), corrected=True))
    found = list_scans([tmp_path])
    assert [path.name for path in found.scans] == ["Scan 1.png", "scan 2.png", "scan 10.png"]
    assert [path.name for path in found.outlines] == ["scan 2_polyp.tif"] and not found.others
    assert found.refused.startswith("IM1 is a DICOM file, which cannot be opened yet: save the image as PNG or TIFF")


def test_several_things_at_once_keep_their_order_and_count_once(tmp_path, picture):
    b, a = picture("b.png"), picture("a.png")
    (tmp_path / "table.csv").write_text("1,2")
    found = list_scans([b, tmp_path, tmp_path / "table.csv", tmp_path / "gone.png"])
    assert found.scans == (b, a) and found.others == (tmp_path / "table.csv",)
    assert found.refused == "gone.png is not there any more."


def test_a_picture_of_any_name_is_a_scan_and_an_empty_folder_is_named(tmp_path, picture):
    (tmp_path / "nothing").mkdir()
    for name in ("scan", "scan.0001", "scan.part", "scan.bak"):
        path = picture(name)
        assert list_scans([path]).scans == (path,)
    assert {p.name for p in list_scans([tmp_path]).scans} == {"scan", "scan.0001", "scan.part", "scan.bak"}
    assert list_scans([tmp_path / "nothing"]).refused == "There are no scans in nothing."


def test_what_is_refused_is_one_sentence(tmp_path):
    for number in range(6):
        (tmp_path / f"IM{number}").write_bytes(PART_10)
    text = list_scans([tmp_path]).refused
    assert text.startswith("IM0, IM1, IM2 and 3 more are DICOM files") and text.count(".") == 1


def test_every_list_of_a_folder_knows_the_same_files(tmp_path, picture):
    for name in ("a.png", "b.dat", ".hidden.png", "~$c.png", "@eaDir"):
        picture(name)
    (tmp_path / "d.png").write_text("no picture, but named so")
    (tmp_path / "IM1").write_bytes(PART_10)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "__MACOSX").mkdir()
    picture("e.png", tmp_path / "__MACOSX")
    (tmp_path / "below.png").mkdir()
    inside = picture("f", tmp_path / "below.png")
    expected = ["IM1", "a.png", "b.dat", "d.png"]
    assert [path.name for path in list_pictures(tmp_path)] == expected
    assert sorted(walk_pictures(tmp_path)) == sorted([inside, *(tmp_path / name for name in expected)])
    listed = list_scans([tmp_path])
    assert sorted(path.name for path in (*listed.scans, *listed.dicom)) == expected


def test_a_folder_that_may_not_be_looked_into_is_named_and_the_others_open(tmp_path, picture, monkeypatch):
    closed, whole = tmp_path / "closed", tmp_path / "open"
    closed.mkdir()
    whole.mkdir()
    picture("a.png", whole)
    looked = Path.iterdir

    def look(folder):
        if folder == closed:
            raise PermissionError(13, "Permission denied", str(folder))
        return looked(folder)

    monkeypatch.setattr(Path, "iterdir", look)
    found = list_scans([closed, whole])
    assert found.scans == (whole / "a.png",)
    assert found.refused == "closed cannot be looked into: ask for the right to read it."


def test_natural_order():
    from pathlib import Path

    names = ["b", "a10", "a9", "A1", "a", "10", "9"]
    assert [p.name for p in sorted(map(Path, names), key=natural_key)] == ["9", "10", "a", "A1", "a9", "a10", "b"]
