"""What the hold-out says, from results as `medvlsm evaluate` writes them."""

from dataclasses import replace

import pytest

from napari_medvlsm.core.improve.cases import TrainingCase
from napari_medvlsm.core.improve.sentences import details, not_measured, recommendation
from napari_medvlsm.core.improve.verdict import Advice, judge
from napari_medvlsm.core.models.store.card import KeptBase
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.runs.results import MeasuredSet, write_results
from napari_medvlsm.core.runs.scores import Measurements
from tests.core.runs.test_runs import ABOUT, SCORE

SETS = {name: MeasuredSet("test", "ab" * 32, 1, 0, "image") for name in ("data", "older")}


def case(i, assisted=False):
    name = f"{i:016x}"
    return TrainingCase(i, f"scan{i}.png", "", "test", "polyp", i, State.APPROVED, False, assisted, name + "0" * 48)


def score(i, dice, kind="class", present=True, outlined=0.1, set_="data", level="p1"):
    image = f"{i:016x}.png"
    return replace(
        SCORE, set=set_, case=f"{image}_polyp", image=image, group=str(i), target="polyp", kind=kind, level=level,
        dice=dice, present=present, predicted_fraction=outlined,
    )  # fmt: skip


def results(folder, scores):
    folder.mkdir(parents=True)
    sets = {name: facts for name, facts in SETS.items() if name in {s.set for s in scores}}
    write_results(folder, ABOUT, sets, Measurements(list(scores)))
    return folder


def judged(tmp_path, first, second, cases=None):
    cases = cases or [case(i) for i in range(20)]
    return judge(results(tmp_path / "before", first), results(tmp_path / "after", second), cases)


def dice(gain, number=12):
    """By-name scores that are a little different from case to case."""
    return [score(i, 0.5 + 0.01 * (i % 3) + gain) for i in range(number)]


def test_a_clear_gain_is_for_promoting_and_its_weakest_case_is_named(tmp_path):
    second = dice(0.2)
    second[3] = replace(second[3], dice=0.31)
    verdict = judged(tmp_path, dice(0), second)
    assert verdict.advice is Advice.PROMOTE and verdict.scans == 12
    assert (verdict.overall.wins, verdict.overall.losses) == (11, 1)
    assert verdict.worst.case.name == "scan3.png" and verdict.worst.gain == pytest.approx(-0.19)
    told = " ".join(details(verdict))
    assert "better in 11, worse in 1 of 12 cases" in told and "polyp in scan3.png, from 0.50 to 0.31" in told
    assert "promote it" in recommendation(verdict)


@pytest.mark.parametrize(("gain", "advice"), [(0.0, Advice.UNCLEAR), (-0.1, Advice.KEEP), (0.1, Advice.PROMOTE)])
def test_the_interval_decides(tmp_path, gain, advice):
    assert judged(tmp_path, dice(0), dice(gain)).advice is advice


def test_nine_scans_are_too_few_whatever_they_say(tmp_path):
    verdict = judged(tmp_path, dice(0, 9), dice(0.4, 9))
    assert verdict.advice is Advice.TOO_FEW and "the hold-out has 9 scans" in recommendation(verdict)


def test_scans_that_show_nothing_and_few_patients_do_not_make_a_verdict(tmp_path):
    def mostly_absent(gain):
        return [*dice(gain, 2), *(score(i, 1.0, present=False, outlined=0.0) for i in range(2, 14))]

    verdict = judged(tmp_path / "absent", mostly_absent(0), mostly_absent(0.4))
    assert verdict.scans == 14 and verdict.overall.difference.low > 0
    assert verdict.advice is Advice.TOO_FEW and "2 of the 14 scans of the hold-out show" in recommendation(verdict)

    def patients(gain, number):
        return [replace(found, group=f"patient {i % number}") for i, found in enumerate(dice(gain, 20))]

    one = judged(tmp_path / "one", patients(0, 1), patients(0.4, 1))
    assert one.advice is Advice.TOO_FEW and "are of one patient or sequence" in recommendation(one)
    four = judged(tmp_path / "four", patients(0, 4), patients(0.4, 4))
    assert four.advice is Advice.TOO_FEW and "are of 4 patients or sequences" in recommendation(four)
    assert judged(tmp_path / "five", patients(0, 5), patients(0.4, 5)).advice is Advice.PROMOTE


def test_what_no_scan_tells_of_is_named(tmp_path):
    older = [replace(score(i, 0.7, set_="older"), target="cell nuclei") for i in range(6)]
    verdict = judged(tmp_path, [*dice(0), *older], [*dice(0.2), *older])
    told = not_measured(verdict, ("polyp", "skin melanoma", "cell nuclei", "lungs"))
    assert told.startswith("Not measured, for want of scans: skin lesion, lungs. A model that learns something new may")
    assert not_measured(verdict, ("polyp", "cell nuclei")) == not_measured(verdict, ()) == ""
    kept = KeptBase("Starter", {"lungs": ("lungs",), "cell nuclei": ("cell nuclei",)}, {"polyp": ("polyp",)})
    told = not_measured(verdict, ("skin melanoma", "cell nuclei", "lungs"), kept)
    assert told.startswith("For lungs, the new model keeps Starter and asks that one: nothing is lost. Not measured")
    assert "want of scans: skin lesion. " in told


def test_a_model_that_listens_less_says_so(tmp_path):
    def listening(gain, margin):
        asked = [score(i, 0.8, "oracle", level="p6") for i in range(12)]
        return [*dice(gain), *asked, *(score(i, 0.8 - margin, "wrong side", level="p6") for i in range(12))]

    verdict = judged(tmp_path, listening(0, 0.6), listening(0.1, 0.1))
    assert verdict.advice is Advice.MIXED and verdict.losses == ("margin",)
    assert (verdict.margin.first, verdict.margin.second) == pytest.approx((0.6, 0.1))
    told = " ".join(details(verdict))
    assert "listens to the words less than before" in told and "+0.10 Dice, before by +0.60" in told
    assert "something else got worse" in recommendation(verdict)


def test_false_positives_and_forgetting_are_said(tmp_path):
    def absent(gain, outlined, older):
        return [
            *dice(gain),
            *(score(i, 1.0, present=False, outlined=0.2 if i < outlined + 30 else 0.0) for i in range(30, 34)),
            *(score(50 + i, older + 0.01 * (i % 2), set_="older") for i in range(6)),
        ]

    verdict = judged(tmp_path, absent(0, 1, 0.7), absent(0.1, 3, 0.4))
    assert (verdict.absent.cases, verdict.absent.first, verdict.absent.second) == (4, 1, 3)
    assert verdict.scans == 16 and verdict.overall.difference.cases == 12
    assert verdict.losses == ("absent", "polyp") and verdict.advice is Advice.MIXED
    told = " ".join(details(verdict))
    assert "outlined something on 3, before on 1: more than before" in told and "forgot it" in told


def test_blind_and_assisted_outlines_are_told_apart(tmp_path):
    cases = [case(i, assisted=i >= 10) for i in range(20)]
    first, second = dice(0, 20), [*dice(-0.1, 10), *dice(0.3, 20)[10:]]
    verdict = judged(tmp_path, first, second, cases)
    assert verdict.blind.difference.cases == verdict.assisted.difference.cases == 10
    assert verdict.overall.difference.mean > 0 > verdict.blind.difference.mean
    assert verdict.advice is Advice.KEEP, "ten blind outlines decide"
    assert "10 outlines of the hold-out began from a prediction" in " ".join(details(verdict))


def test_results_of_other_cases_are_refused(tmp_path):
    with pytest.raises(ValueError, match="none of this round"):
        judged(tmp_path, dice(0), dice(0.1), [case(i) for i in range(5)])
