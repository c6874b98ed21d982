import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medvlsm.core.prompts.forms import Form, matched_words, slot_pattern

WORDS = {"size": ["tiny", "very small", "large"], "shape": ["round", "kidney-shaped"], "target": ["polyp", "left lung"]}
OF_SLOT = {slot: slot_pattern(slot, words) for slot, words in WORDS.items()}.__getitem__
FORM = Form("[{size} ]{Target}[ of {shape} shape| as [a {shape}] one]")


def test_parts_in_brackets_are_left_out_with_their_words():
    form = Form("[{number} ][{size} ]{target}[, located in the {location} of the image]")
    assert form.fill({"target": "polyp"}) == "polyp"
    assert form.fill({"target": "polyp", "size": ""}) == "polyp"
    assert form.fill({"target": "polyp", "location": "top"}) == "polyp, located in the top of the image"


def test_the_first_alternative_that_can_be_filled_is_taken():
    form = Form("{target}[ of a [{age}-year-old ]{sex}| of a {age}-year-old patient]")
    assert form.fill({"target": "x", "age": "six", "sex": "male"}) == "x of a six-year-old male"
    assert form.fill({"target": "x", "sex": "male"}) == "x of a male"
    assert form.fill({"target": "x", "age": "six"}) == "x of a six-year-old patient"
    assert form.fill({"target": "x"}) == "x"


def test_capitals_of_a_slot():
    assert Form("{Target} {target} {target:title}").fill({"target": "lung lesion"}) == (
        "Lung lesion lung lesion Lung Lesion"
    )
    assert Form("{Findings:title}").fill({"findings": "x-ray, lung's edema"}) == "X-Ray, Lung'S Edema"


def test_a_missing_word_is_named():
    with pytest.raises(ValueError, match="needs shape"):
        Form("{shape} {target}").fill({"target": "polyp"})


@pytest.mark.parametrize("template", ["{target", "target}", "[{target}]]", "a | b", "[a", "[a [b]", "{}"])
def test_a_form_with_a_bracket_too_many_is_refused(template):
    with pytest.raises(ValueError, match="bracket or brace"):
        Form(template).fill({"target": "x"})


def test_slots_are_those_of_all_alternatives():
    assert FORM.slots == {"size", "target", "shape"}


@given(st.fixed_dictionaries({k: st.sampled_from(v) for k, v in WORDS.items()}), st.booleans(), st.booleans())
def test_a_pattern_reads_what_its_form_wrote(words, with_size, with_shape):
    words = {k: v for k, v in words.items() if k == "target" or (with_size if k == "size" else with_shape)}
    match = FORM.pattern(OF_SLOT).fullmatch(FORM.fill(words))
    assert match is not None and matched_words(match) == words


def test_a_pattern_takes_no_other_words_and_no_signs_of_its_own():
    pattern = Form("{target} (1+1).").pattern(OF_SLOT)
    assert pattern.fullmatch("polyp (1+1).") and pattern.fullmatch("POLYP (1+1).")
    assert not pattern.fullmatch("polyp 11.") and not pattern.fullmatch("polyps (1+1).")


def test_a_pattern_takes_either_article_before_a_slot():
    pattern = Form("of a {size} {target}").pattern(OF_SLOT)
    assert pattern.fullmatch("of a tiny polyp") and pattern.fullmatch("of an tiny polyp")
    assert not Form("vitamin a").pattern(OF_SLOT).fullmatch("vitamin an")


def test_lists_of_words_match_only_in_slots_that_hold_lists():
    size, shape = Form("{size}").pattern(OF_SLOT), Form("{shape}").pattern(OF_SLOT)
    assert size.fullmatch("tiny, very small and large") and not size.fullmatch("tiny, ")
    assert not shape.fullmatch("round, kidney-shaped")


def test_a_slot_without_words_matches_nothing():
    assert not Form("{x}").pattern(lambda slot: slot_pattern(slot, [])).fullmatch("")
