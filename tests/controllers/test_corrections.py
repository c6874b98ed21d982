"""What a correction may do, without a window: the layers are a plain fake, everything else is real."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medvlsm.controllers.autosave import RETRY_SECONDS
from napari_medvlsm.controllers.corrections import AUTOSAVE_SECONDS, Corrections
from napari_medvlsm.controllers.drawn import PAUSE_SECONDS
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.prompts import Attributes

SIZE = (12, 15)
POLYP = "polyp"


class FakeLayers:
    """The `Canvas` protocol on arrays: for each scan and target one plane with its undo history."""

    def __init__(self, view):
        self.view = view
        self.planes = {}
        self.undone = {}
        self.notes = {}
        self.own = []
        self.edited = []
        self.corrections = None

    def key(self, target):
        return self.view.scan_hash, target

    def targets(self):
        return [target for scan_hash, target in self.planes if scan_hash == self.view.scan_hash]

    def open(self, target, mask=None):
        self.planes.setdefault(self.key(target.phrase), [np.zeros(SIZE, bool) if mask is None else mask.copy()])

    def edit(self, target):
        self.edited.append(target)

    def read(self, target):
        steps = self.planes.get(self.key(target))
        return None if steps is None else steps[-1].copy()

    before = None

    def slice_before(self, target):
        return self.before

    def replace(self, target, mask):
        before = self.read(target)
        if not np.array_equal(before, mask):
            self.planes[self.key(target)].append(mask.copy())
            self.undone.pop(self.key(target), None)
        return int(np.count_nonzero(before != mask))

    def undo(self, target):
        steps = self.planes[self.key(target)]
        if len(steps) > 1:
            self.undone.setdefault(self.key(target), []).append(steps.pop())
            self.corrections.on_painted(*self.key(target), steps[-1].copy(), stroke=False)

    def redo(self, target):
        again = self.undone.get(self.key(target), [])
        if again:
            self.planes[self.key(target)].append(again.pop())
            self.corrections.on_painted(*self.key(target), self.read(target), stroke=False)

    def adoptable(self):
        return [("mine", plane) for plane in self.own]

    def adopt(self, layer, target):
        self.planes[self.key(target.phrase)] = [np.asarray(layer)]

    def note(self, annotation):
        self.notes[annotation.provenance.scan_hash, annotation.target] = annotation

    def noted(self, target):
        return self.notes.get(self.key(target))

    def forget(self, target):
        self.notes.pop(self.key(target), None)

    # What a person does.

    def paint(self, target, rows, value=True, scan_hash=None):
        key = scan_hash or self.view.scan_hash, target
        after = self.planes[key][-1].copy()
        after[rows] = value
        self.planes[key].append(after)
        self.undone.pop(key, None)
        self.corrections.on_painted(*key, after.copy(), stroke=True)

    def delete(self, target):
        hashes = [scan_hash for scan_hash, other in self.planes if other == target]
        for scan_hash in hashes:
            del self.planes[scan_hash, target]
            self.notes.pop((scan_hash, target), None)
        self.corrections.on_deleted(target, hashes)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def run_at_once(function, done=None, failed=None):
    try:
        value = function()
    except Exception as error:
        if failed is not None:
            failed(error)
        return
    if done is not None:
        done(value)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    return AutosaveStore(tmp_path / "autosave")


@pytest.fixture
def waiting():
    """Functions that wait for their time."""
    return []


@pytest.fixture
def layers(session, view, store, waiting, clock, tmp_path, scan):
    """The fake layers with the corrections behind them; a scan is in view and a polyp asked for."""
    fake = FakeLayers(view)
    settings = Settings(tmp_path / "settings.json")
    settings.set_author("Ada")
    later = lambda seconds, function: waiting.append((seconds, function))  # noqa: E731
    fake.corrections = Corrections(session, fake, store, settings, run_at_once, later, clock)
    view.choose(scan())
    session.choose(target=POLYP)
    return fake


@pytest.fixture
def corrections(layers):
    return layers.corrections


def predict(session, wire, rows=slice(2, 6)):
    """The engine answers with some rows."""

    def outline(text, size):
        found = np.zeros(size, np.uint8)
        found[rows] = 255
        return found

    session.segment()
    wire.answer(outline)


def after_the_pause(waiting):
    """Let the autosave's time come; what failed is tried again later."""
    now = [function for seconds, function in waiting if seconds == AUTOSAVE_SECONDS]
    waiting[:] = [entry for entry in waiting if entry[0] != AUTOSAVE_SECONDS]
    for function in now:
        function()


def stored(store):
    return [load_mask(path) for path in sorted(store.folder.glob("[!.]*.tif")) if "." not in path.stem]


def earlier(store):
    return [load_mask(path) for path in sorted(store.folder.glob("[!.]*.tif")) if "." in path.stem]


def rows(*which):
    mask = np.zeros(SIZE, bool)
    mask[list(which)] = True
    return mask


# Beginning ----------------------------------------------------------------------------------------------------------


def test_a_correction_begins_empty_without_a_prediction(corrections, layers):
    assert corrections.current is None and corrections.annotation() is None
    corrections.begin()
    found = corrections.annotation()
    assert found.target == POLYP and found.corrected and not found.mask.any() and found.prediction is None
    assert found.provenance.prompt is None and found.provenance.model == "" and layers.edited == [POLYP]


def test_a_correction_begins_from_the_prediction_with_all_that_made_it(corrections, session, wire):
    session.set_cleanup(Cleanup(fill_holes=True))
    predict(session, wire)
    corrections.begin()
    found, made = corrections.annotation(), corrections.annotation().provenance
    np.testing.assert_array_equal(found.mask, rows(2, 3, 4, 5))
    np.testing.assert_array_equal(found.prediction, found.mask)
    assert made.prompt.text == POLYP and made.model == "starter" and made.threshold == session.threshold
    assert made.cleanup.fill_holes and made.options.whole and made.scan_hash == session.scan_hash
    assert made.scan_size == SIZE and made.vocabulary_hash == session.vocabulary.digest
    assert made.author == "Ada" and made.created is not None and made.software.startswith("napari-medvlsm")


def test_a_prediction_of_another_target_is_not_taken(corrections, session, wire):
    predict(session, wire)
    session.choose(target="foot ulcer")
    corrections.begin()
    assert corrections.annotation().target == "foot ulcer" and not corrections.annotation().mask.any()


def test_nothing_begins_without_a_scan(corrections, session, layers):
    session.view.choose(None)
    corrections.begin()
    corrections.declare_absent()
    assert corrections.current is None and not layers.planes


# Painting, undo, redo -----------------------------------------------------------------------------------------------


def test_a_new_prediction_touches_nothing_until_it_is_taken(corrections, layers, session, wire):
    predict(session, wire)
    corrections.begin()
    layers.paint(POLYP, 0)
    drawn = rows(0, 2, 3, 4, 5)
    predict(session, wire, slice(8, 10))
    np.testing.assert_array_equal(corrections.annotation().mask, drawn)
    np.testing.assert_array_equal(corrections.annotation().prediction, rows(2, 3, 4, 5))
    corrections.take_prediction()
    np.testing.assert_array_equal(corrections.annotation().mask, rows(8, 9))
    np.testing.assert_array_equal(corrections.annotation().prediction, rows(8, 9))
    corrections.undo()
    np.testing.assert_array_equal(corrections.annotation().mask, drawn)
    np.testing.assert_array_equal(corrections.annotation().prediction, rows(2, 3, 4, 5), "undone with its origin")
    corrections.redo()
    np.testing.assert_array_equal(corrections.annotation().prediction, rows(8, 9))


def test_undo_across_the_begin_leads_to_an_outline_by_hand(corrections, session, wire):
    predict(session, wire)
    corrections.begin()
    corrections.undo()
    found = corrections.annotation()
    assert not found.mask.any() and found.prediction is None and found.provenance.model == ""
    corrections.redo()
    assert corrections.annotation().provenance.model == "starter"


def test_strokes_and_seconds_count_work_and_no_pauses(corrections, layers, clock):
    corrections.begin()
    for seconds, row in ((2.0, 0), (3.0, 1), (PAUSE_SECONDS + 1, 2), (4.0, 3)):
        clock.now += seconds
        layers.paint(POLYP, row)
    made = corrections.annotation().provenance
    assert made.strokes == 4 and made.seconds == pytest.approx(9.0)
    corrections.undo()
    assert corrections.annotation().provenance.strokes == 4, "an undo is no stroke, and takes none back"


def test_work_on_another_target_is_not_counted_twice(corrections, layers, session, clock):
    corrections.begin()
    clock.now += 2
    layers.paint(POLYP, 0)
    session.choose(target="foot ulcer")
    corrections.begin()
    clock.now += 5
    layers.paint("foot ulcer", 1)
    session.choose(target=POLYP)
    clock.now += 7
    layers.paint(POLYP, 2)
    assert corrections.annotation().provenance.seconds == pytest.approx(2.0)


def test_what_a_person_says_of_the_target_goes_along(corrections, layers, session):
    corrections.begin()
    layers.paint(POLYP, 0)
    session.choose(color="pink", location="left")
    assert corrections.annotation().said == Attributes(POLYP, color="pink", location="left")


# Absent -------------------------------------------------------------------------------------------------------------


def test_absent_is_an_answer_that_can_be_taken_back(corrections, layers, session, wire, store, waiting):
    predict(session, wire)
    corrections.begin()
    layers.paint(POLYP, 0)
    drawn = corrections.annotation().mask
    corrections.declare_absent()
    found = corrections.annotation()
    assert found.absent and not found.mask.any() and found.corrected
    after_the_pause(waiting)
    assert [a.absent for a in stored(store)] == [True]
    corrections.retract_absent()
    assert not corrections.annotation().absent
    np.testing.assert_array_equal(corrections.annotation().mask, drawn)


def test_absent_without_a_correction_before_leaves_none_when_it_is_taken_back(corrections, store, waiting):
    corrections.declare_absent()
    after_the_pause(waiting)
    assert corrections.current.absent and len(stored(store)) == 1
    corrections.undo()
    assert corrections.current is None and not stored(store)


def test_an_answer_after_a_deleted_correction_does_not_bring_that_back(corrections, layers, session, wire):
    predict(session, wire)
    corrections.begin()
    layers.paint(POLYP, 0)
    layers.delete(POLYP)
    corrections.declare_absent()
    np.testing.assert_array_equal(corrections.annotation().prediction, rows(2, 3, 4, 5))
    corrections.retract_absent()
    assert corrections.current is None and not layers.read(POLYP).any() and corrections.offer.deleted


def test_a_restored_answer_can_be_taken_back(corrections, layers):
    corrections.declare_absent()
    layers.delete(POLYP)
    corrections.restore()
    assert corrections.current.absent
    corrections.retract_absent()
    assert corrections.current is None


def test_painting_on_an_absent_target_is_another_answer(corrections, layers):
    corrections.declare_absent()
    layers.paint(POLYP, 3)
    assert not corrections.annotation().absent and corrections.annotation().mask.sum() == SIZE[1]


# Deleted, restored, adopted -----------------------------------------------------------------------------------------


def test_a_deleted_correction_is_offered_and_comes_back_whole(
    corrections, layers, session, wire, store, waiting, heard
):
    predict(session, wire)
    corrections.begin()
    layers.paint(POLYP, 0)
    before = corrections.annotation()
    after_the_pause(waiting)
    said = heard(corrections.message)
    layers.delete(POLYP)
    assert corrections.current is None and corrections.offer.target == POLYP and corrections.offer.deleted
    assert said == [("The layer of your correction of Polyp was deleted; Restore brings it back.", False)]
    # A new stroke does not write over the only copy.
    corrections.begin(from_prediction=False)
    layers.paint(POLYP, 9)
    after_the_pause(waiting)
    assert any(np.array_equal(kept.mask, before.mask) for kept in earlier(store))
    corrections.restore()
    back = corrections.annotation()
    np.testing.assert_array_equal(back.mask, before.mask)
    assert back.provenance.strokes == before.provenance.strokes and back.provenance.model == "starter"
    assert corrections.offer is None
    corrections.undo()
    np.testing.assert_array_equal(corrections.annotation().mask, rows(9), "the restore is one step")


def test_a_deleted_correction_is_still_there_for_the_next_session(corrections, layers, store, waiting, scan):
    corrections.begin()
    layers.paint(POLYP, slice(1, 4))
    layers.delete(POLYP)
    corrections.close()
    store.close()
    (found,) = AutosaveStore(store.folder).find(layers.view.scan_hash)
    np.testing.assert_array_equal(load_mask(found.path).mask, rows(1, 2, 3))


def test_a_deleted_correction_is_there_for_the_next_session_whatever_is_saved_of_its_target_later(
    corrections, layers, session, store, waiting, tmp_path, scan
):
    corrections.begin()
    layers.paint(POLYP, 4)
    after_the_pause(waiting)
    layers.delete(POLYP)
    corrections.begin()
    layers.paint(POLYP, 9)
    after_the_pause(waiting)
    assert Saving(session, corrections).save_as(tmp_path / "second.tif")
    assert corrections.offer.deleted
    corrections.close()
    store.close()
    left = AutosaveStore(store.folder).find(session.scan_hash)
    assert [AutosaveStore(store.folder).load(entry).mask.tolist() for entry in left] == [rows(4).tolist()]


def test_an_empty_correction_that_is_deleted_is_not_offered(corrections, layers):
    corrections.begin()
    layers.delete(POLYP)
    assert corrections.offer is None


def test_what_an_earlier_session_left_is_offered_restored_and_dropped(corrections, layers, session, store, tmp_path):
    earlier_store = AutosaveStore(store.folder)
    provenance = new_provenance(scan_hash=session.scan_hash, scan_size=SIZE, model="older", strokes=7)
    earlier_store.save(Annotation("foot ulcer", rows(4, 5), corrected=True, provenance=provenance))
    earlier_store.close()
    corrections.find_offers()
    assert corrections.offer.target == "foot ulcer" and not corrections.offer.deleted
    corrections.restore()
    assert session.target == "foot ulcer" and corrections.offer is None
    found = corrections.annotation()
    np.testing.assert_array_equal(found.mask, rows(4, 5))
    assert found.provenance.model == "older" and found.provenance.strokes == 7
    assert [a.provenance.model for a in stored(store)] == ["older"], "written for this session before the old one goes"


def test_what_was_said_of_a_restored_correction_stays_with_it(corrections, layers, session, store, tmp_path):
    other = AutosaveStore(store.folder)
    said = Attributes(target=POLYP, color="pink")
    made = new_provenance(scan_hash=session.scan_hash)
    other.save(Annotation(POLYP, rows(2, 3), True, False, said, Attributes(target=POLYP), made))
    other.close()
    corrections.find_offers()
    corrections.restore()
    layers.paint(POLYP, 5)
    assert corrections.annotation().said.color == session.said.color == "pink"


def test_a_correction_of_another_size_is_left_alone(corrections, session, store, heard):
    earlier_store = AutosaveStore(store.folder)
    provenance = new_provenance(scan_hash=session.scan_hash)
    earlier_store.save(Annotation(POLYP, np.ones((3, 3), bool), corrected=True, provenance=provenance))
    earlier_store.close()
    corrections.find_offers()
    said = heard(corrections.message)
    corrections.restore()
    assert "another size" in said[-1][0] and said[-1][1] and len(list(store.folder.glob("*.tif"))) == 1
    corrections.discard()
    assert corrections.offer is None and not list(store.folder.glob("*.tif"))


def test_a_layer_of_the_persons_own_is_adopted(corrections, layers, store, waiting):
    layers.own.append(rows(7))
    ((name, layer),) = corrections.adoptable()
    assert name == "mine"
    corrections.adopt(layer)
    np.testing.assert_array_equal(corrections.annotation().mask, rows(7))
    assert corrections.annotation().provenance.model == "" and corrections.adoptable() == ()
    after_the_pause(waiting)
    assert len(stored(store)) == 1


# Scans, slices, autosave --------------------------------------------------------------------------------------------


def test_corrections_of_two_scans_are_kept_apart(corrections, layers, session, scan, store, waiting):
    corrections.begin()
    layers.paint(POLYP, 0)
    first = session.scan_hash
    session.view.choose(scan(1))
    assert corrections.current is None
    corrections.begin()
    layers.paint(POLYP, 5)
    # An undo of the viewer that reaches a slice out of view belongs to that slice.
    layers.paint(POLYP, 1, scan_hash=first)
    np.testing.assert_array_equal(corrections.annotation().mask, rows(5))
    after_the_pause(waiting)
    by_scan = {a.provenance.scan_hash: a.mask for a in stored(store)}
    np.testing.assert_array_equal(by_scan[first], rows(0, 1))
    np.testing.assert_array_equal(by_scan[session.scan_hash], rows(5))


def test_a_failed_autosave_is_said_and_the_next_stroke_is_written(corrections, layers, store, waiting, heard):
    said = heard(corrections.message)
    corrections.begin()
    store.folder.parent.mkdir(exist_ok=True)
    store.folder.write_text("a file where the folder should be")
    layers.paint(POLYP, 0)
    after_the_pause(waiting)
    assert any("could not be autosaved" in text and problem for text, problem in said)
    store.folder.unlink()
    layers.paint(POLYP, 1)
    after_the_pause(waiting)
    np.testing.assert_array_equal(stored(store)[0].mask, rows(0, 1))
    assert said[-1] == ("Corrections are autosaved again.", False)


def test_a_failed_autosave_is_tried_again_without_another_stroke(corrections, layers, store, waiting, heard):
    label = heard(corrections.autosaved)
    corrections.begin()
    store.folder.parent.mkdir(exist_ok=True)
    store.folder.write_text("a file where the folder should be")
    layers.paint(POLYP, 0)
    after_the_pause(waiting)
    assert label[-1][0].startswith("Not autosaved: ")
    store.folder.unlink()
    ((seconds, again),) = waiting
    assert seconds == RETRY_SECONDS
    again()
    np.testing.assert_array_equal(stored(store)[0].mask, rows(0))
    assert label[-1][0].startswith("Autosaved at ")


def test_strokes_in_a_row_are_written_once(corrections, layers, store, waiting, monkeypatch):
    saves = []
    save = store.save
    monkeypatch.setattr(store, "save", lambda annotation: (saves.append(annotation), save(annotation)))
    corrections.begin()
    for row in range(4):
        layers.paint(POLYP, row)
    after_the_pause(waiting)
    assert len(saves) == 1 and saves[0].mask.sum() == 4 * SIZE[1]


def test_emptying_a_correction_keeps_what_it_was(corrections, layers, store, waiting):
    corrections.begin()
    layers.paint(POLYP, slice(0, 6))
    after_the_pause(waiting)
    layers.paint(POLYP, slice(0, 12), value=False)
    after_the_pause(waiting)
    assert not stored(store), "an empty mask is no answer"
    assert [a.mask.sum() for a in earlier(store)] == [6 * SIZE[1]]


def test_closing_writes_what_is_left_and_hears_nothing_more(corrections, layers, store):
    corrections.begin()
    layers.paint(POLYP, 2)
    corrections.close()
    assert [a.mask.sum() for a in stored(store)] == [SIZE[1]]
    layers.paint(POLYP, 3)
    assert [a.mask.sum() for a in stored(store)] == [SIZE[1]]


# Saving -------------------------------------------------------------------------------------------------------------


def test_an_autosave_that_ends_after_the_saving_does_not_say_unsaved(corrections, layers, session, tmp_path, heard):
    running = []
    corrections._run = corrections._autosave._run = lambda *job: running.append(job)
    said = heard(corrections.autosaved)
    corrections.begin()
    layers.paint(POLYP, 0)
    Saving(session, corrections).save_as(tmp_path / "x.tif")
    for job in running:
        run_at_once(*job)
    assert said == [("",)]
    running.clear()
    layers.paint(POLYP, 1)
    corrections.flush()
    run_at_once(*running[0])
    assert "not yet saved" in said[-1][0], "a later stroke is not in the file"


def test_what_is_saved_is_said_and_saved_whole(corrections, layers, session, wire, store, waiting, tmp_path, heard):
    saving = Saving(session, corrections)
    said = heard(saving.message)
    assert saving.source is None
    saving.save_as(tmp_path / "nothing.tif")
    assert not (tmp_path / "nothing.tif").exists()
    predict(session, wire)
    assert "not corrected" in saving.source
    saving.save_as(tmp_path / "predicted.tif")
    assert not load_mask(tmp_path / "predicted.tif").corrected
    corrections.begin()
    layers.paint(POLYP, 0)
    after_the_pause(waiting)
    assert "your correction of Polyp" in saving.source
    saving.save_as(tmp_path / "mine.png")
    saved = load_mask(tmp_path / "mine.png")
    assert saved.corrected and saved.provenance.strokes == 1 and saved.prediction.sum() == 4 * SIZE[1]
    assert not stored(store), "it is in a file of the person's now"
    saving.save_as(tmp_path / "no folder" / "x.tif")
    assert "could not be saved" in said[-1][0] and said[-1][1]


def test_export_says_case_and_split_and_refuses_an_empty_outline(corrections, layers, session, tmp_path, heard, scan):
    saving = Saving(session, corrections)
    said = heard(saving.message)
    corrections.begin()
    saving.export_to(tmp_path / "polyps")
    assert "the outline is empty" in said[-1][0] and said[-1][1] and not (tmp_path / "polyps").exists()
    layers.paint(POLYP, 0)
    saving.export_to(tmp_path / "polyps")
    assert said[-1] == ("Added to the training set in polyps: case 1, training.", False)
    saving.export_to(tmp_path / "polyps")
    assert "Replaced the case of this scan in polyps (training); 1 case in all." in said[-1][0]
    session.view.choose(scan(1))
    corrections.declare_absent()
    saving.export_to(tmp_path / "polyps")
    assert said[-1] == ("Added to the training set in polyps: case 2, validation.", False)


def test_outlines_of_all_targets_are_saved_in_one_go(corrections, layers, session, wire, tmp_path, heard):
    saving = Saving(session, corrections)
    said = heard(saving.message)
    session.choose(target="polyp")
    session.segment()
    wire.answer(lambda text, size: np.full(size, 255))
    session.choose(target="foot ulcer")
    corrections.begin()
    layers.paint("foot ulcer", slice(2, 4))
    assert set(saving.all) == {"polyp", "foot ulcer"} and len(corrections.unsaved()) == 1
    saving.save_all(tmp_path)
    saving.save_all(tmp_path)
    kept = {load_mask(path).target: load_mask(path) for path in tmp_path.glob("*.tif")}
    assert set(kept) == {"polyp", "foot ulcer"} and len(list(tmp_path.glob("*.tif"))) == 2, "replaced, not twice"
    assert kept["foot ulcer"].corrected and not kept["polyp"].corrected and not corrections.unsaved()
    assert said[-1][0].startswith("Saved 2 outlines to")
    saving.export_all(tmp_path / "set")
    assert said[-1][0].startswith("2 added, 0 replaced in set")
    session.choose(target="lungs")
    corrections.begin()
    layers.paint("foot ulcer", slice(4, 5))
    assert list(corrections.of_scan()) == ["foot ulcer", "lungs"], "a stroke moves nothing in the list"
