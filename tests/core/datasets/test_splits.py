"""The rule that gives a new group its split."""

from collections import Counter

import pytest

from napari_medvlsm.core.datasets.splits import Placed, place, split_of_rank


@pytest.mark.parametrize("salt", ["", "a", "b"])
def test_small_folders_have_all_splits_and_large_ones_mostly_train(salt):
    splits = [split_of_rank(rank, salt) for rank in range(110)]
    assert set(splits[:3]) == {"train", "val", "test"}
    assert Counter(splits[:10]) == {"train": 6, "val": 2, "test": 2}
    assert Counter(splits[10:]) == {"train": 80, "val": 10, "test": 10}


def test_the_order_within_later_blocks_is_the_folders_own():
    orders = {tuple(split_of_rank(rank, salt) for rank in range(5, 30)) for salt in "abcdef"}
    assert len(orders) == 6
    assert [split_of_rank(rank, "a") for rank in range(5, 30)] == [split_of_rank(rank, "a") for rank in range(5, 30)]


def test_known_images_and_groups_keep_their_side():
    earlier = [Placed("train", "a", "patient 1", 0), Placed("val", "b", "patient 2", 1), Placed("test", "c", "", 2)]
    assert place("c", "", earlier, "") == earlier[2]
    assert place("d", "patient 2", earlier, "") == Placed("val", "d", "patient 2", 1)
    assert place("c", "patient 9", earlier, "") == Placed("test", "c", "patient 9", 2)
    assert place("d", "patient 3", earlier, "") == Placed(split_of_rank(3, ""), "d", "patient 3", 3)
    with pytest.raises(ValueError, match="This scan is in test already, but other scans of patient 1 are in train"):
        place("c", "patient 1", earlier, "")


def test_cases_without_a_rank_do_not_count():
    earlier = [Placed("train", str(i)) for i in range(40)]
    first = place("new", "", earlier, "")
    assert first == Placed("train", "new", "", 0) and place("7", "", earlier, "") == earlier[7]
    assert place("newer", "", [*earlier, first], "").split == "val"


def test_what_is_taken_out_changes_nothing_for_what_comes():
    earlier = [Placed("train", "a", "", 0), Placed("val", "b", "", 1)]
    assert place("c", "", earlier, "") == place("c", "", earlier[1:], "") == Placed("test", "c", "", 2)
