"""Decoding in a process of its own, which may hang, grow or crash without harm. It is kept for the next file.

Run as a module it is that process: for each line of JSON with a path it answers a line of JSON, and then the pixels.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_medvlsm.core.io.pictures.formats import display_name, format_of, read_head
from napari_medvlsm.core.io.pictures.limits import CHILD_MEMORY, MAX_SECONDS
from napari_medvlsm.core.io.pictures.raster import AnyArray, Raster, from_header, header
from napari_medvlsm.core.process import ChildProcess

_MODULE = "napari_medvlsm.core.io.pictures.child"
# Starting Python and its libraries on a busy computer.
_START_SECONDS = 120.0
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def decode_apart(path: Path, seconds: float = MAX_SECONDS) -> Raster:
    """The raster of a picture, decoded in the other process. Waits for other threads that decode so.

    Raises
    ------
    ValueError
        With one sentence, if the file is damaged, or its decoding crashes, takes too long or too much memory.
    """
    return _decoder.decode(path.absolute(), seconds)


class _Decoder:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: ChildProcess | None = None

    def decode(self, path: Path, seconds: float) -> Raster:
        with self._lock:
            try:
                process = self._running()
                return self._ask(process, path, seconds)
            except BaseException as error:
                # What it still says would be taken for the next answer. Its own refusals leave it whole.
                if not isinstance(error, _Refusal):
                    self.end()
                raise

    def _running(self) -> ChildProcess:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = ChildProcess(_MODULE, environment=_ONE_THREAD)
            with _Limit(self._process, _START_SECONDS):
                if not self._process.stdout.readline():
                    raise ValueError(f"No process could be started to open a file ({self._process.stderr_tail()}).")
        return self._process

    def _ask(self, process: ChildProcess, path: Path, seconds: float) -> Raster:
        name = display_name(path)
        with _Limit(process, seconds) as limit:
            try:
                process.stdin.write(json.dumps({"path": os.fspath(path)}).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
                answer: dict[str, Any] = json.loads(line) if line else {}
                pixels = _receive(process, answer["raster"]) if "raster" in answer else None
            except (OSError, EOFError, json.JSONDecodeError):  # it ended, maybe in the middle of a line
                answer, pixels = {}, None
        if limit.passed:
            raise ValueError(
                f"{name} takes more than {seconds:.0f} seconds to decode, so it was given up; it is damaged, or has to "
                "be saved anew as an uncompressed TIFF or a PNG."
            )
        if "error" in answer:
            raise _Refusal(answer["error"])
        if pixels is None:
            raise ValueError(f"{name} made its decoder crash; it is damaged: copy it again from where it came.")
        return from_header(answer["raster"], pixels)

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.close()
            self._process = None

    def forget(self) -> None:
        """In a copy of this program (fork): the process is the original's."""
        self._lock = threading.Lock()
        self._process = None


class _Refusal(ValueError):
    """What the other process says against a file, as a sentence."""


class _Limit:
    """Ends a process that takes too long; `passed` says afterwards whether it did."""

    def __init__(self, process: ChildProcess, seconds: float) -> None:
        self._process = process
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.passed = False

    def _end(self) -> None:
        self.passed = True
        self._process.kill()

    def __enter__(self) -> _Limit:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _receive(process: ChildProcess, found: dict[str, Any]) -> AnyArray:
    pixels: AnyArray = np.empty(found["shape"], np.dtype(found["dtype"]))
    rest = memoryview(pixels.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    while len(rest):
        count = process.stdout.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        rest = rest[count:]
    return pixels


_decoder = _Decoder()
atexit.register(_decoder.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoder.forget)


def main() -> None:
    """Answer until stdin ends."""
    _limit_memory()
    # A library that prints must not write between the pixels.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from napari_medvlsm.core.io.pictures.decode import decode, plan, sentence

    answers.write(b"{}\n")
    answers.flush()
    for line in sys.stdin.buffer:
        path = Path(json.loads(line)["path"])
        try:
            raster = decode(path, plan(path, format_of(read_head(path)), apart=True))
        except MemoryError:
            _say(answers, {"error": f"{display_name(path)} needs more memory to decode than a picture may take."})
        except Exception as error:  # a damaged file makes the decoders raise nearly anything
            _say(answers, {"error": sentence(display_name(path), error)})
        else:
            _say(answers, {"raster": header(raster)})
            answers.write(memoryview(np.ascontiguousarray(raster.pixels).reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
            answers.flush()


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # there is no such limit on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY, CHILD_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
