"""One engine process for many panels: to import torch takes longer than most of what is tested with it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

import psutil

from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.engine.protocol import Array, Message

Frame = tuple[Message, list[Array]]


class EngineLender:
    """Stands in for `EngineProcess`: lends running engines, and starts another where none is there."""

    def __init__(self) -> None:
        self._spare: list[_Shared] = []

    def __call__(self) -> LentEngine:
        while self._spare:
            engine = self._spare.pop()
            if engine.fit():
                return LentEngine(engine, self._spare.append)
            engine.end()
        return LentEngine(_Shared(), self._spare.append)

    def close(self) -> None:
        """End the engines that nobody has."""
        while self._spare:
            self._spare.pop().end()


class _Shared:
    """A real engine, whose frames go to the panel that has it."""

    def __init__(self) -> None:
        self.process = EngineProcess()
        self.last_number = 0
        self._frames: queue.Queue[Frame | None] = queue.Queue()
        # What an engine says once: that it is ready, and what it runs on.
        self._said: dict[str, Frame] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def lend(self) -> queue.Queue[Frame | None]:
        """The frames from now on, what it said once before them."""
        with self._lock:
            self._frames = queue.Queue()
            for frame in self._said.values():
                self._frames.put(frame)
            return self._frames

    def fit(self) -> bool:
        """Whether it can be lent again: it runs, and in the precision that it chose itself."""
        try:
            alive = psutil.Process(self.process.pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED)
        except psutil.NoSuchProcess:
            return False
        with self._lock:
            return alive and len({message["precision"] for message, _ in self._said.values()}) <= 1

    def end(self) -> None:
        self.process.kill()
        self.process.close()

    def _read(self) -> None:
        frame: Frame | None
        while True:
            try:
                frame = self.process.receive()
            except EOFError:
                frame = None
            with self._lock:
                if frame is not None and frame[0]["event"] in ("ready", "running"):
                    self._said[frame[0]["event"]] = frame
                self._frames.put(frame)
            if frame is None:
                return


class LentEngine:
    """An `EngineProcess` that is given back instead of killed."""

    def __init__(self, engine: _Shared, give_back: Callable[[_Shared], None]) -> None:
        self._engine, self._give_back = engine, give_back
        self._frames = engine.lend()
        # Requests of those who had it before have lower numbers.
        self._before = engine.last_number
        self._lock = threading.Lock()
        self._over = self._given_back = False

    @property
    def pid(self) -> int:
        return self._engine.process.pid

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        with self._lock:
            if self._over:
                raise BrokenPipeError
            number = message["id"] + self._before
            self._engine.last_number = max(self._engine.last_number, number)
            self._engine.process.send(message | {"id": number}, arrays)

    def receive(self) -> Frame:
        while (frame := self._frames.get()) is not None:
            message, arrays = frame
            number = message.get("id", self._before + 1) - self._before
            if number > 0:
                return (message | {"id": number} if "id" in message else message), arrays
        raise EOFError

    def log_tail(self) -> str:
        return self._engine.process.log_tail()

    def kill(self) -> None:
        """Give it back, with nothing left to do; one that does not answer is killed."""
        with self._lock:
            if self._over:
                return
            self._over = True
        self._given_back = self._engine.fit()
        if self._given_back:
            for number in range(self._before + 1, self._engine.last_number + 1):
                self._engine.process.send({"op": "cancel", "id": number})
            self._give_back(self._engine)
        else:
            self._engine.process.kill()
        self._frames.put(None)

    def close(self) -> None:
        self.kill()
        if not self._given_back:
            self._engine.end()
