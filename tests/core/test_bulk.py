import os
import threading
from dataclasses import replace

import pytest

from napari_medvlsm.core.bulk.manifest import (
    COLUMNS,
    DONE,
    FAILED,
    MANIFEST_FILE,
    ManifestWriter,
    Row,
    is_done,
    read_manifest,
    tidy,
)
from napari_medvlsm.core.bulk.prefetch import prefetch
from napari_medvlsm.core.bulk.processes import Process, _free_port, find_launcher, run_started

ROW = Row(
    output="a.tif",
    source="../scans/a.png",
    status=DONE,
    message="",
    prompt='small, "pink" polyp',
    model="starter",
    weights="ab" * 32,
    threshold=0.1 + 0.2,
    looked_at="the whole scan",
    scan_hash="cd" * 16,
    rows=30,
    columns=40,
    row_mm=0.25,
    column_mm=1 / 3,
    area_px=7,
    area_mm2=7 * 0.25 / 3,
    device="cpu",
    precision="float32",
    seconds=0.5,
    software="1",
    finished="2026-01-01T00:00:00.000+00:00",
)


def write(folder, *rows, process=0):
    writer = ManifestWriter(folder, process)
    for row in rows:
        writer.add(row)
    writer.close()


# The manifest --------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    # A line break, a quote and bytes that are no UTF-8 can all be in a file's name.
    odd = replace(ROW, output='b\n"\udcff.tif', status=FAILED, message="broken", row_mm=None, area_px=None)
    write(tmp_path, ROW, odd)
    assert read_manifest(tmp_path) == {ROW.output: ROW.texts(), odd.output: odd.texts()}
    assert tidy(tmp_path) == read_manifest(tmp_path) == {ROW.output: ROW.texts(), odd.output: odd.texts()}
    assert (tmp_path / MANIFEST_FILE).read_text("utf-8", "surrogateescape").startswith(",".join(COLUMNS) + "\n")


def test_no_manifest_is_no_rows(tmp_path):
    assert read_manifest(tmp_path) == tidy(tmp_path) == {} and not list(tmp_path.iterdir())
    assert read_manifest(tmp_path / "none") == {}


def test_a_file_cut_anywhere_loses_the_torn_row_alone(tmp_path):
    rows = [replace(ROW, output=name) for name in ("a.tif", "b\nb.tif", "c.tif")]
    ends, path = [], tmp_path / MANIFEST_FILE
    for row in rows:
        write(tmp_path, row)
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        expected = [row.output for row, end in zip(rows, ends, strict=True) if end <= cut]
        assert list(read_manifest(tmp_path)) == expected
    for cut in range(0, len(whole), 41):
        path.write_bytes(whole[:cut])
        expected = list(tidy(tmp_path))
        write(tmp_path, replace(ROW, output="new.tif"))
        assert list(read_manifest(tmp_path)) == [*expected, "new.tif"]


def test_parts_become_one_file_and_the_last_row_counts(tmp_path):
    write(tmp_path, ROW, replace(ROW, output="b.tif", status=FAILED))
    write(tmp_path, replace(ROW, output="c.tif"), process=2)
    write(tmp_path, replace(ROW, output="b.tif"), process=1)
    (tmp_path / "manifest.old.csv").write_text("mine")
    rows = tidy(tmp_path)
    assert list(rows) == ["a.tif", "b.tif", "c.tif"] and {row["status"] for row in rows.values()} == {DONE}
    assert sorted(p.name for p in tmp_path.iterdir()) == [MANIFEST_FILE, "manifest.old.csv"]
    assert read_manifest(tmp_path) == rows


def test_something_else_of_that_name_is_left_alone(tmp_path):
    path = tmp_path / MANIFEST_FILE
    path.write_text("name,age\nann,7\n")
    for use in (read_manifest, tidy):
        with pytest.raises(ValueError, match=r"is no manifest of masks .*; move it away, or choose another folder"):
            use(tmp_path)
    assert path.read_text() == "name,age\nann,7\n"


def test_columns_of_another_version_are_filled_up(tmp_path):
    write(tmp_path, ROW)
    path = tmp_path / MANIFEST_FILE
    path.write_text("\n".join(",".join(line.split(",")[:-1]) for line in path.read_text().splitlines()) + "\n")
    assert read_manifest(tmp_path) == {ROW.output: ROW.texts() | {"finished": ""}}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"prompt": "polyp"}, False),
        ({"weights": "00" * 32}, False),
        ({"threshold": 0.3}, False),
        ({"looked_at": "tiles"}, False),
        ({"scan_hash": "00" * 16}, False),
        ({"row_mm": None}, False),
        ({"model": "renamed", "source": "moved/a.png", "software": "2", "device": "cuda:0"}, True),
    ],
)
def test_done_is_what_was_made_in_the_same_way(change, same):
    assert is_done(ROW.texts(), replace(ROW, **change), None) is same
    assert not is_done(replace(ROW, status=FAILED).texts(), replace(ROW, **change), None)


def test_a_precision_counts_where_it_is_asked_for():
    assert is_done(ROW.texts(), ROW, "float32") and not is_done(ROW.texts(), ROW, "bfloat16")
    assert not is_done(None, ROW, None)


# Reading ahead -------------------------------------------------------------------------------------------------------


def test_results_come_in_order_and_few_are_made_prefetch():
    started, go = [], threading.Event()

    def double(number):
        started.append(number)
        if number:
            go.wait()
        return 2 * number

    results = prefetch(double, range(50), threads=2, ahead=3)
    assert next(results) == 0
    go.set()
    # Three were handed out to get the first; no more are before the next is asked for.
    assert set(started) <= {0, 1, 2}
    assert list(results) == [2 * number for number in range(1, 50)]


def test_an_error_comes_where_its_result_would():
    results = prefetch(lambda number: 1 // number, [1, 0, 1], threads=2, ahead=3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_early_starts_no_more():
    started = []
    results = prefetch(started.append, range(50), threads=1, ahead=4)
    next(results)
    results.close()
    assert len(started) <= 4


# Processes ------------------------------------------------------------------------------------------------------------


def test_torchrun_and_slurm_tell_who_does_what(monkeypatch):
    assert find_launcher() is None
    slurm = {"NTASKS": "4", "NTASKS_PER_NODE": "2", "NNODES": "2", "NODEID": "1", "PROCID": "3", "LOCALID": "1"}
    slurm |= {"JOB_NAME": "outline", "JOB_ID": "12345", "NODELIST": "first[4-7]"}
    # Of its own: Lightning writes the address that it finds there.
    monkeypatch.setattr(os, "environ", os.environ | {f"SLURM_{name}": value for name, value in slurm.items()})
    found = find_launcher()
    assert (found.rank, found.local_rank, found.processes, found.nodes, found.address) == (3, 1, 2, 2, "first4")
    torchrun = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "29"}
    os.environ.update(torchrun | {"MASTER_ADDR": "head", "TORCHELASTIC_RUN_ID": "x"})
    assert find_launcher() == Process(1, 0, 1, 2, "head", 29)


def fail_in_the_second(process):
    if process.rank == 1:
        raise ValueError("This model cannot be loaded.")


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_by_the_first():
    with pytest.raises(ValueError, match=r"^This model cannot be loaded\.$"):
        run_started(fail_in_the_second, Process(processes=2, port=_free_port()))
