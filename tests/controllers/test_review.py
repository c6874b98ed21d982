"""The course of a review, on a real project; what is read comes at once here, or when the test lets it."""

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.controllers.review import Item, Review, Side
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.projects.adding import add_scans, scans_in
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery

SIZE = (40, 60)


def outline(rows, author="Ann", prediction=None, corrected=True):
    mask = np.zeros(SIZE, bool)
    mask[slice(*rows), 10:30] = True
    made = new_provenance(author=author, model="m" if prediction is not None or not corrected else "", seconds=3)
    return Annotation("polyp", mask, corrected=corrected, provenance=made, prediction=prediction)


@pytest.fixture
def store(tmp_path, rng):
    """Four scans: predicted, drawn and submitted; submitted; answered absent; a draft."""
    (tmp_path / "scans").mkdir()
    for i in range(1, 5):
        Image.fromarray(rng.integers(0, 256, SIZE, np.uint8)).save(tmp_path / "scans" / f"scan{i}.png")
    create_project(tmp_path / "p", ["polyp"])
    with ProjectStore(tmp_path / "p", person="Ann") as store:
        add_scans(store, list(scans_in(tmp_path / "scans")))
        predicted = outline((10, 20), corrected=False)
        store.save_prediction(1, predicted)
        store.save_draft(1, outline((10, 26), prediction=predicted.mask))
        store.submit(1, "polyp", outline((10, 30), prediction=predicted.mask), "the edge is unsure")
        store.submit(2, "polyp", outline((5, 15)))
        store.mark_absent(3, "polyp")
        store.save_draft(4, outline((5, 15)))
        store.person = "Bo"
        yield store


class Queue:
    """Carries out what is asked for when the test lets it."""

    def __init__(self):
        self.jobs = []

    def run(self, function, done=None, failed=None):
        self.jobs.append((function, done, failed))

    def work_off(self):
        while self.jobs:
            function, done, failed = self.jobs.pop(0)
            try:
                value = function()
            except Exception as error:
                if failed:
                    failed(error)
            else:
                if done:
                    done(value)


class Reviewing:
    def __init__(self, store, query=None):
        self.reads, self.writes = Queue(), Queue()
        self.review = Review(store, self.reads.run, self.writes.run, query or CaseQuery())
        self.told, self.decided = [], []
        self.review.message.connect(lambda text, problem: self.told.append((text, problem)))
        self.review.decided.connect(lambda *what: self.decided.append(what))
        self.review.start()
        self.settle()

    def settle(self):
        while self.writes.jobs or self.reads.jobs:
            self.writes.work_off()
            self.reads.work_off()


def test_what_waits_is_looked_at_in_order_with_its_history_and_what_differs(store):
    at = Reviewing(store)
    review = at.review
    assert review.items == [Item(1, "polyp"), Item(2, "polyp"), Item(3, "polyp")] and review.waiting == 3
    assert review.first.version.origin == "submitted" and review.second.version.origin == "prediction"
    found = review.pair.differences
    assert (found.only_first, found.only_second) == (200, 0) and found.dice == pytest.approx(2 * 200 / 600)
    assert (review.pair.differing == 1).sum() == 200 and not (review.pair.differing == 2).any()
    assert [round(d, 3) for d in review.agreements.values()] == [0.667, 0.889, 1]
    assert review.scan.rgb.shape == (*SIZE, 3)
    assert review.look.submitted.remark == "the edge is unsure" and not review.own
    review.compare(None)
    at.settle()
    assert review.pair.differences is None and review.pair.second == []
    assert Reviewing(store, CaseQuery(sort="name", descending=True)).review.items[0] == Item(3, "polyp")


def test_an_answer_moves_on_and_is_in_the_project(store):
    at = Reviewing(store)
    at.review.approve("well done")
    assert at.review.busy
    at.review.approve()  # a second press while the first is written
    at.settle()
    assert store.case(1).state is State.APPROVED and at.review.item == Item(2, "polyp")
    approved = [e for e in store.events(1) if e.what == "approved"]
    assert [(e.person, e.remark) for e in approved] == [("Bo", "well done")]
    at.review.send_back("  ")
    assert at.told[-1][1] and "remark" in at.told[-1][0] and store.case(2).state is State.SUBMITTED
    at.review.send_back("too large")
    at.settle()
    assert store.case(2).state is State.DRAFT and store.events(2)[-1].remark == "too large"
    at.review.approve()
    at.settle()
    assert store.case(3).state is State.APPROVED and at.review.waiting == 0
    assert "Nothing waits any more" in at.told[-1][0]
    assert at.decided == [(1, "polyp"), (2, "polyp"), (3, "polyp")]
    # What was approved can still be sent back.
    at.review.step(-2)
    at.settle()
    at.review.send_back("after all not")
    at.settle()
    assert store.case(1).state is State.DRAFT


def test_who_drew_it_is_told(store):
    store.person = " ann "
    assert Reviewing(store).review.own
    store.person = ""
    assert not Reviewing(store).review.own


def test_an_earlier_version_is_brought_back_and_waits_for_the_answer(store):
    at = Reviewing(store)
    draft = at.review.look.versions[1]
    at.review.show(Side(draft))
    at.settle()
    assert at.review.pair.differences.only_first == 120
    at.review.bring_back(draft)
    at.settle()
    assert at.review.item == Item(1, "polyp") and at.review.look.state is State.SUBMITTED
    assert len(at.review.look.versions) == 4 and at.review.first.version.number == 4
    assert not at.review.own, "Ann drew it, whoever brought it back"
    assert store.load(store.current(1, "polyp")).mask.sum() == 320


def test_what_comes_late_or_is_refused_changes_nothing(store):
    at = Reviewing(store)
    assert at.review.seen
    at.review.step(1)
    assert not at.review.seen
    late = at.reads.jobs
    at.reads.jobs = []
    at.review.step(1)
    at.reads.jobs += late
    at.settle()
    assert at.review.item == Item(3, "polyp") == Item(at.review.look.case.id, "polyp")
    # The author takes it up again while it is looked at.
    store.reopen(3, "polyp")
    at.review.approve()
    at.settle()
    assert at.told[-1][1] and "unseen" in at.told[-1][0] and not at.review.busy
    assert at.review.look.state is State.UNSEEN and at.review.waiting == 2


def test_an_outline_is_judged_once_it_is_drawn_on_its_scan(store):
    reads = Queue()
    review = Review(store, reads.run, Queue().run)
    review.start()
    states = []
    while reads.jobs:
        function, done, _ = reads.jobs.pop(0)
        done(function())
        states.append((review.look is not None, review.scan is not None, review.pair is not None, review.seen))
    assert states[-1] == (True, True, True, True)
    assert all(seen == (scan and pair) for _, scan, pair, seen in states) and any(s[0] and not s[3] for s in states)


def test_what_was_handed_over_anew_is_not_approved_unseen(store):
    at = Reviewing(store)
    seen = at.review.look.current
    # In the window behind the review.
    store.reopen(1, "polyp")
    store.submit(1, "polyp", outline((0, 3)))
    at.review.approve("fine")
    at.settle()
    assert store.case(1).state is State.SUBMITTED and at.told[-1] == (
        "polyp in scan1.png was handed over anew since you looked at it; look at it again, then approve it.",
        True,
    )
    assert at.review.look.current.id != seen.id and at.review.first.version.foreground == 60
    at.review.approve()
    at.settle()
    assert store.case(1).state is State.APPROVED


def test_a_version_without_a_kept_prediction_is_compared_with_what_it_began_from(store):
    store.submit(4, "polyp", outline((5, 15), prediction=outline((5, 25)).mask))
    at = Reviewing(store, CaseQuery(text="scan4"))
    assert at.review.second.began_from and at.review.pair.differences.only_second == 200


def test_a_scan_that_is_gone_is_named_and_its_outline_is_still_shown(store):
    store.scan_path(1).unlink()
    at = Reviewing(store)
    assert at.told[-1][1] and "scan1.png" in at.told[-1][0]
    assert at.review.scan is None and at.review.pair is not None and at.review.seen


def test_outlines_are_not_judged_on_another_picture(store, rng):
    Image.fromarray(rng.integers(0, 256, SIZE, np.uint8)).save(store.scan_path(1))
    at = Reviewing(store)
    assert at.told[-1][1] and "scan1.png is another picture" in at.told[-1][0]
    assert at.review.scan is None and at.review.pair is not None
