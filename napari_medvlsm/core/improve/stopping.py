"""A request to stop, handed on to whatever runs at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class Cancelled(Exception):
    """Somebody asked to stop, and nothing was kept; no ValueError, which would be a fault of the data."""


@dataclass
class Stop:
    """May be asked from any thread; only the first request counts.

    Attributes
    ----------
    asked : bool
    """

    asked: bool = False
    _ask: Callable[[], object] | None = None
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def request(self) -> None:
        """Ask to stop, and return at once."""
        with self._mutex:
            self.asked = True
            if self._ask is not None:
                self._ask()

    @contextmanager
    def reaching(self, ask: Callable[[], object]) -> Iterator[None]:
        """Hand a request, also one that was made before, on to `ask`."""
        with self._mutex:
            self._ask = ask
            if self.asked:
                ask()
        try:
            yield
        finally:
            with self._mutex:
                self._ask = None

    def check(self) -> None:
        """Raise `Cancelled` where it was asked."""
        if self.asked:
            raise Cancelled
