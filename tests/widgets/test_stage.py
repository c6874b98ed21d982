"""One scan in sight, on napari's model of a viewer, which needs no window."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.widgets._layers import LayerManager, slice_in_view
from napari_medvlsm.widgets._stage import ViewerStage

POLYP = load_vocabulary().target("polyp")


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def stage(viewer):
    found = ViewerStage(viewer)
    yield found
    found.close()


def fitted(viewer, image):
    """Whether a scan fills nine tenths of the canvas along one side, in its middle."""
    low, high = np.asarray(image.extent.world)[:, -2:]
    rows, cols = (high - low + np.asarray(image.scale)[-2:]) * viewer.scene.camera.zoom
    width, height = viewer.canvas.size[1], viewer.canvas.size[0]
    part = max(rows / height, cols / width)
    return np.allclose(viewer.scene.camera.center[-2:], (low + high) / 2) and part == pytest.approx(0.95, abs=1e-6)


def test_a_scan_comes_into_view_alone_and_as_a_whole(viewer, stage):
    large = viewer.add_image(np.zeros((600, 800)), name="large")
    stage.show(large)
    layers = LayerManager(viewer)
    layers.show_predictions(slice_in_view(viewer, large), {POLYP: np.ones((600, 800), bool)})
    drawn, predicted = layers.new_correction(large, POLYP), layers.prediction(large, "polyp")
    predicted.visible = False
    own = viewer.add_labels(np.zeros((600, 800), np.uint8))
    stage.adopt(own)
    small = viewer.add_image(np.zeros((6, 8)), name="small", scale=(2, 0.5), translate=(30, 7))
    stage.show(small)
    assert small.visible and fitted(viewer, small)
    assert not any(layer.visible for layer in (large, drawn, predicted, own))
    stage.show(large)
    assert fitted(viewer, large) and large.visible and drawn.visible and own.visible and not small.visible
    assert not predicted.visible, "what was hidden before stays so"


@pytest.mark.parametrize("remove", [False, True])
def test_nothing_of_a_stack_stays(viewer, stage, remove):
    stack = viewer.add_image(np.zeros((4, 50, 60)), name="stack")
    stage.show(stack)
    viewer.dims.set_current_step(0, 3)
    viewer.dims.order = (1, 0, 2)
    viewer.dims.ndisplay = 3
    flat = viewer.add_image(np.zeros((500, 300)), name="flat")
    if remove:
        viewer.layers.remove(stack)
    stage.show(flat)
    assert viewer.dims.ndisplay == 2 and fitted(viewer, flat)
    assert slice_in_view(viewer, flat).scan.size == (500, 300)
    if not remove:
        stage.show(stack)
        assert slice_in_view(viewer, stack).index == (3,) and fitted(viewer, stack)


def test_a_canvas_of_another_size_shows_the_whole_again_unless_it_was_moved(viewer, stage):
    image = viewer.add_image(np.zeros((600, 800)))
    stage.show(image)
    viewer.canvas.size = (300, 900)
    assert fitted(viewer, image)
    viewer.scene.camera.zoom = 7
    viewer.canvas.size = (500, 500)
    assert viewer.scene.camera.zoom == 7


def test_a_click_on_a_layer_of_another_scan_keeps_it_active(viewer, stage):
    one, two = viewer.add_image(np.zeros((6, 8))), viewer.add_image(np.zeros((6, 8)))
    stage.show(two)
    drawn = LayerManager(viewer).new_correction(one, POLYP)
    viewer.layers.selection.active = drawn
    stage.show(one)
    assert viewer.layers.selection.active is drawn
    stage.show(two)
    assert viewer.layers.selection.active is two, "nothing is painted on what is out of sight"
