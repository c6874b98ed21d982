"""Which outlines a training would use, and what is wrong with them before it starts."""

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.improve.cases import check_scans, choose_cases, too_few
from napari_medvlsm.core.projects.states import State
from tests.core.projects.conftest import outline


def kinds(findings):
    return {finding.kind: finding for finding in findings}


def test_finished_outlines_are_chosen_with_what_is_known_of_them(store):
    chosen = choose_cases(store)
    assert len(chosen.cases) == 12 and chosen.targets == ("polyp",)
    assert (chosen.count(absent=True), sum(case.assisted for case in chosen.cases)) == (1, 4)
    assert sum(chosen.scans(split) for split in ("train", "val", "test")) == 12
    assert {c.pixels_hash for c in chosen.cases} == {case.pixels_hash for case in store.cases()}
    assert [f.kind for f in chosen.findings] == ["few-holdout"] and not chosen.findings[0].stops
    store.reopen(chosen.cases[0].case_id, "polyp")
    assert len(choose_cases(store).cases) == 11
    assert choose_cases(store, {State.APPROVED}).findings[0].kind == "nothing"


def test_a_person_leaves_single_scans_out_but_none_of_the_hold_out(store):
    train, held_out = (next(case for case in store.cases() if case.split == split) for split in ("train", "test"))
    chosen = choose_cases(store, without={train.id})
    assert train.id not in {case.case_id for case in chosen.cases} and len(chosen.cases) == 11
    assert not any(finding.stops for finding in chosen.findings)
    found = kinds(choose_cases(store, without={held_out.id}).findings)["held-out-left-out"]
    assert found.stops and found.case_id == held_out.id and held_out.name in found.sentence


def test_too_few_scans_and_a_validation_without_the_target_stop(store):
    for case in store.cases():
        if case.split == "train" or case.states["polyp"] is State.ABSENT:
            store.reopen(case.id, "polyp")
        elif case.split == "val":
            store.reopen(case.id, "polyp")
            store.mark_absent(case.id, "polyp")
    found = kinds(choose_cases(store).findings)
    assert found["too-few"].stops and found["no-validation"].stops and not found["few-holdout"].stops


def test_a_hold_out_is_counted_by_what_it_shows_and_by_patients():
    assert too_few(10, 10, 5) == ""
    assert "has 9 scans" in too_few(9, 9, 9) and "has no scan," in too_few(0, 0, 0)
    assert too_few(12, 1, 1).startswith("1 of the 12 scans of the hold-out shows")
    assert too_few(12, 0, 0).startswith("none of the 12")
    assert "of one patient or sequence" in too_few(30, 30, 1)


def test_a_target_that_validation_or_hold_out_lack_is_named(store):
    case = next(case for case in store.cases() if case.split == "train")
    store.submit(case.id, "fold", outline("fold"))
    found = kinds(choose_cases(store).findings)
    assert found["target-not-validated"].target == found["target-not-held-out"].target == "fold"
    assert "fold" in found["target-not-held-out"].sentence and not found["target-not-validated"].stops


def test_what_is_wrong_with_a_scan_names_it(store, tmp_path):
    chosen = choose_cases(store)
    assert check_scans(store, chosen.cases) == []
    one, two, three, four = (store.cases()[i] for i in range(4))
    (tmp_path / "scans" / one.name).unlink()
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / "scans" / two.name)
    (tmp_path / "scans" / three.name).write_bytes(b"no picture")
    (store.folder / store.current(four.id, "polyp").file).unlink()
    done = []
    found = check_scans(store, chosen.cases, progress=lambda number, of: done.append((number, of)))
    assert {(f.kind, f.case_id) for f in found} == {
        ("scan-missing", one.id),
        ("scan-changed", two.id),
        ("scan-missing", three.id),
        ("outline-missing", four.id),
    }
    assert all(f.stops and f.sentence.endswith((".", ".'")) for f in found) and done[-1] == (12, 12)


def test_a_hold_out_scan_that_the_base_saw_stops(store):
    chosen = choose_cases(store)
    held_out = next(case for case in chosen.cases if case.split == "test")
    trained = next(case for case in chosen.cases if case.split == "train")
    found = check_scans(store, chosen.cases, {held_out.pixels_hash: "clinic 2", trained.pixels_hash: "clinic 2"})
    assert [(f.kind, f.case_id) for f in found] == [("held-out-seen", held_out.case_id)]
    assert "clinic 2" in found[0].sentence


@pytest.mark.parametrize("scans", [3, 4, 9, 10, 24, 60])
def test_one_scan_in_five_is_held_out_and_at_least_five_where_there_are_ten(scans):
    from napari_medvlsm.core.projects.holdout import wanted

    held_out, _ = wanted(scans)
    assert held_out >= scans / 5 and (held_out >= 5 or scans < 10) and held_out < scans
