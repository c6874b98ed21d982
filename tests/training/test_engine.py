"""The engine's promises, kept by real runs on the CPU: one run however it is cut, one result of any processes."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from medvlsm_training.__main__ import main
from medvlsm_training.callbacks import CURVES_FILE
from medvlsm_training.checkpoints import BEST, LAST, AtomicCheckpointIO, weights_of
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items
from medvlsm_training.train import Machine, _precision, load_trained, train
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.events import Epoch, Started, Step, Stopped, read_line

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

    def run(name, *changes, **more):
        told = []
        recipe = load_recipe(disks_recipe, changes)
        train(recipe, disks, tmp_path / name, report=told.append, **more)
        return told

    return run


def start(words, **more):
    """The real command as a process of its own, as a program starts it."""
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


def until_step(process, epoch):
    """What it tells up to the first step of an epoch, which is then surely not over."""
    told = []
    for event in events(process):
        told.append(event)
        if isinstance(event, Step) and event.epoch == epoch:
            return told
    raise AssertionError(f"no step of epoch {epoch}: {told}")


def curves(run):
    with (run / CURVES_FILE).open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_same_run(one, other):
    """Curves, weights, averages and the state of optimiser and schedules."""
    assert_same_curves(one, other, 2e-5)
    for name in (BEST, LAST):
        states = [torch.load(run / name, weights_only=True) for run in (one, other)]
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            assert (part in states[0]) == (part in states[1])
            torch.testing.assert_close(*(_plain(s.get(part)) for s in states), equal_nan=True, rtol=1e-5, atol=1e-7)


def assert_same_within_rounding(one, other):
    """Curves, gradients and weights. Adam makes steps of what is but rounding as large as any, so a few may differ."""
    assert_same_curves(one, other, 2e-4)
    states = [torch.load(run / LAST, weights_only=True) for run in (one, other)]
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_however_a_run_is_ended_the_same_command_goes_on_with_it(words, disks, tmp_path, capfd):
    changes = ("trainer.max_epochs=5", "trainer.workers=1", "optimizer.schedule=cosine")
    run, whole, moved = tmp_path / "run", tmp_path / "whole", tmp_path / "moved"

    with start(words(run, *changes)) as process:
        until_step(process, 1)
        process.kill()
    assert process.returncode == -signal.SIGKILL and torch.load(run / LAST, weights_only=True)["epoch"] == 0

    with start(words(run, *changes)) as process:
        told = until_step(process, 2)
        process.terminate()
        told += events(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert_stopped(told, run, 1, 2)
    run.rename(moved)

    with start(words(moved, *changes)) as process:
        told = until_step(process, 3)
        process.stdin.close()
        told += events(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert_stopped(told, moved, 2, 3)

    with start(words(moved, *changes), stderr=subprocess.PIPE) as process:
        until_step(process, 3)
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM and "Error" not in said, said

    assert main([*words(moved, *changes), "--events"]) == 0
    assert (moved / "model" / "model_card.json").is_file()
    told = [read_line(line) for line in capfd.readouterr().out.splitlines()]
    # A closed stdout is noticed at the next event, which may be that of the epoch's end.
    assert told[1].first_epoch in (3, 4)
    assert [e.epoch for e in told if isinstance(e, Epoch)] == [*range(told[1].first_epoch, 5)]
    assert main([*words(whole, *changes), "--events", "--no-measure"]) == 0
    assert_same_run(moved, whole)


def assert_stopped(told, run, first_epoch, last_epoch):
    """It went on where the last one ended, stopped in an epoch without validating or keeping it, and said so."""
    (started,) = (e for e in told if isinstance(e, Started))
    assert started.first_epoch == first_epoch
    assert [e.epoch for e in told if isinstance(e, Epoch)] == [*range(first_epoch, last_epoch)]
    assert isinstance(told[-1], Stopped) and told[-1].reason == "asked to stop"
    assert told[-1].checkpoint == str(run / BEST) and told[-1].val_dice is not None
    assert torch.load(run / LAST, weights_only=True)["epoch"] == last_epoch - 1
    assert not [path for path in run.iterdir() if path.name.startswith(".last")]


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_a_run_in_parts_is_the_run_in_one(trained, tmp_path, model_folder, schedule):
    """Also with a schedule that listens to the validation, with dropout, and without the moving average."""
    changes = (
        f"optimizer.schedule={schedule}",
        "optimizer.plateau_patience=0",
        "optimizer.plateau_factor=0.5",
        "optimizer.learning_rate=0.1",
        "optimizer.ema=0",
        "trainer.max_epochs=4",
        "trainer.patience=3",
        f"model={{base: '{model_folder.as_posix()}', trained: lora, lora: {{rank: 2, dropout: 0.3}}}}",
    )
    trained("whole", *changes)
    for _ in range(4):
        trained("parts", *changes, minutes=1e-9)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    rate = torch.load(tmp_path / "whole" / LAST, weights_only=True)["optimizer_states"][0]["param_groups"][0]["lr"]
    assert rate < 0.1


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
    assert told[1].steps_per_epoch == first[1].steps_per_epoch == 8
    assert 0.3 < told[2].loss / first[2].loss < 3


def test_seed_alone_decides(trained, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(3)
        trained(name, f"seed={seed}", "trainer.max_epochs=1")
    a, b, c = (weights_of(tmp_path / name / BEST) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


def test_best_is_the_epoch_of_the_best_validation_dice(trained, tmp_path):
    told = trained("run", "trainer.max_epochs=5", "optimizer.learning_rate=0.02")
    dice = [e.val_dice for e in told if isinstance(e, Epoch)]
    best = max(range(5), key=dice.__getitem__)
    assert torch.load(tmp_path / "run" / BEST, weights_only=True)["epoch"] == best < 5
    assert [e.epoch for e in told if isinstance(e, Epoch) and e.best][-1] == best
    assert told[-1].val_dice == pytest.approx(dice[best], abs=1e-4)


@pytest.mark.parametrize(("least", "epochs"), [(1, 2), (3, 3)])
def test_early_stopping_stops_for_good(trained, tmp_path, least, epochs):
    changes = ("trainer.patience=1", "trainer.min_delta=2", "trainer.max_epochs=6", f"trainer.min_epochs={least}")
    told = trained("run", *changes)
    assert told[-1].reason == "early stopping" and len(curves(tmp_path / "run")) == epochs
    again = trained("run", *changes)
    assert again[-1].reason == "early stopping" and not [e for e in again if isinstance(e, Epoch)]
    assert again[-1].val_dice == told[-1].val_dice


def test_what_diverges_reaches_no_checkpoint(words, tmp_path, capfd):
    code = main([*words(tmp_path / "run", "optimizer.learning_rate=1e30", "optimizer.schedule=constant"), "--events"])
    told = [read_line(line) for line in capfd.readouterr().out.splitlines()]
    assert code == 1 and told[-1].reason == "diverged" and told[-1].checkpoint == ""
    assert "gradient is no number any more (epoch 1, step 2); try a lower learning_rate" in told[-1].sentence
    assert not [*(tmp_path / "run").glob("*.ckpt")]


def test_divergence_keeps_the_best(trained, disks, disks_recipe, tmp_path):
    trained("run", "optimizer.ema=0", minutes=1e-9)
    best, last = tmp_path / "run" / BEST, tmp_path / "run" / LAST
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


class Bomb:
    def __reduce__(self):
        raise OSError("the disk is full")


def test_a_checkpoint_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "sub" / LAST
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
    assert sorted(path.name for path in run.glob("*.ckpt")) == [BEST, LAST]
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
        assert _precision(load_recipe(disks_recipe, [f"trainer.precision={wanted}"]), Machine("cpu")) == "32-true"
    assert _precision(load_recipe(disks_recipe, ["trainer.precision=16-mixed"]), Machine("gpu")) == "16-mixed"


def test_a_run_goes_on_with_its_own_recipe_only(trained):
    trained("run", "trainer.max_epochs=1", "accept=[copy-in-two-splits]")
    for changes in (["trainer.max_epochs=2"], ["trainer.max_epochs=1", "accept=[copy-in-two-splits, missing-file]"]):
        with pytest.raises(ValueError, match="another recipe"):
            trained("run", *changes)


def test_a_run_without_an_epoch_is_no_model(tmp_path):
    with pytest.raises(ValueError, match="completed no epoch"):
        weights_of(tmp_path / BEST)


@pytest.mark.parametrize("change", ["trainer.batch_size=0", "trainer.accumulate=0", "seed=-1"])
def test_numbers_that_no_run_can_use_are_a_sentence(disks_recipe, change):
    with pytest.raises(ValueError, match="must be at least"):
        load_recipe(disks_recipe, [change])
