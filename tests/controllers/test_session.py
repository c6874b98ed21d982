import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.describe import Description, describe
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.prompts import Attributes, Prompt, build, load_vocabulary
from napari_medvlsm.core.prompts.own_words import OwnWords

SIZE = (12, 15)
SEEN = Description("two", "small", "left", "round", "pink", 0.01, (0.006, 0.004))


def everywhere(value):
    """The engine answers one probability whatever is asked."""
    return lambda text, size: np.full(size, value)


def segment(session, wire, outline=None):
    session.segment()
    wire.answer(outline or everywhere(200))


# The prompt --------------------------------------------------------------------------------------------------------


def test_choices_build_the_prompt_and_typing_wins(session):
    session.choose(target="polyp")
    session.choose(size="small", location="left")
    assert session.prompt.text == "small polyp, located in the left of the image"
    session.type("left lung")
    assert session.prompt.text == "left lung" and session.target == "left lung"
    session.type(None)
    assert session.prompt.level == "p6"


def test_typed_words_fill_the_attributes(session):
    session.choose(target="foot ulcer", color="red")
    session.type("  two small   {odd} polyps ")
    assert session.said == session.prompt.attributes == Attributes("polyp", "two", "small")
    assert session.prompt.text == "two small {odd} polyps" and session.prompt.level == "free"
    assert session.parsed.unplaced == ("odd",) and session.target == "polyp"
    session.type("the spleen")
    assert session.target == "the spleen" and session.said == Attributes()
    session.type("")
    assert session.target == "everything" and session.prompt.text == ""


def test_choosing_after_typing_takes_over_what_was_typed(session):
    session.choose(target="foot ulcer", color="red")
    session.type("two small polyps")
    session.choose(color="pink")
    assert session.typed is None and session.prompt.text == "two small pink polyps"
    session.type("x")
    session.choose(target="polyp")
    assert session.prompt.text == "polyp"


def test_a_level_after_typing_takes_over_what_was_typed(session):
    session.choose(target="foot ulcer", color="red")
    session.type("two round polyps")
    session.set_level("p2")
    assert session.typed is None and session.prompt.text == "round polyp"


def test_a_level_limits_what_is_said_and_not_what_is_chosen(session):
    session.choose(target="polyp", size="small", shape="round", location="left")
    session.set_level("p2")
    assert session.prompt.text == "round polyp" and session.prompt.attributes == Attributes("polyp", shape="round")
    assert session.said.location == "left"
    session.set_level("p7")
    assert session.prompt.text == "polyp"
    session.set_level(None)
    assert session.prompt.text == "small round polyp, located in the left of the image"


def test_a_level_that_the_kind_of_scan_lacks_is_refused_or_dropped(session):
    session.choose(target="polyp")
    session.set_level("p9")
    session.choose(target="breast tumor")
    assert session.level is None and session.prompt.text == "breast tumor"
    session.set_level("p6")
    for level in ("p9", "p12", "free"):
        with pytest.raises(ValueError, match="one of p1, p2, p3, p4, p5, p6"):
            session.set_level(level)
    assert session.level == "p6"


def test_another_target_drops_what_described_the_last_and_keeps_the_scans(session):
    session.choose(target="myocardium", view="two-chamber", age="six", shape="oval")
    session.choose(target="left atrium cavity")
    assert session.attributes == Attributes("left atrium cavity", view="two-chamber", age="six")
    session.choose(target="edema")
    assert session.attributes == Attributes("edema"), "a chest has no chambers"
    session.choose(target="edema", size="small", findings="edema, fracture")
    session.choose(target="pneumothorax")
    assert session.attributes == Attributes("pneumothorax", findings="edema, fracture")


def test_other_words_take_effect_at_once(session, heard, tmp_path):
    said = heard(session.vocabulary_changed)
    session.type("spleen")
    assert session.target == "spleen" and session.said.target == ""
    content = {"targets": {"spleen": {"family": "chest_xray"}}, "attributes": {"view": {"oblique": []}}}
    session.set_vocabulary(load_vocabulary(OwnWords(tmp_path / "w.yaml", content)))
    assert session.said.target == "spleen" and len(said) == 1
    session.choose(view="oblique", location="left")
    session.set_level("p4")
    said = Attributes("spleen", view="oblique", location="left")
    session.use(Prompt("", "p4", said, measured=("location", "view")))
    session.set_vocabulary(load_vocabulary())
    assert session.measured == {"location"}
    assert session.attributes == Attributes("spleen", location="left") and session.prompt.text
    session.choose(target="polyp")
    session.set_level("p9")
    content = {"targets": {"polyp": {"family": "breast_ultrasound"}}}
    session.set_vocabulary(load_vocabulary(OwnWords(tmp_path / "w.yaml", content)))
    assert session.level is None and session.prompt.text == "polyp"


# Several targets in one go -----------------------------------------------------------------------------------------


def test_the_list_holds_one_prompt_for_each_target(session, heard):
    changes = heard(session.queue_changed)
    session.choose(target="polyp")
    session.enqueue()
    session.type("left lung")
    session.enqueue()
    session.type("the spleen")
    session.enqueue()
    session.type("small polyp")
    session.enqueue()
    assert [p.text for p in session.queue] == ["small polyp", "left lung", "the spleen"] and len(changes) == 4
    session.dequeue(1)
    session.dequeue(7)
    assert [p.text for p in session.queue] == ["small polyp", "the spleen"]
    session.dequeue()
    assert session.queue == []
    session.type("")
    with pytest.raises(ValueError, match="prompt is empty"):
        session.enqueue()


def test_typed_words_for_two_targets_are_two_prompts_and_two_results(session, wire, scan):
    session.view.choose(scan())
    session.type("small left lung and right lung")
    assert [p.text for p in session.prompts] == ["small left lung", "right lung"] and session.target == "left lung"
    segment(session, wire)
    assert wire.asked[-1]["prompts"] == ["small left lung", "right lung"]
    assert {t: r.prompt.text for t, r in session.results.items()} == {
        "left lung": "small left lung",
        "right lung": "right lung",
    }
    assert session.together == {"left lung", "right lung"} and session.result.target == "left lung"
    assert session.typed == "small left lung and right lung", "what is typed stays"
    session.look_at("right lung")
    assert session.typed == "right lung" and session.result.target == "right lung"
    session.look_at("left lung")
    assert session.typed == "small left lung" and session.words_about("left lung")[0].size == "small"


def test_a_choice_after_two_targets_were_typed_keeps_the_other_on_the_list(session):
    session.type("polyp and large ulcer")
    session.choose(size="small")
    assert session.prompt.text == "small polyp" and [p.text for p in session.queue] == ["large ulcer"]
    session.type("small polyp, left lung")
    session.enqueue()
    assert [p.text for p in session.queue] == ["large ulcer", "small polyp", "left lung"]


def test_words_that_mean_known_ones_reach_the_model_as_those(session):
    session.type("Big polyps")
    assert session.prompt.text == "large polyp" and session.prompt.level == "free" and session.typed == "Big polyps"
    assert session.familiarity().complete
    session.type("mole")
    assert session.prompt.text == "mole", "the model learned it"


def test_the_nearest_target_is_of_the_same_kind_of_scan(session, wire, scan):
    session.view.choose(scan())
    session.type("pleural effusion")
    assert [t.phrase for t in session.familiarity().nearest] == ["lungs", "left lung", "right lung"]
    session.type("polyp")
    segment(session, wire)
    session.type("lesion")
    known = session.familiarity()
    assert [t.phrase for t in known.nearest] == ["polyp"] and known.place == 0
    session.type("polyp and myocardium")
    assert session.familiarity().place == 1 and not session.familiarity().nearest
    session.type("polyp and enlarged heart")
    session.take_nearest("left lung")
    assert session.typed == "polyp and left lung"


def test_all_on_the_list_are_outlined_at_once(session, wire, scan):
    session.view.choose(scan())
    for target in ("polyp", "foot ulcer"):
        session.choose(target=target)
        session.enqueue()
    session.choose(target="polyp", size="small")
    session.segment()
    assert wire.asked[-1]["prompts"] == ["small polyp", "foot ulcer"] and len(wire.asked) == 1, (
        "the prompt as it stands"
    )
    wire.answer(lambda text, size: np.full(size, 250 if "polyp" in text else 10))
    assert session.result.target == "polyp" and session.mask().all()
    assert not session.mask(target="foot ulcer").any() and session.mask(target="spleen") is None
    session.choose(target="foot ulcer")
    assert session.result.prompt.text == "foot ulcer" and not session.mask().any()
    session.choose(target="breast tumor")
    assert session.result.target == "foot ulcer", "what was not asked for leaves the last in view"


def test_a_prompt_that_is_not_on_the_list_is_outlined_too(session, scan):
    session.view.choose(scan())
    session.choose(target="polyp")
    session.enqueue()
    session.type("cell nuclei")
    assert [p.text for p in session.asked()] == ["polyp", "cell nuclei"]
    session.type("")
    assert [p.text for p in session.asked()] == ["polyp"]
    session.type("no polyp")
    with pytest.raises(ValueError, match="nothing to outline"):
        session.segment()


def test_what_is_of_one_patient_does_not_go_on_to_the_next_scan(session, scan, wire):
    session.view.choose(scan(1))
    session.choose(target="myocardium")
    session.choose(view="four-chamber", age="seventy", sex="male", quality="poor")
    session.segment()
    session.view.choose(scan(2))
    assert session.attributes.named() == {"view"}
    assert wire.sent[-2][0]["op"] == "cancel" or wire.sent[-1][0]["op"] == "cancel", "nobody waits for the old answer"


# What an outline says ----------------------------------------------------------------------------------------------


def test_an_outline_fills_only_what_is_not_said(session):
    session.choose(target="polyp", size="large")
    session.measure(SEEN)
    assert session.attributes == Attributes("polyp", "two", "large", "pink", "round", "left")
    assert session.measured == {"number", "color", "shape", "location"}
    assert session.prompt.measured == ("color", "location", "number", "shape")
    session.set_level("p2")
    assert session.prompt.measured == ("shape",)


def test_another_outline_changes_what_was_measured_and_none_takes_it_back(session):
    session.choose(target="polyp", size="large")
    session.measure(SEEN)
    session.choose(shape="oval")
    session.measure(Description("one", "tiny", "top"))
    assert session.attributes == Attributes("polyp", "one", "large", shape="oval", location="top")
    session.measure(describe(np.zeros(SIZE, bool)))
    assert session.attributes == Attributes("polyp", size="large", shape="oval") and not session.measured
    session.measure(SEEN)
    session.measure(None)
    assert session.attributes == Attributes("polyp", size="large", shape="oval")


def test_what_was_measured_goes_with_the_target_and_with_the_scan(session, scan):
    session.view.choose(scan(0))
    session.choose(target="polyp", size="large")
    session.measure(SEEN)
    session.view.choose(scan(0))
    assert session.measured
    session.view.choose(scan(1))
    assert session.attributes == Attributes("polyp", size="large") and not session.measured
    session.measure(SEEN)
    session.choose(target="foot ulcer")
    assert session.attributes == Attributes("foot ulcer") and not session.measured


def test_what_is_typed_is_the_persons_also_where_it_was_measured_before(session):
    session.choose(target="polyp")
    session.measure(SEEN)
    session.type("large polyp on the right")
    session.choose(color="red")
    assert not session.measured and session.attributes == Attributes(
        "polyp", size="large", color="red", location="right"
    )
    session.measure(None)
    assert session.attributes.size == "large"


def test_a_kind_of_scan_takes_only_what_it_can_say(session):
    session.choose(target="myocardium")
    session.measure(SEEN)
    assert session.attributes == Attributes("myocardium", shape="round")


def test_only_what_a_person_said_can_contradict_an_outline(session):
    seen = Description("one", "small", "right", parts=(0.01,), fraction=0.01)
    session.choose(target="left lung", location="left")
    (found,) = session.contradictions(seen)
    assert (found.attribute, found.said, found.seen) == ("location", "left", "right")
    session.choose(location="")
    session.measure(SEEN)
    assert session.attributes.location == "left" and session.contradictions(seen) == ()
    session.type("three left lungs on the left")
    assert [c.attribute for c in session.contradictions(seen)] == ["number", "location"]


# Segmenting --------------------------------------------------------------------------------------------------------


def test_segment_without_what_it_needs_says_so(session, scan):
    with pytest.raises(ValueError, match="scan first"):
        session.segment()
    session.view.choose(scan())
    with pytest.raises(ValueError, match="Choose what to outline"):
        session.segment()
    session.type("  ")
    with pytest.raises(ValueError, match="prompt is empty"):
        session.segment()
    session.model = None
    session.type("polyp")
    with pytest.raises(ValueError, match="No model"):
        session.segment()


def test_answer_becomes_the_result_of_what_was_asked(session, wire, scan):
    session.view.choose(scan())
    session.choose(target="polyp")
    session.segment()
    session.choose(target="foot ulcer")
    wire.answer(everywhere(200))
    assert session.result.target == "polyp" and session.result.prompt.text == "polyp"
    assert session.result.model is session.model and session.result.peak == pytest.approx(200 / 255)
    assert session.mask().all()
    session.set_threshold(0.9)
    assert not session.mask().any()


@pytest.mark.parametrize(("least", "absent"), [(0.9, True), (0.7, False), (0.0, False)])
def test_what_is_probably_not_in_the_scan_is_said(session, wire, scan, least, absent):
    session.model = replace(session.model, card=replace(session.model.card, presence=least))
    session.view.choose(scan())
    session.choose(target="polyp")
    segment(session, wire)
    assert session.result.probably_absent is session.result.withheld is absent
    assert session.mask().any() == session.mask(clean=False).any() == (not absent)
    assert session.predicted("polyp").mask.any() == (not absent)
    session.show_anyway()
    assert session.result.probably_absent is absent and not session.result.withheld
    assert session.mask().all() and session.mask(clean=False).all() and session.predicted("polyp").mask.all()


def test_answer_for_another_scan_is_dropped(session, wire, scan):
    session.view.choose(scan(0))
    session.choose(target="polyp")
    session.segment()
    session.view.choose(scan(1))
    wire.answer(everywhere(200))
    assert session.result is None


def test_same_pixels_keep_the_result(session, wire, scan):
    session.view.choose(scan())
    session.choose(target="polyp")
    segment(session, wire)
    session.view.choose(scan())
    assert session.result is not None
    session.view.choose(None)
    assert session.result is None


def test_comparing_leaves_everything_alone(session, wire, scan, heard):
    session.view.choose(scan())
    session.choose(target="polyp")
    segment(session, wire)
    result, history = session.result, session.history.entries()
    changes = [heard(s) for s in (session.result_changed, session.prompt_changed, session.history_changed)]
    got = []
    session.compare(["a", "b"], (3, 4), got.append)
    assert wire.asked[-1]["size"] == (3, 4) and session.engine.state is EngineState.COMPARING
    wire.answer(everywhere(7))
    assert [m.shape for m in got[0]] == [(3, 4), (3, 4)]
    assert session.result is result and session.history.entries() == history and changes == [[], [], []]


def test_segmenting_takes_the_place_of_a_comparison(session, wire, scan):
    session.view.choose(scan())
    session.choose(target="polyp")
    got = []
    session.compare(["a"], (3, 4), got.append)
    segment(session, wire)
    wire.answer(everywhere(7), wire.asked[0])
    assert got == [] and session.result.probability.shape == SIZE
    session.compare(["a"], (3, 4), got.append)
    session.view.choose(scan(1))
    wire.answer(everywhere(7))
    assert got == [], "another scan came meanwhile"


# Threshold and clean-up ---------------------------------------------------------------------------------------------


def test_each_target_has_its_own_threshold_and_cleanup(session, wire, scan):
    session.view.choose(scan())
    for target in ("polyp", "foot ulcer"):
        session.choose(target=target)
        session.enqueue()
    segment(session, wire)
    default = session.threshold
    session.set_threshold(0.9)
    session.set_cleanup(Cleanup(fill_holes=True))
    assert session.result.target == "foot ulcer" and not session.mask().any()
    assert session.mask(target="polyp").all()
    session.choose(target="polyp")
    assert session.threshold == default and session.cleanup.nothing
    session.choose(target="foot ulcer")
    assert session.threshold == 0.9 and session.cleanup == Cleanup(fill_holes=True)
    session.view.choose(scan(1))
    assert session.threshold == 0.9, "the next scan is binarized the same way"


def test_threshold_stays_between_none_and_all(session):
    for given, kept in ((-1, 0), (2, 1), (0.25, 0.25)):
        session.set_threshold(given)
        assert session.threshold == kept


def test_cleanup_and_provenance(session, wire, scan):
    session.view.choose(scan())
    session.choose(target="polyp", size="small")
    probability = np.zeros(SIZE, np.uint8)
    probability[1:4, 1:4] = probability[6, 6] = 255
    wire.message({"event": "running", "device": "CPU", "precision": "float32", "weights_hash": "cd" * 32}, [])
    segment(session, wire, lambda text, size: probability)
    session.set_cleanup(Cleanup(keep_largest=True))
    assert session.mask().sum() == 9 and session.mask(clean=False).sum() == 10
    predicted = session.predicted("polyp")
    made = predicted.provenance
    assert made.prompt.text == "small polyp" and made.cleanup == Cleanup(keep_largest=True)
    assert (made.model, made.weights_hash, made.threshold) == (session.model.name, "cd" * 32, session.threshold)
    assert (made.scan_hash, made.scan_size, made.spacing) == (session.scan_hash, SIZE, None)
    assert (made.vocabulary_version, made.vocabulary_hash) == (session.vocabulary.version, session.vocabulary.digest)
    assert not predicted.corrected and predicted.mask.sum() == 9 and predicted.said == Attributes("polyp", size="small")
    assert session.predicted("foot ulcer") is None


def other_model(session, threshold):
    """A second model, whose certainty means something else."""
    starter = session.models["starter"]
    card = replace(starter.card, name="other", threshold=threshold)
    session.set_models(session.models | {"other": replace(starter, name="other", card=card)})


def test_another_model_brings_its_threshold_and_leaves_earlier_answers_alone(session, wire, scan):
    other_model(session, 0.8)
    own = session.models["starter"].card.threshold
    session.view.choose(scan())
    session.choose(target="polyp")
    session.segment()
    wire.answer(lambda text, size: np.full(size, 180))
    assert session.mask().all() and session.threshold == own < 0.8
    session.set_model("other")
    assert session.mask().all() and session.threshold == own, "the answer is the starter's"
    assert session.predicted("polyp").provenance.model == "starter"
    session.compare(["polyp"], (4, 5), lambda maps: None)
    assert wire.asked[-1]["model"] == str(session.models["starter"].folder)
    session.segment()
    wire.answer(lambda text, size: np.full(size, 180))
    assert session.result.model.name == "other" and session.threshold == 0.8 and not session.mask().any()
    session.set_threshold(0.3)
    session.set_model("starter")
    session.segment()
    wire.answer(lambda text, size: np.full(size, 180))
    assert session.threshold == own, "what was set for one model is not for another"
    with pytest.raises(ValueError, match="no model"):
        session.set_model("nope")


# History and what the model knows ----------------------------------------------------------------------------------


def test_what_was_asked_is_remembered_with_the_latest_first(session, scan, heard):
    changes = heard(session.history_changed)
    session.view.choose(scan())
    for text in ("polyp", "left lung", "polyp"):
        session.type(text)
        session.segment()
    assert [e.prompt.text for e in session.history.entries()] == ["polyp", "left lung"] and len(changes) == 3
    session.choose(target="foot ulcer", size="small")
    session.measure(Description("one", "tiny", "top"))
    session.segment()
    session.type("something else")
    (entry, *_) = session.history.entries()
    session.use(entry.prompt)
    assert session.typed is None and session.prompt.text == "one small foot ulcer, located in the top of the image"
    assert session.measured == {"number", "location"}, "what an outline said is not taken for a person's word"
    session.use(Prompt("left lung", "free"))
    assert session.typed == "left lung" and session.target == "left lung"


def test_a_history_that_cannot_be_written_does_not_stop_the_work(session, wire, scan, heard):
    problems = heard(session.failed)
    session.history.path = Path("/dev/null/prompts.json")
    session.view.choose(scan())
    session.choose(target="polyp")
    segment(session, wire)
    assert session.result is not None and "could not be remembered" in problems[0][0]


def test_a_text_that_no_file_can_hold_does_not_stop_the_work(session, wire, scan, heard):
    problems = heard(session.failed)
    session.view.choose(scan())
    session.type("polyp \ud800")
    segment(session, wire)
    assert session.result is not None and len(problems) == 1


def test_coverage_is_of_the_chosen_model(session):
    session.type("liver abscess")
    assert not session.familiarity().complete and session.familiarity().unknown == ("liver", "abscess")
    session.type("small polyp")
    assert session.familiarity().complete


def test_targets_the_model_is_weak_at_are_known(session):
    card = session.model.card
    for target, row in card.metrics["test"].items():
        session.choose(target=target)
        assert session.familiarity().weak_dice == (row["dice"] if row["dice"] < 0.7 else None)
    session.type("the spleen")
    assert session.familiarity().weak_dice is None


def test_a_prompt_from_elsewhere_that_says_nothing_is_empty(session):
    session.choose(target="polyp")
    session.use(build(Attributes(), session.vocabulary))
    assert session.prompt.text == "" and session.prompt.level == "p0"


def test_a_scan_is_prepared_once(session, wire):
    image = Scan(np.zeros(SIZE, np.uint8))
    session.view.choose(image)
    session.view.choose(Scan(image.pixels.copy()))
    assert [m["op"] for m, _ in wire.sent] == ["prepare"]


def test_typing_reads_no_file(session, monkeypatch):
    """Every keystroke asks what the words mean, what the model knows of them, and whether they are a favourite."""
    session.history.set_favourite(Prompt("small polyp", "free"), True)
    assert not session.history.is_favourite("")  # read once, after it was written
    opened = []

    def watch(event, args):
        if event == "open" and watching:
            opened.append(args[0])

    watching = True
    sys.addaudithook(watch)
    for end in range(1, len("small polyp") + 1):
        session.type("small polyp"[:end])
        session.familiarity()
        known = session.history.is_favourite(session.prompt.text)
    watching = False
    assert known and opened == []
    Path(__file__).read_bytes()
    watching = True
    Path(__file__).read_bytes()
    watching = False
    assert opened == [__file__], "the watch sees what is opened"


# Going back --------------------------------------------------------------------------------------------------------


def test_going_back_shows_what_was_said_and_found(session, wire, scan):
    first, second = scan(1), scan(2)
    session.view.choose(first)
    session.choose(target="polyp", size="small")
    segment(session, wire)
    session.set_threshold(0.3)
    session.view.choose(second)
    assert not session.results and session.prompt.text == "small polyp", "a new scan begins with the same words"
    session.choose(target="foot ulcer")
    segment(session, wire)
    session.set_threshold(0.8)
    session.view.choose(first)
    assert session.result.target == "polyp" and session.prompt.text == "small polyp" and session.threshold == 0.3
    session.view.choose(second)
    assert session.result.target == "foot ulcer" and session.threshold == 0.8
    session.view.choose(None)
    assert session.result is None
    session.view.choose(first)
    assert session.result.target == "polyp"


def test_a_threshold_of_one_scan_is_not_that_of_another_that_was_answered(session, wire, scan):
    first, second = scan(1), scan(2)
    session.choose(target="polyp")
    session.view.choose(first)
    segment(session, wire)
    before = session.threshold
    session.view.choose(second)
    segment(session, wire)
    session.set_threshold(0.9)
    session.view.choose(first)
    assert session.threshold == before
    session.view.choose(scan(3))
    assert session.threshold == 0.9, "the next begins with what was set last"


def test_targets_of_a_scan_keep_their_words_and_their_results(session, wire, scan):
    session.view.choose(scan(1))
    session.choose(target="polyp", size="small")
    segment(session, wire)
    session.type("two foot ulcers")
    segment(session, wire)
    assert set(session.results) == {"polyp", "foot ulcer"} and session.together == {"foot ulcer"}
    session.look_at("polyp")
    assert session.prompt.text == "small polyp" and session.result.target == "polyp"
    session.look_at("foot ulcer")
    assert session.prompt.text == "two foot ulcers" and session.typed
    session.choose(target="polyp")
    assert session.prompt.text == "small polyp", "from the list of targets too"


def test_another_scan_ends_a_request_and_says_so(session, wire, scan, heard):
    said = heard(session.interrupted)
    session.view.choose(scan(1))
    session.choose(target="polyp")
    session.view.choose(scan(2))
    assert not said, "nothing was asked"
    session.segment()
    session.view.choose(scan(3))
    assert len(said) == 1 and session.engine.state is EngineState.CANCELLING


def test_maps_of_scans_seen_long_ago_make_room(session, wire, scan):
    from napari_medvlsm.controllers.scan_work import ScanWorks

    session._works = ScanWorks(limit=2 * 12 * 15)
    session.choose(target="polyp")
    scans = [scan(value) for value in range(4)]
    for one in scans:
        session.view.choose(one)
        segment(session, wire)
    session.view.choose(scans[2])
    assert session.result is not None
    session.view.choose(scans[0])
    assert session.result is None and session.prompt.text == "polyp"
