"""The viewer's end of the pipe. Imports no torch, starts no thread."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from napari_medvlsm.core.engine.protocol import Array, Message, read_frame, write_frame

_LOG_TAIL = 2000


class EngineProcess:
    """A running engine. `send` and `receive` block, so each belongs in a thread of its own."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # -P keeps a stray folder in the working directory from being imported instead of ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "napari_medvlsm.core.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        )

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Write one frame.

        Raises
        ------
        OSError
            If the engine is gone.
        """
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, message, arrays)
        except ValueError as error:  # a closed file
            raise BrokenPipeError("The engine's pipe is closed.") from error

    def receive(self) -> tuple[Message, list[Array]]:
        """Wait for the next frame.

        Raises
        ------
        EOFError
            If the engine is gone.
        """
        assert self._process.stdout is not None
        try:
            return read_frame(self._process.stdout)
        except (OSError, ValueError) as error:
            raise EOFError(str(error)) from error

    def log_tail(self) -> str:
        """The last words of the engine on its error stream."""
        if self._log.closed:
            return ""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _LOG_TAIL))
        return self._log.read().decode(errors="replace").strip()

    def kill(self) -> None:
        """End the process at once and wait for it; its memory, the GPU's too, is free afterwards."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipe, which ends the engine, and make sure that it did."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # unsent bytes for an engine that is gone already
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()
