"""`medvlsm segment` on folders: what is done is left alone, and processes share the rest."""

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file

from napari_medvlsm import __version__
from napari_medvlsm.cli import main
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.bulk import share
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import load_mask, save_mask
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.store.card import write_card

COMMAND = [sys.executable, "-m", "napari_medvlsm.cli"]


@pytest.fixture
def scans(tmp_path, rng):
    """A folder of five scans of different sizes and kinds."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (40 + 9 * i, 60, 3), dtype=np.uint8)).save(folder / f"scan{i}.png")
    measured = rng.integers(0, 4000, (50, 40), dtype=np.uint16)
    tifffile.imwrite(folder / "measured.tif", measured, resolution=(40, 20), resolutionunit="CENTIMETER")
    return folder


@pytest.fixture
def run(scans, tmp_path, model_folder, capfd):
    """Outline the scans with the small model; returns the exit code and what was printed."""

    def outline(*more, prompt="polyp", out="out"):
        where = ["--out", str(tmp_path / out), "--model", str(model_folder), "--device", "cpu"]
        code = main(["segment", str(scans), "--prompt", prompt, *where, *more])
        said = capfd.readouterr()
        return code, said.out + said.err

    return outline


def rows(folder):
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {row["output"]: row for row in csv.DictReader(file)}


def masks(folder):
    """Finished masks: those being written have a name that begins with a dot."""
    return [path for path in folder.glob("*.tif") if not path.name.startswith(".")]


def writings(folder):
    """What changes with every writing of a mask: the file is a new one."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in masks(folder)}


def redone(before, after):
    return {name for name in after if after[name] != before.get(name)}


# What the manifest says -----------------------------------------------------------------------------------------------


def test_manifest_tells_how_each_mask_was_made(run, scans, tmp_path, small_card):
    (scans / "broken.png").write_bytes(b"no")
    code, _ = run("--threshold", "0.4")
    found = rows(tmp_path / "out")
    assert code == 1 and len(found) == 6
    row = found["measured.tif"]
    annotation = load_mask(tmp_path / "out" / "measured.tif")
    mask, made = annotation.mask, annotation.provenance
    scan = read_scan(scans / "measured.tif")
    assert row["source"] == "../scans/measured.tif" and row["status"] == "done" and row["message"] == ""
    assert row["scan_hash"] == made.scan_hash == content_hash(scan.pixels)
    assert (row["prompt"], row["model"], row["threshold"]) == ("polyp", small_card.name, "0.4")
    assert (row["rows"], row["columns"]) == ("50", "40") and len(row["weights"]) == 64
    assert (float(row["row_mm"]), float(row["column_mm"])) == (0.5, 0.25)
    assert int(row["area_px"]) == mask.sum() and float(row["area_mm2"]) == pytest.approx(mask.sum() * 0.125)
    assert (row["device"], row["precision"], row["software"]) == ("cpu", "float32", __version__)
    assert float(row["seconds"]) > 0 and row["looked_at"] == "the whole scan"
    assert found["scan0.tif"]["row_mm"] == found["scan0.tif"]["area_mm2"] == ""
    assert found["broken.tif"]["status"] == "failed" and "is broken or is no image" in found["broken.tif"]["message"]


def test_what_a_scan_probably_does_not_show_is_said_and_outlined_only_when_asked_for(
    run, tmp_path, model_folder, small_card
):
    weights = load_file(model_folder / "model.safetensors")
    nothing_known = {name: value.zero_() for name, value in weights.items()}  # a probability of 0.5 everywhere
    save_file(nothing_known, model_folder / "model.safetensors", metadata={"format": "pt"})
    write_card(replace(small_card, presence=0.9), model_folder)
    code, said = run()
    found = rows(tmp_path / "out")
    assert code == 0 and {row["message"] for row in found.values()} == {"probably not in this scan"}
    assert said.count("'polyp' is probably not in ") == 5 and not load_mask(tmp_path / "out" / "scan0.tif").mask.any()
    assert {row["area_px"] for row in found.values()} == {"0"}
    _, said = run("--anyway")  # in the same folder: what was left out is done again
    assert said.count(": check ") == 5 and load_mask(tmp_path / "out" / "scan0.tif").mask.all()
    assert "is probably not in" not in run("--anyway")[1]
    _, said = run("--tiles", out="tiles")  # the threshold was chosen on whole scans
    assert "is probably not in" not in said and {row["message"] for row in rows(tmp_path / "tiles").values()} == {""}
    write_card(replace(small_card, presence=0.4), model_folder)
    _, said = run(out="present")
    assert "is probably not in" not in said and {row["message"] for row in rows(tmp_path / "present").values()} == {""}


def test_several_targets_make_a_mask_each_as_in_the_panel(run, scans, tmp_path, model_folder):
    code, said = run("--batch-size", "2", prompt="left and right lung")
    out = tmp_path / "out"
    assert code == 0 and "10 of 10 outlines made, 2 of each scan" in said
    found = rows(out)
    assert sorted(found)[:2] == ["measured_left-lung.tif", "measured_right-lung.tif"] and len(masks(out)) == 10
    segmenter = load_segmenter(str(model_folder), "cpu")
    segmenter.set_image(read_scan(scans / "scan1.png"))
    for target, alone in zip(("left lung", "right lung"), segmenter.segment(["left lung", "right lung"]), strict=True):
        name = f"scan1_{target.replace(' ', '-')}.tif"
        kept = load_mask(out / name)
        assert (kept.target, found[name]["prompt"]) == (target, target)
        differ = kept.mask != alone.mask()
        level = np.rint(alone.threshold * 255)
        assert np.abs(alone.probability[differ].astype(int) - level).max(initial=0) <= 1, "but for rounding"
    (out / "scan2_left-lung.tif").unlink()
    before = writings(out)
    assert "9 of them before" in run(prompt="left and right lung")[1]
    assert redone(before, writings(out)) == {"scan2_left-lung.tif"}
    (scans / "scan0_left-lung.tif").write_bytes((scans / "measured.tif").read_bytes())
    code, said = run(prompt="left and right lung", out="scans")
    assert code == 2 and "would replace the scan" in said


# What is done again ---------------------------------------------------------------------------------------------------


def test_the_same_command_redoes_nothing_but_what_changed(run, scans, tmp_path, rng):
    out = tmp_path / "out"
    assert run()[0] == 0
    first, manifest = writings(out), rows(out)
    code, said = run()
    assert code == 0 and "5 of 5 scans outlined" in said and "5 of them before" in said
    assert writings(out) == first and rows(out) == manifest

    Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(scans / "scan1.png")
    Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(scans / "new.png")
    Image.open(scans / "scan2.png").save(scans / "scan2.png", compress_level=1)  # other bytes, same pixels
    (out / "scan3.tif").unlink()
    pixels = tifffile.imread(scans / "measured.tif")
    tifffile.imwrite(scans / "measured.tif", pixels, resolution=(50, 20), resolutionunit="CENTIMETER")
    code, said = run()
    assert code == 0 and "6 of 6 scans outlined" in said and "2 of them before" in said
    assert redone(first, writings(out)) == {"scan1.tif", "new.tif", "scan3.tif", "measured.tif"}


@pytest.mark.parametrize(
    ("more", "again"),
    [
        (["--again"], True),
        (["--threshold", "0.3"], True),
        (["--rectangle", "0", "0", "30", "30"], True),
        (["--tiles"], True),
        (["--precision", "bfloat16"], True),
        (["--precision", "float32", "--batch-size", "3"], False),
    ],
)
def test_other_options_make_other_masks(run, tmp_path, more, again):
    run()
    before = writings(tmp_path / "out")
    assert run(*more)[0] == 0
    assert (redone(before, writings(tmp_path / "out")) == set(before)) is again
    code, said = run(*(option for option in more if option != "--again"))
    assert code == 0 and "5 of them before" in said


def test_another_prompt_or_other_weights_make_other_masks(run, tmp_path, model_folder):
    run()
    before = writings(tmp_path / "out")
    run(prompt="left lung")
    after = writings(tmp_path / "out")
    assert redone(before, after) == set(before)
    weights = {name: value.clone() for name, value in load_file(model_folder / "model.safetensors").items()}
    next(iter(weights.values())).add_(0.01)
    save_file(weights, model_folder / "model.safetensors", metadata={"format": "pt"})
    run(prompt="left lung")
    assert redone(after, writings(tmp_path / "out")) == set(before)


def test_what_failed_is_tried_again(run, scans, tmp_path):
    good = (scans / "scan0.png").read_bytes()
    (scans / "scan0.png").write_bytes(good[:100])
    assert run()[0] == 1 and rows(tmp_path / "out")["scan0.tif"]["status"] == "failed"
    (scans / "scan0.png").write_bytes(good)
    code, said = run()
    assert code == 0 and "4 of them before" in said and rows(tmp_path / "out")["scan0.tif"]["status"] == "done"


def test_masks_in_the_folder_of_the_scans_are_no_scans(run, scans):
    (scans / "measured.tif").unlink()
    (scans / ".scan0-x1y2.tif").write_bytes(b"what a kill left")
    assert run(out="scans")[0] == 0
    code, said = run(out="scans")
    assert code == 0 and "4 of 4 scans outlined" in said and "4 of them before" in said


def test_a_correction_is_never_replaced(run, tmp_path):
    run()
    path = tmp_path / "out" / "scan0.tif"
    mask = np.ones((40, 60), bool)
    save_mask(path, Annotation("polyp", mask, corrected=True))
    assert "5 of them before" in run()[1]
    code, said = run("--again")
    assert code == 1 and "was corrected by a person and is not replaced" in said
    np.testing.assert_array_equal(load_mask(path).mask, mask)


def test_a_file_of_another_program_is_never_replaced(run, tmp_path):
    (tmp_path / "out").mkdir()
    drawn = tmp_path / "out" / "scan0.tif"
    tifffile.imwrite(drawn, np.ones((40, 60), np.uint8))
    before = drawn.read_bytes()
    for more in ([], ["--again"]):
        code, said = run(*more)
        assert code == 1 and "scan0.tif was not made by this program and is not replaced" in said
        assert drawn.read_bytes() == before


# Batches --------------------------------------------------------------------------------------------------------------


def test_batches_give_the_masks_of_one_at_a_time(run, scans, tmp_path, model_folder):
    (scans / "broken.png").write_bytes(b"no")
    segmenter = load_segmenter(str(model_folder), "cpu")
    for size in ("1", "3", "32"):
        assert run("--batch-size", size, out=size)[0] == 1
        for path in (tmp_path / size).glob("*.tif"):
            (source,) = scans.glob(f"{path.stem}.*")
            segmenter.set_image(read_scan(source))
            (alone,) = segmenter.segment("polyp")
            differ = load_mask(path).mask != alone.mask()
            # Rounding can move a pixel that lies on the threshold.
            level = np.rint(alone.threshold * 255)
            assert np.abs(alone.probability[differ].astype(int) - level).max(initial=0) <= 1


def test_a_scan_that_fails_in_a_batch_fails_alone(run, tmp_path):
    out = tmp_path / "out"
    (out / "scan1.tif").mkdir(parents=True)  # nothing can be written in its place
    code, said = run("--batch-size", "8")
    assert code == 1 and "scan1.png" in said and "4 of 5 scans outlined" in said
    assert {name for name, row in rows(out).items() if row["status"] == "failed"} == {"scan1.tif"}


# Several processes ----------------------------------------------------------------------------------------------------


def outlined(command, tmp_path):
    """Run a command in an empty folder, which must stay empty."""
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert not list(here.iterdir())
    return done


def same_masks(one, other):
    names = sorted(path.name for path in one.glob("*.tif"))
    assert names and names == sorted(path.name for path in other.glob("*.tif"))
    for name in names:
        assert (load_mask(one / name).mask != load_mask(other / name).mask).mean() < 0.01


@pytest.mark.slow
def test_two_processes_share_the_scans(run, scans, tmp_path):
    (scans / "broken.png").write_bytes(b"no")
    run(out="alone")
    code, said = run("--processes", "2", out="two")
    assert code == 1 and f"5 of 6 scans outlined, in {tmp_path / 'two'}\n" in said
    assert "broken.png" in said and "Traceback" not in said
    same_masks(tmp_path / "alone", tmp_path / "two")
    assert rows(tmp_path / "two").keys() == rows(tmp_path / "alone").keys()
    # One manifest, and the next run, of one process, goes by it.
    assert sorted(p.name for p in (tmp_path / "two").glob("*.csv")) == ["manifest.csv"]
    assert "5 of them before" in run(out="two")[1]


@pytest.mark.slow
def test_torchrun_and_more_processes_than_scans(scans, tmp_path, model_folder):
    out = tmp_path / "out"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    common = ["--prompt", "polyp", "--model", str(model_folder), "--device", "cpu", "--out", str(out)]
    done = outlined([*launch, *COMMAND[1:], "segment", str(scans / "scan0.png"), *common], tmp_path)
    assert done.returncode == 0 and done.stdout.count("1 of 1 scans outlined") == 1
    assert rows(out)["scan0.tif"]["status"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals that a process can answer")
@pytest.mark.parametrize(
    ("number", "processes", "code"),
    [(signal.SIGTERM, 2, 130), (signal.SIGKILL, 1, -signal.SIGKILL)],
)
def test_a_run_that_is_stopped_goes_on(run, scans, tmp_path, model_folder, number, processes, code):
    large = np.zeros((1500, 1500), np.uint8)
    for i in range(30):
        large[i] = 255
        Image.fromarray(large).save(scans / f"large{i:02}.png")
    out = tmp_path / "out"
    common = ["--prompt", "polyp", "--model", str(model_folder), "--device", "cpu", "--out", str(out)]
    process = subprocess.Popen(
        [*COMMAND, "segment", str(scans), *common, "--processes", str(processes)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(masks(out)) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert said.endswith("medvlsm: stopped; what is written so far is complete.\n")

    written = masks(out)
    assert 4 <= len(written) < 35
    for path in written:
        load_mask(path)
    parts = [line for part in out.glob("manifest*.csv") for line in part.read_text("utf-8").splitlines()]
    noted = sum(",done," in line for line in parts)
    # Each process was between a mask and its row, at most.
    assert len(written) - processes <= noted <= len(written)
    again, said = run()
    assert again == 0 and "35 of 35 scans outlined" in said and f"{noted} of them before" in said
    assert len(rows(out)) == 35 and not list(out.glob("manifest.*.csv"))


def test_ctrl_c_stops_a_run_between_two_masks(run, tmp_path, monkeypatch):
    kept, save = [], share.save_mask

    def interrupted(path, annotation):
        save(path, annotation)
        kept.append(path)
        if len(kept) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(share, "save_mask", interrupted)
    # A shell starts what goes on in the background with Ctrl+C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, said = run("--batch-size", "1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130 and said.endswith("medvlsm: stopped; what is written so far is complete.\n")
    assert len(masks(tmp_path / "out")) == 2


# Refusals -------------------------------------------------------------------------------------------------------------


def test_two_runs_into_one_folder_are_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".manifest.lock"):
        code, said = run()
    assert code == 2 and "Another run is writing to" in said and not list(Path(tmp_path / "out").glob("*.tif"))


def test_something_else_called_manifest_is_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.csv").write_text("name,age\nann,7\n")
    code, said = run()
    assert code == 2 and "is no manifest of masks" in said
    assert (tmp_path / "out" / "manifest.csv").read_text() == "name,age\nann,7\n"


def test_a_model_that_does_not_load_is_told_in_a_sentence(run, model_folder):
    (model_folder / "model.safetensors").write_bytes(b"no weights")
    code, said = run()
    assert code == 2 and f"medvlsm: The model in {model_folder} cannot be loaded" in said and "Traceback" not in said
