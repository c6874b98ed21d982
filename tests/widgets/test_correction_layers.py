"""Corrections on napari's own layers, in napari's model of a viewer, which needs no window but an event loop."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.widgets._correction_layers import CorrectionLayers
from napari_medvlsm.widgets._layers import LayerManager, slice_in_view

POLYP = load_vocabulary().target("polyp")


class Listener:
    """What `Corrections` would do: note what was painted, remember what was deleted."""

    def __init__(self, canvas):
        self.canvas, self.painted, self.deleted = canvas, [], []
        canvas.painted.connect(self.on_painted)
        canvas.deleted.connect(lambda target, hashes: self.deleted.append((target, hashes)))

    def on_painted(self, scan_hash, target, mask, stroke):
        self.painted.append((scan_hash, int(mask.sum()), stroke))
        self.canvas.note(Annotation(target, mask, provenance=Provenance(scan_hash)))

    def take(self):
        found, self.painted = self.painted, []
        return found


@pytest.fixture
def viewer(qapp):
    return ViewerModel()


@pytest.fixture
def stack(viewer):
    """Three slices of different pixels."""
    return viewer.add_image(np.arange(3 * 20 * 30, dtype=np.uint16).reshape(3, 20, 30))


@pytest.fixture
def view(viewer, stack):
    state = ViewState(lambda image: slice_in_view(viewer, image))
    viewer.dims.events.current_step.connect(lambda: state.move())
    viewer.dims.set_current_step(0, 0)
    state.choose(stack)
    state.settle()
    return state


@pytest.fixture
def canvas(viewer, view):
    found = CorrectionLayers(viewer, LayerManager(viewer), view)
    yield found
    found.close()


@pytest.fixture
def heard(canvas):
    return Listener(canvas)


@pytest.fixture
def layer(viewer, canvas, heard):
    canvas.open(POLYP)
    (found,) = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    found.brush_size = 1
    return found


def stroke(layer, *places):
    """Paint as the mouse does: one undoable step from press to release."""
    with layer.block_history():
        for place in places:
            layer.paint(place, 1)


def test_strokes_undo_and_redo_are_told_apart(canvas, view, heard, layer):
    key = view.scan_hash
    stroke(layer, (0, 3, 3))
    assert heard.take() == [(key, 1, True)]
    stroke(layer, (0, 4, 4), (0, 5, 5))
    assert heard.take() == [(key, 3, True)], "one, however long"
    layer.undo()
    assert heard.take() == [(key, 1, False)]
    layer.redo()
    assert heard.take() == [(key, 3, False)]
    canvas.undo("polyp")
    assert heard.take() == [(key, 1, False)]
    layer.refresh()
    assert heard.take() == [], "drawn anew, with nothing changed"


def test_what_the_program_writes_is_not_reported(canvas, view, heard, layer):
    mask = np.zeros((20, 30), bool)
    mask[2:5] = True
    assert canvas.replace("polyp", mask) == 90
    np.testing.assert_array_equal(canvas.read("polyp"), mask)
    assert heard.take() == []


def test_a_fill_is_reported_with_its_pixels(view, heard, layer, qtbot):
    layer.fill((0, 3, 3), 1)
    qtbot.waitUntil(lambda: len(heard.painted) == 2)
    assert heard.painted[0][2], "one stroke"
    assert heard.painted[-1] == (view.scan_hash, 600, False)


def test_an_undo_of_another_slice_is_reported_for_that_slice(viewer, canvas, view, heard, layer):
    first = view.scan_hash
    stroke(layer, (0, 3, 3))
    viewer.dims.set_current_step(0, 1)
    view.settle()
    assert view.scan_hash != first and heard.take() == [(first, 1, True)]
    layer.undo()
    assert heard.take() == [(first, 0, False)] and not canvas.read("polyp").any()


def test_a_stroke_on_a_slice_that_was_not_read_yet_belongs_to_it(viewer, view, heard, layer):
    viewer.dims.set_current_step(0, 2)
    assert view.moving
    stroke(layer, (2, 3, 3))
    assert view.slice.index == (2,) and heard.take() == [(view.scan_hash, 1, True)]


def test_what_a_brush_reaches_on_slices_out_of_view_is_reported_for_them(viewer, stack, view, heard, layer, qtbot):
    hashes = [content_hash(plane) for plane in stack.data]
    layer.n_edit_dimensions, layer.brush_size = 3, 3
    stroke(layer, (0, 5, 5))
    qtbot.waitUntil(lambda: len(heard.painted) == 2)
    drawn = [int((plane > 0).sum()) for plane in layer.data]
    assert heard.take() == [(hashes[0], drawn[0], True), (hashes[1], drawn[1], True)] and drawn[1] and not drawn[2]
    # Along another axis, where no slice can be worked on.
    viewer.dims.order = (1, 0, 2)
    view.move()
    view.settle()
    layer.n_edit_dimensions, layer.brush_size = 2, 1
    stroke(layer, (1, 9, 9), (2, 9, 9))
    assert view.slice is None
    qtbot.waitUntil(lambda: len(heard.painted) == 2)
    assert heard.take() == [(hashes[1], drawn[1] + 1, True), (hashes[2], 1, True)]
    layer.undo()
    assert heard.take() == [(hashes[1], drawn[1], False), (hashes[2], 0, False)]


def test_a_deleted_layer_names_its_slices_and_a_moved_one_is_not_deleted(viewer, canvas, view, heard, layer):
    first = view.scan_hash
    stroke(layer, (0, 3, 3))
    viewer.dims.set_current_step(0, 1)
    view.settle()
    stroke(layer, (1, 3, 3))
    viewer.add_points(np.zeros((1, 3)))
    viewer.layers.move(viewer.layers.index(layer), 0)
    viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
    assert heard.deleted == []
    viewer.layers.remove(layer)
    ((target, hashes),) = heard.deleted
    assert target == "polyp" and set(hashes) == {first, view.scan_hash} and canvas.targets() == []


def test_a_panel_that_is_opened_later_finds_what_the_layer_carries(viewer, canvas, view, heard, layer):
    stroke(layer, (0, 3, 3))
    canvas.close()
    heard.take()
    later = CorrectionLayers(viewer, LayerManager(viewer), view)
    after = Listener(later)
    assert list(later.targets()) == ["polyp"] and later.noted("polyp").mask.sum() == 1
    stroke(layer, (0, 4, 4))
    assert heard.take() == [] and after.take() == [(view.scan_hash, 2, True)]
    later.forget("polyp")
    assert later.noted("polyp") is None
    later.close()


def test_a_layer_of_another_number_type_is_adopted(viewer, canvas, view):
    mine = viewer.add_labels(np.zeros((3, 20, 30), np.int32))
    mine.data[0, 2:4] = 7
    assert list(canvas.adoptable()) == [(mine.name, mine)]
    canvas.adopt(mine, POLYP)
    assert canvas.read("polyp").sum() == 60 and canvas.adoptable() == []
    canvas.edit("polyp")
    assert viewer.layers.selection.active is mine and mine.mode == "paint"
