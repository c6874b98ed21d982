"""The client side of the engine: runs in the viewer's process. Imports no torch, starts no thread."""

from __future__ import annotations

from collections.abc import Sequence

from napari_medvlsm.core.engine.protocol import Array, Message, read_frame, write_frame
from napari_medvlsm.core.process import ChildProcess


class EngineProcess:
    """A running engine. `send` and `receive` block, so each belongs in a thread of its own."""

    def __init__(self) -> None:
        self._child = ChildProcess("napari_medvlsm.core.engine")

    @property
    def pid(self) -> int:
        """The process number."""
        return self._child.pid

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Write one frame.

        Raises
        ------
        OSError
            If the engine is gone.
        """
        try:
            write_frame(self._child.stdin, message, arrays)
        except ValueError as error:  # a closed file
            raise BrokenPipeError("The engine's pipe is closed.") from error

    def receive(self) -> tuple[Message, list[Array]]:
        """Wait for the next frame.

        Raises
        ------
        EOFError
            If the engine is gone.
        """
        try:
            return read_frame(self._child.stdout)
        except (OSError, ValueError) as error:
            raise EOFError(str(error)) from error

    def log_tail(self) -> str:
        """The end of the engine's stderr."""
        return self._child.stderr_tail()

    def kill(self) -> None:
        """End the process at once and wait for it; its memory, the GPU's too, is free afterwards."""
        self._child.kill()

    def close(self) -> None:
        """Close the pipe, which ends the engine, and make sure that it did."""
        self._child.close()
