"""What the tab "Improve" says, from real plans and results."""

import platform
from dataclasses import replace

from napari_medvlsm.controllers.improve_words import (
    ALIKE,
    BETTER,
    WORSE,
    before_and_after,
    by_target,
    how_far,
    learned_from,
    time_left,
)
from napari_medvlsm.controllers.round_watch import RoundView
from napari_medvlsm.core.improve.cases import Chosen
from napari_medvlsm.core.improve.plan import RECIPE, Base, Plan
from napari_medvlsm.core.improve.rounds import Progress, Round, RoundState
from napari_medvlsm.core.projects.states import State
from tests.core.improve.test_verdict import case, dice, judged, score

BASE = Base("starter", "starter", "ab" * 32, "wordunet")


def chosen(*splits, **more):
    return Chosen(tuple(replace(case(i), split=split, **more) for i, split in enumerate(splits)), ())


def test_what_is_learned_from_is_counted_by_what_it_is_for():
    assert learned_from(Chosen((), ())) == ""
    found = chosen("train", "train", "val", "test")
    assert learned_from(found) == (
        "The next model would learn from 2 scans with polyp. 1 scan is watched meanwhile, to stop at the best moment. "
        "It is judged on 1 scan that no model learns from."
    )
    assert by_target(found) == [("polyp", 2, 1, 1, 0)]
    other = replace(case(9), split="train", target="fold", absent=True, state=State.ABSENT)
    submitted = chosen("train", "test", state=State.SUBMITTED, assisted=True)
    told = learned_from(Chosen((*submitted.cases, other), ()))
    assert "2 scans (1 polyp, 1 without)" in told and "(1 of their outlines began from a prediction)" in told
    assert "2 of 3 outlines were not looked at by a second person yet." in told


def view(tmp_path, state=RoundState.RUNNING, **progress):
    plan = Plan(3, "2026-01-01T08:00:00+00:00", "Ada", BASE, BASE, RECIPE, (), (), "1")
    round_ = Round(tmp_path / "models" / "3", plan)
    return RoundView(round_, state, Progress(**{"stage": "training", "epochs": 80, **progress}), "The disk is full.")


def test_how_far_a_round_is_and_where_it_runs(tmp_path):
    here = view(tmp_path, epoch=4, best_dice=0.8123, seconds_left=600.0, computer=platform.node())
    assert how_far(here) == (
        "Model 3 is being trained: pass 5 through all scans, of at most 80. Best agreement with the watched scans so "
        "far: 0.81."
    )
    assert "pass 80 through all scans, of at most 80" in how_far(view(tmp_path, epoch=80)), "never one more than all"
    assert time_left(here) == "10 minutes left at most"
    assert how_far(view(tmp_path, computer="tower")).endswith("On the computer tower.")
    assert time_left(view(tmp_path, stage="measuring", seconds_left=9.0)) == ""
    assert how_far(view(tmp_path, RoundState.STOPPED, epoch=2, best_dice=0.5)).endswith(
        "what it learned is kept. Best agreement with the watched scans: 0.50."
    )
    assert "before its first pass was complete" in how_far(view(tmp_path, RoundState.STOPPED))
    failed = view(tmp_path, RoundState.FAILED)
    assert how_far(failed) == "The training of model 3 could not go on. The disk is full." and time_left(failed) == ""


def test_each_row_of_before_and_after_has_its_mark(tmp_path):
    def measured(gain, alarms):
        empty = [score(i, 0, present=False, outlined=0.2 if i < 12 + alarms else 0.0) for i in range(12, 16)]
        return [*dice(gain), *empty]

    cases = [replace(case(i), absent=i >= 12) for i in range(16)]
    rows = {row.what: row for row in before_and_after(judged(tmp_path, measured(0, 1), measured(0.2, 3), cases))}
    by_name, alarms = rows["Dice, asked by name"], rows["False alarms, nothing there"]
    assert (by_name.before, by_name.now, by_name.mark) == ("0.51", "0.71", BETTER) and "+0.20 (" in by_name.change
    assert (alarms.before, alarms.now, alarms.mark) == ("1 of 4", "3 of 4", WORSE)


def test_without_a_clear_difference_nothing_is_marked_and_of_few_scans_nothing_is_better(tmp_path):
    (alike,) = before_and_after(judged(tmp_path / "a", dice(0), dice(0)))
    assert alike.mark == ALIKE
    (hardly,) = before_and_after(judged(tmp_path / "d", dice(0.001), dice(0)))
    assert hardly.change.startswith("+0.00 (") and "-0.00" not in hardly.change
    (few,) = before_and_after(judged(tmp_path / "b", dice(0, 9), dice(0.4, 9)))
    assert few.mark == "" and few.now == "0.91"
    (worse,) = before_and_after(judged(tmp_path / "c", dice(0.4, 9), dice(0, 9)))
    assert worse.mark == WORSE, "what looks worse is said all the same"
