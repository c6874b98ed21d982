"""Which of two models came nearer to what was accepted, on the same scans."""

import math

import pytest

from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.agreement import compare, read_agreements
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.store import ProjectStore
from tests.core.projects.conftest import outline, write_scans

HELD_OUT = range(1, 9)


@pytest.fixture
def store(tmp_path):
    """Sixteen scans: eight held out, six for training that stand alone (9 to 14), two of one patient (15 and 16)."""
    create_project(tmp_path / "p", ["polyp"])
    write_scans(tmp_path / "s", 16)
    scans = [
        NewScan(
            tmp_path / "s" / f"scan{i}.png",
            group="patient" if i > 14 else f"alone {i}",
            split="test" if i in HELD_OUT else "train",
        )
        for i in range(1, 17)
    ]
    with ProjectStore(tmp_path / "p", person="Ann") as opened:
        assert add_scans(opened, scans).added == list(range(1, 17))
        yield opened


def predict(store, case, model, rows):
    store.save_prediction(case, outline(rows=rows, corrected=False, model=model, weights_hash=model * 8))


def accept(store, case, rows=(4, 12), began_from=""):
    prediction = outline(rows=rows).mask if began_from else None
    store.submit(
        case, "polyp", outline(rows=rows, prediction=prediction, model=began_from, weights_hash=began_from * 8)
    )


def test_dice_is_paired_by_scan_and_the_interval_says_how_sure(store):
    for case in HELD_OUT:
        accept(store, case)  # blind
        predict(store, case, "old", (4, 9 + case % 3))
        predict(store, case, "new", (4, 12) if case > 1 else (4, 8))
    (found,) = compare(read_agreements(store))
    assert (found.first, found.second, found.left_out) == ("old oldoldol", "new newnewne", 0)
    # Of 8 rows 5, 6 or 7 were predicted: Dice 2 * 5 / 13, and so on; of the first scan 6 by the old one, 4 by the new.
    old = [2 * r / (8 + r) for r in (5 + case % 3 for case in HELD_OUT)]
    new = [8 / 12] + [1] * 7
    assert found.dice.first == pytest.approx(sum(old) / 8) and found.dice.second == pytest.approx(sum(new) / 8)
    gain = found.dice.difference
    assert gain.mean == pytest.approx(found.dice.second - found.dice.first) and gain.low < gain.mean < gain.high
    assert (found.dice.wins, found.dice.losses, found.favoured) == (7, 1, (0, 0))
    assert "on the same 8 scans" in found.sentence and "better on 7, worse on 1" in found.sentence
    (back,) = compare(read_agreements(store), found.second, found.first)
    assert back.dice.difference.mean == pytest.approx(-gain.mean)
    assert compare(read_agreements(store), found.second, found.second) == []
    assert compare(read_agreements(store), found.second, "other") == [] and read_agreements(store, "fold") == []


def test_a_scan_that_a_model_may_have_learned_from_is_left_out(store):
    for case in range(9, 17):
        predict(store, case, "old", (4, 11))
    for case in range(9, 14):
        predict(store, case, "new", (4, 12))
        accept(store, case)
    accept(store, 14)
    predict(store, 14, "new", (4, 12))
    accept(store, 15)
    predict(store, 16, "new", (4, 12))  # after another scan of the same patient
    accept(store, 16)
    (found,) = compare(read_agreements(store))
    assert found.dice.difference.cases == 5 and found.left_out == 2 and found.dice.wins == 5
    assert "came nearer" in found.sentence and "may have learned from them: 2 more" in found.sentence
    # What it said before is fair, whatever it says later.
    predict(store, 9, "new", (4, 6))
    assert compare(read_agreements(store))[0].dice == found.dice


def test_absent_targets_count_apart_and_a_head_start_is_told(store):
    for case in HELD_OUT:
        predict(store, case, "old", (4, 10))
        predict(store, case, "new", (4, 10) if case < 4 else None)
    for case in (1, 2, 3, 4):
        accept(store, case, (4, 10) if case < 4 else (4, 12), began_from="old" if case == 1 else "")
    store.mark_absent(5, "polyp")
    store.mark_absent(6, "polyp")
    (found,) = compare(read_agreements(store))
    assert (found.absent, found.absent_first, found.absent_second) == (2, 2, 0)
    assert found.dice.difference.cases == 4 and math.isclose(found.dice.first, (3 + 12 / 14) / 4)
    assert "too few to tell" in found.sentence
    assert "Of 2 scans without it, new newnewne outlined something on 0 and old oldoldol on 2." in found.sentence
    assert found.favoured == (1, 0) and "favour it: old oldoldol (1)." in found.sentence
