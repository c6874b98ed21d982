"""Corrections on disk: what an earlier session left is offered, and nothing replaces it by less."""

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
