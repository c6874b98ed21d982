"""The controllers with a real engine controller, and a transport on which a test plays the engine."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medvlsm.controllers.engine import EngineController
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.controllers.view_state import SliceInView, ViewState
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.io.prompt_history import PromptHistory
from napari_medvlsm.core.models.store.registry import available_models
from napari_medvlsm.core.prompts import load_vocabulary

SIZE = (12, 15)


class Wire:
    """A transport that keeps what was sent and lets a test play the engine."""

    def __init__(self):
        self.starts = self.stops = 0
        self.sent = []

    def start(self, on_message, on_exit):
        self.starts += 1
        self.message, self.exit = on_message, on_exit

    def send(self, message, arrays):
        self.sent.append((message, len(arrays)))

    def stop(self):
        self.stops += 1

    def ready(self):
        devices = [
            {"name": "cuda:0", "title": "A card (CUDA)", "precisions": ["bfloat16", "float32"]},
            {"name": "cpu", "title": "CPU", "precisions": ["float32"]},
        ]
        self.message({"event": "ready", "devices": devices, "device": "A card (CUDA)", "precision": "bfloat16"}, [])

    def done(self, number, *arrays):
        self.message({"event": "done", "id": number}, list(arrays))

    @property
    def asked(self):
        """The requests for outlines, comparisons among them."""
        return [message for message, _ in self.sent if message["op"] == "segment"]

    def answer(self, outline, request=None):
        """Answer a request, by default the last; `outline` gives the map of a prompt at a size (rows, cols)."""
        request = request or self.asked[-1]
        size = tuple(request["size"] or SIZE)
        self.done(request["id"], *(np.asarray(outline(text, size), np.uint8) for text in request["prompts"]))


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def later():
    return []


@pytest.fixture
def engine(wire, later):
    return EngineController(wire, lambda seconds, function: later.append((seconds, function)))


@pytest.fixture
def view():
    """A view whose images are scans, and that settles at once."""
    state = ViewState(lambda image: SliceInView(image, (), image))
    state.moving_started.connect(lambda: state.settle())
    return state


@pytest.fixture
def session(engine, wire, view, tmp_path):
    """A session with the shipped models, whose engine is ready."""
    engine.start()
    wire.ready()
    return Session(engine, load_vocabulary(), available_models(), view, PromptHistory(tmp_path / "prompts.json"))


@pytest.fixture
def scan():
    """A grey scan of one value; another value is another scan."""
    return lambda value=0: Scan(np.full(SIZE, value, np.uint8))


@pytest.fixture
def heard():
    """What a signal said, from now on."""

    def listen(signal):
        got = []
        signal.connect(lambda *values: got.append(values))
        return got

    return listen
