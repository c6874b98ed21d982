"""Rounds as their files say: what is frozen, states, other computers, decisions."""

import json
import platform
import shutil
import time
from dataclasses import replace

import pytest
from filelock import FileLock

from napari_medvlsm.core.improve import rounds, versions, work
from napari_medvlsm.core.improve.cases import choose_cases
from napari_medvlsm.core.improve.estimate import from_rounds
from napari_medvlsm.core.improve.history import earlier_models, read_history
from napari_medvlsm.core.improve.making import make_round
from napari_medvlsm.core.improve.plan import PLAN_FILE
from napari_medvlsm.core.improve.rounds import (
    RoundState,
    delete_round,
    find_round,
    find_rounds,
    reject_round,
    require_startable,
)
from napari_medvlsm.core.improve.sentences import known_of_hold_out
from napari_medvlsm.core.improve.versions import (
    base_of,
    delete_model,
    export_model,
    find_project_model,
    known_before,
    project_models,
    promote,
    roll_back,
    trained_scans,
    unlisted_bases,
    was_trained_on,
)
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.runs.events import Epoch, Failed, Saved, Started, Step, Stopped, ignore_event
from napari_medvlsm.core.runs.folder import EVENTS_FILE, LOCK_FILE, MODEL_FOLDER, RECIPE_FILE
from napari_medvlsm.core.runs.log import EventLog, EventRecorder
from napari_medvlsm.core.runs.results import SUMMARY_FILE
from napari_medvlsm.core.runs.start import RunEnd
from tests.core.improve.conftest import BASE, VOCABULARY
from tests.core.projects.conftest import outline

STARTED = Started("best_own", "run", 2, 0, 3, 6, 1, 10, 10, "cpu", 1, "another-computer")


def with_model(round_, folder):
    """As a run leaves it that was measured."""
    shutil.copytree(folder, round_.run.folder / MODEL_FOLDER)
    for results in (round_.before, round_.after):
        results.mkdir()
        (results / SUMMARY_FILE).write_text("{}")
    return round_


def test_a_round_is_a_frozen_copy_that_is_found_again(store, new_round):
    made = new_round(remark="the first")
    assert (made.name, made.state, made.plan.person) == ("1", RoundState.READY, "Ann")
    (found,) = find_rounds(store.folder)
    assert found.plan == made.plan and found.plan.remark == "the first"
    lists = {p.stem: json.loads(p.read_text("utf-8")) for p in (made.data / "anns").iterdir()}
    assert {split: len(cases) for split, cases in lists.items()} == {
        split: sum(c.split == split for c in made.plan.cases) for split in ("train", "val", "test")
    }
    store.reopen(made.plan.cases[0].case_id, "polyp")
    assert len(json.loads((made.data / "anns" / "train.json").read_text())) == len(lists["train"])
    assert made.plan.command.startswith("medvlsm train best/own model=starter model.base=starter 'title=")
    assert made.plan.command.endswith("--data data --run run")
    assert new_round().name == "2" and [r.name for r in find_rounds(store.folder)] == ["1", "2"]


def test_what_was_left_out_is_neither_copied_nor_forgotten(store):
    out = next(case for case in store.cases() if case.split == "train")
    cases = choose_cases(store, without={out.id}).cases
    round_ = make_round(store, cases, BASE, VOCABULARY, without={out.id})
    assert round_.plan.left_out == (out.id,) and out.pixels_hash not in round_.plan.trained
    lists = [json.loads(path.read_text("utf-8")) for path in (round_.data / "anns").iterdir()]
    assert sum(map(len, lists)) == len(cases) == 11
    assert find_round(store.folder).plan == round_.plan


def test_outlines_that_changed_meanwhile_and_a_seen_hold_out_begin_nothing(store):
    cases = choose_cases(store).cases
    held_out = next(case for case in cases if case.split == "test")
    with pytest.raises(ValueError, match=f"clinic was trained on {held_out.name}"):
        make_round(store, cases, replace(BASE, name="clinic", trained={held_out.pixels_hash: "clinic"}), VOCABULARY)
    store.reopen(cases[0].case_id, "polyp")
    store.submit(cases[0].case_id, "polyp", outline(rows=(2, 14)))
    with pytest.raises(ValueError, match="changed meanwhile"):
        make_round(store, cases, BASE, VOCABULARY)
    with pytest.raises(ValueError, match="takes no words"):
        make_round(store, choose_cases(store).cases, replace(BASE, family="image-only"), VOCABULARY)
    assert find_rounds(store.folder) == [] and not list((store.folder / "models").glob(".1*"))


def test_states_are_read_off_the_files(store, new_round, model_folder):
    round_ = new_round()
    round_.run.folder.mkdir()
    (round_.run.folder / RECIPE_FILE).write_text("name: x")
    assert round_.state is RoundState.STOPPED
    rounds.write_failure(round_, "The disk is full.")
    assert (round_.state, round_.failure) == (RoundState.FAILED, "The disk is full.")
    with FileLock(round_.run.folder / LOCK_FILE):
        assert round_.state is RoundState.RUNNING and round_.running
        with pytest.raises(ValueError, match="runs already"):
            require_startable(round_)
        with pytest.raises(ValueError, match="runs; stop it first"):
            delete_round(round_)
    (round_.folder / rounds.FAILURE_FILE).unlink()
    shutil.copytree(model_folder, round_.run.folder / MODEL_FOLDER)
    assert (round_.state, round_.progress.stage) == (RoundState.TRAINED, "waiting")
    shutil.rmtree(round_.run.folder / MODEL_FOLDER)
    with_model(round_, model_folder)
    assert (round_.state, round_.progress.stage) == (RoundState.FINISHED, "done")
    with pytest.raises(ValueError, match="waits for a decision"):
        require_startable(round_)
    reject_round(round_, "Ann", "worse")
    assert round_.state is RoundState.REJECTED


def test_a_run_on_another_computer_is_followed_by_its_folder(store, new_round):
    round_ = new_round()
    round_.run.folder.mkdir()
    there = EventRecorder(ignore_event)
    there.record_in(round_.run.folder)
    there(STARTED)
    there(Step(0, 1, 6, 0.9, 5.0))
    assert round_.state is RoundState.RUNNING
    with pytest.raises(ValueError, match="runs already on another-computer"):
        require_startable(round_)
    there(Epoch(0, 2, 0.9, 0.8, 0.5, None, True, 3.0, 3.0))
    there(Epoch(1, 2, 0.9, 0.8, 0.4, None, False, 3.0, 0.0))
    now = round_.progress
    assert (now.stage, now.epoch, now.epochs, now.step, now.steps) == ("training", 2, 2, 1, 6)
    assert (now.val_dice, now.best_dice, now.computer) == (0.4, 0.5, "another-computer")
    there(Stopped("asked to stop", "Stopped when asked to.", "", None))
    assert not round_.running and round_.progress.sentence == "Stopped when asked to."


def test_after_an_interruption_nothing_is_said_to_be_trained_until_it_is(store, new_round):
    round_ = new_round()
    round_.run.folder.mkdir()
    reported = EventRecorder(ignore_event)
    reported.record_in(round_.run.folder)
    with FileLock(round_.folder / rounds.WORK_LOCK):
        for event, stage in (
            (STARTED, "training"),
            (Stopped("asked to stop", "Stopped when asked to.", "", None), "preparing"),
            (STARTED, "training"),
            (Failed("The disk is full."), "preparing"),
            (STARTED, "training"),
            (Stopped("time is up", "Stopped after the time given.", "best.ckpt", 0.5), "writing"),
        ):
            reported(event)
            assert round_.progress.stage == stage


class Training:
    """Stands for the process of a training or, where it is to `finish`, of that which writes the best model."""

    def __init__(self, round_, finish, model_folder, told):
        self.round, self.finish, self.model_folder, self.told = round_, finish, model_folder, told

    def __enter__(self):
        self.told.append("finish" if self.finish else "train")
        return self

    def __exit__(self, *_):
        pass

    def events(self):
        record = EventRecorder(ignore_event)
        self.round.run.folder.mkdir(exist_ok=True)
        record.record_in(self.round.run.folder)
        if self.finish:
            with_model(self.round, self.model_folder)
            return []
        said = [STARTED, Stopped("time is up", "Stopped after the time given.", "best.ckpt", 0.5)]
        for event in said:
            record(event)
        return said

    def end(self):
        return RunEnd(0, "")

    def ask_to_stop(self):
        pass


def test_a_round_whose_time_is_up_takes_the_best_model_until_then(store, new_round, model_folder, monkeypatch):
    told = []
    monkeypatch.setattr(work, "_process", lambda round_, finish: Training(round_, finish, model_folder, told))
    round_ = new_round(minutes=5.0)
    assert work.work(round_).done and told == ["train", "finish"]
    assert (round_.state, round_.failure) == (RoundState.FINISHED, "")
    # Where the time was up elsewhere, no more is trained here.
    second = new_round(minutes=5.0)
    list(Training(second, False, model_folder, told).events())
    assert work.work(second).done and told == ["train", "finish", "finish"]


def test_the_time_is_estimated_for_as_many_scans_and_epochs_as_there_will_be(store, new_round):
    round_ = new_round()
    own = sum(case.split == "train" for case in round_.plan.cases)
    assert from_rounds([round_], own) is None, "nothing was trained yet"
    round_.run.folder.mkdir()
    (round_.run.folder / RECIPE_FILE).write_text("trainer: {max_epochs: 80, max_images: 600, min_epochs: 1}")
    record = EventRecorder(ignore_event)
    record.record_in(round_.run.folder)
    # A third as many scans are replayed beside them: 600 images are so many epochs.
    shown = own + own // 3
    record(replace(STARTED, epochs=-(-600 // shown), train_images=shown, computer=platform.node()))
    record(Epoch(0, 80, 0.9, 0.8, 0.5, None, True, 12.0, 0.0))
    assert from_rounds([round_], own).seconds == 12 * -(-600 // shown)
    # Of four times as many, each epoch takes four times as long, and there are a quarter as many of them.
    assert from_rounds([round_], 4 * own).seconds == 48 * -(-600 // (4 * shown))
    assert from_rounds([round_], own, epochs=5).seconds == 60
    (round_.run.folder / RECIPE_FILE).write_text("trainer: [")
    assert from_rounds([round_], own).seconds == 12 * -(-600 // shown), "as it was then"
    record(replace(STARTED, computer="another-computer"))
    assert from_rounds([round_], own) is None


def test_a_silent_computer_does_not_block_a_round_for_ever(store, new_round, monkeypatch):
    round_ = new_round()
    round_.run.folder.mkdir()
    there = EventRecorder(ignore_event)
    there.record_in(round_.run.folder)
    there(STARTED)
    assert round_.running
    later = time.time() + rounds.SILENCE + 1.0  # a second more: events round their time
    monkeypatch.setattr(rounds.time, "time", lambda: later)
    assert not round_.running


def test_a_log_is_read_bit_by_bit_and_survives_a_line_cut_short(tmp_path):
    log, recorder = EventLog(tmp_path), EventRecorder(ignore_event)
    assert log.new() == []
    recorder.record_in(tmp_path)
    recorder(STARTED)
    with (tmp_path / EVENTS_FILE).open("ab") as file:
        file.write(b'{"event": "step", "ti')
    assert [entry.event for entry in log.new()] == [STARTED] and log.new() == []
    again = EventRecorder(ignore_event)
    again.record_in(tmp_path)
    again(replace(STARTED, first_epoch=1))
    assert [entry.event.first_epoch for entry in log.new()] == [1]


def test_a_log_names_no_folder_above_the_run(tmp_path):
    """But the sentence of a failure may."""
    run, reported = tmp_path / "ward" / "run", []
    run.mkdir(parents=True)
    recorder = EventRecorder(reported.append)
    recorder.record_in(run)
    best = run / "best.ckpt"
    recorder(replace(STARTED, run=str(run)))
    recorder(Stopped("finished", f"Stopped: the best model so far is in {best}.", str(best), 0.5))
    recorder(Saved(str(tmp_path / "ward" / "out"), str(run / "report.html")))
    recorder(Failed(f"The disk is full, while {run} was being written."))
    started, stopped, saved, failed = (entry.event for entry in EventLog(run).new())
    assert started.run == "." and saved == Saved("out", "report.html")
    assert (stopped.sentence, stopped.checkpoint) == ("Stopped: the best model so far is in best.ckpt.", "best.ckpt")
    assert failed.sentence == "The disk is full, while the folder of the run was being written."
    assert b"ward" not in (run / EVENTS_FILE).read_bytes()
    assert reported[1].checkpoint == str(best), "whoever listens gets it whole"


def test_what_is_known_of_the_hold_out_is_said(store, new_round, model_folder):
    first = new_round()
    assert unlisted_bases(first) == {"Starter": tuple(source.name for source in find_model("starter").card.data)}
    told = known_of_hold_out(unlisted_bases(first))
    assert told.startswith("No model of this project") and "Of Starter, only its data sets are known (Kvasir" in told
    listed = replace(BASE, name="clinic", trained={"ab" * 32: "clinic"})
    assert known_before(first) == find_model("starter").card.targets
    second = new_round(base=listed)
    assert unlisted_bases(second) == {} and "Of " not in known_of_hold_out({})
    third = new_round(base=replace(BASE, name="2", trained=second.plan.trained))
    assert unlisted_bases(third) == {}
    with_model(second, model_folder)
    with_model(third, model_folder)
    delete_model(store.folder, "2")
    assert unlisted_bases(third) == {"model 2": ()}, "its own base is forgotten with it"
    gone = new_round(base=replace(BASE, name="gone"))
    assert "Of gone, its data are not known" in known_of_hold_out(unlisted_bases(gone))
    lost = replace(gone, plan=replace(gone.plan, present=replace(BASE, name="gone")))
    assert known_before(lost) == ()


def test_promoting_and_going_back(store, new_round, model_folder):
    project = store.folder
    first, second = with_model(new_round(), model_folder), with_model(new_round(), model_folder)
    assert find_project_model(project).name == "starter"
    with pytest.raises(ValueError, match="nothing to go back to"):
        roll_back(project, "Ann")
    promote(project, "1", "Ann", "looks good")
    promote(project, "2", "Bob")
    assert find_project_model(project).name == "2" and second.state is RoundState.PROMOTED
    with pytest.raises(ValueError, match="present one already"):
        promote(project, "2", "Bob")
    with pytest.raises(ValueError, match="what rolling back leads to"):
        delete_model(project, "1")
    with pytest.raises(ValueError, match="present one; promote another"):
        delete_model(project, "2")
    assert roll_back(project, "Ann").model == "1" and roll_back(project, "Ann").model == "starter"
    assert earlier_models(read_history(project)) == []
    told = [entry.sentence for entry in read_history(project)]
    assert told[0].endswith("UTC: Ann promoted model 1, before starter (looks good)")
    assert told[-1].endswith("UTC: Ann rolled back to starter, before model 1")
    assert [(m.name, m.present) for m in project_models(project)] == [("starter", True), ("1", False), ("2", False)]
    delete_model(project, "2")
    assert [round_.name for round_ in find_rounds(project)] == ["1"] and not second.folder.exists()
    assert not list((project / "models").glob(".2*")) and first.folder.exists()
    with pytest.raises(ValueError, match="not deleted from here"):
        delete_model(project, "starter")


def test_the_number_of_a_deleted_model_is_not_given_again(store, new_round, model_folder):
    project = store.folder
    for _ in range(2):
        with_model(new_round(), model_folder)
    promote(project, "2", "Ann")
    roll_back(project, "Ann")
    delete_model(project, "2")
    third = new_round()
    assert (third.name, third.state) == ("3", RoundState.READY), "it is not the one that was promoted"
    delete_model(project, "3")
    delete_model(project, "1")
    assert new_round().name == "4", "also of one that the history does not know"
    (project / "models" / "deleted.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a number"):
        new_round()


def test_a_model_that_was_not_measured_is_not_promoted(store, new_round, model_folder):
    round_ = new_round()
    with pytest.raises(ValueError, match="no model yet; it is ready"):
        promote(store.folder, "1", "Ann")
    shutil.copytree(model_folder, round_.run.folder / MODEL_FOLDER)
    with pytest.raises(ValueError, match="not measured beside"):
        promote(store.folder, "1", "Ann")
    with pytest.raises(ValueError, match="no round '7'; there are 1"):
        find_round(store.folder, "7")


def test_what_a_model_was_trained_on_goes_with_it_and_never_holds_the_hold_out(
    store, new_round, model_folder, tmp_path
):
    first = with_model(new_round(), model_folder)
    cases = {case.pixels_hash: case.split for case in first.plan.cases}
    model = find_project_model(store.folder, "1")
    assert {h for h in cases if was_trained_on(model, h)} == {h for h, split in cases.items() if split != "test"}
    base = base_of(store.folder, "1")
    assert base.model == "../1/run/model" and base.family == "clipseg"
    second = with_model(new_round(base), model_folder)
    assert set(second.plan.trained.values()) == {"1"}, "the model that saw a scan first is named"
    export_model(store.folder, "2", tmp_path / "out")
    assert read_card(tmp_path / "out").name == "small"
    entry = find_model(str(tmp_path / "out"))
    loaded = versions.ProjectModel("out", "Out", entry.folder, entry.card, None, False)
    assert set(trained_scans(loaded)) == set(second.plan.trained)
    with pytest.raises(ValueError, match="exists already"):
        export_model(store.folder, "2", tmp_path / "out")


def test_a_damaged_round_does_not_hide_the_others(store, new_round):
    new_round()
    broken = new_round()
    (broken.folder / PLAN_FILE).write_text('{"number": 2}')
    assert [round_.name for round_ in find_rounds(store.folder)] == ["1"]
    assert new_round().name == "3"
