"""Requests to the engine process: numbered, cancellable, and surviving its crashes.

The controller never blocks and starts no thread: a `Transport` moves frames to and from the process and
calls `on_message` and `on_exit` in the thread of the window.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_medvlsm.core.engine.protocol import Array, Message
from napari_medvlsm.core.io.disk_errors import reason
from napari_medvlsm.core.masks import Bytes
from napari_medvlsm.core.options import AUTO, WHOLE_SCAN, Device, SegmentOptions, check_region

# A cancelled request may take this long to stop by itself; then the process is ended.
CANCEL_SECONDS = 2.0
# Crashes in a row, without an answer between them, after which the engine is not started again.
MAX_CRASHES = 3
_NOT_STARTED = "The segmentation engine could not be started"


class EngineState(enum.Enum):
    """What the engine is doing."""

    OFF = "off"
    STARTING = "starting"
    READY = "ready"
    PREPARING = "preparing"
    SEGMENTING = "segmenting"
    COMPARING = "comparing"
    CANCELLING = "cancelling"
    BROKEN = "broken"


@dataclass(frozen=True, eq=False)
class EngineImage:
    """One 2D plane for the engine; `key` is its content hash."""

    key: str
    pixels: npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Request:
    """Everything a segmentation needs; a late answer is told by its number.

    `size` is (rows, cols) of the maps that are wanted, None for the scan's own; `options` say where the model looks.
    """

    number: int
    model: Path
    image: EngineImage
    prompts: tuple[str, ...]
    size: tuple[int, int] | None = None
    options: SegmentOptions = WHOLE_SCAN


class Transport(Protocol):
    """Moves frames to and from one engine process at a time."""

    def start(self, on_message: Callable[[Message, list[Array]], None], on_exit: Callable[[str], None]) -> None:
        """Start a process. `on_exit` gets the last words of its log, and is not called after `stop`."""

    def send(self, message: Message, arrays: Sequence[Array]) -> None:
        """Queue a frame; returns at once."""

    def stop(self) -> None:
        """End the process, at once if it does not answer."""


class EngineController:
    """The one place that knows what the engine holds and what it was asked.

    Parameters
    ----------
    transport : Transport
    call_later : callable
        ``call_later(seconds, function)`` in the thread of the window.
    """

    state_changed = Signal(EngineState)
    progressed = Signal(str)
    advanced = Signal(float)  # the fraction of the running request that is done, where it is known
    device_found = Signal(str)  # in words: what the model runs on, also after a change
    precision_found = Signal(str)  # what it computes in
    devices_found = Signal(object)  # tuple of Device: what may be chosen
    noticed = Signal(str)  # a sentence for the user; nothing failed
    answered = Signal(object, object)  # Request, list of probability arrays
    cancelled = Signal()
    failed = Signal(str)  # one sentence for the user

    def __init__(self, transport: Transport, call_later: Callable[[float, Callable[[], None]], None]) -> None:
        self._transport = transport
        self._call_later = call_later
        self._state = EngineState.OFF
        self._number = 0
        self._ready = False
        self._crashes = 0
        self._active: Request | None = None
        self._preparing: int | None = None
        self._ahead: int | None = None
        self._wanted: tuple[Path, EngineImage] | None = None
        self._held: tuple[Path, str] | None = None
        self._chosen = (AUTO, AUTO)
        self._choices = 0
        self.device = ""
        self.precision = ""
        # SHA-256 of the weights of the model that answered last; the engine computes it when it loads a model.
        self.weights_hash = ""
        # The largest difference of a probability from that in float32; None where it is not lower, or not known yet.
        self.difference: float | None = None
        self.devices: tuple[Device, ...] = ()

    @property
    def state(self) -> EngineState:
        """What the engine is doing."""
        return self._state

    def start(self) -> None:
        """Start the engine; it imports torch while the panel is already usable."""
        if self._state in (EngineState.OFF, EngineState.BROKEN):
            self._crashes = 0
            self._launch()

    def close(self) -> None:
        """End the engine."""
        self._transport.stop()
        self._active = self._preparing = self._ahead = self._wanted = self._held = None
        self._ready = False
        self._set(EngineState.OFF)

    def prepare(self, model: Path, image: EngineImage) -> None:
        """Load the model and encode the scan ahead of the first prompt."""
        if self._wanted is not None and (self._wanted[0], self._wanted[1].key) == (model, image.key):
            return
        self._wanted = (model, image)
        if self._state not in (EngineState.OFF, EngineState.BROKEN):
            self._send_prepare()

    def prepare_ahead(self, model: Path, image: EngineImage) -> None:
        """Encode a scan that is not in view yet: its activations wait, and nothing else waits for them.

        Nothing where the engine does not run, or another model is in use.
        """
        if self._wanted is None or self._wanted[0] != model or self._state in (EngineState.OFF, EngineState.BROKEN):
            return
        self._cancel_ahead()
        self._ahead = self._next()
        self._transport.send(self._message(self._ahead, "ahead", model, image), (image.pixels,))

    @property
    def chosen(self) -> tuple[str, str]:
        """Names of the device and of the precision that were asked for, "auto" for what suits."""
        return self._chosen

    def choose(self, device: str = AUTO, precision: str = AUTO) -> None:
        """Compute on another device or in another precision from now on; "auto" for what suits.

        A choice that cannot be used fails with the next request, in words.
        """
        self._chosen = (device, precision)
        # The same choice again counts too: the engine may have gone on elsewhere for want of memory.
        self._choices += 1
        if self._wanted is not None and self._state not in (EngineState.OFF, EngineState.BROKEN):
            self._send_prepare()

    def segment(
        self,
        model: Path,
        image: EngineImage,
        prompts: Sequence[str],
        size: tuple[int, int] | None = None,
        options: SegmentOptions = WHOLE_SCAN,
    ) -> Request:
        """Ask for one probability map a prompt; an earlier request that still runs is cancelled.

        With a `size` (rows, cols) this is a comparison of wordings, which is not what the person waits for.

        Raises
        ------
        ValueError
            If tiles are asked for at a size, a rectangle does not lie inside the scan, or no engine can be started.
        """
        if options.tiling is not None and size is not None:
            raise ValueError("Tiles are answered at the scan's own size only.")
        if options.region is not None:
            check_region(options.region, (image.pixels.shape[0], image.pixels.shape[1]))
        self.start()
        if self._state is EngineState.BROKEN:
            raise ValueError(f"{_NOT_STARTED}; close other programs, then press Segment to try again.")
        if self._active is not None:
            self._transport.send({"op": "cancel", "id": self._active.number}, ())
        self._cancel_ahead()
        self._wanted = (model, image)
        request = Request(self._next(), model, image, tuple(prompts), size, options)
        self._active = request
        self._send_segment(request)
        self._set(self._working(request) if self._ready else EngineState.STARTING)
        return request

    @property
    def waiting(self) -> bool:
        """Whether a request waits for the engine to start."""
        return self._active is not None and not self._ready

    def cancel(self) -> bool:
        """Stop the running request; the process is ended if it does not stop by itself in two seconds.

        Gives back whether there was one. One that waits for the engine to start is dropped at once.
        """
        request = self._active
        if request is None:
            return False
        self._transport.send({"op": "cancel", "id": request.number}, ())
        if not self._ready:
            self._active = None
            # What came with the request may not be kept.
            self._held = None
            self._set(EngineState.STARTING)
            self.cancelled.emit()
            return True
        self._set(EngineState.CANCELLING)
        self._call_later(CANCEL_SECONDS, lambda: self._end_if_still(request))
        return True

    def on_message(self, message: Message, arrays: list[Array]) -> None:
        """Handle one frame of the engine."""
        event, number = message["event"], message.get("id")
        if event == "ready":
            self._ready = True
            self.devices = tuple(_device(fields) for fields in message["devices"])
            self.devices_found.emit(self.devices)
            self._runs_on(message)
            self._settle()
        elif event == "running":
            self._runs_on(message)
        elif event == "notice":
            self.noticed.emit(message["text"])
        elif event == "progress":
            if number in self._numbers():
                self.progressed.emit(message["text"])
                if "fraction" in message:
                    self.advanced.emit(message["fraction"])
        elif event == "missing" and number in self._numbers():
            self._held = None
            if self._active is not None and number == self._active.number:
                self._send_segment(self._active)
            else:
                self._send_prepare()
        elif self._active is not None and number == self._active.number:
            self._finish(event, message, arrays)
        elif number == self._ahead:
            # What failed is said where the scan is in view.
            self._ahead = None
        elif number == self._preparing:
            self._preparing = None
            if event == "failed":
                self._held = self._wanted = None
                self.failed.emit(message["message"])
            self._settle()

    def on_exit(self, log: str) -> None:
        """Handle the end of a process that nobody asked to end: start it again, encode the scan again."""
        interrupted = self._active is not None
        self._forget_process()
        self._crashes += 1
        if self._crashes >= MAX_CRASHES:
            self._set(EngineState.BROKEN)
            last = log.strip().splitlines()[-1:] or ["no message"]
            self.failed.emit(
                f"The segmentation engine stopped {self._crashes} times in a row ({last[0]}). "
                "Your drawings are safe. Close other programs, then press Segment to try again."
            )
            return
        self._launch()
        if self._state is EngineState.BROKEN:
            return
        again = " Press Segment to repeat your last request." if interrupted else ""
        self.failed.emit(f"The segmentation engine stopped and was started again; your drawings are untouched.{again}")

    def _runs_on(self, message: Message) -> None:
        self.device, self.precision = message["device"], message["precision"]
        self.weights_hash = message.get("weights_hash", "")
        self.difference = message.get("difference")
        self.device_found.emit(self.device)
        self.precision_found.emit(self.precision)

    def _finish(self, event: str, message: Message, arrays: list[Array]) -> None:
        request, self._active = self._active, None
        assert request is not None
        cancelling = self._state is EngineState.CANCELLING
        self._settle()
        if event == "done" and not cancelling:
            self._crashes = 0
            maps: list[Bytes] = [np.asarray(a, np.uint8) for a in arrays]
            self.answered.emit(request, maps)
        elif event == "failed":
            self._held = None
            self.failed.emit(message["message"])
        else:
            if event == "cancelled":
                self._held = None
            self.cancelled.emit()

    def _cancel_ahead(self) -> None:
        if self._ahead is not None:
            self._transport.send({"op": "cancel", "id": self._ahead}, ())
            self._ahead = None

    def _end_if_still(self, request: Request) -> None:
        if self._active is not request or self._state is not EngineState.CANCELLING:
            return
        self._transport.stop()
        self._forget_process()
        self._launch()
        self.cancelled.emit()

    def _forget_process(self) -> None:
        self._active = self._preparing = self._ahead = self._held = None
        self._ready = False

    def _launch(self) -> None:
        try:
            self._transport.start(self.on_message, self.on_exit)
        except OSError as error:
            self._set(EngineState.BROKEN)
            self.failed.emit(f"{_NOT_STARTED}: {reason(error)}. Your drawings are safe. Press Segment to try again.")
            return
        self._set(EngineState.STARTING)
        if self._wanted is not None:
            self._send_prepare()

    def _send_segment(self, request: Request) -> None:
        more = {"prompts": list(request.prompts), "size": request.size}
        self._send(request.number, "segment", more | request.options.to_message(), request.model, request.image)

    def _send_prepare(self) -> None:
        assert self._wanted is not None
        self._preparing = self._next()
        self._send(self._preparing, "prepare", {}, *self._wanted)
        if self._ready and self._active is None:
            self._set(EngineState.PREPARING)

    def _send(self, number: int, operation: str, more: Message, model: Path, image: EngineImage) -> None:
        holds = self._held == (model, image.key)
        self._held = (model, image.key)
        self._transport.send(self._message(number, operation, model, image) | more, () if holds else (image.pixels,))

    def _message(self, number: int, operation: str, model: Path, image: EngineImage) -> Message:
        device, precision = self._chosen
        message = {"op": operation, "id": number, "model": str(model), "image": image.key}
        return message | {"device": device, "precision": precision, "choice": self._choices}

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _numbers(self) -> set[int | None]:
        return {self._preparing, self._active.number if self._active else None} - {None}

    @staticmethod
    def _working(request: Request) -> EngineState:
        return EngineState.SEGMENTING if request.size is None else EngineState.COMPARING

    def _settle(self) -> None:
        if not self._ready:
            self._set(EngineState.STARTING)
        elif self._active is not None:
            if self._state is not EngineState.CANCELLING:
                self._set(self._working(self._active))
        else:
            self._set(EngineState.PREPARING if self._preparing is not None else EngineState.READY)

    def _set(self, state: EngineState) -> None:
        if state is not self._state:
            self._state = state
            self.state_changed.emit(state)


def _device(fields: Message) -> Device:
    return Device(fields["name"], fields["title"], tuple(fields["precisions"]))
