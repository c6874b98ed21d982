"""What a run tells, to programs and to people, and how it hears that it is to stop."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from medvlsm_training.reporting import for_people, json_on_stdout
from medvlsm_training.stopping import Interrupted, StopRequests
from napari_medvlsm.core.runs import events
from napari_medvlsm.core.runs.events import (
    KINDS,
    Encoded,
    Epoch,
    Failed,
    Saved,
    Started,
    Step,
    Stopped,
    read_line,
    sentence_of,
)

REPOSITORY = Path(__file__).parents[2]
STARTED = Started("disks", "runs/1", 5, 2, 8, 32, 3, 1_200_000, 4_000, "cpu", 1)
STEP = Step(2, 17, 40, 0.25, 12.5)
EPOCH = Epoch(2, 5, 0.5, 0.6, 0.7, None, True, 3.0, 61.0)
STOPPED = Stopped("finished", "All 5 epochs are done.", "runs/1/best.ckpt", 0.7)
TOLD = (
    STARTED,
    STEP,
    EPOCH,
    STOPPED,
    events.Checked({"empty-mask": 2}),
    Encoded(3, 10),
    events.Measured("disks", "polyp", "name", "p1", 3, 0.5, 0.4, None),
    Saved("runs/1/model", "runs/1/report.html"),
    Failed("“ä” came, a number was expected."),
)


@pytest.mark.parametrize("event", TOLD, ids=lambda e: e.name())
def test_every_event_comes_back_from_its_line(event):
    line = event.line()
    assert read_line(line) == event and "\n" not in line
    assert read_line(json.dumps(json.loads(line) | {"later": 1})) == event


def test_lines_of_other_versions_and_nan():
    assert {type(event) for event in TOLD} == set(KINDS.values())
    assert read_line('{"event": "rested", "time": 1.0}') is None
    assert read_line("[1]") is None and read_line('"step"') is None
    assert json.loads(Step(0, 1, 2, float("nan"), float("inf")).line())["loss"] is None


@pytest.mark.parametrize("name", KINDS)
def test_every_event_is_documented(name):
    kind = KINDS[name]
    assert is_dataclass(kind) and kind.__doc__
    page = (REPOSITORY / "training" / "events.md").read_text("utf-8")
    (row,) = [row for row in page.splitlines() if row.startswith(f"| `{name}` |")]
    assert [f.name for f in fields(kind) if f"`{f.name}`" not in row] == []


def test_stdout_is_for_events_alone(capfd):
    with json_on_stdout(pytest.fail) as report:
        print("a library prints")
        os.write(1, b"compiled code prints\n")
        subprocess.run([sys.executable, "-c", "print('a child prints')"], check=True)
        report(STEP)
    print("afterwards")
    out, err = capfd.readouterr()
    assert [read_line(out.splitlines()[0]), *out.splitlines()[1:]] == [STEP, "afterwards"]
    assert err.splitlines() == ["a library prints", "compiled code prints", "a child prints"]


def test_people_get_sentences(capfd):
    with for_people(pytest.fail) as report:
        for event in TOLD:
            report(event)
            report(STEP)
    out = capfd.readouterr().out.splitlines()
    assert out == [sentence_of(e) for e in TOLD if sentence_of(e)]
    assert out[0].endswith("4,000 of 1,200,000 parameters trained, on cpu, from epoch 3.")
    assert out[1] == (
        "epoch 3/5  training loss 0.5000  validation loss 0.6000  Dice 0.7000  3.0 s  0:01:01 left  best so far"
    )


def test_a_reader_that_is_gone_is_told_once():
    """As `medvlsm train ... | head -1`: no traceback, and whoever asked is told."""
    script = """
import os
from napari_medvlsm.core.runs.events import Saved
from medvlsm_training.reporting import for_people, json_on_stdout
reader, writer = os.pipe()
os.dup2(writer, 1), os.close(writer), os.close(reader)
for to in (json_on_stdout, for_people):
    asked = []
    with to(lambda: asked.append(1)) as report:
        report(Saved("a", "")), report(Saved("b", ""))
    assert asked == [1], asked
"""
    done = python(script).communicate()
    assert done == ("", "")


def test_requests_end_preparations_at_once_and_are_noted_by_who_holds_them():
    before = signal.getsignal(signal.SIGINT)
    requests = StopRequests()
    with pytest.raises(Interrupted), requests.listening():
        signal.raise_signal(signal.SIGINT)
    assert requests.exit_code == 130 and signal.getsignal(signal.SIGINT) == before
    requests = StopRequests()
    with requests.listening(), requests.deferred():
        signal.raise_signal(signal.SIGTERM)
        assert requests.signal == signal.SIGTERM and requests.exit_code == 143


LISTEN = """
import time
from medvlsm_training.stopping import StopRequests
requests = StopRequests()
with requests.deferred(), requests.listening(stdin=True):
    print("ready", flush=True)
    while not requests.signal:
        time.sleep(0.01)
    print("asked", flush=True)
    while not requests._signals:
        time.sleep(0.01)
    print("a signal", flush=True)
    while True:
        time.sleep(0.01)
"""


def python(script):
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "training"), os.environ.get("PYTHONPATH", "")])
    pipe = subprocess.PIPE
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen([sys.executable, "-c", script], env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_end_of_stdin_asks_and_a_signal_that_comes_twice_ends_at_once():
    with python(LISTEN) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        assert process.stdout.readline() == "asked\n"
        process.terminate()
        if sys.platform != "win32":
            # The first one does not: who closes the pipe may send one as well.
            assert process.stdout.readline() == "a signal\n"
            process.terminate()
            assert process.wait() == 143
