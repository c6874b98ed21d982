"""Which case next: by clusters, by doubt, and one in five by chance."""

import numpy as np
import pytest

from napari_medvlsm.core.improve.order import (
    AT_RANDOM,
    EDGE,
    INSIDE,
    NOTHING,
    UNLIKE,
    WORDS,
    Doubt,
    doubt_of,
    listens,
    next_cases,
)

SURE, UNSURE = Doubt(0.01, 0.02), Doubt(0.3, 0.8)


@pytest.fixture
def kinds(rng):
    """Sixty scans of six kinds, ten of each, in eight numbers."""
    centres = 4 * rng.normal(size=(6, 8))
    return np.repeat(centres, 10, axis=0) + 0.1 * rng.normal(size=(60, 8))


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_the_first_cases_are_of_every_kind(kinds):
    found = next_cases(kinds, 10, seed=1)
    spread = [n.place // 10 for n in found if n.reason == UNLIKE]
    assert len(found) == len({n.place for n in found}) == 10 and {*spread} == set(range(6))
    for seed in range(20):  # by chance alone six kinds are seldom all among eight
        assert {n.place // 10 for n in next_cases(kinds, 10, seed)} == set(range(6))


def test_one_in_five_is_drawn_at_random_whatever_the_model_thinks(kinds):
    doubts = [UNSURE] * 10 + [SURE] * 50
    drawn = set()
    for seed in range(60):
        found = next_cases(kinds, 10, seed, doubts=doubts)
        assert [i for i, n in enumerate(found) if n.reason == AT_RANDOM] == [4, 9]
        drawn |= {n.place for n in found if n.reason == AT_RANDOM}
    assert len(drawn) > 45  # of all sixty


def test_a_seed_gives_one_order_and_another_another(kinds):
    doubts = [UNSURE, SURE] * 30
    assert next_cases(kinds, 20, 3, doubts=doubts) == next_cases(kinds, 20, 3, doubts=doubts)
    assert next_cases(kinds, 20, 3) == next_cases(kinds, 20, 3)
    assert next_cases(kinds, 20, 3, doubts=doubts) != next_cases(kinds, 20, 4, doubts=doubts)


def test_new_cases_are_unlike_those_that_are_outlined(kinds):
    outlined = kinds[:20]  # two of the six kinds
    found = next_cases(kinds[20:], 4, 1, outlined=outlined)
    assert {n.place // 10 for n in found} == set(range(4))


def test_doubtful_cases_come_first_and_of_several_kinds(kinds):
    doubtful = [i for i in range(60) if i % 10 < 5]  # five of each kind
    doubts = [UNSURE if i in doubtful else SURE for i in range(60)]
    found = [n for n in next_cases(kinds, 10, 2, doubts=doubts) if n.reason != AT_RANDOM]
    assert all(n.place in doubtful and n.reason == EDGE for n in found)
    assert len({n.place // 10 for n in found}) >= 5


def test_all_cases_come_once_where_there_are_no_more(kinds):
    for count in (7, 60, 99):
        assert sorted(n.place for n in next_cases(kinds[:7], count, 0)) == list(range(7))
    assert next_cases(kinds[:0], 5, 0) == []
    with pytest.raises(ValueError, match="60 cases, but 3 doubts"):
        next_cases(kinds, 5, 0, doubts=[SURE] * 3)


def test_doubt_is_measured_where_something_is_outlined(rng):
    probability = np.zeros((60, 60), np.uint8)
    probability[20:40, 20:40] = 255
    assert doubt_of(probability, 0.5) == Doubt(0.0, 0.0)
    soft = probability.copy()
    soft[18:42, 18:42] = 140
    soft[22:38, 22:38] = 255
    edge = doubt_of(soft, 0.5)
    assert edge.rim > 0.4 > edge.region and edge.reason == EDGE
    unsure = np.where(probability, 150, 0).astype(np.uint8)
    inside = doubt_of(unsure, 0.5)
    assert inside.region > 0.9 and inside.reason == INSIDE
    # Background of which the model is a little unsure changes nothing of it, though it is most of the image.
    haze = np.where(soft, soft, 20).astype(np.uint8)
    assert doubt_of(haze, 0.5).region == edge.region and doubt_of(haze, 0.5).total < 2 * edge.total


def test_where_nothing_is_outlined_the_most_probable_pixels_tell():
    empty, nearly = np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8)
    nearly[10:14, 10:14] = 120
    assert doubt_of(empty, 0.5) == Doubt(0.0, 0.0, False)
    found = doubt_of(nearly, 0.5)
    assert found.region > 0.9 and found.reason == NOTHING


def test_wordings_count_only_where_the_model_listens():
    left, right = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    left[:, :10], right[:, 10:] = 255, 255
    assert doubt_of(left, 0.5, [right]).words == 0
    heard = doubt_of(left, 0.5, [right, left], listens=True)
    assert heard.words == 0.5 and heard.reason == WORDS

    def card(**changes):
        return {"some set": {"contrasts": {name: {"change": change} for name, change in changes.items()}}}

    assert listens(card(**{"the opposite side": 0.9})) and listens(card(**{"the wrong size": 0.4}))
    assert not listens(card(**{"the opposite side": 0.1, "no words at all": 1.0}))
    assert not listens({}) and not listens({"some set": {}})


def test_the_shipped_starter_listens():
    from napari_medvlsm.core.models.store.registry import STARTER, find_model

    assert listens(find_model(STARTER).card.prompt_effect)
