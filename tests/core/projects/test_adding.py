"""Scans that enter, their groups, and the hold-out."""

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from napari_medvlsm.core.datasets.splits import SPLITS, TEST, TRAIN, VAL
from napari_medvlsm.core.projects.adding import NewScan, add_scans, scans_in, set_group
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.files import write_mask
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.grouping import ByHeader, ByName, ByTable, preview
from napari_medvlsm.core.projects.holdout import assign, wanted
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from tests.core.projects.conftest import outline, write_scans


def counted(splits):
    return [list(splits.values()).count(split) for split in SPLITS]


@pytest.mark.parametrize(
    ("groups", "train_val_test"),
    [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (10, [4, 1, 5]), (20, [13, 2, 5]), (30, [21, 3, 6])],
)
def test_one_group_in_five_is_held_out_and_at_least_five_where_there_are_ten(groups, train_val_test):
    assert counted(assign(map(str, range(groups)), {}, "salt")) == train_val_test


@pytest.mark.parametrize("steps", [[1] * 40, [10, 30], [3, 1, 20, 16]])
def test_groups_that_come_later_keep_the_shares_and_change_none_before(steps):
    given, before = {}, {}
    for step in steps:
        new = assign((str(len(given) + i) for i in range(step)), before, "salt")
        assert not new.keys() & given.keys()
        given |= new
        before = dict(zip(SPLITS, counted(given), strict=True))
        assert before[TRAIN] > 0 and before[TEST] >= wanted(len(given))[0] >= len(given) / 5 * (len(given) > 2)
    assert before[VAL] >= 4 and before[TEST] == 8


def test_which_are_held_out_follows_from_the_salt_alone():
    names = [str(i) for i in range(30)]
    assert assign(names, {}, "a") == assign(reversed(names), {}, "a") != assign(names, {}, "b")


def test_scans_of_a_patient_share_a_split_that_never_changes(tmp_path):
    create_project(tmp_path / "p", ["polyp"])
    scans = [NewScan(s.path, s.name, f"patient {i // 3}") for i, s in enumerate(scans_in(write_scans(tmp_path, 30)))]
    with ProjectStore(tmp_path / "p") as store:
        add_scans(store, scans[:20])
        first = {c.name: c.split for c in store.cases()}
        add_scans(store, scans[20:])
        after = {c.name: (c.group, c.split) for c in store.cases()}
        assert {name: split for name, (_, split) in after.items() if name in first} == first
        assert len({*after.values()}) == len({group for group, _ in after.values()}) == 10
        assert store.groups()["patient 6"] == 3
        assert len(store.cases(query=CaseQuery(groups=("patient 6",)))) == 3
        held_out = store.cases(query=CaseQuery(splits=("test",)))
        assert len({c.group for c in held_out}) == 5 and all(c.split == "test" for c in held_out)


def test_scans_are_found_in_folders_below_and_what_cannot_be_read_is_named(tmp_path):
    write_scans(tmp_path / "s" / "one", 2)
    write_scans(tmp_path / "s" / "two", 2)
    (tmp_path / "s" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "s" / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "s" / "notes.txt").write_text("no scan")
    create_project(tmp_path / "p", ["polyp"])
    with ProjectStore(tmp_path / "p") as store:
        (store.folder / "masks" / "000001").mkdir()
        own = write_mask(store.folder, 1, outline())
        (store.folder / own.file).rename(tmp_path / "s" / "own_mask.tif")
        found = list(scans_in(tmp_path / "s"))
        assert [s.name for s in found] == [
            "broken.png",
            "one/scan1.png",
            "one/scan2.png",
            "two/scan1.png",
            "two/scan2.png",
        ]
        report = add_scans(store, found)
        assert [c.name for c in store.cases()] == ["one/scan1.png", "one/scan2.png"]
        assert len(report.failed) == 1 and "broken.png" in report.failed[0]
        assert len(report.known) == 2 and "same pixels as one/scan1.png" in report.known[0]
        # All paths lead to a case, also those of the copies.
        assert [report.ids[s.path] for s in found[1:]] == [1, 2, 1, 2]
        again = add_scans(store, found)
        assert again.added == [] and len(again.known) == 4 and len(store.cases()) == 2


def test_a_split_that_contradicts_its_group_is_refused_and_the_rest_goes_on(tmp_path):
    write_scans(tmp_path / "s", 3)
    create_project(tmp_path / "p", ["polyp"])
    with ProjectStore(tmp_path / "p") as store:
        names = [tmp_path / "s" / f"scan{i}.png" for i in (1, 2, 3)]
        given = [("patient 1", "train"), ("patient 1", "test"), ("patient 2", "test")]
        report = add_scans(store, [NewScan(n, group=g, split=s) for n, (g, s) in zip(names, given, strict=True)])
        assert len(report.failed) == 1 and "a split never changes" in report.failed[0]
        assert [(c.name, c.split) for c in store.cases()] == [("scan1.png", "train"), ("scan3.png", "test")]


def test_a_group_can_be_said_later_where_the_splits_agree(folder, tmp_path):
    with ProjectStore(folder) as store:
        splits = {c.id: c.split for c in store.cases()}
        train = [c for c, split in splits.items() if split == "train"]
        (other,) = [c for c, split in splits.items() if split == "val"]
        set_group(store, train[0], "patient 1")
        set_group(store, train[1], "patient 1")
        with pytest.raises(ProjectError, match="a split never changes"):
            set_group(store, other, "patient 1")
        assert store.groups() == {"patient 1": 2} and store.case_ids(CaseQuery(text="patient 1")) == sorted(train[:2])
        again = [NewScan(s.path, group="patient 2") for s in scans_in(tmp_path / "scans")]
        told = " ".join(add_scans(store, again).known)
        assert told.count("already") == 6 and told.count("belongs to patient 2 now") >= 1
        assert {c.id: c.split for c in store.cases()} == splits and store.case(train[0]).group == "patient 1"


def test_copies_that_a_killed_program_was_making_go(folder):
    store = ProjectStore(folder)
    (folder / "scans").mkdir()
    (folder / "scans" / "half.png").write_bytes(b"half")
    (folder / "scans" / "mine.png").write_bytes(b"put here by hand")
    with store.changing() as connection:
        connection.execute("INSERT INTO incoming VALUES ('scans/half.png')")
    store.database.close()
    store._lock.release(closed=False)
    with ProjectStore(folder) as store:
        assert [p.name for p in (folder / "scans").iterdir()] == ["mine.png"]
        assert store.database.query("SELECT * FROM incoming") == []


# Groups --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "name", "group"),
    [
        ("{patient}_*", "p07_frame3.png", "patient p07"),
        ("{patient}_*", "deep/er/p07_frame3.png", "patient p07"),
        ("{patient}_*", "nothing.png", ""),
        ("case{patient}-*", "CASE12-b.tif", "patient 12"),
        ("{sequence}/*", "video 3/0001.png", "sequence video 3"),
        ("*_{group}", "a_b_c.png", "group c"),
        ("{patient}.*", "a.b.png", "patient a"),
    ],
)
def test_a_part_of_the_name_says_the_group(tmp_path, rule, name, group):
    assert ByName(rule).of(tmp_path / name, name) == group


@pytest.mark.parametrize("rule", ["", "*_*", "{a}_{b}", "patient_"])
def test_a_rule_that_marks_no_one_part_is_refused(rule):
    with pytest.raises(ProjectError, match="must mark one part"):
        ByName(rule)


def test_a_preview_shows_groups_before_anything_is_added(tmp_path):
    names = ["p1_a.png", "p1_b.png", "p2_a.png", "odd.png"]
    seen = preview(ByName("{patient}_*"), [(tmp_path / n, n) for n in names])
    assert seen.groups == {"patient p1": ("p1_a.png", "p1_b.png"), "patient p2": ("p2_a.png",)}
    assert seen.sentence == "3 scans in 2 groups; 1 without one, such as odd.png."


def test_a_table_says_the_group(tmp_path):
    (tmp_path / "t.csv").write_text("File,Sequence\n1.png,7\n", "utf-8")
    with pytest.raises(ValueError, match="lacks the column"):
        ByTable.read(tmp_path / "t.csv", "patient")
    (tmp_path / "t.csv").write_text("image,patient\nscan1.png,7\nscan2,7\ndeep/scan3.png,8\nscan4.png,\n", "utf-8")
    rule = ByTable.read(tmp_path / "t.csv", "patient")
    found = [
        rule.of(tmp_path, name) for name in ("scan1.png", "x/scan2.tif", "deep/scan3.png", "scan4.png", "scan5.png")
    ]
    assert found == ["patient 7", "patient 7", "patient 8", "", ""]
    (tmp_path / "t.csv").write_text("File,Patient\n", "utf-8")
    with pytest.raises(ProjectError, match="nothing below"):
        ByTable.read(tmp_path / "t.csv", "patient")
    (tmp_path / "t.csv").write_text("patient\n7\n", "utf-8")
    with pytest.raises(ProjectError, match="no column that names the scans"):
        ByTable.read(tmp_path / "t.csv", "patient")


def test_a_field_of_the_header_says_the_group_without_saying_who(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientID", "Jane Roe 1950")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png", pnginfo=text)
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "b.png", pnginfo=text)
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "c.png")
    tifffile.imwrite(tmp_path / "d.tif", np.zeros((9, 9), np.uint8), software="scanner 3")
    (tmp_path / "e.png").write_bytes(b"broken")
    # By content: whatever the names end in, and a chain of pages that returns to itself is not followed.
    (tmp_path / "b.png").rename(tmp_path / "b.tif")
    (tmp_path / "f.tif").write_bytes(b"II*\0\x08\0\0\0" + b"\1\0\x31\1\2\0\4\0\0\0one\0" + b"\x08\0\0\0")
    rule = ByHeader("patientid", "salt")
    one, two, *none = (rule.of(tmp_path / f"{name}", "") for name in ("a.png", "b.tif", "c.png", "d.tif", "e.png"))
    assert one == two and one.startswith("patient ") and "Jane" not in one and none == ["", "", ""]
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA430] = "Jane Roe"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "g.jpg", exif=exif)
    assert ByHeader("CameraOwnerName", "salt").of(tmp_path / "g.jpg", "").startswith("group ")
    assert ByHeader("software", "salt").of(tmp_path / "f.tif", "").startswith("group ")
    assert ByHeader("PatientID", "other").of(tmp_path / "a.png", "") != one
    assert ByHeader("Software", "salt").of(tmp_path / "d.tif", "").startswith("group ")
