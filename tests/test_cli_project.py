"""`medvlsm project`, as a person types it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.cli import main
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.projects.store import ProjectStore

SIZE = (96, 120)


def write_stones(folder, number, seed=3):
    """Scans with a bright ellipse, two of each patient, and their masks."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for part in ("scans", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(number):
        mask = ((y - rng.integers(25, 70)) / 14) ** 2 + ((x - rng.integers(25, 95)) / 20) ** 2 < 1
        pixels = rng.integers(0, 60, (*SIZE, 3)) + mask[..., None] * np.array([150, 40, 60])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "scans" / f"p{i // 2}_{i}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"p{i // 2}_{i}.png")


@pytest.fixture
def stones(tmp_path, monkeypatch):
    write_stones(tmp_path, 10)
    monkeypatch.chdir(tmp_path)
    assert main(["project", "new", "stones", "--target", "gallstone", "--title", "Stones"]) == 0
    return tmp_path


def add(*more):
    return main(["project", "add", "stones", "scans", *more])


@pytest.mark.slow
def test_from_a_folder_of_scans_to_a_trained_model(stones, capsys):
    """Ten scans of ten patients with masks, approved; two epochs of training on the export."""
    masks = ["--masks", "masks", "--target", "gallstone", "--author", "Ann", "--as", "approved"]
    assert add(*masks) == 0
    assert "Added 10 scans, 10 outlines; 5 of the scans are held out" in capsys.readouterr().out
    assert main(["project", "export", "stones", "set"]) == 0
    assert "train 4, val 1, hold-out (test) 5" in capsys.readouterr().out
    words = ["trainer.max_epochs=2", "optimizer.ema=0"]
    assert main(["train", "best/own", *words, "--data", "set", "--run", "run"]) == 0
    card = read_card(Path("run") / "model")
    assert card.metrics["test"]["gallstone"]["cases"] == 5
    assert card.data[-1].name == "Stones"


def test_groups_are_previewed_before_anything_is_added(stones, capsys):
    assert add("--group-name", "{patient}_*", "--preview") == 0
    out = capsys.readouterr().out
    assert "10 scans in 5 groups." in out and "  patient p0: p0_0.png, p0_1.png" in out
    assert main(["project", "status", "stones"]) == 0 and "0 scans" in capsys.readouterr().out
    assert add("--group-name", "{patient}_*") == 0
    with ProjectStore(stones / "stones", read_only=True) as store:
        assert store.groups() == {f"patient p{i}": 2 for i in range(5)}
        assert len({(c.group, c.split) for c in store.cases()}) == 5


def test_status_for_people_and_for_programs(stones, capsys):
    add("--masks", "masks", "--target", "gallstone")
    with ProjectStore(stones / "stones", person="Bob") as store:
        store.approve(1, "gallstone")
    capsys.readouterr()
    assert main(["project", "status", "stones", "--csv", "ledger.csv"]) == 0
    out = capsys.readouterr().out
    assert "Stones: 10 scans (train 4, val 1, hold-out 5), 0 groups" in out
    assert "gallstone: 9 submitted, 1 approved" in out and "without a model (10 outlines)" in out
    with Path("ledger.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 10
    assert main(["project", "status", "stones", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scans"] == 10 and found["targets"]["gallstone"]["states"]["submitted"] == 9
    assert found["holdout"] == {"blind": 5, "model_assisted": 0}
    assert found["effort"]["without a model"]["Dice"] == {"mean": None, "low": None, "high": None, "outlines": 0}


def test_effort_by_model_with_table_and_plot(stones, capsys):
    """Six scans outlined from the predictions of an old model, and four from a new one, which predicted all of them."""
    add()
    with ProjectStore(stones / "stones", person="Bob") as store:
        for case in store.cases():
            mask = np.zeros(case.size, bool)
            mask[20:40, 20:60] = True
            worse, shown = mask.copy(), "new" if case.id > 6 else "old"
            worse[: 24 + case.id % 3] = False
            for model, predicted in (("old", worse), ("new", mask)):
                made = new_provenance(model=model, weights_hash=model * 8)
                store.save_prediction(case.id, Annotation("gallstone", predicted, False, provenance=made))
            made = new_provenance(model=shown, weights_hash=shown * 8, author="Bob", seconds=5.0 if case.id > 6 else 20)
            start = mask if shown == "new" else worse
            store.submit(case.id, "gallstone", Annotation("gallstone", mask, True, provenance=made, prediction=start))
    capsys.readouterr()
    assert main(["project", "effort", "stones", "--csv", "lines.csv", "--plot", "effort.png"]) == 0
    out = capsys.readouterr().out
    assert "old oldoldol (6 outlines): seconds 20" in out and "new newnewne (4 outlines): seconds 5" in out
    assert "too few to tell" in out and "Each model had other scans" in out
    assert "on the same 10 scans: new newnewne came nearer" in out and "better on 10, worse on 0" in out
    with Path("lines.csv").open(encoding="utf-8") as file:
        lines = {row["version"]: row for row in csv.DictReader(file)}
    assert lines["old oldoldol"]["outlines"] == "6" and float(lines["new newnewne"]["Dice mean"]) == 1
    with Image.open("effort.png") as plot:
        assert plot.size == (1500, 675) and len(plot.convert("RGB").getcolors(2**20)) > 10
    assert main(["project", "effort", "stones", "--by", "case", "--csv", "cases.csv"]) == 0
    assert len(Path("cases.csv").read_text(encoding="utf-8").splitlines()) == 11
    assert main(["project", "effort", "stones", "--measure", "hours"]) == 2
    assert "no measure 'hours'" in capsys.readouterr().err


def test_coco_and_data_sets_come_in(stones, capsys):
    corners = [[10, 10, 50, 10, 50, 40, 10, 40]]
    content = {
        "categories": [{"id": 7, "name": "Gallstone"}],
        "images": [{"id": i, "file_name": f"p{i // 2}_{i}.png", "height": 96, "width": 120} for i in range(4)],
        "annotations": [{"image_id": i, "category_id": 7, "segmentation": corners} for i in range(3)],
    }
    Path("coco.json").write_text(json.dumps(content))
    assert add("--coco", "coco.json", "--group-name", "{patient}_*", "--as", "approved") == 0
    assert "Added 4 scans, 3 outlines" in capsys.readouterr().out
    with ProjectStore(stones / "stones", read_only=True) as store:
        assert store.groups() == {"patient p0": 2, "patient p1": 2} and "Gallstone" in store.all_targets
        assert store.current(1, "Gallstone").foreground == 40 * 30
    assert main(["project", "export", "stones", "set"]) == 0
    assert main(["project", "new", "second", "--target", "Gallstone"]) == 0
    assert main(["project", "add", "second", "--dataset", "set", "--as", "approved", "--copy"]) == 0
    assert "Added 3 scans, 3 outlines" in capsys.readouterr().out
    projects = [ProjectStore(stones / name, read_only=True) for name in ("stones", "second")]
    one, two = ({(c.group, c.split) for c in project.cases()} for project in projects)
    assert one == two and main(["project", "check", "second"]) == 0
    for project in projects:
        project.close()


def test_check_and_repair(stones, capsys):
    add("--masks", "masks", "--target", "gallstone", "--copy")
    assert main(["project", "check", "stones"]) == 0 and "nothing is wrong" in capsys.readouterr().out
    victim = next((stones / "stones" / "masks").rglob("*.tif"))
    victim.unlink()
    assert main(["project", "check", "stones"]) == 1
    out = capsys.readouterr().out
    assert "mask missing" in out and "mends 1 of them" in out and "Traceback" not in out
    assert main(["project", "repair", "stones"]) == 0 and "is lost" in capsys.readouterr().out
    assert main(["project", "check", "stones"]) == 0
    moved = next((stones / "stones" / "scans").iterdir())
    moved.rename(stones / "moved.png")
    assert main(["project", "repair", "stones"]) == 1 and "left, scan missing" in capsys.readouterr().out
    assert main(["project", "repair", "stones", "--find", "."]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new", "stones", "--target", "x"], "exists already"),
        (["new", "other"], "at least one target"),
        (["add", "stones"], "Name the scans"),
        (["add", "nowhere", "scans"], "There is no folder"),
        (["add", "scans", "scans"], "is no project"),
        (["add", "stones", "scans", "--dataset", "set"], "give --dataset alone"),
        (["add", "stones", "scans", "--group-name", "x"], "must mark one part"),
        (["add", "stones", "scans", "--group-table", "t.csv"], "Name the column"),
        (["add", "stones", "scans", "--group-name", "{a}", "--group-header", "b"], "Choose one way"),
        (["add", "stones", "scans", "--coco", "nowhere.json"], "cannot be read"),
        (["add", "stones", "scans", "--coco", "a.json", "--foreground", "1"], "goes with --masks or --dataset only"),
        (["add", "stones", "scans", "--coco", "a.json", "--target", "polyp"], "leave out --masks and --target"),
        (["add", "stones", "--dataset", "scans"], "holds no data set"),
        (["export", "stones", "out"], "nothing to export"),
        (["status", "scans"], "is no project"),
        (["effort", "stones"], "Nothing was submitted"),
        (["check", "nowhere"], "There is no folder"),
        (["repair", "scans"], "no copy of it"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(stones, capsys, arguments, words):
    before = sorted(p for p in stones.rglob("*"))
    assert main(["project", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said and len(said.strip().splitlines()) == 1
    assert sorted(p for p in stones.rglob("*")) == before


def test_a_scan_that_cannot_be_read_makes_the_code_1_and_the_others_come_in(stones, capsys):
    (stones / "scans" / "broken.png").write_bytes(b"no")
    assert add() == 1
    said = capsys.readouterr()
    assert "broken.png" in said.err and "Added 10 scans" in said.out
    assert add() == 1
    said = capsys.readouterr()
    assert said.err.count("is in the project already") == 5 and "And 5 more that are there already." in said.err
    assert said.out == "Added 0 scans.\n"


def test_no_torch_and_no_window_are_needed():
    code = (
        "import sys\nfrom napari_medvlsm.cli import project\n"
        "from napari_medvlsm.core.projects import store, check, repair, ledger, export, imports, coco, grouping\n"
        "print([m for m in ('torch', 'qtpy', 'napari', 'transformers') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"
