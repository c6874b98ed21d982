"""Replay: earlier scans beside the new ones."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medvlsm_training.config import AugmentationConfig, CacheConfig, ModelConfig, PromptConfig, ReplayConfig
from medvlsm_training.data import PromptedImages
from medvlsm_training.prompting import Prompter
from medvlsm_training.recipes import load_recipe
from medvlsm_training.replay import read_replay
from medvlsm_training.sources import read_items
from medvlsm_training.train import train
from napari_medvlsm.core.datasets.check import check_items
from napari_medvlsm.core.datasets.info import read_info
from napari_medvlsm.core.datasets.reader import read_items as read_listed
from napari_medvlsm.core.datasets.reader import with_info
from napari_medvlsm.core.datasets.replay import shipped_replay
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.models.store.registry import STARTER, find_model
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.events import Started
from tests.training.builders import disk, write_set

VOCABULARY = load_vocabulary()


class Input:
    image_size, mean, std = 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@pytest.fixture
def earlier(tmp_path):
    """Another set of 5 training and 1 validation images."""
    rng = np.random.default_rng(8)
    write_set(tmp_path / "earlier", {"train": range(5), "val": range(5, 6)}, lambda _: disk(rng), {"p1": "polyp"})
    return tmp_path / "earlier"


def with_replay(disks_recipe, *folders, share=0.25):
    return replace(load_recipe(disks_recipe), replay=ReplayConfig(share, tuple(map(str, folders))))


def test_the_shipped_scans_may_be_passed_on_and_are_sound():
    targets = set()
    for folder in shipped_replay():
        assert read_info(folder).licence == "CC0"
        source = with_info(folder, SourceConfig("."))
        items = {split: read_listed(folder, source, split, VOCABULARY).items for split in ("train", "val")}
        assert (len(items["train"]), len(items["val"])) == (24, 12)
        check_items(folder.name, items).refuse(())
        for item in (item for found in items.values() for item in found):
            ((target, mask),) = item.masks.items()
            assert mask.load().shape == item.load_image().shape[:2] and max(mask.load().shape) <= 256
            targets.add(target)
    assert targets == {"breast tumor", "cell nuclei"} <= {*find_model(STARTER).card.targets}


def test_every_epoch_shows_its_share_and_all_get_their_turn(disks, disks_recipe, earlier):
    recipe = with_replay(disks_recipe, earlier, share=0.2)
    items = read_items(recipe, disks, VOCABULARY)["train"]
    replayed = read_replay(recipe, disks, {"train": items})
    assert len(items) == 8 and len(replayed) == 5
    prompter = Prompter(PromptConfig(), VOCABULARY, ["polyp"])
    images = PromptedImages(items, prompter, Input(), 1, AugmentationConfig(), replayed=replayed, share=0.2)
    assert len(images) == 10
    shown = [images.items[images._place(i, epoch)].source for epoch in range(5) for i in (8, 9)]
    assert shown == ["earlier"] * 10
    turns = [images._place(i, epoch) for epoch in range(5) for i in (8, 9)]
    assert sorted(turns) == [8, 8, 9, 9, 10, 10, 11, 11, 12, 12]
    alone = PromptedImages(items, prompter, Input(), 1, AugmentationConfig())
    assert len(alone) == 8 and all((images[i].pixels == alone[i].pixels).all() for i in range(8))


def test_what_the_run_holds_itself_is_not_replayed(disks, disks_recipe, earlier):
    recipe = with_replay(disks_recipe, earlier)
    items = read_items(recipe, disks, VOCABULARY)
    copied = earlier / "images" / "2.png"
    copied.write_bytes(items["test"][0].image.read_bytes())
    found = read_replay(recipe, disks, items)
    assert copied not in [item.image for item in found] and len(found) == 4
    again = earlier / "images" / "3.png"
    with Image.open(items["test"][1].image) as picture:
        picture.save(again, compress_level=1, dpi=(72, 72))
    assert again.read_bytes() != items["test"][1].image.read_bytes()
    found = read_replay(recipe, disks, items)
    assert again not in [item.image for item in found] and len(found) == 3, "the same picture, written anew"
    assert read_replay(load_recipe(disks_recipe), disks, items) == []


def test_a_run_replays_and_is_held_to_what_it_replays(disks, disks_recipe, earlier, tmp_path):
    recipe, run, events = with_replay(disks_recipe, earlier), tmp_path / "run", []
    once = replace(recipe, trainer=replace(recipe.trainer, max_epochs=1))
    train(once, disks, tmp_path / "once", report=events.append)
    assert next(e for e in events if isinstance(e, Started)).train_images == 21  # 8 twice, and a quarter of all
    train(recipe, disks, run)
    Image.fromarray(disk(np.random.default_rng(1))[0]).save(earlier / "images" / "0.png")
    with pytest.raises(ValueError, match=r"not those that this run began with \(replay"):
        train(recipe, disks, run)


def test_a_folder_that_is_not_there_is_named(disks, disks_recipe):
    with pytest.raises(ValueError, match="to be replayed, gone, is not there"):
        read_replay(with_replay(disks_recipe, "gone"), disks, {})
    with pytest.raises(ValueError, match=r"less than or equal to 0\.9"):
        ReplayConfig(1.0)


def test_own_corrections_replay_what_ships_and_image_only_models_nothing():
    recipe = load_recipe("best/own")
    assert recipe.replay == ReplayConfig(recipe.replay.share) and 0 < recipe.replay.share < 0.5
    unet = ModelConfig("image-only", image_size=64, sizes={"encoder": "resnet18"})
    assert replace(recipe, model=unet, cache=CacheConfig()).replay.share == 0
