import pytest

from napari_medvlsm.core.prompts import Attributes, build, explain, level_of, load_vocabulary
from napari_medvlsm.core.prompts.build import fitting
from napari_medvlsm.core.prompts.own_words import OwnWords

VOCABULARY = load_vocabulary()
POLYPS = Attributes(
    "polyp", "two", "small, tiny", "white", "round", "top, bottom left", "a projecting growth of tissue"
)
HEART = Attributes(
    "myocardium", view="two-chamber", cycle="diastole", sex="female", age="eighteen", quality="poor", shape="oval"
)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("p0", ""),
        ("p1", "polyp"),
        ("p2", "round polyp"),
        ("p3", "white round polyp"),
        ("p4", "small and tiny white round polyp"),
        ("p5", "two small and tiny white round polyps"),
        (
            "p6",
            "two small and tiny white round polyps, located in the top and bottom left of the image",
        ),
        ("p7", "polyp which is a projecting growth of tissue"),
        ("p8", "two small and tiny white round polyps which are a projecting growth of tissue"),
        (
            "p9",
            "two small and tiny white round polyps which are a projecting growth of tissue, "
            "located in the top and bottom left of the image",
        ),
    ],
)
def test_levels_of_a_photograph(level, text):
    prompt = build(POLYPS, VOCABULARY, level)
    assert (prompt.text, prompt.level, prompt.vocabulary_version) == (text, level, VOCABULARY.version)


@pytest.mark.parametrize(
    ("attributes", "wording", "text"),
    [
        (
            HEART,
            0,
            "oval myocardium in the two-chamber view of the heart at the end of diastole of an eighteen-year-old "
            "female with poor image quality",
        ),
        (
            HEART,
            1,
            "oval myocardium in the two-chamber view of the cardiac ultrasound at the end of diastole of an "
            "eighteen-year-old female with poor image quality",
        ),
        (Attributes("myocardium", sex="male"), 0, "myocardium of a male"),
        (Attributes("myocardium", age="one"), 0, "myocardium of a one-year-old patient"),
        (Attributes("breast tumor", tumor_type="malignant", size="large"), 0, "large malignant breast tumor"),
        (Attributes("breast tumor", "two", tumor_type="benign"), 1, "two regular-shaped breast tumors"),
        (
            Attributes("airspace opacity", view="frontal", location="right", findings="edema, pneumonia"),
            0,
            "airspace opacity in the frontal view of a chest X-ray, located in the right of the image; "
            "edema and pneumonia are present",
        ),
        (Attributes("edema", findings="fracture"), 0, "edema; fracture is present"),
        (Attributes("edema", findings="support devices"), 0, "edema; support devices are present"),
        (Attributes("cell nuclei", "many"), 0, "many cell nuclei"),
        (Attributes("spleen", "two"), 0, "two spleen"),
    ],
)
def test_every_kind_of_scan_in_its_own_words(attributes, wording, text):
    assert build(attributes, VOCABULARY, wording=wording).text == text


def test_a_wording_beyond_the_last_starts_again():
    assert build(HEART, VOCABULARY, wording=2) == build(HEART, VOCABULARY)
    assert build(POLYPS, VOCABULARY, wording=7) == build(POLYPS, VOCABULARY)


def test_a_prompt_holds_only_what_its_text_says():
    assert build(POLYPS, VOCABULARY, "p2").attributes == Attributes("polyp", shape="round")
    assert build(Attributes("polyp", view="frontal"), VOCABULARY).attributes == Attributes("polyp")
    assert build(POLYPS, VOCABULARY, "p0").attributes == Attributes()


def test_what_is_absent_is_asked_for_in_two_words():
    prompt = build(Attributes("left lung", "zero", "small", location="top"), VOCABULARY, "p6")
    assert (prompt.text, prompt.attributes) == ("no left lung", Attributes("left lung", "zero"))
    assert build(Attributes("polyp", "zero"), VOCABULARY, "p0").text == ""


def test_without_a_target_nothing_is_asked():
    assert build(Attributes(size="small"), VOCABULARY) == build(Attributes(), VOCABULARY)
    assert level_of(Attributes(size="small"), VOCABULARY) == "p0"
    with pytest.raises(ValueError, match="p12"):
        build(Attributes(), VOCABULARY, "p12")


def test_a_level_that_the_kind_of_scan_lacks_lists_those_it_has():
    with pytest.raises(ValueError, match=r"p0, p1, p2, p3, p4, p5, p6, but is 'p9'"):
        build(Attributes("breast tumor"), VOCABULARY, "p9")


def test_level_and_its_words_are_those_of_the_targets_kind_of_scan():
    assert level_of(Attributes("polyp", shape="round"), VOCABULARY) == "p2"
    assert level_of(Attributes("breast tumor", shape="round"), VOCABULARY) == "p6"
    assert explain(Attributes("breast tumor"), VOCABULARY, "p2") == "name and type of tumor"
    assert explain(Attributes("polyp"), VOCABULARY, "p2") == "name and shape"


def test_words_of_another_kind_of_scan_do_not_fit():
    frontal = Attributes("edema", view="frontal", shape="round", location="top", findings="edema, fracture")
    assert fitting(frontal, VOCABULARY) == frontal
    heart = fitting(Attributes("myocardium", "two", view="frontal", cycle="systole", sex="male"), VOCABULARY)
    assert heart == Attributes("myocardium", cycle="systole", sex="male")
    assert fitting(Attributes("edema", findings="edema, hiccups"), VOCABULARY) == Attributes("edema")
    # Words that nobody listed stay where any word may stand.
    assert fitting(Attributes("polyp", color="puce"), VOCABULARY).color == "puce"


def test_signs_in_a_word_are_only_signs():
    odd = Attributes("{size} [a|b] \\d+ ünïcode 息肉", "two", "{target}", "}", location="(?P<x>")
    assert build(odd, VOCABULARY).text == (
        "two {target} } {size} [a|b] \\d+ ünïcode 息肉, located in the (?P<x> of the image"
    )


def test_own_targets_have_a_plural(tmp_path):
    own = OwnWords(tmp_path / "w.yaml", {"targets": {"ovary": {"plural": "ovaries"}, "spleen": {}}})
    vocabulary = load_vocabulary(own)
    assert build(Attributes("ovary", "two"), vocabulary).text == "two ovaries"
    assert build(Attributes("spleen", "two"), vocabulary).text == "two spleens"
