"""Kill a process that works on a project at random instants, open the project again, and check all that must hold.

    python tests/bench/kill_projects.py --kills 1000

Each worker is a process of its own (forked, so POSIX only) that draws, predicts, submits, approves, reopens, restores,
answers "absent", adds scans and closes, and says over a pipe what it begins and what is done. It is ended by SIGKILL.
Then must hold:

- the project opens, and `check_project` finds nothing: no half file, no file without a row, no row without its file;
- whatever the worker said was done is there: state, present mask, every version with its mask;
- what it had only begun is there as a whole, or not at all: at most the last stroke is missing;
- no version that was there before a kill is gone or different, and no approved mask either.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.check import check_project
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore

SIZE = (48, 64)
TARGET = "polyp"
FIRST_SCANS, ALL_SCANS = 4, 12
# A new project after so many kills: every version of a project is read after each.
KILLS_A_PROJECT = 40


@dataclass
class Expected:
    """What a project must hold: by version its mask's number, by case its state and present mask."""

    versions: dict[int, int] = field(default_factory=dict)
    cases: dict[int, tuple[str, int | None]] = field(default_factory=dict)
    scans: int = FIRST_SCANS


def mask_of(number: int) -> np.ndarray:
    """The mask of a number: its bits as pixels beside a block, so that each can be told."""
    mask = np.zeros(SIZE, bool)
    if number:
        mask[8:40, 8:40] = True
        mask[0, :32] = [bool(number >> bit & 1) for bit in range(32)]
    return mask


def number_of(mask: np.ndarray) -> int:
    """The number of a mask."""
    return sum(1 << bit for bit in range(32) if mask[0, bit])


def write_scans(folder: Path) -> None:
    """Twelve different scans."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    for i in range(ALL_SCANS):
        Image.fromarray(rng.integers(0, 256, SIZE, np.uint8)).save(folder / f"scan{i}.png")


def scans(folder: Path, start: int, stop: int) -> list[NewScan]:
    """Some of them."""
    return [NewScan(folder / f"scan{i}.png") for i in range(start, stop)]


def work(project: Path, pipe: int, seed: int) -> None:
    """Work until killed."""
    choose = random.Random(seed)

    def say(**what: object) -> None:
        os.write(pipe, (json.dumps(what) + "\n").encode())

    while True:
        with ProjectStore(project, "worker") as store:
            for _ in range(choose.randrange(4, 40)):
                one_deed(store, project.parent / "scans", choose, say)


def one_deed(store: ProjectStore, scan_folder: Path, choose: random.Random, say) -> None:
    """One change, announced before and confirmed after."""
    present = {c.id: c.states.get(TARGET, State.UNSEEN) for c in store.cases()}
    case, state = choose.choice(list(present.items()))
    number = choose.randrange(1, 2**31)
    annotation = Annotation(TARGET, mask_of(number), corrected=True, provenance=new_provenance(strokes=1))
    versions = store.versions(case, TARGET)
    deeds = ["predict"]
    if state in (State.UNSEEN, State.DRAFT):
        deeds += ["draft"] * 8 + ["submit", "absent"]
    else:
        deeds += ["reopen"] + ["approve"] * 2 * (state is not State.APPROVED)
    if restorable := [v for v in versions if not v.absent]:
        deeds.append("restore")
    if len(present) < ALL_SCANS:
        deeds.append("add")
    deed = choose.choice(deeds)
    if deed == "restore":
        number = number_of(store.load(version := choose.choice(restorable)).mask)
    say(begin=deed, case=case, number=number)
    if deed == "draft":
        done = store.save_draft(case, annotation)
    elif deed == "predict":
        plain = Annotation(TARGET, annotation.mask, provenance=annotation.provenance)
        done = store.save_prediction(case, plain)
    elif deed == "submit":
        done = store.submit(case, TARGET, annotation)
    elif deed == "absent":
        done = store.mark_absent(case, TARGET)
    elif deed == "restore":
        done = store.restore(version.id)
    elif deed == "approve":
        done = store.approve(case, TARGET)
    elif deed == "add":
        add_scans(store, scans(scan_folder, len(present), len(present) + 1), copy=True)
        done = None
    else:
        store.reopen(case, TARGET)
        done = None
    state, present_version = store.case(case).states[TARGET], store.current(case, TARGET)
    say(
        done=deed,
        case=case,
        version=done.id if done else None,
        number=number if deed not in ("approve", "absent") else None,
        state=state.value,
        present=present_version.id if present_version else None,
        scans=len(store.cases()),
    )


def one_kill(project: Path, expected: Expected, seed: int, wait: float) -> tuple[Counter[str], list[str]]:
    """Start a worker, kill it, open the project: (what happened, what is wrong)."""
    read, write = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(read)
        try:
            work(project, write, seed)
        finally:
            os._exit(9)  # it never ends by itself but by an error
    os.close(write)
    time.sleep(wait)
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    with os.fdopen(read) as pipe:
        lines = [json.loads(line) for line in pipe.read().splitlines()]
    wrong = [] if os.WIFSIGNALED(status) else ["the worker ended by itself"]
    begun: dict[str, object] | None = None
    for line in lines:
        if "begin" in line:
            begun = line
            continue
        begun = None
        expected.scans = line["scans"]
        if line["version"] is not None and line["number"] is not None:
            expected.versions[line["version"]] = line["number"]
        elif line["done"] == "absent":
            expected.versions[line["version"]] = 0
        expected.cases[line["case"]] = (line["state"], line["present"])
    happened = Counter(str(line["done"]) for line in lines if "done" in line)
    happened["killed in the middle of"] += begun is not None
    try:
        with ProjectStore(project, "checker") as store:
            happened["opened again with a word"] += bool(store.notices)
            happened["recovered"] += sum("recovered" in notice for notice in store.notices)
            wrong += check_all(store, expected, begun)
        wrong += [finding.sentence for finding in check_project(project)]
    except ProjectError as error:
        wrong.append(f"the project does not open: {error}")
    left = [p.name for p in project.rglob("*") if p.name.startswith(".") or p.name.endswith("-journal")]
    return happened, wrong + [f"left over: {name}" for name in left]


def check_all(store: ProjectStore, expected: Expected, begun: dict[str, object] | None) -> list[str]:
    """Compare with what must be there, and take what is there as what must be there the next time."""
    wrong = []
    cases = {case.id: case for case in store.cases()}
    adding = begun is not None and begun["begin"] == "add"
    if not expected.scans <= len(cases) <= expected.scans + adding:
        wrong.append(f"{len(cases)} scans instead of {expected.scans}")
    expected.scans = len(cases)
    for id_, case in cases.items():
        mine = begun if begun is not None and begun["case"] == id_ else None
        versions = {v.id: v for v in store.versions(id_, TARGET)}
        numbers = {v: number_of(store.load(version).mask) for v, version in versions.items()}
        present = next((v for v, version in versions.items() if version.current), None)
        state = case.states[TARGET].value
        was = expected.cases.get(id_, ("unseen", None))
        if mine is None and (state, present) != was:
            wrong.append(f"case {id_} is {state} with version {present}, but was {was}")
        if state == "approved" and present is None:
            wrong.append(f"case {id_} is approved without a mask")
        for version, number in numbers.items():
            must = expected.versions.get(version)
            drawing = mine is not None and mine["begin"] == "draft" and mine["number"] == number
            if must is None and mine is None:
                wrong.append(f"version {version} of case {id_} comes from nowhere")
            elif must is not None and number != must and not drawing:
                wrong.append(f"version {version} of case {id_} holds {number} instead of {must}")
        expected.cases[id_] = (state, present)
        expected.versions |= numbers
    there = {v.id for id_ in cases for v in store.versions(id_, TARGET)}
    wrong += [f"version {version} is gone" for version in expected.versions if version not in there]
    return wrong


def main() -> int:
    """Kill, check, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=0.25, help="seconds that a worker lives at most")
    options = parser.parse_args()
    choose = random.Random(options.seed)
    total: Counter[str] = Counter()
    faults = 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_scans(root / "scans")
        for kill in range(options.kills):
            if kill % KILLS_A_PROJECT == 0:
                project, expected = root / f"project{kill}", Expected()
                create_project(project, [TARGET])
                with ProjectStore(project) as store:
                    add_scans(store, scans(root / "scans", 0, FIRST_SCANS))
            happened, wrong = one_kill(project, expected, choose.randrange(2**32), choose.uniform(0, options.longest))
            total += happened
            faults += bool(wrong)
            for sentence in wrong:
                print(f"kill {kill}: {sentence}", file=sys.stderr)
    print(f"{options.kills} kills, {faults} with faults, in {time.perf_counter() - began:.0f} s")
    print(", ".join(f"{what} {number}" for what, number in total.most_common()))
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
