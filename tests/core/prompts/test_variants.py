import pytest

from napari_medvlsm.core.prompts import Attributes, Prompt, build, free_text, load_vocabulary
from napari_medvlsm.core.prompts.own_words import OwnWords
from napari_medvlsm.core.prompts.variants import (
    Contrast,
    contrasts,
    filled,
    ladder,
    opposite_side,
    opposite_size,
    other_target,
)

VOCABULARY = load_vocabulary()
SEEN = {"number": "one", "size": "small", "location": "left"}


def changed(prompt, seen=SEEN, known=(), vocabulary=VOCABULARY):
    """The texts of a prompt's contrasts; its own comes first and is left out."""
    yours, *rest = contrasts(prompt, seen, vocabulary, known)
    assert yours.contrast is Contrast.YOURS and yours.prompt is prompt
    assert len({v.contrast for v in rest}) == len(rest) and prompt.text not in [v.prompt.text for v in rest]
    return {v.contrast: v.prompt.text for v in rest}


@pytest.mark.parametrize(
    ("place", "opposite"),
    [
        ("top left", "bottom right"),
        ("left", "right"),
        ("bottom", "top"),
        ("center", ""),
        ("", ""),
        ("left, right", ""),
        ("left, center", ""),
        ("left, top left", "right, bottom right"),
        ("top left, bottom right", ""),
        ("left upper quadrant", "right upper quadrant"),
    ],
)
def test_opposite_side(place, opposite):
    assert opposite_side(place) == opposite


@pytest.mark.parametrize(
    ("size", "opposite"),
    [
        ("tiny", "large"),
        ("small", "large"),
        ("medium", "tiny"),
        ("large", "tiny"),
        ("small, medium", "tiny"),
        ("tiny, large", ""),
        ("huge", ""),
        ("", ""),
    ],
)
def test_opposite_size(size, opposite):
    assert opposite_size(size) == opposite


@pytest.mark.parametrize(
    ("target", "known", "other"),
    [
        ("left lung", (), "right lung"),
        ("right lung", ("lungs",), "left lung"),
        ("lungs", ("edema",), "edema"),
        ("lungs", (), "left lung"),
        ("myocardium", (), "left ventricular cavity"),
        ("left atrium cavity", ("left atrium cavity", "myocardium"), "myocardium"),
        ("myocardium", ("myocardium",), "fetal head"),
        ("polyp", (), "stomach ulcer"),
        ("polyp", ("polyp", "foot ulcer"), "stomach ulcer"),
        ("spleen", (), ""),
    ],
)
def test_other_target(target, known, other):
    assert other_target(VOCABULARY.target(target), VOCABULARY, known) == other


def test_a_target_of_an_own_kind_of_scan_has_no_other(tmp_path):
    content = {"targets": {"left kidney": {"modality": "CT"}}}
    vocabulary = load_vocabulary(OwnWords(tmp_path / "w.yaml", content))
    assert other_target(vocabulary.targets["left kidney"], vocabulary) == ""
    content["targets"]["right kidney"] = {"modality": "CT"}
    vocabulary = load_vocabulary(OwnWords(tmp_path / "w.yaml", content))
    assert other_target(vocabulary.targets["left kidney"], vocabulary) == "right kidney"


def test_what_a_person_outlines_is_no_other_target_whatever_the_list_says(tmp_path):
    content = {"targets": {"stomach ulcer": {"modality": "endoscopy"}}}
    vocabulary = load_vocabulary(OwnWords(tmp_path / "w.yaml", content))
    assert other_target(vocabulary.targets["stomach ulcer"], vocabulary, ("stomach ulcer",)) == "vocal cords"


def test_contrasts_of_a_chosen_prompt():
    prompt = build(Attributes("polyp", size="large", color="pink", location="top left"), VOCABULARY)
    assert changed(prompt) == {
        Contrast.EMPTY: "",
        Contrast.CLASS_ONLY: "polyp",
        Contrast.WRONG_SIDE: "large pink polyp, located in the bottom right of the image",
        Contrast.WRONG_SIZE: "tiny pink polyp, located in the top left of the image",
        Contrast.OTHER_TARGET: "stomach ulcer",
    }


def test_what_is_not_said_is_contradicted_by_what_the_outline_shows():
    assert changed(build(Attributes("polyp"), VOCABULARY)) == {
        Contrast.EMPTY: "",
        Contrast.WRONG_SIDE: "polyp, located in the right of the image",
        Contrast.WRONG_SIZE: "large polyp",
        Contrast.OTHER_TARGET: "stomach ulcer",
    }
    centred = changed(build(Attributes("polyp"), VOCABULARY), {"size": "", "location": "center"})
    assert centred.keys() == {Contrast.EMPTY, Contrast.OTHER_TARGET}


def test_kinds_of_scan_without_place_or_size():
    heart = changed(build(Attributes("myocardium", view="two-chamber"), VOCABULARY))
    assert heart.keys() == {Contrast.EMPTY, Contrast.CLASS_ONLY, Contrast.OTHER_TARGET}
    chest = changed(build(Attributes("edema"), VOCABULARY))
    assert chest[Contrast.WRONG_SIDE] == "edema, located in the right of the image"
    assert Contrast.WRONG_SIZE not in chest


def test_typed_words_are_kept_and_one_is_added():
    assert changed(free_text("odd polyp near the fold", VOCABULARY)) == {
        Contrast.EMPTY: "",
        Contrast.CLASS_ONLY: "polyp",
        Contrast.WRONG_SIDE: "odd polyp near the fold, located in the right of the image",
        Contrast.WRONG_SIZE: "large odd polyp near the fold",
        Contrast.OTHER_TARGET: "stomach ulcer",
    }
    said = changed(free_text("big polyp on the right", VOCABULARY))
    assert said[Contrast.WRONG_SIDE] == "large polyp, located in the left of the image"
    assert changed(free_text("{polyp} {0}", VOCABULARY))[Contrast.WRONG_SIZE] == "large {polyp} {0}"


def test_without_a_target_only_the_empty_prompt_is_left():
    assert changed(free_text("the spleen", VOCABULARY)) == {Contrast.EMPTY: ""}


def test_what_is_absent_has_no_side_and_no_size():
    assert changed(build(Attributes("polyp", "zero"), VOCABULARY)) == {
        Contrast.EMPTY: "",
        Contrast.OTHER_TARGET: "stomach ulcer",
    }


def test_another_target_is_one_that_the_model_knows():
    prompt = build(Attributes("edema"), VOCABULARY)
    assert changed(prompt, known=("edema", "pneumothorax"))[Contrast.OTHER_TARGET] == "pneumothorax"


def test_the_ladder_has_every_level_of_the_kind_of_scan():
    rungs = ladder(Attributes("polyp", size="small", shape="round"), VOCABULARY)
    assert [p.level for p in rungs] == [f"p{i}" for i in range(10)]
    assert [p.text for p in rungs[:5]] == ["", "polyp", "round polyp", "round polyp", "small round polyp"]
    assert rungs[7].text == "polyp which is a projecting growth of tissue"
    own = ladder(Attributes("polyp", general="odd"), VOCABULARY)
    assert own[7].text == "polyp which is odd"
    assert [p.level for p in ladder(Attributes("myocardium"), VOCABULARY)] == [f"p{i}" for i in range(8)]
    assert ladder(Attributes("spleen"), VOCABULARY)[9].text == "spleen"


def test_what_was_seen_fills_only_what_is_not_said():
    said = Attributes("polyp", size="large")
    seen = SEEN | {"shape": "round", "color": ""}
    attributes, taken = filled(said, seen, VOCABULARY)
    assert attributes == Attributes("polyp", "one", "large", shape="round", location="left")
    assert taken == {"number", "location", "shape"}
    assert filled(Attributes("myocardium"), seen, VOCABULARY) == (Attributes("myocardium", shape="round"), {"shape"})
    assert filled(said, {}, VOCABULARY) == (said, frozenset())


def test_prompts_of_contrasts_say_where_they_come_from():
    for variant in contrasts(build(Attributes("polyp"), VOCABULARY), SEEN, VOCABULARY)[2:]:
        assert variant.prompt.vocabulary_version == VOCABULARY.version and variant.prompt.attributes.target
    assert contrasts(Prompt("x", "free"), SEEN, VOCABULARY)[1].prompt == Prompt("", "p0")
