"""Results computed ahead of time in threads. Imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """The results of a function, in order, while the next ones are computed in threads.

    `Executor.map` bounds what is computed ahead from Python 3.14 on only. Threads, not processes: decoders and numpy
    release the interpreter while they work, and nothing is copied from process to process or held in each of them.

    Parameters
    ----------
    function : callable
        What it raises is raised where its result would come.
    items : iterable
    threads : int
    ahead : int
        Results that are computed or waiting at one time: bounds the memory.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
