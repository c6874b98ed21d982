import pytest

from napari_medvlsm.core.options import SegmentOptions, Tiling, check_region


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tiling(8), "at least 16"),
        (lambda: Tiling(overlap=0.95), "from 0 to 0.9"),
        (lambda: Tiling(overlap=-0.1), "from 0 to 0.9"),
        (lambda: SegmentOptions(region=(0, 0, 1, 9)), "two rows"),
        (lambda: SegmentOptions(region=(-1, 0, 9, 9)), "two rows"),
        (lambda: SegmentOptions(region=(5, 5, 4, 9)), "two rows"),
        (lambda: check_region((0, 0, 9, 11), (10, 10)), "beyond the scan of 10 x 10"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "options", [SegmentOptions(), SegmentOptions(Tiling(64, 0.5)), SegmentOptions(None, (0, 1, 5, 9))]
)
def test_options_go_through_the_protocol(options):
    assert SegmentOptions.from_message(options.to_message()) == options
    assert options.whole == (options == SegmentOptions())


def test_message_without_options_means_the_whole_scan():
    assert SegmentOptions.from_message({"op": "segment"}).whole
