"""The real engine process, spoken to through its real pipe."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.engine.protocol import read_frame, write_frame
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.models.registry import find_model


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


@pytest.fixture
def engine():
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
    assert message["event"] == "done" and texts == ["Loading the model", "Reading the scan", "Outlining"]
    segmenter = Segmenter.load(device="cpu")
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
    assert answer(engine, 2)[0]["event"] == "cancelled"


def test_engine_ends_with_its_pipe_even_while_it_imports_torch():
    engine = EngineProcess()
    pid = engine.pid
    time.sleep(0.3)
    engine._process.stdin.close()
    assert engine._process.wait(timeout=10) == 0
    assert gone_within(pid, 5)
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
    assert gone_within(pid, 5)


def test_stray_prints_do_not_break_the_pipe(engine):
    assert engine.receive()[0]["event"] == "ready"
    code = (
        "import sys, io\nfrom napari_medvlsm.core.engine import server\n"
        "server.serve = lambda source, sink: (print('stray'), sink.write(b'frame'), sink.flush())\nserver.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "frame" and "stray" in done.stderr


def test_viewers_end_imports_no_torch():
    code = "import sys, napari_medvlsm.core.engine.client; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
