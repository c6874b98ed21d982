"""Corrections on disk: what an earlier session left is offered, and nothing replaces it by less."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.io.autosave import EARLIER_STATES, AutosaveStore
from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.io.settings import Settings

DATA = Path(__file__).parents[1] / "data"


def correction(mask, target="polyp", scan_hash="abc", **more):
    return Annotation(target, np.asarray(mask, bool), corrected=True, provenance=Provenance(scan_hash), **more)


def square(side):
    mask = np.zeros((20, 20), bool)
    mask[:side, :side] = True
    return mask


def areas(folder):
    return sorted(int(load_mask(path).mask.sum()) for path in folder.glob("*.tif"))


def test_only_what_earlier_sessions_left_is_offered(tmp_path, rng):
    mask = rng.random((8, 9)) > 0.5
    first = AutosaveStore(tmp_path)
    first.save(correction(mask, "left lung"))
    assert first.find("abc") == []
    second = AutosaveStore(tmp_path)
    assert second.find("abc") == [], "the first session still runs"
    first.close()
    second.save(correction(~mask, "left lung"))
    (found,) = second.find("abc")
    assert found.target == "left lung"
    np.testing.assert_array_equal(second.load(found).mask, mask)
    (tmp_path / "abc-x-y.tif").write_bytes(b"broken")
    assert len(second.find("abc")) == 1 and second.find("other") == []
    second.discard(found)
    assert second.find("abc") == []
    second.close()
    assert AutosaveStore(tmp_path).find("abc")


def test_a_killed_session_leaves_its_correction_to_the_next(tmp_path):
    code = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from napari_medvlsm.core.annotation import Annotation, Provenance\n"
        "from napari_medvlsm.core.io.autosave import AutosaveStore\n"
        "made = Annotation('polyp', np.eye(5) > 0, provenance=Provenance('abc'))\n"
        "AutosaveStore(Path(sys.argv[1])).save(made); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (found,) = AutosaveStore(tmp_path).find("abc")
    assert found.target == "polyp"


def test_files_from_before_the_schema_are_offered(tmp_path):
    shutil.copy(DATA / "autosave_schema_1.tif", tmp_path / f"{'cd' * 16}-0123456789ab-0011aabb.tif")
    store = AutosaveStore(tmp_path)
    (found,) = store.find("cd" * 16)
    back = store.load(found)
    assert found.target == back.target == "foot ulcer" and back.corrected and back.mask.sum() == 15
    assert back.provenance.prompt is None


def test_a_state_is_kept_before_less_than_half_of_it_replaces_it(tmp_path):
    store = AutosaveStore(tmp_path)
    for side in (10, 9, 8):
        store.save(correction(square(side)))
    assert areas(tmp_path) == [64], "what a stroke takes away is no loss"
    store.save(correction(square(2)))
    assert areas(tmp_path) == [4, 64]
    store.save(correction(square(0)))
    assert areas(tmp_path) == [4, 64], "an empty mask is not stored"
    store.save(correction(square(0), absent=True))
    assert areas(tmp_path) == [0, 4, 64], "that there is nothing is an answer, which is"
    store.close()
    later = AutosaveStore(tmp_path)
    found = later.find("abc")
    assert len(found) == 3 and sum(later.load(entry).absent for entry in found) == 1
    store.forget("abc", "polyp")
    assert areas(tmp_path) == []


def test_an_untouched_prediction_is_not_kept(tmp_path):
    store = AutosaveStore(tmp_path)
    store.save(correction(square(10), prediction=square(10)))
    store.save(correction(square(0)))
    assert areas(tmp_path) == []


def test_earlier_states_are_bounded(tmp_path):
    store = AutosaveStore(tmp_path)
    for i in range(EARLIER_STATES + 4):
        store.save(correction(square(i + 1)))
        kept = store.set_aside("abc", "polyp")
        assert load_mask(kept).mask.sum() == (i + 1) ** 2
    assert areas(tmp_path) == [(i + 1) ** 2 for i in range(4, EARLIER_STATES + 4)], "the oldest goes first"
    assert store.set_aside("abc", "polyp") is None


def test_the_name_of_the_author_is_remembered(tmp_path):
    settings = Settings(tmp_path / "config" / "settings.json")
    assert settings.author == "", "never that of the system's user"
    settings.set_author("  Dr. Ada \u00c4. ")
    assert Settings(settings.path).author == settings.author == "Dr. Ada \u00c4."
    settings.set_author("")
    assert Settings(settings.path).author == ""


@pytest.mark.parametrize("text", ["", "[1]", "{broken", '{"author": null}', "[" * 100_000])
def test_damaged_settings_are_as_none(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    assert Settings(tmp_path / "settings.json").author == ""


def test_the_newest_is_told_by_revisions_and_not_by_the_clock(tmp_path):
    for number, side in enumerate((5, 6, 7)):
        store = AutosaveStore(tmp_path)
        store.save(correction(square(side)))
        store.close()
        for path in tmp_path.glob(f"*{store.session_id}.tif"):
            # Each later session runs at an earlier time of a clock that was set back.
            os.utime(path, (2e9 - 1000 * number,) * 2)
    later = AutosaveStore(tmp_path)
    found = later.find("abc")
    assert [later.load(entry).mask.sum() for entry in found] == [49, 36, 25]
    assert [entry.revision for entry in found] == [3, 2, 1]
    shutil.copy(DATA / "autosave_schema_1.tif", tmp_path / "abc-0123456789ab-0011aabb.tif")
    assert later.find("abc")[-1].target == "foot ulcer", "a file from before there were revisions is the oldest"


def test_two_windows_keep_the_settings_of_both(tmp_path):
    path = tmp_path / "settings.json"
    one, other = Settings(path), Settings(path)
    other.set_author("Ada")
    other.set_folder("scans", str(tmp_path))
    one.remember("project", "mine")
    assert one.author == "", "what another window says of itself is not said of this one"
    after = Settings(path)
    assert (after.author, after.folder("scans"), after.recall("project")) == ("Ada", str(tmp_path), "mine")


@pytest.mark.skipif(sys.platform == "win32", reason="the user's own folder is private by its access list")
def test_only_the_user_may_look_into_the_folder(tmp_path):
    folder = tmp_path / "data" / "autosave"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    old = folder / "abc-0123456789ab-0011aabb.tif"
    shutil.copy(DATA / "autosave_schema_1.tif", old)
    old.chmod(0o644)
    store = AutosaveStore(folder)
    store.save(correction(square(5)))
    store.save(correction(square(1)))  # keeps the state before it
    assert folder.stat().st_mode & 0o777 == 0o700
    inside = list(folder.iterdir())
    assert len(inside) == 4 and {path.stat().st_mode & 0o777 for path in inside} == {0o600}
    fresh = AutosaveStore(tmp_path / "fresh")
    fresh.save(correction(square(5)))
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o700


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path):
    running = AutosaveStore(tmp_path)
    running.save(correction(square(5), scan_hash="ab" * 16))
    (stored,) = tmp_path.glob("*.tif")
    of_the_running = tmp_path / f".{stored.stem[-40:]}-abcd_123.tif"
    of_the_dead = tmp_path / f".{'cd' * 9}-0123456789ab-0011aabb-abcd_123.tif"
    of_an_earlier_version = tmp_path / f".{'cd' * 16}-0123456-abcd_123.tif"
    foreign = tmp_path / ".directory"
    for path in (of_the_running, of_the_dead, of_an_earlier_version, foreign):
        path.write_bytes(b"half")
    AutosaveStore(tmp_path).find("cd" * 16)
    assert of_the_running.exists() and foreign.exists() and not of_the_dead.exists()
    assert of_an_earlier_version.exists(), "it may be that of the session that runs"
    running.close()
    AutosaveStore(tmp_path).save(correction(square(5)))
    assert not of_an_earlier_version.exists() and not of_the_running.exists()
    assert foreign.exists() and stored.exists()


def test_a_folder_deleted_meanwhile_is_made_again_with_its_lock(tmp_path):
    store = AutosaveStore(tmp_path / "autosave")
    store.save(correction(square(5)))
    shutil.rmtree(store.folder)
    store.save(correction(square(6)))
    assert AutosaveStore(store.folder).find("abc") == [], "it still runs"
    store.close()
    assert len(AutosaveStore(store.folder).find("abc")) == 1


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.disk_errors import reason
store = AutosaveStore(Path(sys.argv[1]))
def save(seed, part):
    mask = np.random.default_rng(seed).random((300, 300)) < part
    store.save(Annotation("polyp", mask, True, provenance=Provenance("abc")))
save(1, 0.5)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
for seed, part in ((2, 0.5), (3, 0.1)):
    try:
        save(seed, part)
        print("written")
    except OSError as error:
        print(reason(error))
resource.setrlimit(resource.RLIMIT_FSIZE, before)
save(4, 0.5)
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_disk_without_room_loses_nothing_and_is_said_in_words(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["the file is larger than this disk, or a limit of this computer, allows"] * 2
    store = AutosaveStore(tmp_path)
    # The first was set aside for the third, which would have left less than half of it.
    masks = [store.load(entry).mask for entry in store.find("abc")]
    expected = [np.random.default_rng(seed).random((300, 300)) < 0.5 for seed in (4, 1)]
    assert len(masks) == 2 and all(np.array_equal(a, b) for a, b in zip(masks, expected, strict=True))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
