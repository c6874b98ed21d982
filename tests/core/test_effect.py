import numpy as np
import pytest

from napari_medvlsm.core.effect import HARDLY, LITTLE, Effect, EffectCase, agreement, compare_size, effect, measure
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.prompts import Attributes, build, load_vocabulary
from napari_medvlsm.core.prompts.variants import Contrast


def rows(first, end):
    """A mask of 10 x 10 pixels with the rows from `first` to `end` filled."""
    mask = np.zeros((10, 10), bool)
    mask[first:end] = True
    return mask


def test_changes_are_what_the_outlines_do_not_share():
    masks = {
        Contrast.YOURS: rows(0, 4),
        Contrast.EMPTY: rows(0, 4),
        Contrast.CLASS_ONLY: rows(2, 6),  # half of each: Dice 2 * 2 / (4 + 4)
        Contrast.WRONG_SIDE: rows(0, 1),  # Dice 2 * 1 / (4 + 1)
        Contrast.OTHER_TARGET: rows(5, 5),
    }
    assert effect(masks).changes == pytest.approx(
        {Contrast.EMPTY: 0, Contrast.CLASS_ONLY: 0.5, Contrast.WRONG_SIDE: 0.6, Contrast.OTHER_TARGET: 1}
    )


def test_an_empty_outline_has_no_effect_to_show():
    found = effect({Contrast.YOURS: rows(0, 0), Contrast.EMPTY: rows(0, 9)})
    assert not found.changes and not found.steered and "Nothing is outlined" in found.verdict


@pytest.mark.parametrize(
    ("changes", "words", "steered"),
    [
        ({Contrast.OTHER_TARGET: HARDLY}, "hardly count here: asked for something else", False),
        ({Contrast.OTHER_TARGET: 0.0, Contrast.EMPTY: 1.0}, "hardly count here: asked for something else", False),
        ({Contrast.EMPTY: 0.0}, "draws the same; whether the name counts is not known", False),
        ({Contrast.EMPTY: HARDLY + 0.01}, "draws much the same; whether", False),
        ({Contrast.EMPTY: 1.0}, "draws something else; whether the name counts is not known", False),
        ({Contrast.OTHER_TARGET: LITTLE}, "only a little", False),
        ({Contrast.OTHER_TARGET: LITTLE + 0.01}, "The name steers this outline.", True),
        ({Contrast.OTHER_TARGET: 1.0, Contrast.WRONG_SIDE: HARDLY}, "describing words hardly change it", True),
        ({Contrast.OTHER_TARGET: 1.0, Contrast.WRONG_SIZE: 0.2}, "describing words change it a little", True),
        ({Contrast.OTHER_TARGET: 0.9, Contrast.CLASS_ONLY: 0.1, Contrast.WRONG_SIDE: 0.8}, "words steer it too", True),
    ],
)
def test_the_verdict_is_one_sentence_about_name_and_words(changes, words, steered):
    found = Effect(changes)
    assert words in found.verdict and found.verdict.endswith(".") and found.steered == steered


def test_the_verdict_says_what_the_opposite_side_does():
    changes = {Contrast.OTHER_TARGET: 1.0, Contrast.WRONG_SIDE: 1.0}
    assert Effect(changes).verdict.endswith("the opposite side outlines nothing.")
    assert Effect(changes, frozenset({Contrast.WRONG_SIDE})).verdict.endswith("the opposite side picks another one.")
    masks = {Contrast.YOURS: rows(0, 4), Contrast.WRONG_SIDE: rows(6, 9), Contrast.EMPTY: rows(0, 0)}
    assert effect(masks).drawn == {Contrast.WRONG_SIDE}


def test_agreement_is_over_all_pairs():
    assert agreement([rows(0, 4), rows(0, 4), rows(4, 8)]) == pytest.approx(1 / 3)
    assert agreement([rows(0, 4), rows(2, 6)]) == 0.5
    assert agreement([rows(0, 1)]) == agreement([]) == 1.0
    assert agreement([rows(0, 0), rows(0, 0)]) == 1.0


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((100, 200), (100, 200)),
        ((256, 256), (256, 256)),
        ((1024, 512), (256, 128)),
        ((300, 10_000), (8, 256)),
        ((1, 9999), (1, 256)),
    ],
)
def test_wordings_are_compared_at_a_small_size_of_the_same_shape(size, small):
    assert compare_size(size) == small


def test_the_effect_over_a_set_of_scans(small_clipseg, small_card, rng):
    segmenter = Segmenter(small_clipseg, small_card, device="cpu")
    vocabulary = load_vocabulary()
    prompt = build(Attributes("polyp", size="small"), vocabulary)
    scans = [Scan(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(2)]
    truth = np.zeros((40, 60), bool)
    truth[5:20, 5:20] = True
    found = measure(segmenter, [EffectCase(scans[0], prompt, truth), EffectCase(scans[1], prompt)], vocabulary)
    assert found["cases"] == 2
    for row in found["contrasts"].values():
        assert row.get("cases", 0) <= found["outlined"] and 0 <= row.get("change", 0) <= 1
        assert row.get("dice_cases", 1) == 1
    yours = found["contrasts"][Contrast.YOURS.value]["dice"]
    others = [row for row in found["contrasts"].values() if "margin" in row]
    assert others and all(row["margin"] == pytest.approx(yours - row["dice"], abs=1e-4) for row in others)
    assert found["contrasts"][Contrast.YOURS.value].keys() == {"dice", "dice_cases"}
    with pytest.raises(ValueError, match="no scans"):
        measure(segmenter, [], vocabulary)
