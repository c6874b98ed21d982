"""The engine's end of the pipe: one `Segmenter`, one request at a time."""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import IO, TYPE_CHECKING

from napari_medvlsm.core.engine.protocol import Array, Message, read_frame, write_frame

if TYPE_CHECKING:
    from napari_medvlsm.core.inference import Segmenter

Request = tuple[Message, list[Array]]


class MissingScan(Exception):
    """A request came without pixels for a scan that is not held, because an earlier one failed or was cancelled."""


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer requests until the pipe closes, which ends the process at once."""
    requests: queue.Queue[Request] = queue.Queue()
    cancelled: set[int] = set()
    # The reader starts before torch is imported: the pipe never fills up, and its end is seen at any time.
    threading.Thread(target=_read_all, args=(source, requests, cancelled), daemon=True).start()

    import torch

    from napari_medvlsm.core.inference import Cancelled, device_name, pick_device

    write_frame(sink, {"event": "ready", "device": device_name(pick_device())})
    engine = Engine(sink, cancelled)
    while True:
        message, arrays = requests.get()
        number = message["id"]
        try:
            engine.check(number)
            write_frame(sink, {"event": "done", "id": number}, engine.answer(message, arrays))
        except Cancelled:
            write_frame(sink, {"event": "cancelled", "id": number})
        except MissingScan:
            write_frame(sink, {"event": "missing", "id": number})
        except torch.OutOfMemoryError:
            engine.forget()
            write_frame(
                sink,
                _failed(
                    number,
                    "The graphics card has too little free memory. Close other programs that use it and try again.",
                ),
            )
        except MemoryError:
            engine.forget()
            write_frame(
                sink,
                _failed(
                    number, "The computer has too little free memory for this scan. Close other programs and try again."
                ),
            )
        except Exception as error:  # anything else must reach the user as a sentence, not end the engine
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            write_frame(sink, _failed(number, str(error) or type(error).__name__))
        cancelled.discard(number)


class Engine:
    """The loaded model and the scan it holds."""

    def __init__(self, sink: IO[bytes], cancelled: set[int]) -> None:
        self._sink = sink
        self._cancelled = cancelled
        self._segmenter: Segmenter | None = None
        self._model = ""
        self._image = ""

    def answer(self, message: Message, arrays: list[Array]) -> list[Array]:
        """Carry out one request and return the arrays of its answer."""
        number = message["id"]
        segmenter = self._load(number, message["model"])
        if arrays:
            self._progress(number, "Reading the scan")
            self._image = ""
            segmenter.set_image(arrays[0], lambda: self.check(number))
            self._image = message["image"]
        elif message["image"] != self._image:
            raise MissingScan
        if message["op"] == "prepare":
            return []
        size = message.get("size")
        if size is None:
            self._progress(number, "Outlining")
        predictions = segmenter.segment(
            message["prompts"], lambda: self.check(number), (size[0], size[1]) if size else None
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

    def _load(self, number: int, folder: str) -> Segmenter:
        from napari_medvlsm.core.inference import Segmenter

        if self._segmenter is None or folder != self._model:
            self._progress(number, "Loading the model")
            self.forget()
            self._segmenter = Segmenter.load(folder)
            self._model = folder
        return self._segmenter

    def _progress(self, number: int, text: str) -> None:
        write_frame(self._sink, {"event": "progress", "id": number, "text": text})


def main() -> None:
    """Serve on this process's own standard streams; stray prints go to the error stream."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)


def _read_all(source: IO[bytes], requests: queue.Queue[Request], cancelled: set[int]) -> None:
    while True:
        try:
            message, arrays = read_frame(source)
        except (EOFError, OSError, ValueError):
            os._exit(0)  # the viewer is gone: leave no orphan, whatever the main thread is doing
        if message["op"] == "cancel":
            cancelled.add(message["id"])
        else:
            requests.put((message, arrays))


def _failed(number: int, text: str) -> Message:
    return {"event": "failed", "id": number, "message": text}
