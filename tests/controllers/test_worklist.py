"""The list of scans: what is shown is what is worked on."""

from collections import deque

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.controllers.view_state import SliceInView, ViewState
from napari_medvlsm.controllers.worklist import Worklist
from napari_medvlsm.core.images import Scan


class Picture:
    """An image of the viewer."""

    def __init__(self, pixels, name):
        self.pixels, self.name = pixels, name


class Viewer:
    """A stage whose viewer is a list."""

    def __init__(self):
        self.images, self.shown, self.outlines, self.worklist = [], None, [], None

    def make(self, found, path):
        return Picture(found.pixels, path.stem)

    def insert(self, image):
        self.images.append(image)
        self.report()
        self.worklist.choose_image(image)

    def insert_outline(self, outline, path):
        self.outlines.append(path.name)

    def show(self, image):
        self.shown = image

    def report(self, active=None):
        self.worklist.sync([(image, image.name, None, ()) for image in self.images], active)

    def remove(self, image):
        self.images.remove(image)
        self.report()


@pytest.fixture
def jobs():
    return deque()


@pytest.fixture
def finish(jobs):
    """Do all that was queued."""

    def work():
        while jobs:
            function, done, failed = jobs.popleft()
            try:
                value = function()
            except Exception as error:
                failed(error)
            else:
                done(value)

    return work


@pytest.fixture
def viewer():
    return Viewer()


@pytest.fixture
def worklist(viewer, jobs):
    view = ViewState(lambda image: SliceInView(image, (), Scan(image.pixels)))
    found = viewer.worklist = Worklist(view, viewer, lambda *job: jobs.append(job))
    found.view = view
    return found


@pytest.fixture
def said(worklist):
    got = []
    worklist.message.connect(lambda text, problem: got.append(text) if text else None)
    return got


@pytest.fixture
def scans(tmp_path):
    """Pictures of different pixels and sizes."""

    def make(*names):
        paths = []
        for number, name in enumerate(names):
            paths.append(tmp_path / name)
            Image.fromarray(np.full((4 + number, 6), 10 * number, np.uint8)).save(paths[-1])
        return paths

    return make


def agrees(worklist, viewer, name):
    """Whether list, view and viewer speak of the same scan, and its pixels were read."""
    current = worklist.current
    assert current is not None and current.name == name
    assert viewer.shown is current.image is worklist.view.image is worklist.view.slice.image
    return True


def names(worklist):
    return [entry.name for entry in worklist.entries]


def test_the_first_is_shown_and_the_others_wait(worklist, viewer, scans, finish, said):
    worklist.open(scans("b.png", "a.png", "c.png"))
    finish()
    assert names(worklist) == ["b", "a", "c"] and agrees(worklist, viewer, "b")
    assert [entry.image is not None for entry in worklist.entries] == [True, False, False]
    assert said[-1] == "3 scans are in the list; this is the first."
    worklist.step(1)
    finish()
    assert agrees(worklist, viewer, "a")
    worklist.step(-1)
    assert agrees(worklist, viewer, "b"), "an open one comes at once"
    worklist.step(-1)
    assert said[-1] == "This is the first scan of the list." and agrees(worklist, viewer, "b")


def test_the_last_choice_counts(worklist, viewer, scans, finish):
    worklist.open(scans("a.png", "b.png", "c.png"))
    finish()
    worklist.step(1)
    worklist.step(1)
    assert agrees(worklist, viewer, "a") and worklist.opening.name == "c"
    finish()
    assert agrees(worklist, viewer, "c") and worklist.entries[1].image is None and len(viewer.images) == 2
    worklist.choose(worklist.entries[1])
    worklist.choose(worklist.entries[0])
    finish()
    assert agrees(worklist, viewer, "a"), "an open scan that was chosen meanwhile stays in view"


def test_a_file_that_is_open_comes_back_instead_of_twice(worklist, viewer, scans, finish):
    first, second = scans("a.png", "b.png")
    worklist.open([first])
    worklist.open([second])
    finish()
    assert agrees(worklist, viewer, "b")
    worklist.open([first])
    finish()
    assert agrees(worklist, viewer, "a") and names(worklist) == ["a", "b"] and len(viewer.images) == 2


def test_broken_files_are_named_and_passed_over(worklist, viewer, scans, finish, said, tmp_path):
    good = scans("good.png")[0]
    bad = [tmp_path / "x.png", tmp_path / "y.png"]
    for path in bad:
        path.write_bytes(b"nothing")
    (tmp_path / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    worklist.open([*bad, good, tmp_path / "IM1"])
    finish()
    assert agrees(worklist, viewer, "good")
    assert any(text.startswith("IM1 is a DICOM file") for text in said)
    assert said[-1].startswith("x.png and y.png cannot be opened")
    assert [bool(entry.problem) for entry in worklist.entries] == [True, True, False]
    worklist.step(-1)
    finish()
    assert agrees(worklist, viewer, "good"), "what cannot be opened is no scan to step to"


def test_nothing_readable_changes_nothing(worklist, viewer, scans, finish, said, tmp_path):
    worklist.open(scans("a.png"))
    finish()
    (tmp_path / "notes.txt").write_text("x")
    worklist.open([tmp_path / "notes.txt"])
    finish()
    assert "notes.txt is no picture" in said[-1] and agrees(worklist, viewer, "a")
    worklist.open([tmp_path / "notes.txt"], lambda paths: "")
    finish()
    assert agrees(worklist, viewer, "a")


def test_a_removed_scan_gives_way_to_its_neighbour(worklist, viewer, scans, finish):
    for path in scans("a.png", "b.png", "c.png"):
        worklist.open([path])
        finish()
    worklist.choose(worklist.entries[1])
    viewer.remove(viewer.images[1])
    assert names(worklist) == ["a", "c"] and agrees(worklist, viewer, "c")
    viewer.remove(viewer.images[1])
    assert agrees(worklist, viewer, "a")
    viewer.remove(viewer.images[0])
    assert worklist.current is None and worklist.view.slice is None and not worklist.entries


def test_images_that_others_add_are_in_the_list_with_what_waits(worklist, viewer, scans):
    waiting = scans("w.png")
    image = Picture(np.zeros((5, 5), np.uint8), "sample")
    worklist.sync([(image, "sample", None, waiting)], image)
    assert names(worklist) == ["sample", "w"] and agrees(worklist, viewer, "sample")
    worklist.sync([(image, "renamed", None, ())], image)
    assert names(worklist) == ["renamed", "w"]


def test_after_the_end_nothing_comes_any_more(worklist, viewer, scans, finish):
    worklist.open(scans("a.png"))
    worklist.close()
    finish()
    assert not viewer.images and worklist.current is None
