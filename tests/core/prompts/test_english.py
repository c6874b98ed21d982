import pytest

from napari_medvlsm.core.prompts.english import NUMBER_WORDS, joined, number_word, with_articles


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (64, "sixty-four"),
        (100, "one hundred"),
        (112, "one hundred and twelve"),
        (999, "nine hundred and ninety-nine"),
    ],
)
def test_numbers_in_words(number, word):
    assert number_word(number) == word


def test_every_number_has_its_own_word():
    assert len({number_word(n) for n in range(1000)}) == 1000
    assert NUMBER_WORDS[64] == "sixty-four"
    for number in (-1, 1000):
        with pytest.raises(ValueError, match="0 to 999"):
            number_word(number)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a eighteen-year-old", "an eighteen-year-old"),
        ("a eleven and a eighty", "an eleven and an eighty"),
        ("a one-year-old", "a one-year-old"),
        ("a one hundred and one-year-old", "a one hundred and one-year-old"),
        ("A ulcer", "An ulcer"),
        ("a unilateral effusion", "a unilateral effusion"),
        ("a ureter", "a ureter"),
        ("a European guideline", "a European guideline"),
        ("a female", "a female"),
        ("vitamin a in", "vitamin an in"),
    ],
)
def test_article_before_a_vowel_sound(before, after):
    assert with_articles(before) == after


def test_lists_end_with_and_and_say_each_once():
    assert joined([]) == ""
    assert joined(["top"]) == "top"
    assert joined(["top", "left"]) == "top and left"
    assert joined(["small", "small", "large", "tiny"]) == "small, large and tiny"
