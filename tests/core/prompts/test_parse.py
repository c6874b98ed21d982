import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medvlsm.core.prompts import Attributes, Parsed, build, free_text, level_of, load_vocabulary, parse
from napari_medvlsm.core.prompts.attributes import LISTS
from napari_medvlsm.core.prompts.coverage import normalise
from napari_medvlsm.core.prompts.english import NUMBER_WORDS
from napari_medvlsm.core.prompts.own_words import OwnWords

VOCABULARY = load_vocabulary()


def words_of(target, name):
    return NUMBER_WORDS if name == "age" else VOCABULARY.words(name, target)


def every_text(attributes):
    """The prompts of all levels and wordings, and of the level that holds all."""
    family = VOCABULARY.family(attributes.target)
    return [
        build(attributes, VOCABULARY, level, wording)
        for level in (None, *family.levels)
        for wording in range(len(family.clean))
    ]


def reads(prompt):
    return parse(prompt.text, VOCABULARY) == Parsed(prompt.attributes, level_of(prompt.attributes, VOCABULARY))


@st.composite
def choices(draw):
    """A target of the vocabulary with any of what can be said about it; lists in any order, each word once."""
    target = draw(st.sampled_from(sorted(VOCABULARY.targets)))
    names = [name for name in VOCABULARY.family(target).attributes if words_of(target, name)]
    said = {}
    for name in draw(st.sets(st.sampled_from(names))):
        most = 3 if name in LISTS else 1
        words = draw(st.lists(st.sampled_from(words_of(target, name)), min_size=1, max_size=most, unique=True))
        said[name] = ", ".join(words)
    return Attributes(target, **said)


# Build and parse are inverse for every word of the vocabulary: no text that `build` writes with them is ambiguous.
# What is, is said below: own targets that begin with a word (the longer name wins), words that nobody listed.


@given(choices())
def test_what_was_built_is_read_back_and_stands_in_the_text(attributes):
    for prompt in every_text(attributes):
        assert reads(prompt), prompt.text
        text = f" {normalise(prompt.text)} "
        for name, words in vars(prompt.attributes).items():
            if words == "zero" and name == "number":
                assert text.startswith(" no ")
            # The second wording of a breast ultrasound says the outline of the tumor instead.
            elif name == "tumor_type" and "regular shaped" in text:
                assert (words == "malignant") == (" irregular shaped " in text)
            elif name == "target" and prompt.attributes.number not in ("", "one", "zero"):
                assert f" {normalise(VOCABULARY.targets[words].plural)} " in text
            else:
                assert all(f" {normalise(word)} " in text for word in words.split(", ") if word), (name, text)
        assert "  " not in prompt.text and prompt.text == prompt.text.strip()


@pytest.mark.parametrize("target", VOCABULARY.targets)
def test_every_single_word_is_read_back(target):
    for name in VOCABULARY.family(target).attributes:
        for word in words_of(target, name):
            prompt = build(Attributes(target, **{name: word}), VOCABULARY)
            assert reads(prompt), prompt.text


@pytest.mark.parametrize("target", VOCABULARY.targets.values(), ids=VOCABULARY.targets)
def test_every_name_is_read_as_its_target(target):
    for name in target.names:
        assert parse(name, VOCABULARY) == Parsed(Attributes(target.phrase), "p1")
        assert parse(f"no {name}", VOCABULARY).attributes == Attributes(target.phrase, "zero")
        assert parse(f"Please outline: {name.upper()}!", VOCABULARY).attributes.target == target.phrase


@pytest.mark.parametrize(
    ("text", "said", "unplaced"),
    [
        ("a small pink polyp", {"target": "polyp", "size": "small", "color": "pink"}, ()),
        ("two BIG   reddish polyps", {"target": "polyp", "number": "two", "size": "large", "color": "red"}, ()),
        ("foot ulcer", {"target": "foot ulcer"}, ()),
        ("round foot ulcer", {"target": "foot ulcer", "shape": "round"}, ()),
        ("2 polyps at the upper left", {"target": "polyp", "number": "two", "location": "top left"}, ()),
        ("polyp, top left, upper left and bottom", {"target": "polyp", "location": "top left, bottom"}, ()),
        ("polyp near the appendix", {"target": "polyp"}, ("near the appendix",)),
        ("brain tumor", {}, ("brain tumor",)),
        ("a large tumour of the liver", {"size": "large"}, ("tumour of the liver",)),
        ("lung tumor", {}, ("lung tumor",)),
        ("stomach ulcer", {}, ("stomach ulcer",)),
        ("small tumor in the breast", {"target": "breast tumor", "size": "small"}, ("breast",)),
        ("ulcer on the foot", {"target": "foot ulcer"}, ("foot",)),
        ("malignant tumor of the patient", {"target": "breast tumor", "tumor_type": "malignant"}, ("patient",)),
        ("left lung nodule", {"target": "lung lesion"}, ("left",)),
        ("odd polyp with strange stalk", {"target": "polyp"}, ("odd", "strange stalk")),
        ("red green polyp", {"target": "polyp", "color": "red"}, ("green",)),
        ("small spleen", {"size": "small"}, ("spleen",)),
        ("left lung", {"target": "left lung"}, ()),
        ("small left lung", {"target": "left lung", "size": "small"}, ()),
        (
            "LV cavity, 2CH, end-diastole",
            {"target": "left ventricular cavity", "view": "two-chamber", "cycle": "diastole"},
            (),
        ),
        ("myocardium of a 64 year old man", {"target": "myocardium", "age": "sixty-four", "sex": "male"}, ()),
        (
            "myocardium, poor image quality, in systole",
            {"target": "myocardium", "quality": "poor", "cycle": "systole"},
            (),
        ),
        ("edema on this side", {"target": "edema"}, ()),
        ("edema, lateral view", {"target": "edema", "view": "lateral"}, ()),
        ("polyp in the lateral view", {"target": "polyp"}, ("lateral",)),
        ("no polyp", {"target": "polyp", "number": "zero"}, ()),
        ("no polyps", {"target": "polyp", "number": "zero"}, ()),
        ("right breast tumor", {"target": "breast tumor"}, ("right",)),
        ("ulcer on the left foot", {"target": "foot ulcer"}, ("left foot",)),
        ("polyp in the left colon", {"target": "polyp"}, ("left colon",)),
        ("polyp at the left side", {"target": "polyp", "location": "left"}, ()),
        ("5 mm polyp", {"target": "polyp"}, ("5 mm",)),
        ("stage 2 foot ulcer", {"target": "foot ulcer"}, ("stage 2",)),
        ("polyp 2", {"target": "polyp"}, ("2",)),
        ("2 polyps", {"target": "polyp", "number": "two"}, ()),
        ("lung\u017f", {}, ("lung\u017f",)),
        ("", {}, ()),
        ("the of a", {}, ()),
    ],
)
def test_any_other_text_is_read_word_by_word(text, said, unplaced):
    parsed = parse(text, VOCABULARY)
    assert (parsed.attributes, parsed.unplaced) == (Attributes(**said), unplaced)
    assert parsed.level == level_of(parsed.attributes, VOCABULARY)


def test_a_side_of_the_patient_is_no_side_of_the_image():
    parsed = parse("left lung, located in the right of the image", VOCABULARY)
    assert parsed.attributes == Attributes("left lung", location="right") and not parsed.unplaced
    assert parse("left ventricle", VOCABULARY).attributes == Attributes("left ventricular cavity")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Tumor in the breast ultrasound image.", Attributes("breast tumor")),
        ("No tumor in the breast ultrasound image.", Attributes("breast tumor", "zero")),
        (
            "Two small irregular-shaped tumors at the left, top in the breast ultrasound image.",
            Attributes("breast tumor", "two", "small", tumor_type="malignant", location="left, top"),
        ),
        # P6 of upstream ends with a space.
        (
            "Airspace Opacity in a Chest Xray. Cardiomegaly, Lung Opacity are present. ",
            Attributes("airspace opacity", findings="cardiomegaly, lung opacity"),
        ),
        (
            "one small white it is a round shape polyp which is an abnormal growth of tissues projecting from a "
            "mucuos membrane located in top left, top left of the image",
            Attributes(
                "polyp",
                "one",
                "small",
                "white",
                "round",
                "top left",
                "an abnormal growth of tissue projecting from a mucous membrane",
            ),
        ),
    ],
)
def test_a_pasted_prompt_of_upstream_is_read_in_clean_words(text, said):
    assert parse(text, VOCABULARY) == Parsed(said, level_of(said, VOCABULARY))


def test_a_typed_prompt_keeps_its_words():
    prompt = free_text("  a  SMALL polyp, please ", VOCABULARY)
    assert (prompt.text, prompt.level) == ("a SMALL polyp, please", "free")
    assert prompt.attributes == Attributes("polyp", size="small")
    assert prompt.vocabulary_version == VOCABULARY.version


@given(st.text(max_size=60) | st.text("{}[]|()?*\\ polyp small,.-_'\"\n\t", max_size=60))
def test_nothing_that_is_typed_stops_it(text):
    parsed = parse(text, VOCABULARY)
    assert parsed.level == level_of(parsed.attributes, VOCABULARY)
    assert all(part and part in normalise(text) for part in parsed.unplaced)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top left, " * 20000, {"location": "top left"}),
        ("small " * 20000 + "polyp", {"target": "polyp", "size": "small"}),
        ("one small white round " * 5000, {"number": "one", "size": "small", "color": "white", "shape": "round"}),
        ("x" * 10**5, {}),
        ("edema; " * 20000, {"target": "edema", "findings": "edema"}),
        ("tumor of the " * 10000, {"target": "breast tumor"}),
    ],
    ids=lambda text: str(text)[:12],
)
def test_a_long_text_is_read_whole(text, said):
    # Work that grew with the square of the length would take minutes here.
    assert parse(text, VOCABULARY).attributes == Attributes(**said)


def own(tmp_path, **content):
    return load_vocabulary(OwnWords(tmp_path / "words.yaml", content))


def test_own_words_are_read_with_their_capitals_and_in_one_piece(tmp_path):
    general = "often seen in Crohn's disease"
    vocabulary = own(
        tmp_path,
        targets={"Peyer patch": {"synonyms": ["PP"], "shapes": ["C-shaped"], "general": [general]}},
        attributes={"color": {"Bordeaux red": ["wine red"]}, "location": {"lower outer quadrant": ["LOQ"]}},
    )
    said = Attributes(
        "Peyer patch", "two", "small", "Bordeaux red", "C-shaped", "lower outer quadrant, top", general=general
    )
    text = build(said, vocabulary).text
    for typed in (text, text.lower(), text.upper()):
        assert parse(typed, vocabulary) == Parsed(said, "p9")
    assert parse("a wine red pp at the loq", vocabulary).attributes == Attributes(
        "Peyer patch", color="Bordeaux red", location="lower outer quadrant"
    )


def test_of_two_targets_the_longer_name_is_meant(tmp_path):
    vocabulary = own(tmp_path, targets={"lesion": {}, "red lesion": {}, "heart": {}, "lesion of the heart": {}})
    # "lesion", coloured red, is written the same: the text alone cannot tell them apart.
    assert build(Attributes("lesion", color="red"), vocabulary).text == "red lesion"
    assert parse("red lesion", vocabulary).attributes == Attributes("red lesion")
    assert parse("small red lesion", vocabulary).attributes == Attributes("red lesion", size="small")
    assert parse("pink lesion", vocabulary).attributes == Attributes("lesion", color="pink")
    assert parse("heart-shaped heart", vocabulary).attributes == Attributes("heart", shape="heart-shaped")
    assert parse("the lesion of the heart", vocabulary).attributes == Attributes("lesion of the heart")


def test_an_own_word_means_itself_though_another_lists_it(tmp_path):
    vocabulary = own(tmp_path, attributes={"color": {"rust": ["brown", "rusty"]}})
    assert parse("brown polyp", vocabulary).attributes.color == "brown"
    assert parse("rusty polyp", vocabulary).attributes.color == "rust"


def test_other_vocabularies_are_not_mixed_up(tmp_path):
    vocabulary = own(tmp_path, targets={"spleen": {}})
    for _ in range(2):
        assert parse("spleen", vocabulary).attributes.target == "spleen"
        assert parse("spleen", VOCABULARY).attributes.target == ""
