"""The server side: one `Segmenter` that answers one request at a time."""

from __future__ import annotations

import os
import queue
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING

from napari_medvlsm.core.engine.protocol import Array, Message, read_frame, write_frame
from napari_medvlsm.core.io.disk_errors import sentence
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.options import AUTO, SegmentOptions
from napari_medvlsm.core.process import ensure_temporary_folder, watch_parent

if TYPE_CHECKING:
    from napari_medvlsm.core.inference import Segmenter

Request = tuple[Message, list[Array]]
_NO_MEMORY = "The computer has too little free memory for this scan. Close other programs and try again."


class MissingScan(Exception):
    """A request came without pixels for a scan that is not held, because an earlier one failed or was cancelled."""


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer requests until the pipe closes, which ends the process at once."""
    requests: queue.Queue[Request] = queue.Queue()
    cancelled: set[int] = set()
    # The reader starts before torch is imported: the pipe never fills up, and its end is seen at any time.
    threading.Thread(target=_read_all, args=(source, requests, cancelled), daemon=True).start()

    from napari_medvlsm.core.devices import available_devices, out_of_memory
    from napari_medvlsm.core.inference import Cancelled

    devices = available_devices()
    best = {"device": devices[0].title, "precision": devices[0].precisions[0]}
    write_frame(sink, {"event": "ready", "devices": [asdict(d) for d in devices]} | best)
    engine = Engine(sink, cancelled)
    while True:
        message, arrays = requests.get()
        number = message["id"]
        try:
            engine.check(number)
            write_frame(sink, {"event": "done", "id": number}, engine.answer(message, arrays))
            engine.report_difference(message)
        except Cancelled:
            write_frame(sink, {"event": "cancelled", "id": number})
        except MissingScan:
            write_frame(sink, {"event": "missing", "id": number})
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # it must reach the user as a sentence; libraries in Rust raise more than errors
            _log(error)
            text = _words(error)
            if isinstance(error, Exception) and out_of_memory(error):
                engine.forget()
                text = _NO_MEMORY
            write_frame(sink, {"event": "failed", "id": number, "message": text})
        cancelled.discard(number)


class Engine:
    """The loaded model and the scan it holds."""

    def __init__(self, sink: IO[bytes], cancelled: set[int]) -> None:
        self._sink = sink
        self._cancelled = cancelled
        self._segmenter: Segmenter | None = None
        self._model = ""
        self._image = ""
        self._asked: tuple[str, str] = (AUTO, AUTO)
        self._choice = 0
        self._reported: Message = {}
        self._weights_hash = ""

    def answer(self, message: Message, arrays: list[Array]) -> list[Array]:
        """Carry out one request and return the arrays of its answer."""
        number = message["id"]
        options = SegmentOptions.from_message(message)
        segmenter = self._load(number, message)
        if message["op"] == "ahead":
            segmenter.encode(arrays[0], lambda: self.check(number))
            return []
        if arrays:
            self._progress(number, "Reading the scan")
            self._image = ""
            segmenter.set_image(arrays[0], lambda: self.check(number), encode=options.whole)
            self._image = message["image"]
        elif message["image"] != self._image:
            raise MissingScan
        maps = [] if message["op"] == "prepare" else self._segment(number, segmenter, message, options)
        self._report_running()
        return maps

    def report_difference(self, message: Message) -> None:
        """After the first answer in a lower precision, report its error; no request waits for it."""
        segmenter = self._segmenter
        if segmenter is None or segmenter.precision == "float32" or "difference" in self._reported:
            return
        if message["op"] == "segment" and message["prompts"]:
            try:
                self._report_running(segmenter.precision_difference(message["prompts"][0]))
            except Exception as error:  # the request is answered already; only its error is not known
                _log(error)

    def _segment(self, number: int, segmenter: Segmenter, message: Message, options: SegmentOptions) -> list[Array]:
        prompts, size = message["prompts"], message.get("size")
        if size is None:
            self._progress(number, "Outlining")
        if options.tiling is None:
            shape = (size[0], size[1]) if size else None
            predictions = segmenter.segment(prompts, lambda: self.check(number), shape, options.region)
        else:
            predictions = segmenter.segment_tiled(
                prompts,
                options.tiling.side,
                options.tiling.overlap,
                lambda fraction: self._progress(number, "Outlining", fraction),
                lambda: self.check(number),
                options.region,
            )
        return [prediction.probability for prediction in predictions]

    def check(self, number: int) -> None:
        """Raise `Cancelled` if the request was cancelled."""
        from napari_medvlsm.core.inference import Cancelled

        if number in self._cancelled:
            raise Cancelled

    def forget(self) -> None:
        """Drop model and scan, for instance when memory ran out."""
        self._segmenter = None
        self._model = self._image = ""

    def _load(self, number: int, message: Message) -> Segmenter:
        from napari_medvlsm.core.kept_base import load_segmenter

        asked = (message.get("device", AUTO), message.get("precision", AUTO))
        choice = message.get("choice", 0)
        if self._segmenter is None or message["model"] != self._model:
            self._progress(number, "Loading the model")
            self.forget()
            self._segmenter = load_segmenter(message["model"], *asked, notify=self._notice)
            self._weights_hash = weights_hash(Path(message["model"]))
            self._model, self._asked, self._choice = message["model"], asked, choice
        elif (asked, choice) != (self._asked, self._choice):
            self._segmenter.use(*asked)
            self._asked, self._choice = asked, choice
        self._report_running()
        return self._segmenter

    def _report_running(self, difference: float | None = None) -> None:
        from napari_medvlsm.core.devices import device_name

        assert self._segmenter is not None
        running: Message = {"device": device_name(self._segmenter.device), "precision": self._segmenter.precision}
        running["weights_hash"] = self._weights_hash
        same = running.items() <= self._reported.items()
        if difference is not None:
            running["difference"] = difference
        if not same or difference is not None:
            self._reported = running
            write_frame(self._sink, {"event": "running"} | running)

    def _progress(self, number: int, text: str, fraction: float | None = None) -> None:
        message = {"event": "progress", "id": number, "text": text}
        write_frame(self._sink, message if fraction is None else message | {"fraction": fraction})

    def _notice(self, text: str) -> None:
        write_frame(self._sink, {"event": "notice", "text": text})


def main() -> None:
    """Serve on this process's own standard streams; stray prints go to the error stream."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    watch_parent(lambda: os._exit(0))
    ensure_temporary_folder()
    serve(sys.stdin.buffer, sink)


def _read_all(source: IO[bytes], requests: queue.Queue[Request], cancelled: set[int]) -> None:
    while True:
        try:
            message, arrays = read_frame(source)
            if message["op"] == "cancel":
                cancelled.add(message["id"])
            else:
                requests.put((message, arrays))
        except EOFError:
            os._exit(0)  # the viewer is gone: leave no orphan, whatever the main thread is doing
        except BaseException as error:  # half a frame, or none: nothing can be read any more, the end of the viewer too
            _log(error)
            os._exit(1)


def _words(error: BaseException) -> str:
    """An error for the user; what is not ours names its kind, since its text rarely says what to do."""
    if isinstance(error, (ValueError, OSError)):
        return sentence(error)
    lines = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"The model could not answer ({what}). Try another model, or another scan."


def _log(error: BaseException) -> None:
    text = _NO_MEMORY if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
    with suppress(OSError):  # the disk of the log may be full
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
