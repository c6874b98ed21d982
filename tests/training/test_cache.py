"""Activations that are kept: what they depend on, what they replace, and what happens when they are gone."""

import logging
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from medvlsm_training import train as training
from medvlsm_training.augmentation import _transform, augmented
from medvlsm_training.cache import ActivationCache, cache_folder, encoder_key
from medvlsm_training.config import (
    AugmentationConfig,
    CacheConfig,
    ModelConfig,
    OptimizerConfig,
    PromptConfig,
    Recipe,
    TrainerConfig,
)
from medvlsm_training.data import collate
from medvlsm_training.init import init_from_scratch
from medvlsm_training.models import ClipSegSizes, clipseg_config, starting_model
from medvlsm_training.module import SegmentationModule
from medvlsm_training.sources import read_items
from medvlsm_training.tokenizer import cut_tokenizer
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.events import Encoded, Epoch
from napari_medvlsm.core.runs.folder import BEST_FILE, LAST_FILE
from tests.training.builders import TINY, disk, source, write_set

SIDE = 32
VOCABULARY = load_vocabulary()
TURNED = AugmentationConfig(degrees=15, shift=0.08, shear=5, zoom=(0.8, 1.3), flip=True, brightness=0.25, hue=0.02)


@pytest.fixture
def data(tmp_path, rng):
    """Eight images for training, four for validation, two for the test; a bright disk is the polyp."""
    splits = {"train": range(8), "val": range(8, 12), "test": range(12, 14)}
    return write_set(tmp_path / "data" / "polyps", splits, lambda _: disk(rng)).parent


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A model folder to start from."""
    folder = tmp_path_factory.mktemp("bases") / "base"
    torch.manual_seed(0)
    tokenizer = cut_tokenizer(["one small round polyp, located in the top left of the image"])
    sizes = ClipSegSizes(**TINY, decoder_mlp=64)
    model = CLIPSeg.from_config(clipseg_config(sizes, tokenizer, SIDE), tokenizer, SIDE)
    init_from_scratch(model)
    model.save(folder)
    write_card(ModelCard(name="base", title="Base", family="clipseg"), folder)
    return folder


@pytest.fixture
def recipe(base):
    return Recipe(
        name="kept",
        title="Kept",
        summary="",
        licence="CC0",
        sources=(source("polyps"),),
        model=ModelConfig(base=str(base), trained="decoder"),
        prompts=PromptConfig(mix={"p1": 1, "attributes": 1}, per_image=2, validation="p1"),
        augmentation=TURNED,
        optimizer=OptimizerConfig(learning_rate=3e-3, ema=0.5),
        trainer=TrainerConfig(max_epochs=3, batch_size=4),
        cache=CacheConfig(views=2),
    )


@pytest.fixture
def parts(recipe, data):
    """(model, its cache, training set with it, the same without)."""
    items = read_items(recipe, data, VOCABULARY)
    model = starting_model(recipe, items["train"], VOCABULARY).eval()
    cache = ActivationCache(model, 1)
    return (
        model,
        cache,
        training.datasets(recipe, items, model, VOCABULARY, cache)[0],
        training.datasets(recipe, items, model, VOCABULARY)[0],
    )


def weights(checkpoint):
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def assert_same_weights(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys() and len(ours) > 100
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_masks_alone_change_as_with_their_image(rng):
    disk = torch.zeros(1, 48, 48)
    disk[:, 10:24, 8:30] = 1
    for seed in range(12):
        generators = [np.random.default_rng(seed) for _ in range(3)]
        image = augmented(tv_tensors.Image(disk.expand(3, -1, -1)), TURNED, False, generators[0])
        mask = augmented(tv_tensors.Mask(disk), TURNED, False, generators[1])
        with torch.random.fork_rng():
            torch.manual_seed(int(generators[2].integers(2**62)))
            both = _transform(TURNED, False)(tv_tensors.Image(disk.expand(3, -1, -1)), tv_tensors.Mask(disk))
        assert torch.equal(image, both[0]) and torch.equal(mask, both[1])
        assert not torch.equal(mask, disk)


def test_an_epoch_from_the_cache_is_that_from_the_images_and_reads_none(parts, recipe, data):
    model, cache, kept, plain = parts
    modules = SegmentationModule(model, recipe, 9, cache), SegmentationModule(model, recipe, 9)
    for epoch in (0, 1):
        kept.epoch = epoch
        modules[0]._logits(torch.zeros(0), collate([kept[i] for i in range(8)]))
    images = data / "polyps" / "images"
    batches = {}
    for epoch in range(4):
        plain.epoch = epoch
        batches[epoch] = collate([plain[i] for i in range(8)])
    shutil.rmtree(images)
    kept = pickle.loads(pickle.dumps(kept))  # as processes that read get it
    for epoch, expected in batches.items():
        kept.epoch = epoch
        batch = collate([kept[i] for i in range(8)])
        assert not batch.names and len(batch) == len(expected) == 8
        assert batch.texts == expected.texts
        assert torch.equal(batch.masks, expected.masks) and torch.equal(batch.owner, expected.owner)
        with torch.no_grad():
            ours = modules[0]._logits(batch.pixels, batch)
            theirs = modules[1]._logits(expected.pixels, expected)
        assert (ours - theirs).abs().max() < 2e-3 * theirs.abs().max()
    assert torch.equal(batches[0].pixels, batches[2].pixels) and not torch.equal(batches[0].pixels, batches[1].pixels)
    assert batches[0].texts != batches[2].texts  # prompts are drawn in every epoch


def test_prompts_stay_with_their_images_where_some_are_kept(parts, recipe):
    model, cache, kept, plain = parts
    module, other = SegmentationModule(model, recipe, 9, cache), SegmentationModule(model, recipe, 9)
    module._logits(torch.zeros(0), collate([kept[i] for i in (1, 2)]))
    order = (0, 1, 3, 2)
    batch, expected = (collate([images[i] for i in order]) for images in (kept, plain))
    assert len(batch.names) == 2 and len(batch.kept[0]) == 2 and len(batch) == 4
    assert batch.owner.tolist() == [0, 0, 2, 2, 1, 1, 3, 3]
    assert torch.equal(batch.masks, expected.masks)
    with torch.no_grad():
        ours, theirs = module._logits(batch.pixels, batch), other._logits(expected.pixels, expected)
    assert (ours - theirs).abs().max() < 2e-3 * theirs.abs().max()


def test_training_with_the_cache_resumes_and_repeats_to_the_same_weights(recipe, data, tmp_path, monkeypatch):
    told = []
    training.train(recipe, data, tmp_path / "whole", report=told.append)
    encoded = [event for event in told if isinstance(event, Encoded)]
    assert encoded[-1] == Encoded(8 * 2 + 4, 8 * 2 + 4)
    # From what the first run kept.
    training.train(recipe, data, tmp_path / "again")
    assert_same_weights(tmp_path / "again" / LAST_FILE, tmp_path / "whole" / LAST_FILE)
    # Interrupted, with a cache of its own.
    monkeypatch.setenv("MEDVLSM_CACHE", str(tmp_path / "other"))
    assert training.train(recipe, data, tmp_path / "parts", minutes=1e-6).reason == "time is up"
    assert training.train(recipe, data, tmp_path / "parts").reason == "finished"
    assert_same_weights(tmp_path / "parts" / LAST_FILE, tmp_path / "whole" / LAST_FILE)


def test_validation_dice_is_that_of_the_same_views_without_a_cache(recipe, data, tmp_path, monkeypatch):
    longer = replace(recipe, trainer=replace(recipe.trainer, max_epochs=6))
    curves = []
    for name in ("with", "without"):
        told = []
        training.train(longer, data, tmp_path / name, report=told.append)
        curves.append([e for e in told if isinstance(e, Epoch)])
        monkeypatch.setattr(training, "ActivationCache", lambda *args: None)
    for ours, theirs in zip(*curves, strict=True):
        assert ours.val_dice == pytest.approx(theirs.val_dice, abs=0.03)
        assert ours.val_loss == pytest.approx(theirs.val_loss, abs=0.02)
    assert curves[0][-1].val_loss < curves[0][0].val_loss


def test_frozen_weights_stay_to_the_bit_and_the_average_is_of_the_others(recipe, data, tmp_path, base):
    training.train(recipe, data, tmp_path / "run")
    start = {f"model.{name}": value for name, value in load_model(base).state_dict().items()}
    for file in (BEST_FILE, LAST_FILE):
        content = torch.load(tmp_path / "run" / file, weights_only=True)
        for name, value in content["state_dict"].items():
            frozen = name.startswith("model.net.clip.")
            assert torch.equal(value, start[name]) == frozen or not value.is_floating_point(), name
            same = torch.equal(value, content["current_model_state"][name])
            assert same == frozen or not value.is_floating_point(), name


def test_what_is_gone_or_broken_is_encoded_again(parts, recipe):
    model, cache, kept, _ = parts
    module = SegmentationModule(model, recipe, 9, cache)
    first = collate([kept[i] for i in range(3)])
    before = module._logits(torch.zeros(0), first)
    names = list(first.names)
    files = [cache.folder / f"{name}.safetensors" for name in names]
    assert cache.count_cached(names) == 3
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:200])
    assert cache.read(names[0]) is None and cache.read(names[1]) is None and cache.read(names[2]) is not None
    shutil.rmtree(cache.root)
    batch = collate([kept[i] for i in range(3)])
    assert batch.names == tuple(names)
    with torch.no_grad():
        assert torch.equal(module._logits(torch.zeros(0), batch), before)
    assert cache.count_cached(names) == 3


def small_cache(model, root, files):
    """One with room for so many images of the small model: three activations of 17 x 48 float16."""
    cache = ActivationCache(model, 1, root)
    size = _kept_size(cache, model)
    shutil.rmtree(root)
    return ActivationCache(model, (files + 0.5) * size / 1e9, root)


def _kept_size(cache, model):
    cache.encode(model, torch.zeros(1, 3, SIDE, SIDE), ["probe"])
    return (cache.folder / "probe.safetensors").stat().st_size


def test_the_oldest_of_other_runs_make_room(parts, tmp_path):
    model, *_ = parts
    pixels = torch.rand(3, 3, SIDE, SIDE)
    first = small_cache(model, tmp_path / "kept", 3)
    first.encode(model, pixels, ["a", "b", "c"])
    for age, name in enumerate(["b", "c", "a"]):
        long_ago = 1e9 + age
        os.utime(first.folder / f"{name}.safetensors", (long_ago, long_ago))
    later = ActivationCache(model, first.limit / 1e9, tmp_path / "kept")
    later.read("b")  # used again
    later.encode(model, pixels[:2], ["d", "e"])
    assert sorted(p.stem for p in later.folder.iterdir()) == ["b", "d", "e"]


def test_a_run_that_does_not_fit_says_so_once_and_goes_on(parts, tmp_path, caplog):
    model, *_ = parts
    cache = small_cache(model, tmp_path / "kept", 2)
    pixels = torch.rand(5, 3, SIDE, SIDE)
    with caplog.at_level(logging.WARNING):
        found = cache.encode(model, pixels, list("abcde"))
    assert [len(tensor) for tensor in found] == [5, 5, 5] and cache.count_cached("abcde") == 2
    (message,) = [record.getMessage() for record in caplog.records]
    assert "cache.limit_gb" in message and "encoded in every epoch" in message


def test_several_may_fill_it_at_the_same_time(parts, tmp_path):
    model, *_ = parts
    pixels = torch.rand(4, 3, SIDE, SIDE)
    caches = [ActivationCache(model, 1, tmp_path / "kept") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        filled = list(pool.map(lambda cache: cache.encode(model, pixels, list("abcd")), caches))
    assert sorted(p.name for p in caches[0].folder.iterdir()) == [f"{name}.safetensors" for name in "abcd"]
    for i, name in enumerate("abcd"):
        for column, tensor in zip(filled[0], caches[1].read(name), strict=True):
            assert torch.equal(column[i], tensor) and tensor.dtype == torch.float16


def test_key_is_that_of_the_encoders_and_of_what_reaches_them(base, tmp_path):
    model = load_model(base)
    key = encoder_key(model)
    copied = Path(shutil.copytree(base, tmp_path / "elsewhere"))
    assert encoder_key(load_model(copied)) == key
    with torch.no_grad():
        model.net.decoder.reduces[0].weight.add_(1)
    assert encoder_key(model) == key
    model.preprocessing = replace(model.preprocessing, mean=(0.4, 0.5, 0.6))
    assert (other := encoder_key(model)) != key
    with torch.no_grad():
        model.net.clip.vision_model.pre_layrnorm.bias[0] += 1e-3
    assert encoder_key(model) not in (key, other)


def test_name_is_that_of_the_content_and_the_way_it_is_shown(parts, data, recipe):
    _, cache, kept, _ = parts
    names = kept.names(9)
    assert len(names) == 16 and kept.name(3, 0) == kept.name(3, 2) != kept.name(3, 1)
    kept.seed = 2
    assert not names & kept.names(9)
    kept.seed = recipe.seed
    kept.augmentation = replace(TURNED, degrees=16)
    assert not names & kept.names(9)
    # Without augmentation one view is all there is, and validation and training share it.
    kept.augmentation = AugmentationConfig()
    assert len(kept.names(9)) == 8
    image = data / "polyps" / "images" / "3.png"
    shutil.copyfile(data / "polyps" / "images" / "4.png", image)
    items = read_items(recipe, data, VOCABULARY)
    changed, _ = training.datasets(
        replace(recipe, augmentation=AugmentationConfig()), items, parts[0], VOCABULARY, cache
    )
    assert changed.name(3, 0) == changed.name(4, 0) == kept.name(4, 0) != kept.name(3, 0)


def test_values_that_float16_cannot_hold_are_refused(parts):
    model, cache, *_ = parts
    with torch.no_grad():
        model.net.clip.vision_model.pre_layrnorm.weight.fill_(1e9)
    with pytest.raises(ValueError, match=r"float16.*cache\.views to 0"):
        cache.encode(model, torch.rand(1, 3, SIDE, SIDE), ["a"])
    assert cache.count_cached(["a"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="this system has no such modes")
def test_nobody_else_may_look_into_it(parts):
    _, cache, *_ = parts
    assert cache.root == cache_folder()
    assert cache.root.stat().st_mode & 0o077 == 0 and cache.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": ModelConfig(image_size=32)}, "this recipe trains all; set model.trained to decoder"),
        ({"trainer": TrainerConfig(early_size=16, early_epochs=1)}, r"trainer\.early_epochs or cache\.views to 0"),
        ({"model": ModelConfig("image-only", "somewhere", "decoder")}, "image-only model cannot be kept"),
    ],
)
def test_what_does_not_go_together_is_refused(recipe, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(recipe, **change)


def test_limits_of_the_cache_are_checked():
    with pytest.raises(ValueError, match=r"limit_gb\n.*greater than 0"):
        CacheConfig(views=1, limit_gb=0)


def test_mosaics_are_kept_too_and_are_those_of_the_images(recipe, data):
    changed = replace(recipe, augmentation=replace(recipe.augmentation, mosaic=1.0))
    items = read_items(changed, data, VOCABULARY)
    model = starting_model(changed, items["train"], VOCABULARY).eval()
    cache = ActivationCache(model, 1)
    kept, plain = (training.datasets(changed, items, model, VOCABULARY, c)[0] for c in (cache, None))
    texts = {}
    mosaics = 0
    for epoch in range(4):  # of two views each
        kept.epoch = plain.epoch = epoch
        for i in range(len(kept)):
            sample, seen = kept[i], plain[i]
            assert (sample.kept is not None) == (epoch >= 2)
            assert sample.texts == seen.texts and torch.equal(sample.masks, seen.masks)
            if sample.kept is None:
                assert torch.equal(sample.pixels, seen.pixels)
                cache.encode(model, sample.pixels[None], (sample.name,))
            else:
                encoded = cache.encode(model, seen.pixels[None], (f"again-{i}-{epoch}",))
                assert all(torch.equal(a, b[0]) for a, b in zip(sample.kept, encoded, strict=True))
            mosaics += "-" not in sample.name  # one image's name ends with the number of its view
            texts.setdefault(sample.name, set()).add(sample.texts)
    assert mosaics > 8 and any(len(said) > 1 for said in texts.values())  # a frame is asked in several words
    with pytest.raises(ValueError, match="pasted lesions"):
        replace(changed, augmentation=replace(changed.augmentation, paste=0.5))
