"""The rules of the engine controller, without a process and without a window."""

import errno
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.controllers.engine import EngineController, EngineImage, EngineState
from napari_medvlsm.core.options import Device, SegmentOptions, Tiling

MODEL = Path("models/starter")


def image(key):
    return EngineImage(key, np.zeros((4, 4), np.uint8))


def test_pixels_travel_once_for_an_image_and_model(engine, wire):
    engine.start()
    engine.prepare(MODEL, image("a"))
    engine.segment(MODEL, image("a"), ["polyp"])
    engine.segment(MODEL, image("a"), ["foot ulcer"])
    engine.segment(MODEL, image("b"), ["polyp"])
    engine.segment(Path("other"), image("b"), ["polyp"])
    frames = [(m["op"], n) for m, n in wire.sent if m["op"] != "cancel"]
    assert frames == [("prepare", 1), ("segment", 0), ("segment", 0), ("segment", 1), ("segment", 1)]


def test_a_scan_is_encoded_ahead_and_a_request_takes_its_place(engine, wire):
    engine.start()
    wire.ready()
    engine.prepare_ahead(MODEL, image("b"))
    assert not wire.sent, "no model is in use yet"
    engine.prepare(MODEL, image("a"))
    wire.done(wire.sent[-1][0]["id"])
    engine.prepare_ahead(MODEL, image("b"))
    ahead = wire.sent[-1][0]
    assert ahead["op"] == "ahead" and engine.state is EngineState.READY
    engine.segment(MODEL, image("a"), ["polyp"])
    cancelled, asked = wire.sent[-2:]
    assert cancelled[0] == {"op": "cancel", "id": ahead["id"]} and asked[1] == 0, "the scan in view is still held"
    wire.message({"event": "cancelled", "id": ahead["id"]}, [])
    assert engine.state is EngineState.SEGMENTING


def test_states_follow_the_work(engine, wire, heard):
    states = heard(engine.state_changed)
    engine.start()
    wire.ready()
    engine.prepare(MODEL, image("a"))
    wire.done(wire.sent[-1][0]["id"])
    request = engine.segment(MODEL, image("a"), ["polyp"])
    wire.done(request.number, np.zeros((4, 4), np.uint8))
    names = [s.name for (s,) in states]
    assert names == ["STARTING", "READY", "PREPARING", "READY", "SEGMENTING", "READY"]
    assert engine.device == "A card (CUDA)"


def test_late_answers_are_dropped(engine, wire, heard):
    answers = heard(engine.answered)
    engine.start()
    wire.ready()
    first = engine.segment(MODEL, image("a"), ["polyp"])
    second = engine.segment(MODEL, image("a"), ["foot ulcer"])
    assert wire.sent[-2][0] == {"op": "cancel", "id": first.number}
    wire.done(first.number, np.ones((4, 4), np.uint8))
    assert not answers
    wire.done(second.number, np.full((4, 4), 9, np.uint8))
    ((request, maps),) = answers
    assert request is second and maps[0][0, 0] == 9


def test_cancel_is_cooperative_first(engine, wire, later, heard):
    cancelled = heard(engine.cancelled)
    engine.start()
    wire.ready()
    request = engine.segment(MODEL, image("a"), ["polyp"])
    engine.cancel()
    assert engine.state is EngineState.CANCELLING and later[0][0] == 2.0
    wire.message({"event": "cancelled", "id": request.number}, [])
    assert len(cancelled) == 1 and engine.state is EngineState.READY
    later[0][1]()
    assert wire.stops == 0 and wire.starts == 1


def test_cancel_ends_a_process_that_does_not_stop(engine, wire, later, heard):
    cancelled, answers = heard(engine.cancelled), heard(engine.answered)
    engine.start()
    wire.ready()
    request = engine.segment(MODEL, image("a"), ["polyp"])
    engine.cancel()
    later[0][1]()
    assert wire.stops == 1 and wire.starts == 2 and len(cancelled) == 1
    message, arrays = wire.sent[-1]
    assert message["op"] == "prepare" and arrays == 1
    wire.done(request.number, np.zeros((4, 4), np.uint8))
    assert not answers


def test_crash_restarts_says_one_sentence_and_encodes_the_image_again(engine, wire, heard):
    failures = heard(engine.failed)
    engine.start()
    wire.ready()
    engine.segment(MODEL, image("a"), ["polyp"])
    wire.exit("Killed")
    assert wire.starts == 2 and engine.state is EngineState.STARTING
    assert len(failures) == 1 and "drawings are untouched" in failures[0][0] and "Press Segment" in failures[0][0]
    message, arrays = wire.sent[-1]
    assert message["op"] == "prepare" and message["image"] == "a" and arrays == 1


def test_engine_that_cannot_start_is_not_started_forever(engine, wire, heard):
    failures = heard(engine.failed)
    engine.start()
    for _ in range(3):
        wire.exit("ImportError: no torch")
    assert wire.starts == 3 and engine.state is EngineState.BROKEN
    assert "ImportError: no torch" in failures[-1][0]
    engine.segment(MODEL, image("a"), ["polyp"])
    assert wire.starts == 4


def test_failure_is_told_and_the_pixels_are_sent_again(engine, wire, heard):
    failures = heard(engine.failed)
    engine.start()
    wire.ready()
    request = engine.segment(MODEL, image("a"), ["polyp"])
    wire.message({"event": "failed", "id": request.number, "message": "Too little memory."}, [])
    assert failures == [("Too little memory.",)] and engine.state is EngineState.READY
    engine.segment(MODEL, image("a"), ["polyp"])
    assert wire.sent[-1][1] == 1


def test_progress_of_old_requests_is_not_shown(engine, wire, heard):
    texts = heard(engine.progressed)
    engine.start()
    wire.ready()
    request = engine.segment(MODEL, image("a"), ["polyp"])
    wire.message({"event": "progress", "id": 99, "text": "old"}, [])
    wire.message({"event": "progress", "id": request.number, "text": "Outlining"}, [])
    assert texts == [("Outlining",)]


def test_close_ends_the_process(engine, wire):
    engine.start()
    engine.close()
    assert wire.stops == 1 and engine.state is EngineState.OFF


def test_pixels_are_sent_again_when_the_engine_lacks_them(engine, wire, heard):
    answers = heard(engine.answered)
    engine.start()
    wire.ready()
    engine.segment(MODEL, image("a"), ["polyp"])
    second = engine.segment(MODEL, image("a"), ["foot ulcer"])
    assert wire.sent[-1][1] == 0
    wire.message({"event": "missing", "id": second.number}, [])
    message, arrays = wire.sent[-1]
    assert message["id"] == second.number and message["prompts"] == ["foot ulcer"] and arrays == 1
    wire.done(second.number, np.zeros((4, 4), np.uint8))
    assert len(answers) == 1


def test_devices_are_listed_and_what_is_run_on_is_shown(engine, wire, heard):
    titles, precisions = heard(engine.device_found), heard(engine.precision_found)
    engine.start()
    wire.ready()
    assert engine.devices[1] == Device("cpu", "CPU", ("float32",)) and len(engine.devices) == 2
    wire.message({"event": "running", "device": "CPU", "precision": "float32"}, [])
    assert titles == [("A card (CUDA)",), ("CPU",)] and precisions == [("bfloat16",), ("float32",)]
    assert (engine.device, engine.precision) == ("CPU", "float32")


def test_choice_of_device_travels_with_every_request(engine, wire):
    engine.start()
    wire.ready()
    engine.prepare(MODEL, image("a"))
    assert (wire.sent[-1][0]["device"], wire.sent[-1][0]["precision"]) == ("auto", "auto")
    engine.choose("cpu", "bfloat16")
    message, arrays = wire.sent[-1]
    assert (message["op"], message["device"], message["precision"], arrays) == ("prepare", "cpu", "bfloat16", 0)
    engine.choose("cpu", "bfloat16")
    again = wire.sent[-1][0]
    assert again["choice"] == message["choice"] + 1, "the engine may have gone on elsewhere for want of memory"
    engine.segment(MODEL, image("a"), ["polyp"])
    assert wire.sent[-1][0]["device"] == "cpu" and wire.sent[-1][0]["choice"] == again["choice"]


def test_pixels_that_are_missing_are_sent_with_their_own_model(engine, wire):
    engine.start()
    wire.ready()
    request = engine.segment(MODEL, image("a"), ["polyp"])
    engine.prepare(Path("models/other"), image("a"))
    wire.message({"event": "missing", "id": request.number}, [])
    message, arrays = wire.sent[-1]
    assert (message["id"], message["model"], arrays) == (request.number, str(MODEL), 1)


def test_choice_before_there_is_a_scan_waits_for_it(engine, wire):
    engine.choose("cpu")
    engine.start()
    wire.ready()
    assert not wire.sent
    engine.prepare(MODEL, image("a"))
    assert wire.sent[-1][0]["device"] == "cpu"


def test_what_a_lower_precision_costs_is_known_after_the_first_answer(engine, wire, heard):
    told = heard(engine.precision_found)
    engine.start()
    wire.ready()
    assert engine.difference is None
    wire.message({"event": "running", "device": "A card (CUDA)", "precision": "bfloat16", "difference": 0.02}, [])
    assert engine.difference == 0.02 and len(told) == 2
    wire.message({"event": "running", "device": "CPU", "precision": "float32"}, [])
    assert engine.difference is None


def test_options_travel_and_are_checked(engine, wire):
    engine.start()
    wire.ready()
    options = SegmentOptions(Tiling(32, 0.5), (0, 1, 4, 4))
    request = engine.segment(MODEL, image("a"), ["polyp"], options=options)
    message = wire.sent[-1][0]
    assert message["tiles"] == {"side": 32, "overlap": 0.5} and message["region"] == [0, 1, 4, 4]
    assert request.options == options == SegmentOptions.from_message(message)
    sent = len(wire.sent)
    with pytest.raises(ValueError, match="own size only"):
        engine.segment(MODEL, image("a"), ["polyp"], (2, 2), options)
    with pytest.raises(ValueError, match="beyond the scan of 4 x 4"):
        engine.segment(MODEL, image("a"), ["polyp"], options=SegmentOptions(region=(0, 0, 5, 4)))
    assert len(wire.sent) == sent
    engine.segment(MODEL, image("a"), ["polyp"])
    assert wire.sent[-1][0]["tiles"] is None and wire.sent[-1][0]["region"] is None


def test_fractions_and_notices_reach_the_window(engine, wire, heard):
    fractions, notices, failures = heard(engine.advanced), heard(engine.noticed), heard(engine.failed)
    engine.start()
    wire.ready()
    request = engine.segment(MODEL, image("a"), ["polyp"])
    wire.message({"event": "progress", "id": 99, "text": "old", "fraction": 0.9}, [])
    wire.message({"event": "progress", "id": request.number, "text": "Outlining", "fraction": 0.5}, [])
    wire.message({"event": "progress", "id": request.number, "text": "Outlining"}, [])
    wire.message({"event": "notice", "text": "The CPU does the work."}, [])
    assert fractions == [(0.5,)] and notices == [("The CPU does the work.",)] and not failures
    assert engine.state is EngineState.SEGMENTING


def test_a_request_waits_for_the_engine_and_can_be_taken_back(wire, later, heard):
    engine = EngineController(wire, lambda seconds, function: later.append((seconds, function)))
    said = heard(engine.cancelled)
    engine.segment(MODEL, image("a"), ["polyp"])
    assert engine.waiting and engine.state is EngineState.STARTING
    assert engine.cancel() and not engine.waiting and len(said) == 1 and not later
    assert not engine.cancel()
    engine.segment(MODEL, image("a"), ["polyp"])
    wire.ready()
    assert engine.state is EngineState.SEGMENTING and not engine.waiting
    assert wire.sent[-1][1] == 1, "the pixels are sent again"


def test_an_engine_that_cannot_be_started_is_said_and_asked_for_again(engine, wire, heard, monkeypatch):
    failed, start = heard(engine.failed), wire.start

    def refused(on_message, on_exit):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(wire, "start", refused)
    engine.start()
    assert engine.state is EngineState.BROKEN
    assert "could not be started: Cannot allocate memory" in failed[0][0]
    with pytest.raises(ValueError, match="could not be started; close other programs"):
        engine.segment(MODEL, image("a"), ["polyp"])
    monkeypatch.setattr(wire, "start", start)
    engine.segment(MODEL, image("a"), ["polyp"])
    assert engine.state is EngineState.STARTING and wire.asked
