"""Opens cases in a process that may hang, die or eat memory, and counts what came of them."""

import contextlib
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.kinds import DEEP, FAULTY, KINDS

# Seconds that a case may take. The first of a process also imports what it needs, and makes small models.
SECONDS, FIRST = 20.0, 120.0
_LONGEST_SENTENCE = 2000
READ, REFUSED = "read", "refused"
_KINDS = KINDS | FAULTY
FAULTS = ("crash", "endless", "memory", "traceback", "no sentence")


@dataclass(frozen=True)
class Case:
    """What came of a case: "read", "refused" or one of `FAULTS`; `words` are the sentence or the fault."""

    kind: str
    number: int
    outcome: str
    words: str = ""
    decoded: bool = False
    seconds: float = 0.0
    megabytes: float = 0.0


@dataclass
class Tally:
    """Cases counted."""

    counts: Counter[str] = field(default_factory=Counter)
    decoded: int = 0
    slowest: Case | None = None
    largest: Case | None = None
    faults: list[Case] = field(default_factory=list)

    def add(self, case: Case) -> None:
        self.counts[case.outcome] += 1
        self.decoded += case.decoded
        if case.outcome in FAULTS:
            self.faults.append(case)
        if self.slowest is None or case.seconds > self.slowest.seconds:
            self.slowest = case
        if self.largest is None or case.megabytes > self.largest.megabytes:
            self.largest = case


def hammer(kind: str, numbers: Iterable[int], keep: Path | None = None) -> Iterator[Case]:
    """Open cases one after the other; what hangs or dies costs its own process only.

    Parameters
    ----------
    kind : str
    numbers : iterable of int
        Seeds of the cases.
    keep : Path, optional
        Where files that found a fault are kept.
    """
    left = list(numbers)
    while left:
        with _Child(kind, left, keep) as child:
            for case in child.cases():
                left.remove(case.number)
                yield case


class _Child:
    def __init__(self, kind: str, numbers: list[int], keep: Path | None) -> None:
        self.kind, self._numbers = kind, list(numbers)
        order = {"kind": kind, "numbers": numbers, "keep": str(keep or "")}
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(root / "training"), os.environ.get("PYTHONPATH", "")])
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.hammer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=root,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def cases(self) -> Iterator[Case]:
        """Cases until all are done, or one ended the process."""
        patience = FIRST
        for number in self._numbers:
            try:
                # Longer than a case may take, so that it can say so itself; on a busy machine, too.
                line = self._lines.get(timeout=patience + 2 * SECONDS)
            except queue.Empty:
                yield Case(self.kind, number, "endless", "no answer")
                return
            if not line:
                self._stderr.seek(0)
                said = self._stderr.read().decode("utf-8", "replace")[-500:]
                yield Case(self.kind, number, "crash", f"code {self._process.wait()}: {said}")
                return
            patience = SECONDS
            yield Case(**json.loads(line))


def _work() -> None:
    order = json.loads(sys.stdin.readline())
    kind, keep = order["kind"], order["keep"]
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    threading.excepthook = lambda args: None
    _watch_decoders(kind)
    for number in order["numbers"]:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        try:
            case = _opened(kind, number, folder)
            if keep and case.outcome in FAULTS:
                shutil.copytree(folder, Path(keep) / f"{kind}-{number}", symlinks=True, dirs_exist_ok=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        os.write(out, json.dumps(case.__dict__).encode() + b"\n")


def _opened(kind: str, number: int, folder: Path) -> Case:
    target = _KINDS[kind].make(folder, random.Random(f"{kind} {number}"))
    _decoded.clear()
    before = _peak(reset=True)
    # The processor's time of all threads: a busy machine makes no case slow. Waiting is noticed by the parent.
    begun = time.process_time()
    outcome, words = READ, ""
    try:
        _KINDS[kind].open(target)
        _decoded.append(True)
    except ValueError as error:
        outcome, words = REFUSED, str(error)
        if not words.strip() or "\n" in words or "Traceback" in words or len(words) > _LONGEST_SENTENCE:
            outcome = "no sentence"
    except BaseException as error:
        outcome, words = "traceback", "".join(traceback.format_exception(error))[-1500:]
    seconds, taken = time.process_time() - begun, _peak() - before
    if outcome in (READ, REFUSED) and seconds > SECONDS:
        outcome, words = "endless", f"{seconds:.1f} s"
    if outcome in (READ, REFUSED) and taken > _KINDS[kind].most_bytes:
        outcome, words = "memory", f"{taken / 2**20:.0f} MB"
    decoded = kind in DEEP and bool(_decoded)
    return Case(kind, number, outcome, words[:1500], decoded, round(seconds, 3), round(taken / 2**20, 1))


_decoded: list[bool] = []


def _watch_decoders(kind: str) -> None:
    """Note when a library begins to decode pixels in this process, or weights are made into a model."""
    import tifffile
    from PIL import ImageFile

    if "models" in kind:
        from napari_medvlsm.core.models.checkpoints.detect import Checkpoint

        _note(Checkpoint, "kind")

    for owner, name in (
        (ImageFile.ImageFile, "load"),
        (tifffile.TiffPage, "asarray"),
        (tifffile.TiffPageSeries, "asarray"),
    ):
        _note(owner, name)


def _note(owner: type, name: str) -> None:
    own = getattr(owner, name)

    def noted(self: object, *args: object, **more: object) -> object:
        _decoded.append(True)
        return own(self, *args, **more)

    setattr(owner, name, noted)


def _peak(reset: bool = False) -> int:
    """Bytes that this process took at most since the last reset; those that it takes now where no system counts."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        import psutil

        return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    _work()
