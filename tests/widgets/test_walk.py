"""A small part of the walk of random actions; the whole: `python -m tests.widgets.walk`."""

import pytest

from tests.widgets.walk import Walker


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_nothing_is_lost_and_what_is_worked_on_is_shown(make_napari_viewer, tmp_path, seed, qtbot):
    walker = Walker(make_napari_viewer(show=True), tmp_path, seed)
    try:
        walker.walk(60)
    finally:
        walker.close()
