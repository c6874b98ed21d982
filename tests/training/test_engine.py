"""The engine's promises, kept by real runs on the CPU: one run however it is cut, one result of any processes."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock

from medvlsm_training.__main__ import main
from medvlsm_training.callbacks.checkpoints import AtomicCheckpointIO, model_weights
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items
from medvlsm_training.stopping import StopRequests
from medvlsm_training.train import load_trained, train
from medvlsm_training.trainer import Machine, precision
from napari_medvlsm.core.exit_codes import ExitCode
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.events import Checked, Epoch, Started, Step, Stopped, ignore_event, read_line
from napari_medvlsm.core.runs.folder import BEST_FILE, CURVES_FILE, LAST_FILE, Run
from napari_medvlsm.core.runs.start import start_run

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def words(disks, disks_recipe):
    """The command line of a run in a folder, with changes of the recipe."""

    def made(run, *changes):
        return ["train", str(disks_recipe), *changes, "--data", str(disks), "--run", str(run), "--accelerator", "cpu"]

    return made


@pytest.fixture
def trained(disks, disks_recipe, tmp_path):
    """Train in this process; gives what was told."""

    def run(name, *changes, also=ignore_event, **more):
        told = []

        def report(event):
            told.append(event)
            also(event)

        train(load_recipe(disks_recipe, changes), disks, tmp_path / name, report=report, **more)
        return told

    return run


def start(words, **more):
    """The real command as a process of its own, as a shell starts it."""
    paths = [str(REPOSITORY), str(REPOSITORY / "training"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "medvlsm_training", *words, "--events"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )


def events(process):
    """Its events; a line that is none fails."""
    for line in process.stdout:
        event = read_line(line)
        assert event is not None, line
        yield event


def until_second_epoch(found):
    """What a run reports up to the first step of its second epoch: there is a checkpoint then."""
    told = []
    for event in found:
        told.append(event)
        if isinstance(event, Step) and event.epoch == 1:
            return told
    raise AssertionError(f"no second epoch: {told}")


def curves(run):
    with (run / CURVES_FILE).open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_same_run(one, other):
    """Curves, weights, averages and the state of optimiser and schedules."""
    assert_same_curves(one, other, 2e-5)
    for name in (BEST_FILE, LAST_FILE):
        states = [torch.load(run / name, weights_only=True) for run in (one, other)]
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            assert (part in states[0]) == (part in states[1])
            torch.testing.assert_close(*(_plain(s.get(part)) for s in states), equal_nan=True, rtol=1e-5, atol=1e-7)


def assert_same_within_rounding(one, other):
    """Curves, gradients and weights. Adam makes steps of what is but rounding as large as any, so a few may differ."""
    assert_same_curves(one, other, 2e-4)
    states = [torch.load(run / LAST_FILE, weights_only=True) for run in (one, other)]
    gradients = [s["optimizer_states"][0]["state"] for s in states]
    for a, b in ((gradients[0][k]["exp_avg"], gradients[1][k]["exp_avg"]) for k in gradients[0]):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3 * float(a.abs().max()) + 1e-7)
    for part in ("state_dict", "current_model_state"):
        apart = torch.cat([(v.float() - states[1][part][k]).abs().flatten() for k, v in states[0][part].items()])
        assert apart.numel() > 100_000 and (apart > 1e-5).float().mean() < 0.01


def assert_same_curves(one, other, within):
    a, b = curves(one), curves(other)
    assert [r["epoch"] for r in a] == [r["epoch"] for r in b] and [r["best"] for r in a] == [r["best"] for r in b]
    for key in ("train_loss", "val_loss", "val_dice", "val_false_positive_rate"):
        values = [[float(row[key] or "nan") for row in rows] for rows in (a, b)]
        assert values[0] == pytest.approx(values[1], abs=within, nan_ok=True), key


def _plain(state):
    """Without what no comparison knows."""
    if isinstance(state, dict):
        return {k: _plain(v) for k, v in state.items() if v is not None and not isinstance(v, str)}
    return [_plain(v) for v in state] if isinstance(state, list | tuple) else state


def test_a_run_that_is_stopped_within_epochs_is_the_run_in_one(trained, tmp_path):
    """Twice, and moved to another folder meanwhile."""
    changes = ("trainer.max_epochs=3", "trainer.workers=1", "optimizer.schedule=cosine")
    run, whole, moved = tmp_path / "run", tmp_path / "whole", tmp_path / "moved"
    for epoch in (1, 2):
        requests = StopRequests()

        def stop(event, requests=requests, epoch=epoch):
            if isinstance(event, Step) and event.epoch == epoch:
                requests.request()

        told = trained(run.name, *changes, requests=requests, also=stop)
        assert_stopped(told, run, epoch - 1, epoch)
        if epoch == 1:
            run.rename(moved)
            run = moved
    told = trained(moved.name, *changes)
    assert [e.epoch for e in told if isinstance(e, Epoch)] == [2] and told[-1].reason == "finished"
    trained(whole.name, *changes)
    assert_same_run(moved, whole)


def assert_stopped(told, run, first_epoch, last_epoch):
    """It went on where the last one ended, stopped in an epoch without validating or keeping it, and said so."""
    (started,) = (e for e in told if isinstance(e, Started))
    assert started.first_epoch == first_epoch
    assert [e.epoch for e in told if isinstance(e, Epoch)] == [*range(first_epoch, last_epoch)]
    assert_ended_where_it_says(told, run)


def assert_ended_where_it_says(told, run):
    """Asked to stop, it reported so, and its last checkpoint is of the last epoch that it reported."""
    last = [e.epoch for e in told if isinstance(e, Epoch)][-1]
    assert isinstance(told[-1], Stopped) and told[-1].reason == "asked to stop"
    assert told[-1].checkpoint == str(run / BEST_FILE) and told[-1].val_dice is not None
    assert torch.load(run / LAST_FILE, weights_only=True)["epoch"] == last
    assert not [path for path in run.iterdir() if path.name.startswith(".last")]


# So many that no run here comes to its end by itself.
ENDLESS = "trainer.max_epochs=100000"


def test_the_window_starts_follows_and_stops_a_run(disks, disks_recipe, tmp_path, monkeypatch):
    """As a process of its own, whose events come typed and whose end comes in words."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")
    run = tmp_path / "run"
    recipe = yaml.safe_load(disks_recipe.read_text())
    with start_run(recipe, disks, run, {"trainer.max_epochs": 100_000}, accelerator="cpu") as process:
        found = process.events()
        told = until_second_epoch(found)
        process.ask_to_stop()
        told += found
        end = process.end()
    assert type(told[0]) is Checked and type(told[1]) is Started and told[1].epochs == 100_000
    assert_ended_where_it_says(told, run)
    assert not end.done and end.sentence == told[-1].sentence
    # Windows has no signals: there the end of stdin is the request.
    assert end.code == 128 + signal.SIGTERM
    assert [e.epoch for e in Run(run).epochs()] == [e.epoch for e in told if isinstance(e, Epoch)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_run_that_is_killed_leaves_a_checkpoint(words, tmp_path):
    run = tmp_path / "run"
    with start(words(run, ENDLESS)) as process:
        until_second_epoch(events(process))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert all("epoch" in torch.load(run / name, weights_only=True) for name in (BEST_FILE, LAST_FILE))


@pytest.mark.slow
def test_a_run_whose_events_nobody_reads_stops(words, tmp_path):
    with start(words(tmp_path / "run", ENDLESS), stderr=subprocess.PIPE) as process:
        until_second_epoch(events(process))
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM and "Error" not in said, said


def test_a_run_in_parts_is_the_run_in_one(trained, tmp_path, model_folder, monkeypatch):
    """With a schedule that listens to the validation, with dropout, and without the moving average."""
    monkeypatch.setattr(torch.optim.lr_scheduler, "ReduceLROnPlateau", NothingIsBetter)
    changes = (
        "optimizer.schedule=plateau",
        "optimizer.plateau_patience=0",
        "optimizer.plateau_factor=0.5",
        "optimizer.learning_rate=0.01",
        "optimizer.ema=0",
        "trainer.max_epochs=3",
        "trainer.patience=3",
        f"model={{base: '{model_folder.as_posix()}', trained: lora, lora: {{rank: 2, dropout: 0.3}}}}",
    )
    trained("whole", *changes)
    for _ in range(3):
        trained("parts", *changes, minutes=1e-9)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    rate = torch.load(tmp_path / "whole" / LAST_FILE, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]
    assert rate == 0.01 * 0.5**2


class NothingIsBetter(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Sees a plateau in every epoch after the first: a real one would depend on the rounding of the processor."""

    def step(self, metrics, epoch=None):
        assert 0 < float(metrics) < 100
        super().step(1.0 + self.last_epoch)


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(words, trained, tmp_path):
    """In two rounds, which both processes end together. Of the three images of validation one is seen by both, and
    counted once.
    """
    changes = ("optimizer.schedule=plateau", "optimizer.learning_rate=0.0003")
    two = [*words(tmp_path / "two", "trainer.batch_size=2", *changes), "--devices", "2", "--no-measure"]
    for epoch, (limit, reason) in enumerate(((["--minutes", "1e-9"], "time is up"), ([], "finished"))):
        with start([*two, *limit]) as process:
            told = list(events(process))
        assert process.returncode == 0 and told[1].processes == 2 and told[-1].reason == reason
        assert [e.epoch for e in told if isinstance(e, Epoch)] == [epoch]
    trained("one", *changes)
    assert_same_within_rounding(tmp_path / "two", tmp_path / "one")


def test_accumulated_batches_are_one_of_their_sum(trained, tmp_path):
    slow = "optimizer.learning_rate=0.0003"
    told = trained("parts", slow, "trainer.batch_size=2", "trainer.accumulate=2")
    first = trained("whole", slow)
    assert_same_within_rounding(tmp_path / "parts", tmp_path / "whole")
    assert told[1].steps_per_epoch == first[1].steps_per_epoch == 4
    assert 0.3 < told[2].loss / first[2].loss < 3


def test_seed_alone_decides(trained, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(3)
        trained(name, f"seed={seed}", "trainer.max_epochs=1")
    a, b, c = (model_weights(tmp_path / name / BEST_FILE) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


def test_best_is_the_epoch_of_the_best_validation_dice(trained, tmp_path):
    told = trained("run", "trainer.max_epochs=5", "optimizer.learning_rate=0.02")
    epochs = [e for e in told if isinstance(e, Epoch)]
    best = [e for e in epochs if e.best][-1]
    assert torch.load(tmp_path / "run" / BEST_FILE, weights_only=True)["epoch"] == best.epoch
    assert len(epochs) == 5 and best.val_dice == max(e.val_dice for e in epochs)
    assert told[-1].val_dice == pytest.approx(best.val_dice, abs=1e-4)


@pytest.mark.parametrize(("least", "epochs"), [(1, 2), (3, 3)])
def test_early_stopping_stops_for_good(trained, tmp_path, least, epochs):
    changes = ("trainer.patience=1", "trainer.min_delta=1", "trainer.max_epochs=6", f"trainer.min_epochs={least}")
    told = trained("run", *changes)
    assert told[-1].reason == "early stopping" and len(curves(tmp_path / "run")) == epochs
    again = trained("run", *changes)
    assert again[-1].reason == "early stopping" and not [e for e in again if isinstance(e, Epoch)]
    assert again[-1].val_dice == told[-1].val_dice


class TooFast(torch.optim.AdamW):
    """At a rate that a recipe refuses."""

    def __init__(self, groups, **options):
        super().__init__([group | {"lr": 1e30} for group in groups], **options)


def test_what_diverges_reaches_no_checkpoint(words, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(torch.optim, "AdamW", TooFast)
    code = main([*words(tmp_path / "run", "optimizer.schedule=constant"), "--events"])
    told = [read_line(line) for line in capfd.readouterr().out.splitlines()]
    assert code == ExitCode.DIVERGED and told[-1].reason == "diverged" and told[-1].checkpoint == ""
    assert re.search(r"gradient became (nan|inf) \(epoch 1, step 2\); try a lower learning_rate", told[-1].sentence)
    assert not [*(tmp_path / "run").glob("*.ckpt")]


def test_divergence_keeps_the_best(trained, disks, disks_recipe, tmp_path):
    trained("run", "optimizer.ema=0", minutes=1e-9)
    best, last = tmp_path / "run" / BEST_FILE, tmp_path / "run" / LAST_FILE
    state = torch.load(last, weights_only=True)
    next(v for k, v in state["state_dict"].items() if "film" in k and v.ndim > 1)[:] = float("nan")
    torch.save(state, last)
    before = best.read_bytes(), last.read_bytes()
    told = trained("run", "optimizer.ema=0")
    assert told[-1].reason == "diverged" and told[-1].checkpoint == str(best)
    assert (best.read_bytes(), last.read_bytes()) == before
    recipe = load_recipe(disks_recipe, ["optimizer.ema=0"])
    model = load_trained(best, recipe, read_items(recipe, disks, load_vocabulary()), load_vocabulary())
    assert all(p.isfinite().all() for p in model.parameters())


def test_a_checkpoint_of_an_earlier_version_is_resumed(trained, tmp_path):
    """Its callbacks kept their states under the names of their classes then."""
    kept = "Kept{{'monitor': {}, 'mode': 'max', 'every_n_train_steps': 0}}"
    names = {
        "best_checkpoint": kept.format("'val/dice'"),
        "last_checkpoint": kept.format("None"),
        "early_stopping": "Patience{'monitor': 'val/dice', 'mode': 'max'}",
        "progress": "Progress",
        "weight_average": "TrainedAverage",
    }
    changes = ("trainer.max_epochs=2", "trainer.patience=5")
    for run in ("today", "before"):
        trained(run, *changes, minutes=1e-9)
    last = tmp_path / "before" / LAST_FILE
    state = torch.load(last, weights_only=True)
    assert state["callbacks"].keys() == names.keys()
    state["callbacks"] = {names[key]: value for key, value in state["callbacks"].items()}
    (row,) = state["callbacks"]["Progress"]["history"]
    row["val_absent_drawn"] = row.pop("val_false_positive_rate")
    torch.save(state, last)
    for run in ("today", "before"):
        trained(run, *changes)
    assert_same_run(tmp_path / "today", tmp_path / "before")


class Bomb:
    def __reduce__(self):
        raise OSError("the disk is full")


def test_a_checkpoint_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "sub" / LAST_FILE
    checkpoints = AtomicCheckpointIO()
    checkpoints.save_checkpoint({"weights": torch.ones(5)}, path)
    with pytest.raises(OSError, match="full"):
        checkpoints.save_checkpoint({"weights": torch.zeros(10**6), "then": Bomb()}, path)
    assert torch.load(path, weights_only=True)["weights"].tolist() == [1] * 5
    assert [*path.parent.iterdir()] == [path]


def test_a_request_while_the_model_is_measured_leaves_no_half_folder(words, tmp_path, monkeypatch, capfd):
    import medvlsm_training.package as package

    # As if it came when the first scan is read again.
    monkeypatch.setattr(package, "load_trained", lambda *a: signal.raise_signal(signal.SIGINT))
    assert main([*words(tmp_path / "run", "trainer.max_epochs=1"), "--events"]) == 130
    told = [read_line(line) for line in capfd.readouterr().out.splitlines()]
    assert [e.reason for e in told if isinstance(e, Stopped)] == ["finished", "asked to stop"]
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"best.ckpt", "last.ckpt", "recipe.yaml", "curves.csv"}
    assert not [p for p in (tmp_path / "run").iterdir() if p.is_dir()]


def test_a_folder_has_one_run_at_a_time_and_no_half_checkpoints(words, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".last-x1.ckpt").write_bytes(b"half")
    with FileLock(run / ".lock"):
        assert main([*words(run, "trainer.max_epochs=1"), "--no-measure"]) == 2
    assert "is in use by another run" in capsys.readouterr().err
    assert main([*words(run, "trainer.max_epochs=1"), "--no-measure"]) == 0
    assert sorted(path.name for path in run.glob("*.ckpt")) == [BEST_FILE, LAST_FILE]
    assert capsys.readouterr().out.splitlines()[-1] == "All 1 epochs are done."
    with FileLock(run / ".lock"):
        assert main(["package", str(run), "--data", str(tmp_path)]) == 2
    assert "is in use by another run" in capsys.readouterr().err


def test_devices_that_are_not_there_are_a_sentence(trained):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="This machine has no such devices"):
        trained("run", machine=Machine("cuda"))


def test_a_cpu_that_was_asked_for_computes_in_float32_beside_a_gpu(disks_recipe, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for wanted in ("auto", "16-mixed"):
        assert precision(load_recipe(disks_recipe, [f"trainer.precision={wanted}"]), Machine("cpu")) == "32-true"
    assert precision(load_recipe(disks_recipe, ["trainer.precision=16-mixed"]), Machine("gpu")) == "16-mixed"


def test_a_run_goes_on_with_its_own_recipe_only(trained):
    trained("run", "trainer.max_epochs=1", "accept=[copy-in-two-splits]")
    for changes in (["trainer.max_epochs=2"], ["trainer.max_epochs=1", "accept=[copy-in-two-splits, missing-file]"]):
        with pytest.raises(ValueError, match="another recipe"):
            trained("run", *changes)


def test_a_run_without_an_epoch_is_no_model(tmp_path):
    with pytest.raises(ValueError, match="completed no epoch"):
        model_weights(tmp_path / BEST_FILE)
