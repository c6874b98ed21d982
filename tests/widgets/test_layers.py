"""Layers to core values and back, on napari's model of a viewer, which needs no window."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.widgets._layers import LayerManager, scan_layers, slice_in_view, spacing_of
from napari_medvlsm.widgets._planes import PlaneReader, check_size

POLYP, ULCER = (load_vocabulary().targets[name] for name in ("polyp", "foot ulcer"))


@pytest.fixture
def viewer():
    return ViewerModel()


def test_slice_follows_the_world_position_with_uneven_scale(viewer):
    stack = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8)
    layer = viewer.add_image(stack, scale=(5, 0.5, 0.25), units=("mm", "mm", "mm"))
    viewer.dims.set_point(0, 10.0)
    view = slice_in_view(viewer, layer)
    assert view.index == (2,) and view.scan.spacing == (0.5, 0.25)
    np.testing.assert_array_equal(view.scan.pixels, stack[2])


def test_colour_and_multiscale_layers(viewer, rng):
    rgb = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    assert slice_in_view(viewer, viewer.add_image(rgb)).scan.pixels.shape == (40, 60, 3)
    pyramid = viewer.add_image([rgb[..., 0], rgb[::2, ::2, 0]], multiscale=True)
    assert slice_in_view(viewer, pyramid).scan.size == (40, 60)


class Lazy:
    """An array that counts the pixels that are read of it, as dask and zarr have it."""

    def __init__(self, shape, dtype=np.uint8):
        self.shape, self.dtype, self.ndim, self.size = shape, np.dtype(dtype), len(shape), int(np.prod(shape))
        self.read = 0

    def __getitem__(self, key):
        part = np.broadcast_to(np.zeros((), self.dtype), self.shape)[key]
        self.read += part.size
        return part

    def __array__(self, dtype=None, copy=None):
        self.read += int(np.prod(self.shape))
        return np.zeros(self.shape, self.dtype)


def lazy_layer(viewer, levels):
    data = levels if len(levels) > 1 else levels[0]
    return viewer.add_image(data, multiscale=len(levels) > 1, contrast_limits=(0, 255), name="slide")


def test_the_limit_of_files_holds_for_layers_and_nothing_is_read_of_what_is_too_large(viewer):
    huge = Lazy((40_000, 40_000))
    # A layer of one such level would be drawn by napari, which reads it: the check is asked alone.
    with pytest.raises(ValueError, match=r"“slide” has 1600 million pixels in a plane, more than the 268 million"):
        check_size(lazy_layer(viewer, [Lazy((64, 64)), Lazy((32, 32))]), huge)
    assert huge.read == 0


def test_of_a_huge_pyramid_a_level_within_the_limit_is_worked_on(viewer):
    levels = [Lazy((40_000, 40_000)), Lazy((20_000, 20_000)), Lazy((5_000, 5_000))]
    layer = lazy_layer(viewer, levels)
    layer.scale, layer.translate, layer.units = (0.001, 0.002), (7, 9), ("mm", "mm")
    before = [level.read for level in levels]
    view = slice_in_view(viewer, layer)
    assert view.scan.size == (5_000, 5_000) and view.scan.spacing == pytest.approx((0.008, 0.016))
    assert [level.read for level in levels][:2] == before[:2], "only the level that is worked on is read"
    placed = LayerManager._placement(layer)
    corner = np.array([7, 9]) - np.array([0.001, 0.002]) / 2
    np.testing.assert_allclose(placed["translate"] - placed["scale"] / 2, corner)
    assert LayerManager._shape(layer) == (5_000, 5_000)


def test_lazy_planes_are_read_beside_the_window(viewer):
    jobs, told = [], []
    planes = PlaneReader(lambda *job: jobs.append(job), lambda: told.append(True))
    layer = lazy_layer(viewer, [Lazy((64, 48)), Lazy((32, 24))])
    for _ in range(2):
        with pytest.raises(ValueError, match="Reading “slide”"):
            slice_in_view(viewer, layer, planes)
    ((work, done, _),) = jobs
    done(work())
    found = slice_in_view(viewer, layer, planes)
    assert told == [True] and found.scan.size == (64, 48) and len(jobs) == 1
    assert found.pixels_hash == content_hash(found.scan.pixels), "found beside the window, too"
    layer.events.data()
    with pytest.raises(ValueError, match="Reading"):
        slice_in_view(viewer, layer, planes)
    jobs[1][2](OSError("the disk is gone"))
    with pytest.raises(ValueError, match=r"cannot be read \(the disk is gone\)"):
        slice_in_view(viewer, layer, planes)
    array = viewer.add_image(np.zeros((6, 8)))
    assert slice_in_view(viewer, array, planes).scan.size == (6, 8) and len(jobs) == 2


def test_units_become_millimetres_and_pixels_stay_unknown(viewer):
    assert spacing_of(viewer.add_image(np.zeros((4, 4)), scale=(2, 3))) is None
    micro = viewer.add_image(np.zeros((4, 4)), scale=(200, 300), units=("um", "um"))
    assert spacing_of(micro) == pytest.approx((0.2, 0.3))


def test_rolled_axes_are_explained(viewer):
    layer = viewer.add_image(np.zeros((4, 6, 8)))
    viewer.dims.order = (1, 0, 2)
    with pytest.raises(ValueError, match="roll the axes back"):
        slice_in_view(viewer, layer)


def test_layers_lie_on_the_scan_and_are_told_by_metadata(viewer):
    image = viewer.add_image(np.zeros((6, 8)), scale=(2, 3), translate=(10, 20), name="scan")
    layers = LayerManager(viewer)
    layers.show_predictions(slice_in_view(viewer, image), {POLYP: np.ones((6, 8), bool)})
    shown = layers.prediction(image, "polyp")
    assert tuple(shown.scale) == (2, 3) and tuple(shown.translate) == (10, 20) and not shown.editable
    first, second = layers.new_correction(image, POLYP), layers.new_correction(image, ULCER)
    first.name = second.name = "renamed by the user"
    assert layers.correction(image, "polyp") is first and layers.correction(image, "foot ulcer") is second
    assert scan_layers(viewer) == [image]


def test_two_scans_never_share_layers(viewer):
    one, two = viewer.add_image(np.zeros((6, 8))), viewer.add_image(np.zeros((6, 8)))
    layers = LayerManager(viewer)
    layers.new_correction(one, POLYP)
    assert layers.correction(two, "polyp") is None


def test_prediction_stays_one_layer_and_uneditable(viewer):
    image = viewer.add_image(np.zeros((6, 8)))
    layers, view = LayerManager(viewer), slice_in_view(viewer, image)
    mask = np.zeros((6, 8), bool)
    layers.show_predictions(view, {POLYP: mask})
    shown = layers.prediction(image, "polyp")
    mask[2, 3] = True
    layers.show_predictions(view, {ULCER: mask})
    assert layers.prediction(image, "foot ulcer") is shown
    layers.update_prediction(view, "foot ulcer", mask)
    assert shown.data.sum() == 1 and not shown.editable and "Foot ulcer" in shown.name
    assert sum(isinstance(layer, Labels) for layer in viewer.layers) == 1


def test_several_targets_have_layers_of_their_own_until_the_next_answer(viewer):
    image = viewer.add_image(np.zeros((6, 8)))
    layers, view = LayerManager(viewer), slice_in_view(viewer, image)
    one, two = np.zeros((6, 8), bool), np.ones((6, 8), bool)
    layers.show_predictions(view, {POLYP: one, ULCER: two})
    polyp, ulcer = layers.prediction(image, "polyp"), layers.prediction(image, "foot ulcer")
    assert not polyp.data.any() and ulcer.data.all() and polyp.visible and ulcer.visible
    layers.update_prediction(view, "polyp", two)
    assert polyp.data.all()
    layers.show_predictions(view, {ULCER: one})
    assert layers.prediction(image, "foot ulcer") is ulcer and not ulcer.data.any()
    assert layers.prediction(image, "polyp") is None and polyp not in viewer.layers


def test_replace_plane_is_one_undoable_step_and_touches_one_slice(viewer):
    image = viewer.add_image(np.zeros((3, 6, 8)))
    layers = LayerManager(viewer)
    layer = layers.new_correction(image, POLYP)
    layer.data[0] = 1
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:5] = True
    assert layers.replace_plane(layer, (1,), mask) == 6
    assert layers.replace_plane(layer, (1,), mask) == 0
    layers.replace_plane(layer, (1,), ~mask)
    layer.undo()
    np.testing.assert_array_equal(layer.data[1] > 0, mask)
    layer.undo()
    assert not layer.data[1].any() and layer.data[0].all()
    layer.redo()
    np.testing.assert_array_equal(layer.data[1] > 0, mask)


def test_undo_memory_is_bounded(viewer, monkeypatch):
    monkeypatch.setattr("napari_medvlsm.widgets._layers._UNDO_BYTES", 20_000)
    image = viewer.add_image(np.zeros((40, 40)))
    layers = LayerManager(viewer)
    layer = layers.new_correction(image, POLYP)
    for i in range(6):
        layers.replace_plane(layer, (), np.full((40, 40), i % 2 == 0))
    assert len(layer._undo_history) == 1


def test_only_layers_of_the_same_shape_can_be_adopted(viewer):
    image = viewer.add_image(np.zeros((6, 8)))
    viewer.add_labels(np.zeros((5, 8), np.uint8))
    mine = viewer.add_labels(np.zeros((6, 8), np.int32))
    layers = LayerManager(viewer)
    assert layers.adoptable(image) == [mine]
    layers.adopt(mine, image, POLYP)
    assert layers.correction(image, "polyp") is mine and layers.adoptable(image) == []


def test_a_copy_of_a_correction_is_the_persons_own(viewer):
    image = viewer.add_image(np.zeros((6, 8)))
    layers = LayerManager(viewer)
    drawn = layers.new_correction(image, POLYP)
    copy = Labels(drawn.data.copy(), metadata=drawn.metadata)
    viewer.add_layer(copy)
    assert layers.disown(copy) is drawn and layers.disown(copy) is None and layers.disown(image) is None
    assert layers.corrections(image) == [drawn] and layers.adoptable(image) == [copy]
    assert layers.correction(image, "polyp") is drawn


def test_corrections_of_a_scan_that_was_taken_out_wait_for_it(viewer):
    image = viewer.add_image(np.zeros((6, 8)))
    layers = LayerManager(viewer)
    drawn = layers.new_correction(image, POLYP)
    layers.replace_plane(drawn, (), np.ones((6, 8), bool))
    viewer.layers.remove(image)
    layers.park(image)
    assert drawn not in viewer.layers
    other, again = viewer.add_image(np.zeros((5, 8))), viewer.add_image(np.zeros((6, 8)))
    layers.unpark(other, lambda layer: True)
    layers.unpark(again, lambda layer: False)
    assert drawn not in viewer.layers
    layers.unpark(again, lambda layer: True)
    assert layers.correction(again, "polyp") is drawn and drawn.visible
    drawn.undo()
    assert not drawn.data.any(), "with all that can be undone"
