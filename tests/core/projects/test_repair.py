"""What a person did to the folder by hand: found, named, and mended without losing anything."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.check import check_project
from napari_medvlsm.core.projects.errors import ProjectError, ProjectInUse
from napari_medvlsm.core.projects.repair import repair_project
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from tests.core.projects.conftest import SIZE, outline


@pytest.fixture
def worked(folder):
    """Scan 1 is approved and has an older draft, 2 a draft, 3 absent, 4 a prediction."""
    with ProjectStore(folder, person="Ann") as store:
        store.save_draft(1, outline(rows=(2, 8)))
    with ProjectStore(folder, person="Ann") as store:
        store.submit(1, "polyp", outline(rows=(2, 20)))
        store.approve(1, "polyp")
        store.save_draft(2, outline(rows=(1, 5)))
        store.mark_absent(3, "polyp")
        store.save_prediction(4, outline(corrected=False))
    assert check_project(folder) == []
    return folder


def kinds(folder, **options):
    return [finding.kind for finding in check_project(folder, **options)]


def mask_file(folder, case, number=-1):
    with ProjectStore(folder, read_only=True) as store:
        return folder / store.versions(case, "polyp")[number].file


def looked_at(folder, case):
    """State, and the mask of the present version."""
    with ProjectStore(folder, read_only=True) as store:
        version = store.current(case, "polyp")
        return store.case(case).states["polyp"], None if version is None else store.load(version).mask


def test_a_good_project_is_left_as_it_is(worked):
    before = {p: p.read_bytes() for p in worked.rglob("*") if p.is_file() and "backup" not in p.parts}
    report = repair_project(worked)
    assert report.done == report.left == []
    assert {p: p.read_bytes() for p in before} == before


def test_a_mask_that_was_renamed_or_moved_goes_back(worked):
    file = mask_file(worked, 1)
    content = file.read_bytes()
    (worked / "elsewhere").mkdir()
    file.rename(worked / "elsewhere" / "my favourite.tif")
    assert kinds(worked) == ["mask missing"]
    report = repair_project(worked)
    assert report.left == [] and "Put elsewhere/my favourite.tif back" in report.done[0]
    assert file.read_bytes() == content and looked_at(worked, 1)[0] is State.APPROVED


def test_a_mask_that_is_gone_gives_way_to_the_version_before(worked):
    mask_file(worked, 1).unlink()
    mask_file(worked, 3).unlink()
    mask_file(worked, 4).unlink()
    assert kinds(worked) == ["mask missing"] * 3
    report = repair_project(worked)
    assert report.left == [] and "was approved and is draft now" in " ".join(report.done)
    state, mask = looked_at(worked, 1)
    assert state is State.DRAFT
    np.testing.assert_array_equal(mask, outline(rows=(2, 8)).mask)
    assert looked_at(worked, 3) == (State.UNSEEN, None)
    with ProjectStore(worked, read_only=True) as store:
        assert [v.lost for v in store.versions(1, "polyp")] == [False, True]
        assert [e.what for e in store.events(1)][-2:] == ["lost", "lost"] and store.prediction(4, "polyp") is None
        with pytest.raises(ProjectError, match="is gone"):
            store.load(store.versions(1, "polyp")[1])


def test_a_mask_that_another_program_changed_becomes_a_version_to_look_at(worked):
    file = mask_file(worked, 1)
    edited = outline(rows=(0, 20))
    save_mask(file, edited)
    mask_file(worked, 2).write_bytes(b"no mask any more")
    assert kinds(worked) == ["mask changed"] * 2
    report = repair_project(worked)
    assert report.left == []
    state, mask = looked_at(worked, 1)
    assert state is State.DRAFT
    np.testing.assert_array_equal(mask, edited.mask)
    assert looked_at(worked, 2) == (State.UNSEEN, None)
    assert [p.read_bytes() for p in (worked / "set-aside").iterdir()] == [b"no mask any more"]


def test_a_project_without_its_masks_is_worked_on(worked):
    shutil.rmtree(worked / "masks")
    assert len(kinds(worked)) == 5
    assert repair_project(worked).left == []
    with ProjectStore(worked) as store:
        assert {c.state for c in store.cases()} == {State.UNSEEN}
        store.submit(1, "polyp", outline())


def test_files_that_were_put_there_are_taken_in_or_set_aside(worked):
    (worked / "masks" / "000005").mkdir(exist_ok=True)
    save_mask(worked / "masks" / "000005" / "mine.tif", outline(rows=(3, 9)))
    shutil.copy(mask_file(worked, 1), worked / "masks" / "000001" / "copy.tif")
    (worked / "masks" / "holiday.jpg").write_bytes(b"sun")
    (worked / "masks" / "000002" / ".0123456789abcdef-ab12cd34.tif").write_bytes(b"half")
    assert sorted(kinds(worked)) == ["mask unknown"] * 3 + ["unfinished file"]
    report = repair_project(worked)
    assert report.left == [] and looked_at(worked, 5)[0] is State.DRAFT
    assert sorted(p.name for p in (worked / "set-aside").iterdir()) == ["000001-copy.tif", "holiday.jpg"]
    assert looked_at(worked, 1)[0] is State.APPROVED


@pytest.mark.parametrize("damage", ["gone", "zeros", "cut", "page"])
def test_a_database_comes_back_from_its_copy_with_what_was_drawn_since(worked, damage):
    store = ProjectStore(worked)
    store.save_draft(5, outline(rows=(4, 9)))
    store.save_draft(2, outline(rows=(1, 6)))
    store.database.close()  # without the copy that closing makes
    store._lock.release(closed=False)
    path = worked / "project.sqlite"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "zeros":
        path.write_bytes(bytes(len(content)))
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:8192] + b"\xff" * 4096 + content[12288:])
    assert kinds(worked) == ["database"]
    if damage != "page":  # which is not seen before it is read
        with pytest.raises(ProjectError, match="project repair"):
            ProjectStore(worked)
    report = repair_project(worked)
    assert "came back from the copy" in report.done[0] and report.left == []
    assert looked_at(worked, 1)[0] is State.APPROVED and looked_at(worked, 3)[0] is State.ABSENT
    np.testing.assert_array_equal(looked_at(worked, 5)[1], outline(rows=(4, 9)).mask)
    np.testing.assert_array_equal(looked_at(worked, 2)[1], outline(rows=(1, 6)).mask)
    kept = list(worked.glob("set-aside/project-*.sqlite"))
    assert len(kept) == (damage != "gone")


def test_without_a_copy_a_damaged_database_stays_as_it_is(worked):
    shutil.rmtree(worked / "backup")
    (worked / "project.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(ProjectError, match="no copy of it"):
        repair_project(worked)
    assert (worked / "project.sqlite").read_bytes() == b"damaged" * 1000


def test_scans_that_moved_or_changed_are_named_and_found(worked, tmp_path):
    scans = tmp_path / "scans"
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (scans / "scan1.png").rename(tmp_path / "deep" / "er" / "renamed.png")
    (scans / "scan2.png").unlink()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(scans / "scan3.png")
    with Image.open(scans / "scan4.png") as picture:
        picture.save(scans / "scan4.png", compress_level=0)  # other bytes, the same pixels
    found = check_project(worked)
    assert [f.kind for f in found] == ["scan missing", "scan missing", "scan changed", "scan changed"]
    assert "scan1.png" in found[0].sentence and str(scans) in found[0].sentence
    report = repair_project(worked, [tmp_path / "deep"])
    assert [(f.kind, f.id) for f in report.left] == [("scan missing", 2), ("scan changed", 3)]
    with ProjectStore(worked, read_only=True) as store:
        assert store.scan_path(1) == (tmp_path / "deep" / "er" / "renamed.png").resolve()
        assert store.case(1).split and store.case(1).states["polyp"] is State.APPROVED


def test_a_scan_that_was_changed_without_a_trace_is_found_by_a_deep_check(worked, tmp_path):
    path = tmp_path / "scans" / "scan5.png"
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert kinds(worked) == [] and kinds(worked, deep=True) == ["scan changed"]


def test_copies_that_nobody_knows_are_named(worked, tmp_path):
    with ProjectStore(worked) as store:
        Image.fromarray(np.eye(30, dtype=np.uint8)).save(tmp_path / "new.png")
        add_scans(store, [NewScan(tmp_path / "new.png")], copy=True)
    (worked / "scans" / "stranger.png").write_bytes(b"who")
    assert kinds(worked) == ["scan unknown"]
    report = repair_project(worked)
    assert [f.file for f in report.left] == ["scans/stranger.png"] and (worked / "scans" / "stranger.png").exists()


def test_a_state_without_its_mask_is_mended(worked):
    with ProjectStore(worked) as store, store.changing() as connection:
        connection.execute("UPDATE version SET lost = 1 WHERE id = (SELECT current_id FROM task WHERE scan_id = 1)")
        connection.execute("UPDATE task SET state = 'submitted' WHERE scan_id = 3")
    assert kinds(worked) == ["state", "state"]
    assert repair_project(worked).left == []
    assert looked_at(worked, 1)[0] is State.DRAFT and looked_at(worked, 3)[0] is State.ABSENT


def test_a_project_that_is_open_elsewhere_is_checked_but_not_repaired(worked):
    with ProjectStore(worked) as store:
        store.save_draft(5, outline())
        assert kinds(worked) == []
        with pytest.raises(ProjectInUse):
            repair_project(worked)
    with pytest.raises(ProjectError, match="There is no folder"):
        check_project(worked / "nowhere")
