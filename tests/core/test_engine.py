"""The real engine process, spoken to through its real pipe."""

import io
import os
import queue
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.core.engine import server
from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.engine.protocol import read_frame, write_frame
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.process import ChildProcess


def answer(engine, number):
    """The final answer to a request and its progress texts, as the viewer would see them."""
    texts = []
    while True:
        message, arrays = engine.receive()
        if message.get("id") == number and message["event"] != "progress":
            return message, arrays, texts
        if message["event"] == "progress":
            texts.append(message["text"])


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def gone_within(pid, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def engine():
    """One for all tests that leave it as they found it: with nothing to do."""
    process = EngineProcess()
    yield process
    process.close()


@pytest.fixture
def own_engine():
    process = EngineProcess()
    yield process
    process.close()


def request(number, operation="segment", **more):
    folder = str(find_model("starter").folder)
    return {"op": operation, "id": number, "model": folder, "image": "a", "prompts": ["polyp"]} | more


def test_frames_come_back_as_they_went(rng):
    stream = io.BytesIO()
    arrays = [rng.normal(size=(3, 4)), np.zeros((0, 5), np.uint8), rng.integers(0, 9, (2, 3, 4)).astype(">u2")[:, ::2]]
    write_frame(stream, {"op": "x", "text": "é"}, arrays)
    stream.seek(0)
    message, again = read_frame(stream)
    assert message == {"op": "x", "text": "é"}
    for a, b in zip(arrays, again, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(EOFError):
        read_frame(stream)


def test_foreign_bytes_and_object_arrays_are_refused():
    with pytest.raises(ValueError, match="no frame"):
        read_frame(io.BytesIO(b"\xff" * 100))
    stream = io.BytesIO()
    write_frame(stream, {"op": "x"}, [np.zeros(2)])
    forged = stream.getvalue().replace(b'"<f8"', b'"|O" ')
    with pytest.raises(ValueError, match="objects"):
        read_frame(io.BytesIO(forged))


def test_engine_answers_as_the_segmenter_does(engine, rng):
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    engine.send(request(1, prompts=["polyp", "left lung"]), [pixels])
    message, arrays, texts = answer(engine, 1)
    assert message["event"] == "done" and texts[-2:] == ["Reading the scan", "Outlining"]
    segmenter = load_segmenter(device="cpu")
    segmenter.set_image(pixels)
    for ours, theirs in zip(arrays, segmenter.segment(["polyp", "left lung"]), strict=True):
        assert np.abs(ours.astype(int) - theirs.probability).max() <= 1
    engine.send(request(2, "prepare"))
    assert answer(engine, 2)[0]["event"] == "done"


def test_errors_are_sentences_and_the_engine_goes_on(engine, rng):
    engine.send(request(1, image="never sent"))
    assert answer(engine, 1)[0]["event"] == "missing"
    engine.send(request(2), [rng.normal(size=(2, 3, 4, 5))])
    assert "one slice" in answer(engine, 2)[0]["message"]
    engine.send(request(3, model="/nowhere"), [rng.normal(size=(9, 9))])
    assert "no model" in answer(engine, 3)[0]["message"]
    engine.send(request(4), [rng.normal(size=(9, 9))])
    assert answer(engine, 4)[0]["event"] == "done"


def test_waiting_request_can_be_cancelled(engine, rng):
    engine.send(request(1), [rng.normal(size=(500, 500))])
    engine.send(request(2))
    engine.send({"op": "cancel", "id": 2})
    assert answer(engine, 1)[0]["event"] == "done"
    assert answer(engine, 2)[0]["event"] == "cancelled"


def test_engine_ends_with_its_pipe_even_while_it_imports_torch():
    engine = EngineProcess()
    pid = engine.pid
    time.sleep(0.3)
    engine._child.stdin.close()
    assert engine._child.wait(timeout=60) == 0
    assert gone_within(pid, 60)
    engine.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_orphan_when_the_viewer_is_killed():
    code = (
        "import time; from napari_medvlsm.core.engine.client import EngineProcess\n"
        "e = EngineProcess(); e.receive(); print(e.pid, flush=True); time.sleep(60)"
    )
    viewer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(viewer.stdout.readline())
    assert alive(pid)
    viewer.send_signal(signal.SIGKILL)
    viewer.wait()
    viewer.stdout.close()
    assert gone_within(pid, 60)


def test_stray_prints_do_not_break_the_pipe():
    code = (
        "import sys, io\nfrom napari_medvlsm.core.engine import server\n"
        "server.serve = lambda source, sink: (print('stray'), sink.write(b'frame'), sink.flush())\nserver.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "frame" and "stray" in done.stderr


def test_viewers_end_imports_no_torch():
    code = "import sys, napari_medvlsm.core.engine.client; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def events_until_done(engine, number):
    """All events up to the final answer, without their arrays."""
    events = []
    while True:
        message, arrays = engine.receive()
        events.append(message)
        if message.get("id") == number and message["event"] != "progress":
            return events, arrays


def test_engine_tells_its_devices_and_what_it_runs_on(own_engine, rng):
    engine = own_engine
    ready = engine.receive()[0]
    assert ready["devices"][-1]["name"] == "cpu" and ready["device"] == ready["devices"][0]["title"]
    assert ready["precision"] == ready["devices"][0]["precisions"][0]
    engine.send(request(1, device="cpu"), [rng.normal(size=(40, 60))])
    events, arrays = events_until_done(engine, 1)
    running = [e for e in events if e["event"] == "running"]
    texts = [e["text"] for e in events if e["event"] == "progress"]
    assert texts == ["Loading the model", "Reading the scan", "Outlining"]
    assert len(running) == 1 and "CPU" in running[0]["device"] and running[0]["precision"] == "float32"
    engine.send(request(2, device="cpu", precision="bfloat16"))
    events, again = events_until_done(engine, 2)
    assert [e["precision"] for e in events if e["event"] == "running"] == ["bfloat16"]
    assert events[-1]["event"] == "done" and np.abs(arrays[0].astype(int) - again[0]).max() < 40
    engine.send(request(3, device="cuda:99"))
    assert "cannot be used here" in events_until_done(engine, 3)[0][-1]["message"]
    engine.send(request(4, device="cpu", precision="bfloat16"))
    assert [e["event"] for e in events_until_done(engine, 4)[0]] == ["progress", "done"]


def test_engine_answers_tiles_and_rectangles_as_the_segmenter_does(engine, rng):
    pixels = rng.integers(0, 4000, (300, 260)).astype(np.uint16)
    region = (10, 20, 290, 250)
    engine.send(request(1, device="cpu", tiles={"side": 150, "overlap": 0.25}, region=region), [pixels])
    events, (tiled,) = events_until_done(engine, 1)
    fractions = [e["fraction"] for e in events if "fraction" in e]
    assert fractions == [i / 6 for i in range(1, 7)]
    engine.send(request(2, device="cpu", region=region))
    _, (within,) = events_until_done(engine, 2)
    segmenter = load_segmenter(device="cpu")
    segmenter.set_image(pixels)
    expected = segmenter.segment_tiled("polyp", 150, region=region)[0].probability
    assert np.abs(tiled.astype(int) - expected).max() <= 1
    expected = segmenter.segment("polyp", region=region)[0].probability
    assert np.abs(within.astype(int) - expected).max() <= 1
    engine.send(request(3, device="cpu", region=(0, 0, 999, 9)))
    assert "beyond the scan" in events_until_done(engine, 3)[0][-1]["message"]
    engine.send(request(4, device="cpu", tiles={"side": 2, "overlap": 0.25}))
    assert "at least 16" in events_until_done(engine, 4)[0][-1]["message"]


def test_tiles_are_cancelled_between_batches(engine, rng):
    engine.send(request(1, device="cpu", tiles={"side": 64, "overlap": 0.5}), [rng.normal(size=(1500, 1500))])
    while "fraction" not in engine.receive()[0]:
        pass
    engine.send({"op": "cancel", "id": 1})
    assert answer(engine, 1)[0]["event"] == "cancelled"


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">I", 5) + b"[1,2]",
        struct.pack(">I", 13) + b'{"arrays": 1}',
        struct.pack(">I", 14) + b'{"arrays": []}',
        struct.pack(">I", 100_000) + b"[" * 100_000,
        b"\xff" * 64,
    ],
    ids=["a list", "no arrays", "no operation", "too deep", "no frame"],
)
def test_engine_ends_after_a_frame_that_it_cannot_read(frame, monkeypatch, capsys):
    class Ended(BaseException):
        pass

    def ended(code):
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", ended)
    with pytest.raises(Ended, match="1"):
        server._read_all(io.BytesIO(frame), queue.Queue(), set())
    assert capsys.readouterr().err


def test_the_process_ends_with_such_a_frame(own_engine):
    own_engine._child.stdin.write(b"\xff" * 64)
    own_engine._child.stdin.flush()
    assert own_engine._child.wait(timeout=60) == 1
    assert own_engine.log_tail()


UNUSUAL = """
import os, sys
from napari_medvlsm.core.engine import server

class PanicException(BaseException):
    pass

def answer(self, message, arrays):
    raise {
        "panic": PanicException("index out of bounds"),
        "assertion": AssertionError(),
        "long": RuntimeError("mat1 and mat2 shapes cannot be multiplied\\n" + "more\\n" * 50),
        "memory": MemoryError(),
        "temporary": FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
        "disk": OSError(28, "No space left on device", "cache"),
        "deep": RecursionError("maximum recursion depth exceeded"),
    }[message["image"]]

server.Engine.answer = answer
if os.path.exists("/dev/full"):
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)  # a log on a full disk
server.main()
"""


def test_engine_answers_every_kind_of_error_with_a_sentence_also_on_a_full_disk(tmp_path):
    (tmp_path / "unusual_engine.py").write_text(UNUSUAL)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    child = ChildProcess("unusual_engine", environment={"PYTHONPATH": path})
    kinds = ("panic", "assertion", "long", "memory", "temporary", "disk", "deep")
    sentences = {}
    with child:
        for number, kind in enumerate(kinds):
            write_frame(child.stdin, request(number, image=kind))
            while (message := read_frame(child.stdout)[0]).get("id") != number:
                pass
            assert message["event"] == "failed"
            sentences[kind] = message["message"]
    assert all("\n" not in text and text.endswith(".") for text in sentences.values())
    assert "PanicException: index out of bounds" in sentences["panic"]
    assert "TMPDIR" in sentences["temporary"] and "disk is full" in sentences["disk"]
    assert "too little free memory" in sentences["memory"]
