"""Kills processes at random instants and looks for what is lost; needs a system that forks.

    python tests/bench/kills.py autosave 1000
    python tests/bench/kills.py training 100

`autosave` draws one outline after the other, each stored before the next; `training` is the command of a tiny training.
Each process gets SIGKILL after a random time, and another goes on from what it left. A state that was reported as
stored must be there, and the end must be that of a process that nobody killed.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.masks import Mask

SCAN, TARGET = "ab" * 16, "polyp"
SIDE = 96
# Every so many states the person erases nearly everything, before which a copy is kept.
ERASES = 7
EPOCHS = 6


@dataclass
class Counts:
    """What was seen."""

    kills: int = 0
    during_a_write: int = 0
    left_files: int = 0
    lost: int = 0
    different: int = 0
    ends: int = 0


# Autosave ------------------------------------------------------------------------------------------------------------


def outline(number: int) -> Mask:
    """The mask of a state."""
    dense = 0.02 if number % ERASES == 0 else 0.5
    return np.random.default_rng(number).random((SIDE, SIDE)) < dense


def state(number: int) -> Annotation:
    """A state whose number is known from the record, and its mask from the number."""
    return Annotation(TARGET, outline(number), True, provenance=Provenance(SCAN, strokes=number))


def kill_autosaves(folder: Path, kills: int, seed: int = 0, longest: float = 0.06) -> Counts:
    """Kill sessions that autosave into a folder, each of which goes on from what the one before left.

    Parameters
    ----------
    folder : Path
    kills : int
    seed : int
        Of the instants.
    longest : float
        Seconds after which a session is killed at the latest.
    """
    counts, rng, stored = Counts(), random.Random(seed), 0
    for _ in range(kills):
        told = _killed(partial(_autosave_from, folder, stored + 1), rng.uniform(0, longest))
        counts.kills += 1
        acknowledged = told[-1] if told else stored
        counts.left_files += sum(path.name.startswith(".") for path in folder.glob(".*"))
        later = AutosaveStore(folder)
        found = later.find(SCAN)
        newest = later.load(found[0]) if found else None
        number = newest.provenance.strokes if newest is not None else 0
        # The one that was being written may be there already.
        if number not in (acknowledged, acknowledged + 1):
            counts.lost += 1
        elif newest is not None and not np.array_equal(newest.mask, outline(number)):
            counts.different += 1
        counts.during_a_write += number == acknowledged + 1
        counts.lost += any(path.name.startswith(".") for path in folder.iterdir())  # half a file stays for ever
        stored = number
        if newest is not None:
            # As the panel restores: it is written for this session before the copy of the one before goes.
            later.save(newest)
            for entry in found:
                later.discard(entry)
        later.close()
    later = AutosaveStore(folder)
    last = later.find(SCAN)
    counts.ends += 1
    whole = folder.parent / "whole"
    unkilled = AutosaveStore(whole)
    for number in range(max(1, stored - ERASES), stored + 1):
        unkilled.save(state(number))
    unkilled.close()
    same = AutosaveStore(whole)
    counts.different += not np.array_equal(later.load(last[0]).mask, same.load(same.find(SCAN)[0]).mask)
    return counts


def _autosave_from(folder: Path, number: int, write: Callable[[int], None]) -> None:
    store = AutosaveStore(folder)
    while True:
        store.save(state(number))
        write(number)
        number += 1


# Training ------------------------------------------------------------------------------------------------------------


def kill_trainings(folder: Path, kills: int, seed: int = 0) -> Counts:
    """Kill runs of a tiny training, each of which is resumed until it ends, and compare them with an unkilled one."""
    import torch

    import medvlsm_training.train  # noqa: F401 - before the fork, once for all
    from medvlsm_training.__main__ import main
    from tests.training.builders import disk, write_set
    from tests.training.conftest import RECIPE

    data_rng = np.random.default_rng(3)
    splits = {"train": range(8), "val": range(8, 11), "test": range(11, 13)}
    write_set(folder / "data" / "disks", splits, lambda _: disk(data_rng, 40, 7.75, 10), {"p1": "polyp"})
    (folder / "disks.yaml").write_text(RECIPE)
    words = [str(folder / "disks.yaml"), f"trainer.max_epochs={EPOCHS}", "--data", str(folder / "data")]

    def work(run: Path) -> Callable[[Callable[[int], None]], None]:
        def train(write: Callable[[int], None]) -> None:
            torch.set_num_threads(1)
            code = main(["train", *words, "--run", str(run), "--no-measure", "--accelerator", "cpu", "--events"])
            write(code)

        return train

    began = time.monotonic()
    assert _killed(work(folder / "whole"), None) == [0], "the training that nobody kills"
    seconds = time.monotonic() - began
    counts, rng = Counts(), random.Random(seed)
    run = folder / "run-0"
    while counts.kills < kills:
        told = _killed(work(run), rng.uniform(0, 0.7 * seconds))
        if not told:
            counts.kills += 1
            counts.left_files += sum(path.name != ".lock" for path in run.glob(".*"))
        if told or counts.kills == kills:
            _finish(work(run), run, folder / "whole", counts, told)
            run = folder / f"run-{counts.ends}"
    return counts


def _finish(
    work: Callable[[Callable[[int], None]], None], run: Path, whole: Path, counts: Counts, told: list[int]
) -> None:
    """Let a run end that is killed no more, and compare it with the unkilled one."""
    code = told or _killed(work, None)
    counts.ends += 1
    counts.lost += code != [0]
    counts.lost += sum(path.name != ".lock" for path in run.glob(".*"))
    counts.different += not same_run(run, whole)


def same_run(run: Path, whole: Path) -> bool:
    """Whether two runs have the same weights to the last bit, and the same epochs but for their seconds."""
    import torch

    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (torch.load(path / name, weights_only=True)["state_dict"] for path in (run, whole))
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in theirs):
            return False
    tables = []
    for path in (run, whole):
        with (path / "curves.csv").open(newline="") as file:
            tables.append([{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)])
    return tables[0] == tables[1] and len(tables[0]) == EPOCHS


# Processes -----------------------------------------------------------------------------------------------------------


def _killed(work: Callable[[Callable[[int], None]], None], seconds: float | None) -> list[int]:
    """Do something in a process of its own, killed after a time unless that is None; the numbers that it wrote."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(out)
            os.setsid()
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            work(lambda number: os.write(into, struct.pack("<q", number)) and None)
        finally:
            os._exit(0)
    os.close(into)
    if seconds is not None:
        time.sleep(seconds)
        os.killpg(child, signal.SIGKILL) if _leads_group(child) else os.kill(child, signal.SIGKILL)
    with os.fdopen(out, "rb") as pipe:
        numbers = [number for (number,) in struct.iter_unpack("<q", pipe.read())]
    os.waitpid(child, 0)
    return numbers


def _leads_group(child: int) -> bool:
    try:
        return os.getpgid(child) == child
    except ProcessLookupError:
        return False


def main() -> int:
    """Kill as often as asked, and say what was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("autosave", "training"))
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        folder.mkdir()
        if options.what == "autosave":
            counts = kill_autosaves(folder, options.kills, options.seed)
        else:
            counts = kill_trainings(folder, options.kills, options.seed)
    print(
        f"{options.what}: {counts.kills} kills; {counts.during_a_write} found a state that was stored but not yet "
        f"reported, {counts.left_files} half-written files were cleared; {counts.lost} lost, {counts.different} "
        f"different from unkilled, in {counts.ends} ends compared; {time.monotonic() - began:.0f} s"
    )
    return int(bool(counts.lost or counts.different))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    raise SystemExit(main())
