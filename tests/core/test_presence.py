"""The presence score of a probability map, and the threshold that is chosen for it."""

import numpy as np
import pytest

from medvlsm_training.evaluation.presence import EMPTY, LOST, OTHER, PRESENT, PresenceAnswer, choose_presence
from napari_medvlsm.core.presence import presence_score


def test_a_small_target_is_enough_and_a_single_pixel_is_not():
    nothing = np.full((100, 100), 5, np.uint8)
    pixel, target = nothing.copy(), nothing.copy()
    pixel[50, 50] = 255
    target[50:55, 50:55] = 255
    assert presence_score(nothing) == pytest.approx(5 / 255)
    assert presence_score(pixel) < 0.1 and presence_score(target) == 1


def test_maps_of_any_size():
    assert presence_score(np.full((1, 3), 255, np.uint8)) == 1


def test_of_a_large_map_some_pixels_are_enough():
    large = np.full((3000, 2000), 5, np.uint8)
    assert presence_score(large) == pytest.approx(5 / 255)
    large[1000:1200, 500:700] = 255
    assert presence_score(large) == 1


def answers(what, scores):
    return [PresenceAnswer("set", f"{i}.png", "polyp", what, 0.0, score) for i, score in enumerate(scores)]


def test_the_threshold_loses_few_and_is_no_higher_than_useful():
    apart = [*answers(PRESENT, np.linspace(0.8, 1, 101)), *answers(OTHER, np.linspace(0, 0.1, 101))]
    assert 0.1 <= choose_presence(apart) <= 0.11
    mixed = [*answers(PRESENT, np.linspace(0, 1, 101)), *answers(EMPTY, np.linspace(0, 1, 101))]
    assert choose_presence(mixed) == pytest.approx(0.01, abs=1e-3)  # one in a hundred


@pytest.mark.parametrize("number", [1, 2, 10, 99, 150, 1000])
def test_of_few_scans_none_that_shows_it_falls_below(number):
    scores = np.linspace(0.3456789, 1, number)
    chosen = choose_presence([*answers(PRESENT, scores), *answers(OTHER, np.linspace(0, 0.99, 50))])
    assert np.mean(scores < chosen) <= LOST and chosen == pytest.approx(scores[number // 100], abs=0.02)


def test_nothing_absent_asked_says_nothing():
    assert choose_presence(answers(PRESENT, [0.5])) == 0
