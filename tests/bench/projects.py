"""Time and memory of a project with many scans: open, filter, search, sort, step, save, check.

    python tests/bench/projects.py --cases 10000

Rows are made in the database as `add_scans` makes them, without the pictures: reading those takes as long as it takes.
Each outline has a real mask file. Linux only (peak memory). Each time is the median of five.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.projects.adding import AddReport, NewScan, _insert, _Read, _splits
from napari_medvlsm.core.projects.check import check_project
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.ledger import read_ledger
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery

TARGETS = ("polyp", "fold")
SIZE = (512, 512)


def resident(field: str) -> float:
    """A line of /proc/self/status, in MiB: VmRSS now, VmHWM the peak."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def fill(folder: Path, cases: int, outlined: int) -> None:
    """A project of so many scans, a third as many patients, and so many submitted outlines."""
    create_project(folder, TARGETS)
    scan = folder.parent / "scan.png"
    scan.write_bytes(b"stands for all")
    with ProjectStore(folder) as store:
        new = [
            _Read(
                NewScan(scan, group=f"patient {i // 3}"), f"ward {i % 7}/scan{i}.png", scan, f"{i:032x}", "0" * 64,
                SIZE, None, 0, 0,
            )
            for i in range(cases)
        ]  # fmt: skip
        with store.changing() as connection:
            groups = _splits(connection, new, store.salt, AddReport())
            targets = [row["id"] for row in connection.execute("SELECT id FROM target")]
            for one in new:
                _insert(connection, store.folder, one, groups[one.pixels_hash], targets)
        for case in range(1, outlined + 1):
            store.submit(case, TARGETS[case % 2], annotation(TARGETS[case % 2], case))


def annotation(target: str, seed: int, size: tuple[int, int] = SIZE) -> Annotation:
    """A disc somewhere."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: size[0], : size[1]]
    centre = rng.integers(size[0] // 4, 3 * size[0] // 4, 2)
    mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (size[0] // 6) ** 2
    made = new_provenance(seconds=float(rng.gamma(4, 8)), strokes=3, model="starter", weights_hash="0" * 64)
    return Annotation(target, mask, corrected=True, provenance=made, prediction=mask)


def timed(what: str, function: Callable[[], object], repeats: int = 5) -> None:
    """Print how long a function takes."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    print(f"{what:<58} {1000 * statistics.median(times):8.1f} ms", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--outlined", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        start = time.perf_counter()
        fill(folder, options.cases, options.outlined)
        print(f"{options.cases} scans, {options.outlined} outlines, made in {time.perf_counter() - start:.1f} s")
        print(f"database {(folder / 'project.sqlite').stat().st_size / 2**20:.1f} MiB")
        before = resident("VmRSS")
        timed("open and close", lambda: ProjectStore(folder).close())
        timed("open to look", lambda: ProjectStore(folder, read_only=True).close())
        with ProjectStore(folder) as store:
            middle = options.cases // 2
            timed("all ids, sorted by name", store.case_ids)
            for sort in ("state", "group", "changed"):
                timed(f"all ids, sorted by {sort}", lambda sort=sort: store.case_ids(CaseQuery(sort=sort)))
            unseen = CaseQuery(states=(State.UNSEEN,), targets=("polyp",))
            timed("filter: polyp unseen", lambda: store.case_ids(unseen))
            timed("search: two words", lambda: store.case_ids(CaseQuery(text="ward 3 42")))
            timed("filter by patient", lambda: store.case_ids(CaseQuery(groups=("patient 7",))))
            timed("a page of 50 scans with their states", lambda: store.cases(range(middle, middle + 50)))
            timed("all scans with their states", store.cases)
            timed("next unseen", lambda: store.neighbour(middle, 1, unseen))
            timed("counts", store.counts)
            timed("ledger", lambda: read_ledger(store.database))
            timed("save a stroke, 512 x 512", lambda: store.save_draft(middle, annotation("polyp", 1)), 15)
            with store.changing() as connection:
                connection.execute("UPDATE scan SET rows = 4096, columns = 4096 WHERE id = ?", (middle + 1,))
            large = annotation("polyp", 2, (4096, 4096))
            timed("save a stroke, 4096 x 4096", lambda: store.save_draft(middle + 1, large))
            print(
                f"resident {resident('VmRSS'):.0f} MiB, {before:.0f} before it was opened; peak {resident('VmHWM'):.0f}"
            )
        timed("check, without scans that are not there", lambda: check_project(folder), 1)


if __name__ == "__main__":
    main()
