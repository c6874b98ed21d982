import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medvlsm.core.prompts import (
    LEVELS,
    Attributes,
    build,
    coverage,
    free_text,
    level_of,
    load_vocabulary,
    normalise,
)

VOCABULARY = load_vocabulary()
FULL = Attributes("polyp", "one", "medium", "white", "round", "bottom", "which is a projecting growth of tissue")
# Item cju5bmhdcafs909878qfzrqzi of the paper's Kvasir-SEG annotations (MIT licence).
REFERENCE = {
    "p0": "",
    "p1": "polyp",
    "p2": "round polyp",
    "p3": "white round polyp",
    "p4": "medium white round polyp",
    "p5": "one medium white round polyp",
    "p6": "one medium white round polyp, located in bottom of the image",
    "p7": "polyp which is a projecting growth of tissue",
    "p8": "one medium white round polyp which is a projecting growth of tissue",
    "p9": "one medium white round polyp which is a projecting growth of tissue located in bottom of the image",
}


@pytest.mark.parametrize("level", LEVELS)
def test_templates_are_the_papers(level):
    assert build(FULL, VOCABULARY, level).text == REFERENCE[level]


def test_what_is_not_said_leaves_no_trace():
    assert build(Attributes("polyp", size="small"), VOCABULARY).text == "small polyp"
    assert build(Attributes("polyp", color="pink"), VOCABULARY, "p6").text == "pink polyp"
    assert build(Attributes(), VOCABULARY).text == ""


def test_level_is_the_simplest_that_holds_everything():
    assert level_of(Attributes()) == "p0"
    assert level_of(Attributes("polyp")) == "p1"
    assert level_of(Attributes("polyp", color="pink")) == "p3"
    assert level_of(Attributes("polyp", location="top")) == "p6"
    assert level_of(FULL) == "p9"


def test_unknown_level_lists_the_known():
    with pytest.raises(ValueError, match="p0, p1"):
        build(FULL, VOCABULARY, "p12")


@given(
    st.builds(
        Attributes,
        st.sampled_from(sorted(VOCABULARY.targets)),
        *[st.sampled_from(["", *VOCABULARY.words(name)]) for name in ("number", "size", "color", "shape", "location")],
    )
)
def test_every_word_that_is_picked_stands_in_the_text(attributes):
    text = f" {normalise(build(attributes, VOCABULARY).text)} "
    for word in vars(attributes).values():
        assert f" {normalise(word)} " in text or not word
    assert "  " not in text and not text.strip().endswith("in")


def test_free_text_recognises_the_longest_target():
    assert free_text(" a  LEFT lung ", VOCABULARY).attributes.target == "left lung"
    assert free_text("both lungs", VOCABULARY).attributes.target == "lungs"
    assert free_text("the spleen", VOCABULARY).attributes.target == ""
    assert free_text("  two   words ", VOCABULARY).text == "two words"


def test_coverage_names_unknown_words_and_near_phrases():
    phrases, words = ["polyp", "breast tumor", "foot ulcer"], ["small", "polyp", "breast", "tumor", "foot", "ulcer"]
    assert coverage("small polyp", phrases, words).complete
    unknown = coverage("liver tumour", phrases, words)
    assert unknown.unknown == ("liver", "tumour") and "breast tumor" in unknown.nearest
    nothing_named = coverage("small", phrases, words)
    assert not nothing_named.complete and not nothing_named.unknown and len(nothing_named.nearest) == 3


def test_every_target_and_its_modality_are_complete():
    for target in VOCABULARY.targets.values():
        assert target.modality in VOCABULARY.modalities
        assert VOCABULARY.find_target(target.phrase) is target
    assert all(modality.absent for modality in VOCABULARY.modalities.values())
    lateral = {name for name, target in VOCABULARY.targets.items() if target.lateralised}
    assert lateral == {"lungs", "left lung", "right lung"}
