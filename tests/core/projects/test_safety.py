"""Disks that fill, folders that cannot be written or vanish, clocks that are set back, programs that are killed."""

import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.core.projects import outlines
from napari_medvlsm.core.projects.check import check_project
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.files import write_mask
from napari_medvlsm.core.projects.lock import HOLDER_FILE
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from tests.core.projects.conftest import outline

ROOT = Path(__file__).parents[3]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and rights of POSIX")


def crash(store):
    """Leave a project as a killed program does: nothing is closed in order."""
    store.database.close()
    store._lock.release(closed=False)


@posix
def test_twenty_programs_that_are_killed_lose_nothing():
    done = subprocess.run(
        [sys.executable, "tests/bench/kill_projects.py", "--kills", "20", "--seed", "4", "--longest", "0.12"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "20 kills, 0 with faults" in done.stdout, done.stdout + done.stderr


def test_a_mask_without_a_row_is_recovered_and_half_a_file_goes(folder):
    store = ProjectStore(folder, person="Ann")
    store.save_draft(1, outline(rows=(2, 8)))
    stored = write_mask(store.folder, 1, outline(rows=(2, 20)))
    write_mask(store.folder, 2, outline(absent=True))
    half = folder / "masks" / "000001" / ".0123456789abcdef-x1y2z3_a.tif"
    half.write_bytes(b"II*\0half")
    (folder / "masks" / "notes.txt").write_text("mine")
    crash(store)
    with ProjectStore(folder) as store:
        assert "was not closed" in store.notices[0] and "by Ann on" in store.notices[0]
        assert sum("recovered" in notice for notice in store.notices) == 2
        assert store.current(1, "polyp").file == stored.file and len(store.versions(1, "polyp")) == 2
        assert store.case(2).states["polyp"] is State.ABSENT
        assert not half.exists() and (folder / "masks" / "notes.txt").exists()
        assert store.events(1)[-1].what == "recovered"
    with ProjectStore(folder) as store:
        assert store.notices == []


def test_an_older_mask_without_a_row_never_replaces_a_newer_one(folder):
    store = ProjectStore(folder)
    stored = write_mask(store.folder, 1, outline(rows=(2, 20)))
    os.utime(folder / stored.file, (1e9, 1e9))
    store.save_draft(1, outline(rows=(2, 8)))
    store.submit(2, "polyp", outline())
    write_mask(store.folder, 2, outline(rows=(2, 21)))
    crash(store)
    with ProjectStore(folder) as store:
        np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline(rows=(2, 8)).mask)
        assert store.case(2).states["polyp"] is State.SUBMITTED
        np.testing.assert_array_equal(store.load(store.current(2, "polyp")).mask, outline().mask)
        assert len(store.versions(1, "polyp")) == len(store.versions(2, "polyp")) == 2
    assert check_project(folder) == []


def test_a_draft_that_was_written_over_is_not_taken_for_a_lost_one(folder):
    store = ProjectStore(folder)
    first = store.save_draft(1, outline(rows=(2, 8)))
    kept = (folder / first.file).read_bytes()
    store.save_draft(1, outline(rows=(2, 9)))
    (folder / first.file).write_bytes(kept)  # killed between the commit and the removal
    crash(store)
    with ProjectStore(folder) as store:
        assert len(store.versions(1, "polyp")) == 1 and not (folder / first.file).exists()
    assert check_project(folder) == []


@pytest.mark.parametrize("read_only", [True, False])
def test_a_write_that_was_cut_off_is_taken_back(folder, read_only):
    """A journal that is left over says what to take back: the database of before is there again."""
    code = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN IMMEDIATE')\n"
        "c.execute(\"UPDATE scan SET search = hex(randomblob(20000)), name = 'lost'\")\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, folder / "project.sqlite"])
    assert (folder / "project.sqlite-journal").stat().st_size > 0
    with ProjectStore(folder, read_only=read_only) as store:
        assert store.cases()[0].name == "scan1.png"
    assert (folder / "project.sqlite-journal").exists() is read_only


@posix
def test_a_folder_that_cannot_be_written_is_read_and_said(folder):
    with ProjectStore(folder) as store:
        store.submit(1, "polyp", outline())
    every = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in every}
    root = os.geteuid() == 0
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in folder.parents:
        if parent.stat().st_mode & 0o055 != 0o055:
            modes[parent] = parent.stat().st_mode
            parent.chmod(0o755)
    try:
        if root:  # whom no rights stop
            os.seteuid(65534)
        with pytest.raises(ProjectError, match="cannot be written to"):
            ProjectStore(folder)
        with ProjectStore(folder, read_only=True) as store:
            assert store.load(store.current(1, "polyp")).mask.any()
        assert check_project(folder) == []
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
    ProjectStore(folder).close()


@posix
def test_a_full_disk_keeps_what_was_there_and_says_so(folder):
    """No file may grow beyond a limit, which is what a full disk looks like to a program."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from napari_medvlsm.core.annotation import Annotation\n"
        "from napari_medvlsm.core.projects.store import ProjectStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = ProjectStore(Path(sys.argv[1]))\n"
        "noise = np.random.default_rng(0).random((24, 32)) > 0.5\n"
        "small = Annotation('polyp', noise, corrected=True)\n"
        "store.save_draft(1, small)\n"
        "for limit in (100, 30_000):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    for target in ['polyp', *(f'target {i}' * 300 for i in range(9))]:\n"
        "        try: store.save_draft(1, Annotation(target, ~noise, corrected=True))\n"
        "        except ValueError as error: print(error); break\n"
        "    else: print(limit, 'nothing failed')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "store.save_draft(2, small); store.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 2 and all(line.startswith("Not ") for line in told)
    assert "is full" in told[0]
    assert check_project(folder) == []
    with ProjectStore(folder) as store:
        assert store.notices == [] and store.case(2).state is State.DRAFT
        assert store.load(store.current(1, "polyp")).mask.any()


def test_a_copy_that_cannot_be_made_keeps_nobody_from_working(folder):
    shutil.rmtree(folder / "backup")
    (folder / "backup").write_text("in the way")
    store = ProjectStore(folder)
    store.save_draft(1, outline())
    crash(store)
    with ProjectStore(folder) as store:
        assert any("Not backed up" in notice for notice in store.notices)
        store.submit(1, "polyp")
    with ProjectStore(folder) as store:
        assert store.notices == [] and store.case(1).state is State.SUBMITTED


def test_a_folder_that_vanishes_and_comes_back_goes_on(folder):
    with ProjectStore(folder, person="Ann") as store:
        store.save_draft(1, outline(rows=(2, 8)))
        folder.rename(folder.with_name("away"))
        with pytest.raises(ProjectError, match="cannot be reached"):
            store.save_draft(1, outline(rows=(2, 9)))
        folder.mkdir()  # as an empty place where a drive was
        with pytest.raises(ProjectError):
            store.save_draft(1, outline(rows=(2, 9)))
        assert list(folder.rglob("*.tif")) == []
        shutil.rmtree(folder)
        folder.with_name("away").rename(folder)
        store.save_draft(1, outline(rows=(2, 10)))
        np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline(rows=(2, 10)).mask)
        assert len(store.notices) == 1 and "opened anew" in store.notices[0]
    assert check_project(folder) == [] and not (folder / HOLDER_FILE).exists()


def test_another_project_in_the_place_of_this_one_is_not_written_to(folder, tmp_path):
    from napari_medvlsm.core.projects.folder import create_project

    with ProjectStore(folder) as store:
        folder.rename(tmp_path / "away")
        with pytest.raises(ProjectError):
            store.save_draft(1, outline())
        create_project(folder, ["fold"])
        with pytest.raises(ProjectError, match="Another project"):
            store.save_draft(1, outline())
    with ProjectStore(folder) as store:
        assert store.cases() == [] and not list(folder.rglob("*.tif"))


def test_a_clock_that_is_set_back_is_said_and_the_order_stays(folder, monkeypatch):
    with ProjectStore(folder) as store:
        store.save_draft(1, outline(rows=(2, 8)))
        store.submit(1, "polyp")
        ahead = (datetime.now(UTC) + timedelta(hours=5)).isoformat(timespec="milliseconds")
        with monkeypatch.context() as patched:
            patched.setattr(outlines, "now", lambda: ahead)
            store.approve(1, "polyp")
    with ProjectStore(folder) as store:
        assert len(store.notices) == 1 and "minutes behind" in store.notices[0]
        store.reopen(1, "polyp")
        assert [e.what for e in store.events(1)] == ["drawn", "submitted", "approved", "reopened"]
        store.save_draft(1, outline(rows=(2, 9)))
        assert store.current(1, "polyp").number == 2


def test_a_lock_that_a_killed_program_left_is_taken_over(folder):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from napari_medvlsm.core.projects.store import ProjectStore\n"
        "ProjectStore(Path(sys.argv[1]), person='Eve'); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, folder])
    assert (folder / HOLDER_FILE).exists()
    with ProjectStore(folder) as store:
        assert "by Eve on" in store.notices[0]
        store.save_draft(1, outline())
    (folder / HOLDER_FILE).write_text("{damaged")
    with ProjectStore(folder) as store:
        assert "an unknown computer" in store.notices[0]


def test_threads_draw_and_look_at_the_same_time(store):
    from concurrent.futures import ThreadPoolExecutor

    def draw(case):
        for rows in range(4, 14):
            store.save_draft(case, outline(rows=(2, rows)))
        return store.current(case, "polyp").foreground

    def look(_):
        return [len(store.cases()) for _ in range(10)]

    with ThreadPoolExecutor(6) as pool:
        drawn, looked = pool.map(draw, range(1, 5)), pool.map(look, range(2))
        assert list(drawn) == [11 * 8] * 4 and list(looked) == [[6] * 10] * 2
    assert check_project(store.folder) == []


def test_the_journal_is_never_a_write_ahead_log(store):
    assert store.database.value("PRAGMA journal_mode") == "delete"
    assert store.database.value("PRAGMA synchronous") == 2 and store.database.value("PRAGMA foreign_keys") == 1
    with pytest.raises(ProjectError), store.changing() as connection:
        connection.execute("UPDATE scan SET group_id = 99999")
    assert sqlite3.connect(store.folder / "backup" / "project.sqlite").execute("SELECT 1").fetchone()
