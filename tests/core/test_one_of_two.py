import numpy as np
import pytest

from napari_medvlsm.core.effect import EffectCase
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.one_of_two import join, pick_one_of_two, side_by_side
from napari_medvlsm.core.prompts import Attributes, build, load_vocabulary

VOCABULARY = load_vocabulary()


def case(value, target="polyp", shape=(40, 60)):
    """A scan of one grey value, whose middle is outlined."""
    truth = np.zeros(shape, bool)
    truth[10:30, 20:40] = True
    return EffectCase(Scan(np.full(shape, value, np.uint8)), build(Attributes(target), VOCABULARY), truth)


class Answer:
    def __init__(self, mask):
        self._mask = mask

    def mask(self):
        return self._mask


class Segmenter:
    """Outlines the bright half for "right", the dark half for "left"; with `deaf`, always the bright one."""

    def __init__(self, deaf=False):
        self.deaf = deaf

    def set_image(self, scan):
        self.pixels = scan.pixels[..., 0]

    def segment(self, prompts, *, size):
        assert size == self.pixels.shape
        return [Answer((self.pixels > 100) == (self.deaf or "right" in text)) for text in prompts]


def test_two_scans_stand_side_by_side_with_their_masks():
    joined = join(case(0).scan, case(200, shape=(80, 80)).scan)
    assert joined.size == (384, 576 + 384)
    assert (joined.pixels[:, :576] == 0).all() and (joined.pixels[:, 576:] == 200).all()
    (pair,) = side_by_side([case(0), case(200)], VOCABULARY, 1)
    assert pair.left[:, :576].any() and not pair.left[:, 576:].any() and not (pair.left & pair.right).any()


def test_only_scans_of_one_target_with_an_outline_make_pairs():
    empty = EffectCase(case(0).scan, case(0).prompt, np.zeros((40, 60), bool))
    lungs = [case(0, "left lung"), case(1, "left lung")]
    assert side_by_side([case(0), case(1, "foot ulcer"), empty, *lungs], VOCABULARY, 3) == []
    assert len(side_by_side([case(i) for i in range(4)], VOCABULARY, 3)) == 3
    with pytest.raises(ValueError, match="no two scans"):
        pick_one_of_two(Segmenter(), [], VOCABULARY)


def test_a_model_that_listens_picks_both_and_a_deaf_one_one_of_two():
    pairs = [p for p in side_by_side([case(0), case(200)], VOCABULARY, 9) if p.scan.pixels[0, 0, 0] == 0][:2]
    assert pick_one_of_two(Segmenter(), pairs, VOCABULARY)["picked"] == 1
    found = pick_one_of_two(Segmenter(deaf=True), pairs, VOCABULARY)
    assert found["picked"] == 0.5 and found["cases"] == 2
