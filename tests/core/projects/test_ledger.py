"""What outlines cost, and whether another model made that less."""

import csv
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from napari_medvlsm.core.projects.adding import add_scans, scans_in
from napari_medvlsm.core.projects.chart import draw_chart, save_chart
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.ledger import WITHOUT, did_it_help, read_ledger, summary, write_ledger
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.statistics import difference
from tests.core.projects.conftest import outline, write_scans


@pytest.fixture
def many(tmp_path):
    create_project(tmp_path / "p", ["polyp"])
    with ProjectStore(tmp_path / "p", person="Ann") as store:
        add_scans(store, list(scans_in(write_scans(tmp_path / "s", 24))))
        yield store


def outlined(store, case, model, seconds, rows=(4, 12), predicted=(4, 12), target="polyp"):
    """Accept an outline that began from a prediction of a model."""
    prediction = None if predicted is None else outline(rows=predicted).mask
    made = {"model": model, "weights_hash": model.encode().hex() * 8, "seconds": seconds, "strokes": 2, "clicks": 1}
    store.submit(case, target, outline(target, rows=rows, prediction=prediction, **made))


def test_the_ledger_says_what_each_accepted_outline_cost(many, tmp_path):
    outlined(many, 1, "old", 10, rows=(4, 10))
    outlined(many, 2, "old", 20)
    outlined(many, 3, "", 30, predicted=None)
    many.save_draft(4, outline())
    many.save_prediction(5, outline(corrected=False, model="old", weights_hash="ab" * 32))
    many.mark_absent(5, "polyp")
    first, second, third, absent = read_ledger(many.database)
    assert (first.seconds, first.strokes, first.clicks, first.pixels_changed) == (10, 2, 1, 16)
    assert first.dice == pytest.approx(96 / 112) and first.unchanged is False and first.assisted
    assert second.unchanged is True and second.dice == 1 and second.pixels_changed == 0
    assert third.dice is third.unchanged is None and third.pixels_changed == 64 and third.model_version == WITHOUT
    # "Nothing" where the model saw something: all of it was taken away.
    assert (absent.dice, absent.pixels_changed, absent.unchanged, absent.state) == (0, 64, False, "absent")
    assert absent.model_version == "old abababab"
    write_ledger(read_ledger(many.database), tmp_path / "l.csv")
    with (tmp_path / "l.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and rows[2]["dice"] == "" and rows[0]["case"] == "scan1.png" and rows[0]["person"] == ""


def test_means_by_model_count_what_is_known_only(many):
    outlined(many, 1, "old", 10, rows=(4, 10))
    outlined(many, 2, "old", 20)
    outlined(many, 3, "", 30, predicted=None)
    found = summary(read_ledger(many.database))
    old = found["old 6f6c646f"]
    assert old["seconds"].mean == 15 and old["accepted unchanged"].mean == 0.5 and old["Dice"].cases == 2
    assert found[WITHOUT]["seconds"].mean == 30 and math.isnan(found[WITHOUT]["Dice"].mean)


def test_a_model_that_saves_time_helped_and_the_interval_says_how_sure(many):
    for case in range(1, 13):
        outlined(many, case, "old", 30 + case, rows=(4, 10))
    for case in range(13, 25):
        outlined(many, case, "new", 10 + case / 10)
    (answer,) = did_it_help(read_ledger(many.database))
    assert answer.first.startswith("old ") and answer.second.startswith("new ") and answer.outlines == (12, 12)
    saved = answer.differences["seconds"]
    assert saved.low < saved.mean < saved.high < 0 and answer.differences["Dice"].mean > 0
    assert "it helped" in answer.sentence and f"{-saved.mean:.1f} s less" in answer.sentence
    (back,) = did_it_help(read_ledger(many.database), answer.second, answer.first)
    assert "did not help" in back.sentence and back.differences["seconds"].mean == -saved.mean


def test_chance_and_too_few_are_called_so(many):
    for case in range(1, 13):
        outlined(many, case, "old" if case % 2 else "new", 30 + case // 2 * (-1) ** (case // 2))
    (answer,) = did_it_help(read_ledger(many.database))
    assert "may be chance" in answer.sentence
    outlined(many, 20, "newest", 1)
    (answer,) = did_it_help(read_ledger(many.database))
    assert "too few to tell" in answer.sentence and answer.outlines[1] == 1


def test_targets_are_compared_each_by_itself(many):
    for case in range(1, 11):
        outlined(many, case, "old", 30 + case)
        outlined(many, case, "new", 10 + case, target="fold")
    with pytest.raises(ValueError, match="no outlines of 'other'"):
        did_it_help(read_ledger(many.database), "other", "new")
    assert did_it_help(read_ledger(many.database)) == []


def test_without_two_models_there_is_no_answer(many):
    with pytest.raises(ValueError, match="but there are none"):
        did_it_help(read_ledger(many.database))
    outlined(many, 1, "", 30, predicted=None)
    with pytest.raises(ValueError, match="without a model"):
        did_it_help(read_ledger(many.database))
    outlined(many, 2, "old", 10)
    assert did_it_help(read_ledger(many.database))[0].first == WITHOUT


# The interval --------------------------------------------------------------------------------------------------------


def test_a_difference_is_that_of_the_means_and_its_interval_covers_the_truth():
    """Of 200 draws with a true difference of 2, about 95 % of the intervals must hold it."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        first = [(value, f"a{i}") for i, value in enumerate(rng.normal(10, 3, 25))]
        second = [(value, f"b{i}") for i, value in enumerate(rng.normal(12, 3, 25))]
        found = difference(first, second, resamples=400)
        assert found.mean == pytest.approx(found.second - found.first)
        covered += found.low <= 2 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_groups_are_drawn_as_a_whole():
    """Ten scans of one patient tell hardly more than one: the interval is wider than that of ten patients."""
    rng = np.random.default_rng(1)
    patients = rng.normal(0, 3, 8)
    first = [(patients[i // 10] + rng.normal(0, 0.1), f"patient {i // 10}") for i in range(40)]
    second = [(patients[4 + i // 10] + rng.normal(0, 0.1), f"patient {4 + i // 10}") for i in range(40)]
    alone = [[(value, f"scan {i} of {id(side)}") for i, (value, _) in enumerate(side)] for side in (first, second)]
    wide, narrow = difference(first, second), difference(*alone)
    assert wide.mean == pytest.approx(narrow.mean) and wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_side_without_values_or_of_one_group_has_no_interval():
    one = [(1.0, "a"), (2.0, "a")]
    assert math.isnan(difference(one, [(3.0, "b"), (4.0, "c")]).low) and difference(one, one[:1]).mean == -0.5
    empty = difference(one, [(math.nan, "b")])
    assert empty.first == 1.5 and math.isnan(empty.mean) and math.isnan(empty.second)


def test_a_chart_shows_every_outline_in_the_order_of_work_and_each_models_mean(many, tmp_path):
    for case in range(1, 7):
        outlined(many, case, "old" if case < 4 else "new", 10 * case)
    outlined(many, 7, "", 5, predicted=None)
    figure = Figure()
    ledger = read_ledger(many.database)
    assert [effort.case_id for effort in draw_chart(figure, ledger, "seconds")] == list(range(1, 8))
    time, means = figure.axes
    assert [list(line.get_ydata()) for line in time.lines] == [[10, 20, 30], [40, 50, 60], [5]]
    assert [bars.lines[0].get_ydata()[0] for bars in means.containers] == [20, 50, 5]
    # Without a prediction there is no Dice, so that outline is left out.
    assert len(draw_chart(figure, ledger, "Dice")) == 6 and draw_chart(figure, [], "Dice") == []
    save_chart(ledger, "strokes", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
