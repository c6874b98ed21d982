"""What a resumed run may rely on: a disk that was full, data that changed, checkpoints that name no folder."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlsm_training.__main__ import main
from medvlsm_training.callbacks.checkpoints import read_checkpoint
from medvlsm_training.command import _no_room_in_words
from medvlsm_training.fingerprint import changes, fingerprint, read_fingerprint
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.folder import BEST_FILE, DATA_FILE, LAST_FILE


def train(recipe, data, run, *words):
    return main(["train", str(recipe), *words, "--data", str(data), "--run", str(run), "--no-measure"])


@pytest.fixture
def whole(disks, disks_recipe, tmp_path):
    """A run that nothing disturbed."""
    assert train(disks_recipe, disks, tmp_path / "whole") == 0
    return tmp_path / "whole"


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_disk_without_room_ends_training_with_a_sentence_and_it_goes_on_to_the_same_end(
    whole, disks, disks_recipe, tmp_path, capsys
):
    import resource

    fresh, limits = tmp_path / "fresh", resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        assert train(disks_recipe, disks, fresh) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr()
    sentence = said.err.splitlines()[-1]
    assert "larger than this disk" in sentence and "Make room, then give the same command again" in sentence
    assert "Traceback" not in said.err + said.out
    assert not list(fresh.glob("*.ckpt")) and not list(fresh.glob(".*ckpt"))
    assert train(disks_recipe, disks, fresh) == 0
    ours, theirs = (torch.load(path / LAST_FILE, weights_only=True)["state_dict"] for path in (fresh, whole))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_a_resumed_run_says_which_of_its_data_changed(whole, disks, disks_recipe, capsys):
    folder = disks / "disks"
    kept = read_fingerprint(whole)
    assert {split: len(entries) for split, entries in kept.items()} == {"train": 8, "val": 3, "test": 2}
    text = (whole / DATA_FILE).read_text()
    assert ".png" not in text and "polyp" not in text
    assert train(disks_recipe, disks, whole) == 0, "the same data"

    def changed():
        capsys.readouterr()
        assert train(disks_recipe, disks, whole) == 2
        return capsys.readouterr().err

    def with_a_pixel(path):
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0, 0] = 255 - pixels[0, 0]
        before = path.read_bytes()
        Image.fromarray(pixels).save(path)
        return before

    mask, image = folder / "masks" / "9.png", folder / "images" / "3.png"
    before = with_a_pixel(mask)
    assert "validation split: other masks: 9.png)" in changed()
    mask.write_bytes(before)
    before = with_a_pixel(image)
    assert "training split: new or changed: 3.png; training split: 1 earlier image is not there any more" in changed()
    image.write_bytes(before)
    lists = folder / "anns"
    entries = {split: json.loads((lists / f"{split}.json").read_text()) for split in ("train", "val", "test")}
    swapped = {"train": [entries["val"][0], *entries["train"][1:]], "val": [entries["train"][0], *entries["val"][1:]]}
    for split, found in swapped.items():
        (lists / f"{split}.json").write_text(json.dumps(found))
    said = changed()
    assert "training split: from another split: 8.png" in said
    assert "validation split: from another split: 0.png" in said
    (lists / "val.json").write_text(json.dumps(entries["val"]))
    (lists / "train.json").write_text(json.dumps(entries["train"][::-1]))
    assert "training split: another order" in changed()
    spoken = [entry | {"prompts": {"p1": "lump"}} for entry in entries["train"][:4]] + entries["train"][4:]
    (lists / "train.json").write_text(json.dumps(spoken))
    assert "training split: other words: 0.png, 1.png, 2.png and 1 more)" in changed()
    (lists / "train.json").write_text(json.dumps(entries["train"]))
    assert train(disks_recipe, disks, whole) == 0, "put back"


def test_masks_that_are_read_by_another_rule_are_other_masks(disks):
    (disks / "disks" / "dataset.yaml").write_text("foreground: half\n")
    source, vocabulary = SourceConfig("disks"), load_vocabulary()
    before = fingerprint(read_source(disks, source, vocabulary))
    assert before == fingerprint(read_source(disks, source, vocabulary))
    (disks / "disks" / "dataset.yaml").write_text("foreground: dark\n")
    items = read_source(disks, source, vocabulary)
    assert changes(before, fingerprint(items), items)[0].startswith("training split: other masks: ")


def test_a_model_is_not_measured_on_data_that_changed_unless_asked_to(whole, disks, capsys):
    mask = disks / "disks" / "masks" / "12.png"
    pixels = 255 - np.asarray(Image.open(mask))
    Image.fromarray(pixels).save(mask)
    words = ["package", str(whole), "--data", str(disks)]
    assert main(words) == 2
    assert "trained with (test split: other masks: 12.png). Put them back" in capsys.readouterr().err
    assert not (whole / "model").exists()
    assert main([*words, "--changed-data"]) == 0
    assert read_card(whole / "model").training["measured_on_changed_data"] is True
    assert main(["package", str(disks), "--data", str(disks)]) == 2
    assert "holds no run; name the folder that `medvlsm train` wrote" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", [LAST_FILE, BEST_FILE])
def test_beside_a_damaged_checkpoint_the_whole_one_is_named(whole, damaged):
    (whole / damaged).write_bytes(b"")
    other = BEST_FILE if damaged == LAST_FILE else LAST_FILE
    with pytest.raises(
        ValueError, match=rf"{damaged} is damaged \(\w+.*\); .*{other} is whole: copy it to {damaged} to"
    ):
        read_checkpoint(whole / damaged)
    (whole / other).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"; delete it to begin anew\.$"):
        read_checkpoint(whole / damaged)


def test_checkpoints_hold_no_path_and_a_run_may_move(whole, disks, disks_recipe, tmp_path):
    for name in (BEST_FILE, LAST_FILE):
        raw = (whole / name).read_bytes()
        assert not [part for part in (str(tmp_path), "disks", "whole", ".png") if part.encode() in raw]
    moved = Path(shutil.move(whole, tmp_path / "moved"))
    assert train(disks_recipe, disks, moved) == 0
    states = torch.load(moved / LAST_FILE, weights_only=True)["callbacks"]
    assert states["best_checkpoint"]["best_model_path"] == BEST_FILE and states["best_checkpoint"]["dirpath"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--accelerator", "cpu", "--devices", "0"], "devices must be at least 1, but is 0."),
        (["--accelerator", "tpu"], "accelerator must be one of auto, cpu, gpu, cuda, mps, but is 'tpu'."),
        (["--minutes", "-1"], "The minutes of a training must be more than 0, but are -1."),
        (["trainer.batch_size=99"], "leaves unfinished batches out; set trainer.batch_size=16"),
    ],
)
def test_what_this_computer_cannot_do_is_a_sentence(disks, disks_recipe, tmp_path, capsys, words, said):
    assert train(disks_recipe, disks, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1] and "Traceback" not in error


def test_too_little_memory_is_a_sentence_whoever_says_so(tmp_path):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")):
        with pytest.raises(ValueError, match="memory of this computer does not suffice"), _no_room_in_words(tmp_path):
            raise error
    with pytest.raises(RuntimeError, match="something else"), _no_room_in_words(tmp_path):
        raise RuntimeError("something else")
