"""A run's contract without torch: folders of this and of earlier versions, and what starting one comes down to."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from napari_medvlsm.core.calibration import Calibration
from napari_medvlsm.core.renamed_keys import with_current_metrics
from napari_medvlsm.core.runs import start
from napari_medvlsm.core.runs.comparison import compare, pair_up
from napari_medvlsm.core.runs.events import Epoch, Failed, Stopped, read_line
from napari_medvlsm.core.runs.folder import CURVES_FILE, ENVIRONMENT_FILE, Run
from napari_medvlsm.core.runs.results import About, MeasuredSet, find_results, read_results, write_results
from napari_medvlsm.core.runs.scores import Measurements, Score, false_positive_rate, read_scores
from napari_medvlsm.core.runs.start import RunProcess, start_run

MODULES = ("events", "start", "folder", "prompt_kinds", "scores", "summary", "results", "comparison")
HEAVY = ("torch", "torchvision", "lightning", "monai", "transformers", "open_clip", "timm", "medvlsm_training")
ABOUT = About(
    **dict.fromkeys(("model", "title", "family", "weights", "threshold_from"), "a"),
    **dict.fromkeys(("software", "torch", "device", "precision"), "1"),
    **{"wording": "upstream", "trained_on": ("busi",), "threshold": 0.5, "tolerance": 2.0, "seed": 0},
)
SCORE = Score(
    **dict.fromkeys(("split", "image", "target", "level", "prompt"), "a"),
    **{
        "set": "busi",
        "case": "1",
        "wording": "upstream",
        "group": "1",
        "kind": "class",
        "size": "original",
        "unit": "px",
        "present": True,
    },
    **dict.fromkeys(("dice", "iou", "precision", "recall", "hd95", "nsd"), 0.5),
    predicted_fraction=0.1,
)


def write(folder, dice=(0.5, 0.7)):
    folder.mkdir(parents=True)
    scores = [replace(SCORE, case=str(i), group=str(i), dice=value) for i, value in enumerate(dice)]
    scores.append(replace(SCORE, case="n", group="n", present=False, dice=0.0, hd95=float("nan")))
    measured = Measurements(scores, {("busi", "class", "a", "original"): Calibration()})
    return write_results(folder, ABOUT, {"busi": MeasuredSet("test", "cd" * 32, len(scores), 0, "image")}, measured)


def as_written_by_earlier_versions(path):
    text = path.read_text("utf-8")
    for today, before in (
        ("any_false_positive_rate", "absent_any"),
        ("false_positive_rate", "absent_drawn"),
        ("predicted_fraction", "drawn_fraction"),
        ("upstream", "release"),
    ):
        text = text.replace(today, before)
    path.write_text(text, "utf-8")


@pytest.mark.parametrize(
    "module", [*(f"core.runs.{name}" for name in MODULES), "core.renamed_keys", "core.datasets.check"]
)
def test_the_window_may_import_it(module):
    code = f"import sys, napari_medvlsm.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_come_back_as_they_were_written(tmp_path):
    written = write(tmp_path / "a")
    found = read_results(tmp_path / "a")
    assert (found.about, found.sets, found.rows) == (written.about, written.sets, written.rows)
    assert found.rows[0]["false_positive_rate"] == 1.0 == false_positive_rate(read_scores(tmp_path / "a")[-1:])
    assert find_results([tmp_path]) == [tmp_path / "a"] == find_results(iter([tmp_path / "a"]))


def test_results_of_earlier_versions_are_read(tmp_path):
    today, before = write(tmp_path / "today"), write(tmp_path / "before")
    for name in ("summary.json", "cases.csv"):
        as_written_by_earlier_versions(tmp_path / "before" / name)
    assert "absent_drawn" in (tmp_path / "before" / "summary.json").read_text()
    assert ",release," in (tmp_path / "before" / "cases.csv").read_text()
    found = read_results(tmp_path / "before")
    assert found.rows == today.rows == before.rows and found.about == ABOUT
    assert [repr(s) for s in read_scores(tmp_path / "before")] == [repr(s) for s in read_scores(tmp_path / "today")]


def test_metrics_of_earlier_model_cards_are_read():
    rows = [{"absent_drawn": 0.25, "absent_any": 0.5, "dice": {"mean": 0.5}}]
    old = {"test": {"polyp": {"absent_drawn": 0.25}}, "rows": rows, "test_absent": {"cases": 4, "drawn": 0.5}}
    found = with_current_metrics(old)
    assert found["test"] == {"polyp": {"false_positive_rate": 0.25}} == with_current_metrics(found)["test"]
    assert found["rows"][0].keys() == {"false_positive_rate", "any_false_positive_rate", "dice"}
    assert found["test_absent"] == {"cases": 4, "false_positive_rate": 0.5}


def test_two_results_are_compared_case_by_case(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", dice=(0.6, 0.9))
    (row,) = compare(pair_up(tmp_path / "a", tmp_path / "b"))
    assert row.found.difference.mean == pytest.approx(0.1) and (row.found.wins, row.found.ties) == (2, 1)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"about": {}}'])
def test_a_damaged_folder_is_a_sentence(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ValueError, match="holds no results"):
        read_results(tmp_path)


# The folder of a run -------------------------------------------------------------------------------------------------


def test_a_run_that_has_not_begun_holds_nothing(tmp_path):
    run = Run(tmp_path / "run")
    nothing = (run.recipe, run.best_checkpoint, run.last_checkpoint, run.model, run.report, run.test_results())
    assert set(nothing) == {None} and run.epochs() == [] and run.environment() == {}


def test_what_a_run_left_is_found(tmp_path):
    run = Run(tmp_path)
    for name in ("recipe.yaml", "best.ckpt", "last.ckpt", "report.html", "model/model_card.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ENVIRONMENT_FILE).write_text('{"cores": 2}')
    write(tmp_path / "test")
    names = [path.name for path in (run.recipe, run.best_checkpoint, run.last_checkpoint, run.report, run.model)]
    assert names == ["recipe.yaml", "best.ckpt", "last.ckpt", "report.html", "model"]
    assert run.test_results().about == ABOUT and run.environment() == {"cores": 2}


@pytest.mark.parametrize("column", ["val_false_positive_rate", "val_absent_drawn"])
def test_curves_are_read_also_those_of_earlier_versions(tmp_path, column):
    head = f"epoch,epochs,train_loss,val_loss,val_dice,{column},best,seconds"
    (tmp_path / CURVES_FILE).write_text(f"{head}\n0,2,0.5,0.25,,0.125,True,1.5\n")
    assert Run(tmp_path).epochs() == [Epoch(0, 2, 0.5, 0.25, None, 0.125, True, 1.5, 0.0)]


def test_damaged_curves_are_a_sentence(tmp_path):
    (tmp_path / CURVES_FILE).write_text("epoch,epochs\n0,x\n")
    with pytest.raises(ValueError, match="cannot be read as the epochs"):
        Run(tmp_path).epochs()


def test_events_of_earlier_versions_are_read():
    now = Epoch(0, 2, 0.5, 0.25, None, 0.125, True, 1.5, 0.0)
    assert read_line(now.line().replace("val_false_positive_rate", "val_absent_drawn")) == now


@pytest.mark.parametrize("line", ['{"event": "saved", "fol', "Traceback", '{"event": "saved", "folder": "a"}', "3", ""])
def test_lines_that_are_not_whole_are_no_events(line):
    assert read_line(line) is None


# Starting ------------------------------------------------------------------------------------------------------------


def stopped(reason, sentence):
    return Stopped(reason, sentence, "", None).line()


@pytest.mark.parametrize(
    ("code", "lines", "sentence"),
    [
        (0, [stopped("finished", "All 2 epochs are done.")], "All 2 epochs are done."),
        (3, [stopped("diverged", "It diverged; x.")], "It diverged; x."),
        (143, ["noise", stopped("asked to stop", "Stopped when asked to.")], "Stopped when asked to."),
        (2, [Failed("There is no folder.").line()], "There is no folder."),
        (-9, [stopped("finished", "Done.")], "The training stopped unexpectedly. It was ended by SIGKILL, which"),
        (1, [], "The training stopped unexpectedly. ImportError: b"),
    ],
)
def test_the_end_of_a_run_in_words(child, code, lines, sentence):
    script = f"""
import os, sys
for line in {lines!r}:
    print(line, flush=True)
print("a\\nImportError: b", file=sys.stderr, flush=True)
os.kill(os.getpid(), {-code}) if {code} < 0 else os._exit({code})
"""
    with RunProcess(Run(Path("run")), child(script)) as process:
        events = list(process.events())
        end = process.end()
    assert end.sentence.startswith(sentence) and end.code == code and end.done == (code == 0)
    assert len(events) == len([line for line in lines if line.startswith("{")])


VALUES = {
    "a.b": 1e-5,
    "c": "no",
    "d": [1, "x: y"],
    "e": None,
    "f": True,
    "g": "ü" * 200 + " " + "v" * 90,
    "h": {"i": 2},
}


def test_a_request_becomes_the_command_line(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(start, "ChildProcess", lambda module, arguments, **_: seen.append((module, arguments)))
    recipe = {"name": "größe", "sources": ["x"], "trainer": {"max_epochs": 2}}
    start_run(recipe, Path("data"), tmp_path / "run", VALUES, accept=["empty-mask", "b"], minutes=1.5, measure=False)
    start_run("best/own", Path("data"), tmp_path / "run")
    (module, first), (_, second) = seen
    assert module == "medvlsm_training" and first[0] == "train" and first[-1] == "--events"
    assert yaml.safe_load(Path(first[1]).read_text("utf-8")) == recipe
    words = dict(word.split("=", 1) for word in first[2 : 2 + len(VALUES)])
    assert {key: yaml.safe_load(text) for key, text in words.items()} == VALUES
    assert not any("\n" in word for word in first)
    ends = " ".join(first[2 + len(VALUES) :])
    assert "--accept empty-mask --accept b --minutes 1.5 --no-measure" in ends and "--accelerator auto" in ends
    assert second[:2] == ["train", "best/own"] and "--no-measure" not in second and "--minutes" not in second


def test_json_has_no_nan():
    assert json.loads(Epoch(0, 1, float("nan"), float("inf"), None, None, True, 1.0, 0.0).line())["val_loss"] is None
