import numpy as np
import pytest

from napari_medvlsm.controllers.comparison import Comparer
from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.prompts import Attributes
from napari_medvlsm.core.prompts.variants import Contrast


@pytest.fixture
def comparer(session, scan, wire):
    session.view.choose(scan())
    wire.done(wire.sent[-1][0]["id"])
    return Comparer(session)


def sides(text, size):
    """The left is certain for a polyp, the right for one on the right; nothing else is seen, but little by 100."""
    probability = np.full(size, 100 if "polyp" in text else 0)
    half = size[1] // 2
    if "polyp" in text:
        probability[:, half:] = 240 if "right" in text else 0
        probability[:, :half] = 0 if "right" in text else 240
    return probability


def segment(session, wire, outline=sides, effect=True):
    """Segment, and with `effect` answer the comparison that follows."""
    session.segment()
    wire.answer(outline)
    if effect:
        wire.answer(outline)


def test_every_answer_is_followed_by_its_contrasts(session, comparer, wire, heard):
    changes = heard(comparer.effect_changed)
    session.choose(target="polyp")
    segment(session, wire, effect=False)
    assert comparer.effect is None and session.engine.state is EngineState.COMPARING
    request = wire.asked[-1]
    assert request["prompts"] == [
        "polyp",
        "",
        "polyp, located in the right of the image",
        "tiny polyp",
        "stomach ulcer",
    ]
    assert request["size"] == (12, 15)
    changes.clear()
    wire.answer(sides)
    assert len(changes) == 1 and session.engine.state is EngineState.READY
    assert comparer.effect.changes == {
        Contrast.EMPTY: 1,
        Contrast.WRONG_SIDE: 1,
        Contrast.WRONG_SIZE: 0,
        Contrast.OTHER_TARGET: 1,
    }
    assert comparer.effect.steered and session.result.target == "polyp"


def test_a_comparison_says_which_one_the_opposite_side_picks(session, comparer, wire, heard):
    found = heard(comparer.compared)
    session.choose(target="polyp", location="left")
    segment(session, wire)
    comparer.compare()
    wire.answer(sides)
    ((comparison,),) = found
    assert comparison.picks == (
        "The place decides which one is outlined: “polyp, located in the left of the image” the one in the left, "
        "“polyp, located in the right of the image” another one, in the right; the two outlines agree 0.00 (Dice)."
    )
    assert comparison.effect.verdict.endswith("the opposite side picks another one.")
    assert comparison.yours.place == "left"
    comparer.compare()
    wire.answer(lambda text, size: sides("polyp", size) * ("right" not in text))
    assert "outlines nothing" in found[-1][0].picks
    comparer.compare()
    wire.answer(lambda text, size: sides("polyp", size))
    assert found[-1][0].picks.startswith("The place hardly counts")


def test_a_large_scan_is_compared_at_a_small_size(session, comparer, wire, scan):
    session.view.choose(type(scan())(np.zeros((100, 1024), np.uint8)))
    session.choose(target="polyp")
    session.segment()
    wire.done(wire.asked[-1]["id"], np.zeros((100, 1024), np.uint8))
    assert wire.asked[-1]["size"] == (25, 256)


def test_the_effect_follows_the_threshold_without_asking_again(session, comparer, wire, heard):
    session.choose(target="polyp")
    segment(session, wire)
    asked, changes = len(wire.asked), heard(comparer.effect_changed)
    session.set_threshold(0.99)
    assert comparer.effect.changes == {} and len(changes) == 1
    session.set_threshold(0.5)
    assert comparer.effect.changes[Contrast.EMPTY] == 1 and len(wire.asked) == asked


def test_no_effect_while_the_engine_is_at_work(session, comparer, wire):
    session.choose(target="polyp")
    session.segment()
    session.engine.cancel()
    asked = len(wire.asked)
    session.result_changed.emit()
    assert len(wire.asked) == asked and comparer.effect is None


def test_the_person_goes_before_a_comparison(session, comparer, wire):
    session.choose(target="polyp")
    segment(session, wire, effect=False)
    comparison = wire.asked[-1]
    session.choose(size="small")
    session.segment()
    wire.answer(sides, comparison)
    assert comparer.effect is None, "of the answer before"
    wire.answer(sides)
    assert wire.asked[-1]["prompts"][0] == "small polyp" and comparer.effect is None
    wire.answer(sides)
    assert comparer.effect is not None


def test_the_effect_is_dropped_with_the_scan(session, comparer, wire, scan):
    session.choose(target="polyp")
    segment(session, wire)
    assert comparer.effect is not None
    session.view.choose(scan())
    assert comparer.effect is not None, "the same pixels"
    session.view.choose(scan(1))
    assert comparer.effect is None
    segment(session, wire, effect=False)
    assert comparer.effect is None
    session.view.choose(scan(0))
    wire.answer(sides)
    assert comparer.effect is None, "of the scan before"


def test_a_new_answer_for_the_same_target_drops_the_old_effect(session, comparer, wire):
    session.choose(target="polyp")
    segment(session, wire)
    segment(session, wire, effect=False)
    assert comparer.effect is None
    wire.answer(lambda text, size: np.full(size, 250))
    assert set(comparer.effect.changes.values()) == {0}


def test_each_of_several_targets_gets_its_effect_when_it_is_in_view(session, comparer, wire):
    for target in ("polyp", "foot ulcer"):
        session.choose(target=target)
        session.enqueue()
    segment(session, wire)
    assert session.result.target == "foot ulcer" and comparer.effect is not None
    asked = len(wire.asked)
    session.choose(target="polyp")
    assert comparer.effect is None and len(wire.asked) == asked + 1 and wire.asked[-1]["prompts"][0] == "polyp"
    wire.answer(sides)
    assert comparer.effect.changes[Contrast.WRONG_SIDE] == 1
    session.choose(target="foot ulcer")
    assert comparer.effect is not None and len(wire.asked) == asked + 1, "it is known already"


def test_what_came_into_view_during_a_comparison_is_compared_after_it(session, comparer, wire):
    for target in ("polyp", "foot ulcer"):
        session.choose(target=target)
        session.enqueue()
    segment(session, wire, effect=False)
    session.choose(target="polyp")
    assert wire.asked[-1]["prompts"][0] == "foot ulcer"
    wire.answer(sides)
    assert wire.asked[-1]["prompts"][0] == "polyp" and comparer.effect is None
    wire.answer(sides)
    assert comparer.effect is not None and session.engine.state is EngineState.READY


# On demand ---------------------------------------------------------------------------------------------------------


def test_nothing_to_compare_is_said(session, comparer, wire, heard):
    problems = heard(comparer.failed)
    comparer.compare()
    assert "Outline something first" in problems[-1][0]
    session.choose(target="polyp")
    segment(session, wire, effect=False)
    comparer.compare()
    assert "still at work" in problems[-1][0] and len(problems) == 2
    wire.answer(sides)
    comparer.compare()
    assert len(problems) == 2
    wire.answer(sides)
    session.view.choose(None)
    comparer.compare()
    assert len(problems) == 3


def test_the_ladder_and_the_contrasts_come_in_one_go(session, comparer, wire, heard):
    compared = heard(comparer.compared)
    session.choose(target="polyp", shape="round")
    segment(session, wire)
    result, asked = session.result, len(wire.asked)
    comparer.compare()
    assert len(wire.asked) == asked + 1
    wire.answer(sides)
    ((found,),) = compared
    assert [w.prompt.level for w in found.rungs] == [f"p{i}" for i in range(10)]
    assert found.rungs[0].title == "P0: no words at all" and found.rungs[2].title == "P2: name and shape"
    texts = [w.prompt.text for w in found.rungs]
    assert texts[2] == "round polyp" and texts[6] == "one large round polyp, located in the left of the image"
    assert found.measured == ("number", "size", "location")
    assert found.rungs[2].prompt.measured == () and found.rungs[6].prompt.measured == ("number", "size", "location")
    assert [w.agreement for w in found.rungs] == [0] + [1] * 9 and found.agreement == 1
    assert found.yours.prompt is result.prompt and found.yours.title == "your words" and found.yours.agreement == 1
    assert [w.title for w in found.contrasts] == [
        "no words at all",
        "the name alone",
        "the opposite side",
        "the wrong size",
        "something else of the same kind of scan",
    ]
    assert [w.agreement for w in found.contrasts] == [0, 1, 0, 1, 0]
    assert found.effect.changes == comparer.effect.changes and found.yours.mask.shape == (12, 15)
    assert session.result is result and session.said == Attributes("polyp", shape="round")


def test_a_kind_of_scan_with_fewer_levels(session, comparer, wire, heard):
    compared = heard(comparer.compared)
    session.choose(target="myocardium", view="two-chamber")
    segment(session, wire, lambda text, size: np.full(size, 255))
    comparer.compare()
    wire.answer(lambda text, size: np.full(size, 255))
    ((found,),) = compared
    assert [w.prompt.level for w in found.rungs] == [f"p{i}" for i in range(8)]
    assert found.measured == ("shape",) and found.rungs[7].prompt.text == (
        "rectangular myocardium in the two-chamber view of the heart"
    )
    assert set(found.effect.changes.values()) == {0} and not found.effect.steered


def test_an_empty_outline_does_not_turn_the_question_around(session, comparer, wire, heard):
    compared = heard(comparer.compared)
    session.choose(target="polyp", size="small")
    segment(session, wire, lambda text, size: np.zeros(size))
    comparer.compare()
    wire.answer(lambda text, size: np.zeros(size))
    ((found,),) = compared
    assert found.rungs[5].prompt.text == "small polyp" and found.measured == () and found.effect.changes == {}


def test_a_typed_text_without_a_known_target_has_no_ladder(session, comparer, wire, heard):
    compared = heard(comparer.compared)
    session.type("the spleen")
    segment(session, wire, lambda text, size: np.full(size, 255 if text else 0))
    assert comparer.effect.changes == {Contrast.EMPTY: 1}
    comparer.compare()
    wire.answer(lambda text, size: np.full(size, 255 if text else 0))
    ((found,),) = compared
    assert found.rungs == () and [w.prompt.text for w in found.contrasts] == [""]
    assert comparer.effect.changes == {Contrast.EMPTY: 1}


def test_the_cleaned_outline_is_described(session, comparer, wire, heard):
    compared = heard(comparer.compared)
    session.choose(target="polyp")

    def two_parts(text, size):
        probability = np.zeros(size)
        probability[1:5, 1:5] = probability[-1, -1] = 255
        return probability

    segment(session, wire, two_parts)
    session.set_cleanup(Cleanup(keep_largest=True))
    comparer.compare()
    wire.answer(two_parts)
    assert compared[0][0].rungs[5].prompt.text.startswith("one ")
