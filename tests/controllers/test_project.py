"""A project in the window, with the real store and the real reader; layers and engine are played by the test."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.controllers.before_after import BeforeAfter
from napari_medvlsm.controllers.corrections import AUTOSAVE_SECONDS, Corrections
from napari_medvlsm.controllers.improve import Improve
from napari_medvlsm.controllers.predicting import Predicting
from napari_medvlsm.controllers.project import LEFT_OPEN, Project
from napari_medvlsm.controllers.worklist import Worklist
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.improve.cases import TrainingCase
from napari_medvlsm.core.improve.verdict import CasePair
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.check import check_project
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.predicting import PREDICTING_FOLDER, BatchRequest, remember_request
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from napari_medvlsm.core.prompts import Attributes, free_text, load_vocabulary
from tests.controllers.test_corrections import SIZE, FakeLayers, predict, rows

SCANS = 6


class Stage:
    """A viewer that is a list of scans."""

    def __init__(self):
        self.images, self.worklist, self.layers = [], None, None

    def make(self, found, path):
        return Scan(found.pixels)

    def insert(self, image):
        self.images.append(image)
        self.worklist.sync([(image, str(len(self.images)), None, ()) for image in self.images])
        self.worklist.choose_image(image)

    def show(self, image):
        pass

    def take_out(self, image):
        self.images.remove(image)


class Desk:
    """What a person has in front: the controllers, and jobs that wait for their thread."""

    def __init__(self, session, view, folder, tmp_path):
        self.folder, self.session, self.view = folder, session, view
        self.jobs, self.later, self.heard = deque(), [], []
        run = lambda function, done=None, failed=None: self.jobs.append((function, done, failed))  # noqa: E731
        later = lambda seconds, function: self.later.append((seconds, function))  # noqa: E731
        self.settings = settings = Settings(tmp_path / "settings.json")
        settings.set_author("Ada")
        self.stage, self.layers = Stage(), FakeLayers(view)
        self.autosaves = AutosaveStore(tmp_path / "autosave")
        self.corrections = self.layers.corrections = Corrections(
            session, self.layers, self.autosaves, settings, run, later, lambda: 0.0
        )
        self.worklist = self.stage.worklist = Worklist(view, self.stage, run)
        self.project = Project(session, self.corrections, self.worklist, settings, run, run, later, Predicting(run))
        for signal in (self.project.message, self.worklist.message, self.project.predicting.message):
            signal.connect(lambda text, problem: self.heard.append((text, problem)))

    def rest(self):
        """Let all threads and timers do what is theirs; what is tried again after a failure waits on."""
        while self.jobs or any(seconds <= AUTOSAVE_SECONDS for seconds, _ in self.later):
            due = [function for seconds, function in self.later if seconds <= AUTOSAVE_SECONDS]
            self.later = [entry for entry in self.later if entry[0] > AUTOSAVE_SECONDS]
            for function in due:
                function()
            while self.jobs:
                function, done, failed = self.jobs.popleft()
                try:
                    value = function()
                except Exception as error:
                    if failed is not None:
                        failed(error)
                else:
                    if done is not None:
                        done(value)

    def open(self, **options):
        opened = self.project.open(self.folder, **options)
        self.rest()
        return opened

    def draw(self, *which):
        """A stroke on the target in view."""
        if self.corrections.current is None:
            self.corrections.begin()
        self.layers.paint(self.session.target_in_view.phrase, list(which))
        self.rest()

    @property
    def name(self):
        return self.project.case.name

    @property
    def mask(self):
        return self.corrections.current.mask


@pytest.fixture
def folder(tmp_path):
    """Six scans of three patients; the first patient is held out."""
    create_project(tmp_path / "project", ["polyp"])
    rng = np.random.default_rng(3)
    scans = []
    for number in range(1, SCANS + 1):
        path = tmp_path / f"scan{number}.png"
        Image.fromarray(rng.integers(0, 256, SIZE, np.uint8)).save(path)
        patient = (number + 1) // 2
        scans.append(NewScan(path, path.name, f"patient {patient}", "test" if patient == 1 else "train"))
    with ProjectStore(tmp_path / "project") as store:
        add_scans(store, scans)
    return tmp_path / "project"


@pytest.fixture
def desk(session, view, folder, tmp_path):
    found = Desk(session, view, folder, tmp_path)
    yield found
    found.project.close()
    found.rest()


def reopened(desk):
    """The project in another program after this one was closed."""
    desk.project.close()
    desk.rest()
    return ProjectStore(desk.folder)


def test_what_is_painted_is_in_the_project_and_comes_back(desk):
    assert desk.open() and desk.name == "scan1.png" and desk.session.target == "polyp"
    desk.draw(3, 4)
    assert desk.project.state is State.DRAFT
    kept = desk.project.store.current(desk.project.case.id, "polyp")
    assert (desk.project.store.load(kept).mask == rows(3, 4)).all() and kept.author == "Ada"
    assert not desk.corrections.unsaved() and not list(desk.autosaves.folder.glob("*.tif")), "it is in one place"
    for _ in range(LEFT_OPEN + 2):
        desk.project.step(1)
        desk.rest()
    assert len(desk.stage.images) == LEFT_OPEN + 1, "the scans that were left are out of the viewer"
    desk.layers.planes.clear()
    desk.project.open_case(kept.case_id)
    desk.rest()
    assert (desk.mask == rows(3, 4)).all() and not desk.layers.undone
    with reopened(desk) as store:
        assert [v.origin for v in store.versions(kept.case_id, "polyp")] == ["draft"], "looking makes no version"


def test_an_answer_leads_to_the_next_scan_that_waits(desk):
    desk.open()
    desk.draw(3)
    desk.project.answers.submit()
    desk.rest()
    assert desk.name == "scan2.png"
    desk.project.answers.declare_absent()
    desk.rest()
    assert desk.name == "scan3.png"
    desk.project.answers.submit()
    assert desk.heard[-1][0].startswith("Nothing is outlined as polyp") and desk.name == "scan3.png"
    desk.project.set_query(CaseQuery(states=(State.SUBMITTED, State.ABSENT)))
    desk.project.step(-1)
    desk.rest()
    assert desk.name == "scan2.png" and desk.corrections.current.absent
    desk.project.answers.reopen()
    desk.rest()
    assert desk.project.state is State.UNSEEN and desk.corrections.current is None
    with reopened(desk) as store:
        assert [c.states["polyp"].value for c in store.cases()][:3] == ["submitted", "unseen", "unseen"]


def test_one_goes_on_where_one_stopped(desk):
    desk.open()
    for _ in range(3):
        desk.project.step(1)
    desk.rest()
    assert desk.name == "scan4.png"
    desk.project.close()
    desk.project.open_case(1)
    desk.rest()
    desk.open()
    assert desk.name == "scan4.png"


def test_the_next_scan_is_read_and_encoded_ahead(desk, wire, monkeypatch):
    desk.open()
    desk.project.step(1)
    desk.rest()
    ahead = [message["image"] for message, _ in wire.sent if message["op"] == "ahead"]
    desk.draw(3)
    monkeypatch.setattr("napari_medvlsm.controllers.worklist.read_image", None)
    desk.project.answers.submit()
    desk.rest()
    assert desk.name == "scan3.png" and ahead[-1] == desk.session.scan_hash
    assert [message["image"] for message, _ in wire.sent if message["op"] == "ahead"][-1] != desk.session.scan_hash


def test_a_submitted_outline_is_not_changed_and_the_stroke_is_not_lost(desk):
    desk.open()
    desk.draw(3)
    first = desk.project.case.id
    desk.project.answers.submit()
    desk.rest()
    desk.project.open_case(first)
    desk.rest()
    desk.draw(8)
    assert "is submitted; reopen it" in desk.heard[-1][0] and desk.heard[-1][1]
    assert desk.corrections.unsaved() and list(desk.autosaves.folder.glob("*.tif"))
    for _ in range(4):
        desk.project.step(1)
        desk.rest()
    desk.project.open_case(first)
    desk.rest()
    assert (desk.mask == rows(3, 8)).all(), "it was not taken out of the viewer"
    desk.project.answers.reopen()
    desk.rest()
    found = desk.project.store.current(first, "polyp")
    assert found.origin == "draft" and (desk.project.store.load(found).mask == rows(3, 8)).all()
    assert not desk.corrections.unsaved()


def test_the_hold_out_is_outlined_blind_or_said_to_be_assisted(desk, wire):
    desk.open()
    assert desk.project.case.split == "test"
    predict(desk.session, wire)
    desk.rest()
    assert "counts as model-assisted" in desk.heard[-1][0]
    first = desk.project.case.id
    desk.corrections.begin(from_prediction=False)
    desk.draw(1)
    assert desk.project.store.current(first, "polyp").predicted, "it was in sight"
    # In another program, where nobody saw it.
    desk.project.step(1)
    desk.rest()
    blind = desk.project.case.id
    with_prediction = desk.session.predicted("polyp")
    assert with_prediction is None
    predict(desk.session, wire)
    desk.rest()
    desk.project.close()
    desk.rest()
    desk.session.results.clear()
    desk.open()
    assert desk.project.case.id == blind and not desk.session.results
    assert desk.project.store.prediction(blind, "polyp") is not None


def test_a_prediction_is_there_again_and_can_be_handed_over_as_it_is(desk, wire):
    desk.open()
    desk.project.open_case(desk.project.store.case_ids()[3])
    desk.rest()
    case = desk.project.case.id
    predict(desk.session, wire)
    predict(desk.session, wire)
    desk.rest()
    assert len(desk.project.store.versions(case, "polyp")) == 1, "the same answer is kept once"
    asked = desk.session.result.prompt
    desk.project.close()
    desk.rest()
    desk.session.results.clear()
    desk.open()
    assert desk.project.case.id == case and desk.session.result.prompt == asked
    assert (desk.session.mask() == rows(2, 3, 4, 5)).all() and desk.project.state is State.UNSEEN
    desk.project.answers.submit()
    desk.rest()
    found = desk.project.store.current(case, "polyp")
    assert found.origin == "submitted" and found.corrected and found.dice == 1 and found.author == "Ada"


def test_a_full_disk_loses_nothing_and_is_tried_again(desk, monkeypatch):
    desk.open()
    desk.draw(3)
    full = OSError(28, "No space left on device")

    def refuse(*_, **__):
        raise full

    with monkeypatch.context() as broken:
        broken.setattr("napari_medvlsm.core.projects.files.save_mask", refuse)
        desk.draw(4)
        desk.draw(5)
        said = [text for text, problem in desk.heard if problem]
        assert len(said) == 1 and "full" in said[0], said
        assert desk.corrections.unsaved() and list(desk.autosaves.folder.glob("*.tif"))
    for _, function in desk.later:
        function()
    desk.later.clear()
    desk.rest()
    found = desk.project.store.current(desk.project.case.id, "polyp")
    assert (desk.project.store.load(found).mask == rows(3, 4, 5)).all() and not desk.corrections.unsaved()


def test_scans_that_moved_or_changed_are_named(desk, tmp_path):
    (tmp_path / "scan2.png").unlink()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "scan3.png")
    (tmp_path / "scan4.png").write_bytes(b"no picture")
    desk.open()
    for number, words in ((2, "scan2.png is not at"), (3, "another picture than when it entered"), (4, "scan4.png")):
        desk.project.step(1)
        desk.rest()
        assert words in desk.heard[-1][0] and desk.heard[-1][1], (number, desk.heard[-1])
    desk.project.step(1)
    desk.rest()
    assert desk.name == "scan5.png"


def test_a_second_window_and_a_read_only_project_say_so(desk):
    occupied = []
    desk.project.occupied.connect(lambda folder, sentence: occupied.append(folder))
    with ProjectStore(desk.folder):
        assert not desk.open() and "open in another program" in desk.heard[-1][0] and occupied == [desk.folder]
    assert desk.open(read_only=True) and desk.project.read_only
    desk.draw(2)
    assert "read-only" in desk.heard[-1][0] and list(desk.autosaves.folder.glob("*.tif"))


def test_a_folder_is_made_a_project(desk, tmp_path):
    with pytest.raises(ProjectError, match="at least one target"):
        desk.project.create(tmp_path / "new", [" "])
    assert desk.project.create(tmp_path / "new", ["melanoma", "polyp"])
    desk.project.add([tmp_path])
    desk.rest()
    assert desk.heard[-1][0].startswith("Opened") or "6 scans added" in " ".join(t for t, _ in desk.heard)
    assert desk.project.store.counts().cases == SCANS and desk.name == "scan1.png"
    # Not the vocabulary's word for it; it is found again all the same.
    desk.project.choose_target("melanoma")
    desk.draw(6)
    assert desk.project.case.states["melanoma"] is State.DRAFT and desk.project.target == "melanoma"


def test_predicting_goes_on_where_it_was_left_and_answers_nothing(desk):
    model = desk.session.models["starter"]
    desk.open()
    blind, *_, drawn, last = desk.project.store.case_ids()
    desk.project.open_case(drawn)
    desk.rest()
    desk.draw(3)
    # What a process had made when the window was closed, and nobody took in.
    request = BatchRequest({"polyp": "polyp"}, str(model.folder))
    remember_request(desk.project.store, request)
    case = desk.project.store.case(last)
    prompt, weights = free_text("polyp", desk.session.vocabulary), weights_hash(model.folder)
    made = new_provenance(
        scan_hash=case.pixels_hash, scan_size=case.size, prompt=prompt, model="starter", weights_hash=weights
    )
    file = desk.folder / PREDICTING_FOLDER / "0" / f"{last:06d}.tif"
    file.parent.mkdir(parents=True)
    save_mask(file, Annotation("polyp", rows(7), provenance=made))
    desk.project.open_case(blind)
    desk.rest()
    desk.project.close()
    desk.rest()
    desk.open()
    store = desk.project.store
    assert desk.heard[-1] == ("5 outlines were predicted; they wait for your answer.", False), desk.heard[-3:]
    found = {case_id: store.prediction(case_id, "polyp") for case_id in store.case_ids()}
    assert (store.load(found[last]).mask == rows(7)).all() and found[drawn] is None
    assert {v.weights_hash for v in found.values() if v} == {weights} and all(v for c, v in found.items() if c != drawn)
    assert store.counts().states[State.UNSEEN] == SCANS - 1 and store.counts().predictions == SCANS - 1
    assert desk.project.case.id == blind and not desk.session.results, "held out: not before a person's answer"
    assert not (desk.folder / PREDICTING_FOLDER).exists()
    desk.project.open_case(last)
    desk.rest()
    assert (desk.session.mask() == rows(7)).all() and desk.project.state is State.UNSEEN


def reviewed(desk, case_id, change):
    """What a second person does in the window of the review, and how the project hears of it."""
    change(desk.project.store)
    desk.project.on_reviewed(case_id, "polyp")
    desk.rest()


def test_the_outline_in_view_follows_the_review(desk):
    desk.open()
    case = desk.project.case.id
    desk.draw(3)
    desk.project.answers.submit()
    desk.rest()
    desk.project.open_case(case)
    desk.rest()
    reviewed(desk, case, lambda store: store.send_back(case, "polyp", "more of it"))
    assert desk.project.state is State.DRAFT and (desk.mask == rows(3)).all()
    first = desk.project.store.versions(case, "polyp")[0]
    desk.draw(4)
    reviewed(desk, case, lambda store: store.restore(first.id))
    assert (desk.mask == rows(3)).all() and not desk.corrections.unsaved()
    versions = desk.project.store.versions(case, "polyp")
    assert versions[-1].origin == "restored", "taking it over makes no version of its own"
    # It can be taken back like a stroke, and that is a draft again.
    desk.corrections.undo()
    desk.rest()
    found = desk.project.store.current(case, "polyp")
    assert (desk.mask == rows(3, 4)).all() and (desk.project.store.load(found).mask == rows(3, 4)).all()


def test_a_review_takes_no_stroke_from_who_paints_and_retracts_an_answer_in_view(desk):
    desk.open()
    case = desk.project.case.id
    desk.project.answers.declare_absent()
    desk.rest()
    desk.project.open_case(case)
    desk.rest()
    assert desk.corrections.current.absent
    reviewed(desk, case, lambda store: store.send_back(case, "polyp", "look again"))
    assert desk.project.state is State.UNSEEN and desk.corrections.current is None
    desk.draw(5)
    version = desk.project.store.current(case, "polyp")
    desk.layers.paint("polyp", [9])
    reviewed(desk, case, lambda store: store.restore(version.id))
    assert (desk.mask == rows(5, 9)).all()
    found = desk.project.store.current(case, "polyp")
    assert found.origin == "draft" and (desk.project.store.load(found).mask == rows(5, 9)).all()


def test_a_scan_is_shown_with_the_target_that_was_asked_for(desk):
    desk.open()
    desk.project.store.add_target("mole")
    desk.project.open_case(3, "mole")
    desk.rest()
    assert desk.name == "scan3.png" and desk.project.target == "mole"
    desk.project.open_case(3, "polyp")
    assert desk.project.target == "polyp"


def test_a_finding_or_a_case_of_the_verdict_is_shown_with_its_target_and_turns_nothing_else(desk):
    """It is not what is to do there, and the scan in view until then keeps its words."""
    desk.open()
    store, here = desk.project.store, desk.project.case.id
    store.add_target("mole")
    there = store.cases()[-1]  # which nobody reads ahead
    store.submit(there.id, "polyp", Annotation("polyp", rows(4, 5)))
    alone = (desk.project, desk.session, lambda *_: None)
    desk.project.choose_target("mole")
    spoken = desk.session.target_in_view.phrase
    Improve(*alone, lambda *_: None).show(there.id, "polyp")
    assert desk.project.case.id == here and desk.session.target_in_view.phrase == spoken, "it is still being read"
    desk.rest()
    assert (desk.project.case.id, desk.project.target) == (there.id, "polyp")
    desk.project.open_case(here)
    desk.rest()
    of_round = TrainingCase(
        there.id, there.name, "", there.split, "polyp", 1, State.SUBMITTED, False, False, there.pixels_hash
    )
    BeforeAfter(*alone).show(CasePair(of_round, 0.5, 0.6), ())
    desk.rest()
    assert (desk.project.case.id, desk.project.target) == (there.id, "polyp")


def test_what_was_painted_a_moment_ago_is_written_before_a_review_begins(desk):
    desk.open()
    desk.corrections.begin()
    desk.layers.paint("polyp", [3])
    found = []
    desk.project.once_written(lambda: found.append(desk.project.store.current(desk.project.case.id, "polyp")))
    while desk.jobs:  # but no timer
        function, done, _ = desk.jobs.popleft()
        value = function()
        if done is not None:
            done(value)
    assert found[0].foreground == SIZE[1]


def test_targets_that_mean_the_same_here_are_never_taken_for_one_another(session, view, folder, tmp_path):
    with ProjectStore(folder) as store:
        for target in ("benign breast tumor", "malignant breast tumor"):
            store.add_target(target)
    desk = Desk(session, view, folder, tmp_path)
    desk.open()
    first, project = desk.project.case.id, desk.project
    project.choose_target("benign breast tumor")
    assert project.target == "benign breast tumor"
    desk.draw(2, 3)
    assert project.case.states["benign breast tumor"] is State.DRAFT
    assert project.case.states["malignant breast tumor"] is State.UNSEEN

    project.choose_target("malignant breast tumor")
    assert project.target == "benign breast tumor"
    assert "means the same here as “benign breast tumor”" in desk.heard[-1][0]
    project.answers.submit()
    desk.rest()
    states = project.store.case(first).states
    assert (states["benign breast tumor"], states["malignant breast tumor"]) == (State.SUBMITTED, State.UNSEEN)

    # With a word of its own, each is a target.
    own = tmp_path / "words.yaml"
    own.write_text("targets:\n  malignant breast tumor: {}\n")
    session.set_vocabulary(load_vocabulary(own))
    project.choose_target("malignant breast tumor")
    assert project.target == "malignant breast tumor"
    desk.draw(5)
    assert project.case.states["malignant breast tumor"] is State.DRAFT
    project.close()
    desk.rest()


def test_an_outline_of_a_target_that_means_the_same_here_is_not_shown_in_its_place(session, view, folder, tmp_path):
    with ProjectStore(folder) as store:
        store.add_target("polyps")
        made = new_provenance(scan_hash=store.case(1).pixels_hash)
        for target, drawn in (("polyp", rows(1)), ("polyps", rows(8, 9))):
            store.save_draft(1, Annotation(target, drawn, corrected=True, provenance=made))
    desk = Desk(session, view, folder, tmp_path)
    desk.open()
    assert (desk.project.target, desk.mask.tolist()) == ("polyp", rows(1).tolist())
    desk.project.close()
    desk.rest()


def test_the_answer_that_there_is_nothing_is_one_in_the_project_by_whichever_button(desk):
    desk.open()
    case = desk.project.case.id
    desk.draw(3, 4)
    desk.corrections.declare_absent()
    desk.rest()
    assert desk.project.case.id == case and desk.project.state is State.ABSENT
    assert not desk.corrections.unsaved() and check_project(desk.folder) == []

    desk.corrections.undo()
    desk.rest()
    assert desk.project.state is State.DRAFT and (desk.mask == rows(3, 4)).all()
    assert check_project(desk.folder) == []

    # Answered and taken back at once, before anything of it was written.
    desk.corrections.declare_absent()
    desk.corrections.flush()
    desk.corrections.undo()
    desk.rest()
    assert desk.project.state is State.DRAFT and (desk.mask == rows(3, 4)).all()


def test_an_answer_of_an_earlier_day_is_taken_back_in_the_project_and_what_was_drawn_before_it_comes_back(
    desk, session, view, tmp_path
):
    with ProjectStore(desk.folder) as store:
        made = new_provenance(scan_hash=store.case(1).pixels_hash)
        store.save_draft(1, Annotation("polyp", rows(1, 2), corrected=True, provenance=made))
        store.mark_absent(1, "polyp")
        store.mark_absent(2, "polyp")
    desk.open()
    for case, state in ((1, State.DRAFT), (2, State.UNSEEN)):
        desk.project.open_case(case)
        desk.rest()
        assert desk.project.state is State.ABSENT and desk.corrections.current.absent
        desk.corrections.undo()
        desk.rest()
        assert desk.project.state is state
    assert desk.corrections.current is None
    desk.project.open_case(1)
    desk.rest()
    assert (desk.mask == rows(1, 2)).all()

    desk.project.answers.declare_absent()
    desk.rest()
    desk.project.open_case(1)
    desk.rest()
    desk.project.answers.reopen()
    desk.rest()
    assert desk.project.state is State.DRAFT and (desk.mask == rows(1, 2)).all()

    desk.project.answers.declare_absent()
    desk.rest()
    desk.project.store.approve(1, "polyp")
    desk.project.open_case(1)
    desk.rest()
    desk.corrections.undo()
    desk.rest()
    assert desk.project.state is State.APPROVED
    assert any("is approved, so the answer stays" in text for text, _ in desk.heard)


def test_who_enters_a_name_does_what_is_done_from_then_on(desk):
    desk.open()
    case, store = desk.project.case.id, desk.project.store
    desk.draw(3, 4)
    desk.settings.set_author("Bob")
    desk.project.sign()
    desk.draw(5)
    first, second = store.versions(case, "polyp")
    assert [first.author, second.author] == ["Ada", "Bob"]
    assert (store.load(first).mask == rows(3, 4)).all() and (store.load(second).mask == rows(3, 4, 5)).all()
    desk.project.answers.submit()
    desk.rest()
    store.approve(case, "polyp")
    assert [event.person for event in store.events(case, "polyp")] == ["Ada", "Bob", "Bob", "Bob"]


def test_what_was_said_of_an_outline_is_said_again_when_it_comes_back(desk):
    with ProjectStore(desk.folder) as store:
        for case, color in ((1, "pink"), (2, "white")):
            said, measured = Attributes(target="polyp", color=color), Attributes(target="polyp", size="small")
            made = new_provenance(scan_hash=store.case(case).pixels_hash)
            store.save_draft(case, Annotation("polyp", rows(1, case), True, False, said, measured, made))
    desk.open()
    for case, color in ((1, "pink"), (2, "white"), (1, "pink")):
        desk.project.open_case(case)
        desk.rest()
        assert (desk.session.said.color, desk.session.said.size, desk.session.measured) == (color, "small", {"size"})
        desk.draw(3 + case)
        found = desk.project.store.load(desk.project.store.current(case, "polyp"))
        assert (found.said.color, found.measured.size) == (color, "small")
    # What is said now goes before, and an outline of which nothing was said takes nothing away.
    desk.session.choose(color="red")
    desk.project.open_case(3)
    desk.rest()
    desk.project.open_case(1)
    desk.rest()
    assert desk.session.said.color == "red"


def test_what_was_drawn_before_the_project_was_opened_is_in_it(desk, tmp_path):
    desk.worklist.open_one(tmp_path / "scan4.png")
    desk.session.choose(target="polyp")
    desk.rest()
    desk.draw(6, 7)
    assert desk.corrections.unsaved()
    desk.open()
    assert desk.name == "scan4.png" and desk.project.state is State.DRAFT and not desk.corrections.unsaved()
    found = desk.project.store.current(desk.project.case.id, "polyp")
    assert (desk.project.store.load(found).mask == rows(6, 7)).all()


def test_what_the_model_outlined_of_the_hold_out_before_the_project_was_opened_was_in_sight(desk, wire, tmp_path):
    desk.worklist.open_one(tmp_path / "scan1.png")
    desk.session.choose(target="polyp")
    desk.rest()
    predict(desk.session, wire)
    desk.open()
    assert desk.project.case.split == "test"
    desk.corrections.begin(from_prediction=False)
    desk.draw(8)
    found = desk.project.store.load(desk.project.store.current(desk.project.case.id, "polyp"))
    assert found.prediction is not None and found.prediction.any()


@pytest.mark.parametrize("answer", ["submit", "declare_absent"])
def test_nothing_is_answered_about_what_the_prompt_is_not_about(desk, wire, answer):
    desk.open()
    case = desk.project.case.id
    predict(desk.session, wire)
    desk.rest()
    desk.session.choose(target="foot ulcer")
    assert desk.project.target == "polyp"
    getattr(desk.project.answers, answer)()
    desk.rest()
    assert desk.project.case.id == case and desk.project.state is State.UNSEEN
    assert desk.session.target == "polyp" and "look at it, then answer again" in desk.heard[-1][0]
    getattr(desk.project.answers, answer)()
    desk.rest()
    assert desk.project.store.case(case).state in (State.SUBMITTED, State.ABSENT)
