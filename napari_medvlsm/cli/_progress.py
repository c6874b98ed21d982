"""A bar that shows how many scans are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def scan_bar() -> Iterator[Callable[[int, int], None]]:
    """Give a function of (scans done, all scans); without a terminal nothing is drawn."""
    from tqdm import tqdm

    with tqdm(unit="scan", disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
