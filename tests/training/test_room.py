"""Room on the disk and in shared memory before a training; damaged checkpoints, and workers that fail, in words."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medvlsm_training import room
from medvlsm_training.callbacks.checkpoints import model_weights, read_checkpoint
from medvlsm_training.data import Sample
from medvlsm_training.recipes import load_recipe
from medvlsm_training.room import require_room, workers_that_fit
from medvlsm_training.sources import read_items
from medvlsm_training.train import worker_failure
from napari_medvlsm.cli import main
from napari_medvlsm.core.io import atomic
from napari_medvlsm.core.prompts import load_vocabulary


def sample(side=32):
    return Sample(torch.zeros(3, side, side), ("polyp",), torch.zeros(1, side, side))


@pytest.fixture
def two_workers(disks_recipe, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    recipe = load_recipe(disks_recipe)
    return replace(recipe, trainer=replace(recipe.trainer, workers=2))


def with_free(monkeypatch, size):
    for module in (atomic, room):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=size))


def test_small_shared_memory_leaves_no_workers_and_says_so(two_workers, tmp_path, monkeypatch, caplog):
    # 4 images of 4 planes of 32 x 32 numbers, 3 batches, twice for what varies and twice for two loaders.
    needed = 2 * 2 * 3 * 4 * 2 * (4 * 32 * 32 * 4)
    with_free(monkeypatch, needed)
    assert workers_that_fit(two_workers, sample(), tmp_path) == 2 and not caplog.messages
    with_free(monkeypatch, needed - 1)
    assert workers_that_fit(two_workers, sample(), tmp_path) == 0
    assert "read without workers" in caplog.text and "--shm-size" in caplog.text
    assert workers_that_fit(two_workers, sample(), tmp_path / "none") == 2  # as on other systems


def test_the_disk_is_looked_at_before_training(two_workers, tmp_path, monkeypatch):
    model = torch.nn.Linear(1000, 1000)
    with_free(monkeypatch, 10**8)
    require_room(tmp_path, model, two_workers)
    with_free(monkeypatch, 10**7)
    with pytest.raises(ValueError, match=r"MB are needed in .*, but only 10 MB are free; make room"):
        require_room(tmp_path, model, two_workers)


def test_room_is_asked_for_the_base_that_is_kept(tmp_path, monkeypatch):
    sizes, model = [], torch.nn.Linear(1000, 999)
    monkeypatch.setattr(room, "require_space", lambda _, size: sizes.append(size))
    own = load_recipe("best/own")
    for keep_base in (False, True):
        require_room(tmp_path, model, replace(own, model=replace(own.model, keep_base=keep_base)))
    assert sizes[1] - sizes[0] == 4 * (1000 * 999 + 999)


@pytest.fixture
def checkpoints(tmp_path):
    for name in ("best.ckpt", "last.ckpt"):
        torch.save({"epoch": 4, "state_dict": {"model.weight": torch.ones(2)}}, tmp_path / name)
    return tmp_path


def test_a_damaged_checkpoint_says_what_else_there_is(checkpoints):
    last, best = checkpoints / "last.ckpt", checkpoints / "best.ckpt"
    assert read_checkpoint(last)["epoch"] == 4 and model_weights(best)["weight"].tolist() == [1, 1]
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(
        ValueError, match=r"last\.ckpt is damaged .*best\.ckpt is whole: copy it to last\.ckpt .* epoch 5"
    ):
        read_checkpoint(last)
    best.write_bytes(b"")
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged .*; delete it to begin anew") as error:
        read_checkpoint(last)
    assert "whole" not in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"best\.ckpt is damaged"):
        model_weights(best)
    torch.save([1], last)
    with pytest.raises(ValueError, match="it holds no epoch"):
        read_checkpoint(last)


class Failing(Dataset):
    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if self.how == "dies":
            os._exit(9)
        raise {"refuses": ValueError("x.png is broken."), "fails": KeyError("x")}[self.how]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("refuses", r"^x\.png is broken\.$"),
        ("fails", r"^The data cannot be read: KeyError: 'x'$"),
        ("dies", r"A process that reads the data .*trainer\.workers=0"),
    ],
)
def test_what_a_worker_met_is_one_sentence(how, words):
    with pytest.raises((ValueError, KeyError, RuntimeError)) as error:
        next(iter(DataLoader(Failing(how), num_workers=1)))
    failure = worker_failure(error.value)
    assert failure is not None and failure.args and "\n" not in str(failure)
    with pytest.raises(ValueError, match=words):
        raise failure
    assert worker_failure(RuntimeError("shapes differ")) is None


def test_a_damaged_last_checkpoint_ends_a_training_with_its_sentence(disks, disks_recipe, tmp_path, capsys):
    arguments = ["train", str(disks_recipe), "--data", str(disks), "--run", str(tmp_path / "run"), "--no-measure"]
    assert main([*arguments, "trainer.max_epochs=1"]) == 0
    (tmp_path / "run" / "last.ckpt").write_bytes(b"PK\3\4" + bytes(1000))
    capsys.readouterr()
    assert main([*arguments, "trainer.max_epochs=1"]) == 2
    said = capsys.readouterr().err
    assert "best.ckpt is whole" in said and "Traceback" not in said


def test_the_data_are_checked_before_an_evaluation(disks, tmp_path, capsys):
    from PIL import Image

    folder = disks / "disks"
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "masks" / "11.png")
    arguments = ["evaluate", str(folder), "--target", "polyp", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "Measuring on disks would mislead: masks of another size than their image: 1 (size-mismatch)" in said
    assert not (tmp_path / "out").exists()


def test_unknown_targets_name_the_nearest(disks, disks_recipe, tmp_path, capsys, caplog):
    arguments = ["evaluate", str(disks / "disks"), "--target", "polip", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "No case of disks shows 'polip'; its masks show polyp. Did you mean 'polyp'?" in capsys.readouterr().err
    recipe = load_recipe(disks_recipe, ["sources=[{folder: disks, target: polip}]"])
    read_items(recipe, disks, load_vocabulary())
    assert "does not have the target 'polip'; is 'polyp' meant?" in caplog.text
