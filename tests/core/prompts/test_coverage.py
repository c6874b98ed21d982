import random
import string

from napari_medvlsm.core.prompts import coverage, load_vocabulary, normalise

PHRASES, WORDS = ["polyp", "breast tumor", "foot ulcer", "left lung"], ["small polyp", "breast tumor", "foot ulcer"]


def test_texts_are_compared_by_their_words():
    assert normalise("  Small, POLYP!\n(x-ray_2) ") == "small polyp x ray 2"
    assert normalise("…") == "" and normalise("Über 息肉") == "über 息肉"


def test_a_text_of_known_words_that_names_a_target_is_covered():
    assert coverage("Small POLYP.", PHRASES, WORDS).complete
    assert coverage("foot ulcer", iter(PHRASES), iter(WORDS)).complete


def test_unknown_words_are_named():
    found = coverage("liver tumour of a liver", PHRASES, WORDS)
    assert found.unknown == ("liver", "tumour", "of", "a") and not found.known_target and not found.complete


def test_little_words_are_passed_over():
    assert coverage("polyp of the liver", PHRASES, WORDS).telling == ("liver",)
    assert coverage("polyp of the", PHRASES, WORDS).complete, "the interface's own little words alarm nobody"


def test_known_words_without_a_target_are_not_enough():
    found = coverage("small", PHRASES, WORDS)
    assert not found.complete and not found.unknown
    # A part of a name is none, nor is a name within a word.
    assert not coverage("ulcer", PHRASES, WORDS).known_target
    assert not coverage("polypoid", PHRASES, [*WORDS, "polypoid"]).known_target


def test_nothing_typed_and_nothing_trained():
    assert not coverage("", PHRASES, WORDS).complete and coverage("", PHRASES, WORDS).unknown == ()
    assert coverage("polyp", [], []).unknown == ("polyp",)


def test_a_pasted_report_is_read_whole():
    rng = random.Random(0)
    report = " ".join("".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(5000))
    phrases = [name for target in load_vocabulary().targets.values() for name in target.names]
    assert len(coverage(report, phrases, WORDS).unknown) == 5000


def test_a_model_knows_the_plurals_of_its_targets():
    class Card:
        targets, phrases, words = ("polyp", "foot ulcer"), ("polyp", "foot ulcer", "wound"), ("polyp", "foot", "ulcer")

    phrases, words = load_vocabulary().trained(Card())
    assert phrases == ("polyp", "foot ulcer", "wound", "polyps", "foot ulcers")
    assert coverage("foot ulcers", phrases, words).complete and not coverage("wounds", phrases, words).complete
