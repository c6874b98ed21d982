"""One owner of the scan and slice in view."""

import numpy as np
import pytest

from napari_medvlsm.controllers.view_state import SliceInView, ViewState
from napari_medvlsm.core.images import Scan, content_hash


class Stack:
    """An image of several slices, one of which is in view."""

    def __init__(self, *values):
        self.planes = [np.full((4, 5), value, np.uint8) for value in values]
        self.at = 0
        self.problem = ""
        self.reads = 0

    def read(self):
        self.reads += 1
        if self.problem:
            raise ValueError(self.problem)
        return SliceInView(self, (self.at,), Scan(self.planes[self.at]))


@pytest.fixture
def view():
    return ViewState(lambda image: image.read())


def test_a_slice_is_read_when_it_settles_and_only_then(view, heard):
    changed, moving, stack = heard(view.changed), heard(view.moving_started), Stack(1, 2)
    view.choose(stack)
    assert view.moving and moving == [()] and view.slice is None and stack.reads == 0
    view.settle()
    assert not view.moving and view.slice.index == (0,) and view.scan_hash == content_hash(stack.planes[0])
    view.settle()
    assert stack.reads == 1 and changed == [()]


def test_a_hash_that_came_with_the_pixels_is_not_computed_anew(heard):
    scan = Scan(np.zeros((4, 5), np.uint8))
    view = ViewState(lambda image: SliceInView(image, (), scan, image))
    view.choose("found elsewhere")
    view.settle()
    assert view.scan_hash == "found elsewhere"
    changed = heard(view.changed)
    view.settle(other_pixels=True)
    assert changed == []


def test_a_slider_that_comes_back_changes_nothing(view, heard):
    stack = Stack(1, 2)
    view.choose(stack)
    view.settle()
    changed = heard(view.changed)
    stack.at = 1
    view.move()
    stack.at = 0
    view.move()
    view.settle()
    assert changed == []
    stack.at = 1
    view.move()
    view.settle()
    assert changed == [()] and view.slice.index == (1,)


def test_other_pixels_in_the_same_place_are_another_scan(view, heard):
    stack = Stack(1)
    view.choose(stack)
    view.settle()
    changed = heard(view.changed)
    view.move(other_pixels=True)
    view.settle()
    assert changed == [], "the same content"
    stack.planes[0] = np.full((4, 5), 9, np.uint8)
    view.move(other_pixels=True)
    view.settle()
    assert changed == [()] and view.scan_hash == content_hash(stack.planes[0])


def test_what_cannot_be_worked_on_is_said_once(view, heard):
    stack = Stack(1)
    view.choose(stack)
    view.settle()
    changed = heard(view.changed)
    stack.problem = "The viewer shows 3D."
    view.move()
    view.settle()
    assert view.slice is None and view.scan is None and view.problem == "The viewer shows 3D." and view.scan_hash == ""
    view.move()
    view.settle()
    assert changed == [()]


def test_another_image_or_none(view, heard):
    images = heard(view.image_changed)
    one, two = Stack(1), Stack(1)
    view.choose(one)
    view.settle()
    view.choose(one)
    assert images == [()]
    view.choose(two)
    view.settle()
    assert view.slice.image is two, "equal pixels, but another image"
    view.choose(None)
    view.settle()
    assert view.slice is None and len(images) == 3
