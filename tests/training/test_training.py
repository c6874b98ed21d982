"""The training code on data made here: sources, samples, two real runs."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medvlsm_training.config import (
    AugmentationConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    PromptConfig,
    Recipe,
    TrainerConfig,
)
from medvlsm_training.data import PromptedImages, collate
from medvlsm_training.init import sincos_positions
from medvlsm_training.least_change import PARTS
from medvlsm_training.models import starting_model
from medvlsm_training.package import KEPT_CHANGE, package
from medvlsm_training.prompting import Prompter, trained_targets
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items
from medvlsm_training.tokenizer import build_tokenizer, clip_merges, cut_tokenizer
from medvlsm_training.train import load_trained, train
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.datasets.items import data_hash, split_lungs
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.adapters import save_lora
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.models.store.card import DataSource, read_card, write_card
from napari_medvlsm.core.prompts import Attributes, load_vocabulary
from napari_medvlsm.core.runs.folder import BEST_FILE
from napari_medvlsm.core.runs.results import trained_on
from tests.training import builders
from tests.training.builders import PROMPTS, TINY, disk, write_set

VOCABULARY = load_vocabulary()
MIXED = PromptConfig(
    mix={"p1": 5, "synonym": 2, "attributes": 3}, per_image=3, attribute_dropout=0.5, absent=0.33, validation="p1"
)
AUGMENTED = AugmentationConfig(
    degrees=15, shift=0.08, shear=5, zoom=(0.8, 1.3), flip=True, brightness=0.25, contrast=0.25, saturation=0.25
)


@pytest.fixture
def data(tmp_path, rng):
    """A data folder with one set in each layout."""

    def chest(_):
        both = np.zeros((48, 48), bool)
        both[10:40, 4:18] = both[10:40, 28:44] = True
        return rng.integers(0, 99, (48, 48), dtype=np.uint8) + 85 * both.astype(np.uint8), both

    splits = {"train": range(8), "val": range(8, 10), "test": range(10, 13)}
    write_set(tmp_path / "data" / "polyps", splits, lambda _: disk(rng), PROMPTS)
    write_set(tmp_path / "data" / "chest", splits, chest, suffix=".jpg")
    return tmp_path / "data"


def source(folder="polyps", layout="upstream", **more):
    return builders.source(folder, layout, **more)


@pytest.fixture
def recipe():
    chest = source("chest", "lists", modality="chest x-ray", target="lungs", split_lungs=True)
    return Recipe(
        name="tiny",
        title="Tiny",
        summary="For tests.",
        licence="CC0",
        sources=(source(repeat=2), chest),
        model=ModelConfig(
            image_size=32,
            sizes=TINY,
        ),
        prompts=MIXED,
        augmentation=AUGMENTED,
        optimizer=OptimizerConfig(learning_rate=3e-3, ema=0.5),
        trainer=TrainerConfig(max_epochs=2, early_size=24, early_epochs=1, batch_size=4),
    )


class Seen:
    """A model's input, for the images alone."""

    mean, std = (0.0,) * 3, (1.0,) * 3

    def __init__(self, side):
        self.image_size = side


def prompted(items, side, seed, prompts=None, augmentation=None):
    prompter = Prompter(prompts or MIXED, VOCABULARY, sorted(trained_targets(items)))
    return PromptedImages(items, prompter, Seen(side), seed, augmentation or AUGMENTED)


def test_shipped_recipe_reads_and_uses_only_permitted_data():
    recipe = load_recipe("starter")
    folders = {s.folder for s in recipe.sources}
    assert not folders & {"clinicdb_polyp", "drive_retina_vessels", "biomedparse_demo"} and len(folders) == 7
    assert {s.modality for s in recipe.sources} <= set(VOCABULARY.modalities)
    assert recipe.trainer.max_epochs > recipe.trainer.early_epochs > 0


def test_unknown_key_names_the_nearest(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\ntrainer: {max_epoch: 3}\n")
    with pytest.raises(ValueError, match=r"'trainer.max_epoch'.*Did you mean 'max_epochs'"):
        load_recipe(tmp_path / "r.yaml")


def test_both_layouts_are_read(data):
    found = read_source(data, source(), VOCABULARY)
    assert {k: len(v) for k, v in found.items()} == {"train": 8, "val": 2, "test": 3}
    assert found["train"][0].masks["polyp"].attributes == Attributes("polyp", shape="round", color="white")
    lists = read_source(data, source("chest", "lists", target="lungs"), VOCABULARY)
    assert lists["test"][0].load_masks()["lungs"].sum() == 30 * 30


def test_image_in_two_splits_is_kept_out_of_training(data):
    path = data / "polyps" / "anns" / "train.json"
    leaked = json.loads((data / "polyps" / "anns" / "test.json").read_text())[0]
    path.write_text(json.dumps([*json.loads(path.read_text()), leaked]))
    assert len(read_source(data, source(), VOCABULARY)["train"]) == 8


def test_case_in_two_splits_and_foreign_licences_are_kept_out(data):
    with (data / "chest" / "licences.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "licence", "url"])
        for i in range(13):
            writer.writerow([f"{i}.jpg", "CC BY-SA" if i == 0 else "CC BY", "same" if i in (1, 12) else f"case{i}"])
    config = source("chest", "lists", target="lungs", licences=("CC BY",), group_column="url")
    names = {i.image.stem for i in read_source(data, config, VOCABULARY)["train"]}
    assert names == {"2", "3", "4", "5", "6", "7"}


@pytest.mark.parametrize("name", ["../../secret.png", "gone.png"])
def test_paths_stay_inside_the_data_set(data, name):
    path = data / "polyps" / "anns" / "val.json"
    path.write_text(json.dumps([{"img_name": name, "mask_name": "8.png", "prompts": {}}]))
    (data.parent / "secret.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"leaves the data folder|is listed, but there is no"):
        read_source(data, source(), VOCABULARY)


def test_left_lung_lies_on_the_right_of_the_image():
    both = np.zeros((20, 30), bool)
    both[5:15, 2:10] = both[5:15, 18:28] = True
    left, right = split_lungs(both)
    assert left[:, 18:28].any() and not left[:, :15].any() and right[:, 2:10].any()
    both[10, 2:28] = True
    assert split_lungs(both) is None


def test_our_export_can_be_trained_on(tmp_path, rng):
    for _ in range(3):
        image, mask = disk(rng)
        annotation = Annotation("polyp", mask, said=Attributes("polyp", color="white"))
        export_case(tmp_path / "mine", Scan(image), annotation, VOCABULARY)
    found = read_source(tmp_path, source("mine", target=""), VOCABULARY)
    items = [item for split in ("train", "val", "test") for item in found[split]]
    assert len(items) == 3 and list(items[0].masks) == ["polyp"]
    sample = prompted(items, 32, 1, PromptConfig(per_image=3))[0]
    assert sample.pixels.shape == (3, 32, 32) and sample.masks.shape == (3, 32, 32)
    assert sample.texts == ("polyp",) * 3 and sample.masks.sum() > 0


def test_samples_are_determined_by_seed_epoch_and_index(data):
    items = read_source(data, source(), VOCABULARY)["train"]
    first, again, other = (prompted(items, 32, seed) for seed in (1, 1, 2))
    torch.rand(3)
    assert torch.equal(first[3].pixels, again[3].pixels) and first[3].texts == again[3].texts
    assert not torch.equal(first[3].pixels, other[3].pixels)
    again.epoch = 1
    assert not torch.equal(first[3].pixels, again[3].pixels)


def test_words_stay_true_under_augmentation_and_the_absent_target_is_absent(data):
    items = read_source(data, source(), VOCABULARY)["train"]
    images = prompted(items, 48, 4)
    located = absent = 0
    for epoch in range(60):
        images.epoch = epoch
        sample = images[epoch % len(items)]
        for text, mask in zip(sample.texts, sample.masks, strict=True):
            assert mask.any() == ("polyp" in text)
            absent += not mask.any()
            if "located in" in text and mask.any():
                rows, cols = np.nonzero(mask.numpy())
                located += 1
                assert ("left" in text) == (cols.mean() + 0.5 < 16) and ("top" in text) == (rows.mean() + 0.5 < 16)
    assert located >= 3 and 40 <= absent <= 80


def test_lungs_are_never_flipped(data):
    items = read_source(
        data, source("chest", "lists", modality="chest x-ray", target="lungs", split_lungs=True), VOCABULARY
    )
    images = prompted([replace(i, split_lungs=True) for i in items["train"]], 48, 1)
    for epoch in range(10):
        images.epoch = epoch
        sample = images[0]
        for text, mask in zip(sample.texts, sample.masks, strict=True):
            columns = np.nonzero(mask.numpy())[1]
            if text.startswith("left lung") and columns.size:
                assert columns.mean() > 24


def test_collate_keeps_prompts_with_their_images(data):
    items = read_source(data, source(), VOCABULARY)["train"]
    images = prompted(items, 32, 4)
    batch = collate([images[0], images[1]])
    assert batch.pixels.shape == (2, 3, 32, 32) and batch.masks.shape == (6, 32, 32)
    assert tuple(batch.texts[3:]) == images[1].texts and batch.owner.tolist() == [0, 0, 0, 1, 1, 1]


def test_cut_tokenizer_splits_its_texts_as_the_full_one():
    texts = ["one small pink round polyp, located in top left of the image", "esophageal varices"]
    full, cut = build_tokenizer(clip_merges()), cut_tokenizer(texts)
    for text in texts:
        assert cut.tokenize(text) == full.tokenize(text)
    assert len(full) == 49408 and len(cut) < 700
    assert cut.decode(cut("qzx 7!")["input_ids"], skip_special_tokens=True).replace(" ", "") == "qzx7!"


def test_full_tokenizer_is_clips():
    from open_clip import SimpleTokenizer

    text = "A small, pink polyp; located in the top-left of the image!"
    theirs = [i for i in SimpleTokenizer()(text)[0].tolist() if i]
    assert build_tokenizer(clip_merges())(text)["input_ids"] == theirs


def test_positions_are_nearer_for_neighbours():
    table = sincos_positions(6, 32)
    near, far = (table[0] - table[1]).norm(), (table[0] - table[35]).norm()
    assert table.shape == (36, 32) and near < far


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_small_cris_is_validated_by_its_average(data, recipe, tmp_path, norm):
    """Its text encoder masks by minus infinity, of which no mean can be taken."""
    sizes = {
        **{"vision": "tu-tf_mobilenetv3_small_minimal_100", "skip_widths": [8, 8, 8]},
        **{"text_width": 32, "text_layers": 1, "text_heads": 2, "embed_dim": 64, "neck_widths": [16, 32, 64]},
        **{"decoder_layers": 1, "decoder_heads": 2, "decoder_mlp": 32, "dropout": 0.0, "sentence_norm": norm},
    }
    small = ModelConfig(family="cris", image_size=32, sizes=sizes)
    with pytest.raises(ValueError, match="early_size must be a multiple of 32 for this model, but is 48"):
        early = replace(recipe.trainer, early_epochs=1, early_size=48)
        train(replace(recipe, model=small, trainer=early), data, tmp_path / "early")
    recipe = replace(recipe, model=small, trainer=replace(recipe.trainer, early_epochs=0))
    train(recipe, data, tmp_path / "run")
    with (tmp_path / "run" / "curves.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 2 and np.isfinite(losses).all()
    model = load_trained(tmp_path / "run" / BEST_FILE, recipe, read_items(recipe, data, VOCABULARY), VOCABULARY).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32), ["polyp"]).shape == (1, 32, 32)


def test_package_writes_a_model_folder_that_works(data, recipe, tmp_path):
    recipe = replace(recipe, trainer=replace(recipe.trainer, max_epochs=1, early_epochs=0))
    train(recipe, data, tmp_path / "run")
    card = package(recipe, data, tmp_path / "run", tmp_path / "models" / "tiny")
    assert set(card.metrics["test"]) == {"polyp", "lungs", "left lung", "right lung"}
    assert "left lung" in card.phrases
    assert card.metrics["test"]["polyp"]["cases"] == 3 and card.metrics["test_absent"]["cases"] == 18
    assert card.data[0].train_images == 8 and len(card.data[0].sha256) == 64
    CLIPSeg.load(tmp_path / "models" / "tiny")
    segmenter = load_segmenter(str(tmp_path / "models" / "tiny"), device="cpu")
    segmenter.set_image(np.zeros((20, 30), np.uint8))
    assert segmenter.segment("polyp")[0].mask().shape == (20, 30)


def test_data_hash_sees_every_byte(data):
    items = read_source(data, source(), VOCABULARY)["train"]
    before = data_hash(items)
    assert before == data_hash(list(reversed(items)))
    items[0].mask_paths[0].write_bytes(b"changed")
    assert data_hash(items) != before


def test_package_never_wipes_a_folder_that_is_no_model(data, recipe, tmp_path):
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no model"):
        package(recipe, data, tmp_path, tmp_path / "documents")
    assert (tmp_path / "documents" / "thesis.txt").exists()


def test_adapters_are_trained_on_a_base_and_packaged_with_its_identity(data, recipe, tmp_path, model_folder):
    theirs = DataSource("base set", "CC BY-NC-SA 4.0", "someone", 3, "0" * 64)
    facts = {"recipe": {"sources": [{"folder": "base-set"}, {"folder": "met-in-the-test", "tested_only": True}]}}
    was = replace(read_card(model_folder), licence="CC BY-NC-SA 4.0", data=(theirs,), training=facts)
    write_card(was, model_folder)
    adapted = replace(
        recipe,
        model=ModelConfig(base=str(model_folder), trained="lora", lora=LoraConfig(rank=2)),
        trainer=replace(recipe.trainer, max_epochs=1, early_epochs=0),
    )
    run, out = tmp_path / "run", tmp_path / "adapted"
    train(adapted, data, run)
    package(adapted, data, run, out)
    assert sorted(p.name for p in out.iterdir()) == [
        "LICENSE",
        "adapter.json",
        "adapter.safetensors",
        "model_card.json",
    ]
    card = read_card(out)
    assert [source.name for source in card.data] == ["base set", "polyps", "chest"]
    assert trained_on(card.training) == (*(source.folder for source in recipe.sources), "base-set")
    assert card.licence == "CC BY-NC-SA 4.0 and CC0"
    assert card.family == "clipseg" and card.base == "Small (small)" and "polyp" in card.targets
    with pytest.raises(ValueError, match="'Small'"):
        load_model(_alone(out, tmp_path / "elsewhere"))
    beside = _alone(out, tmp_path / "together")
    shutil.copytree(model_folder, beside.parent / "small")
    model, base = load_model(beside), load_model(model_folder)
    before, after = base.state_dict(), model.state_dict()
    encoders = [name for name in before if name.startswith("net.clip.") and name in after]
    assert encoders and all(torch.equal(before[name], after[name]) for name in encoders)
    assert not torch.equal(before["net.decoder.reduces.0.weight"], after["net.decoder.reduces.0.weight"])
    assert any("lora_B" in name and value.any() for name, value in after.items())


def test_of_a_change_the_model_that_is_written_holds_the_part_that_its_card_tells(data, recipe, tmp_path, model_folder):
    part_way = ModelConfig(base=str(model_folder), trained="decoder", least_change=True)
    recipe = replace(recipe, model=part_way, trainer=replace(recipe.trainer, max_epochs=1, early_epochs=0))
    train(recipe, data, tmp_path / "run")
    card = package(recipe, data, tmp_path / "run", tmp_path / "model")
    part = card.training[KEPT_CHANGE]
    assert part in PARTS and f"{part:g}" in (tmp_path / "model" / "model_card.json").read_text("utf-8")
    best = load_trained(tmp_path / "run" / BEST_FILE, recipe, read_items(recipe, data, VOCABULARY), VOCABULARY)
    base, written, changed = load_model(model_folder).state_dict(), load_model(tmp_path / "model").state_dict(), 0
    for name, trained in best.state_dict().items():
        assert torch.allclose(written[name], base[name].lerp(trained, part)), name
        changed += not torch.equal(base[name], trained)
    assert changed > 5


def _alone(folder, parent):
    """The folder copied into a new one, away from its base."""
    parent.mkdir()
    return Path(shutil.copytree(folder, parent / folder.name))


def test_an_adapter_as_a_base_trains_as_one_model(recipe, model_folder):
    adapted, folder = add_lora(load_model(model_folder), LoraSettings(rank=2)), model_folder.parent / "adapter"
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    save_lora(adapted, folder, model_folder)
    write_card(replace(read_card(model_folder), name="adapter"), folder)
    model = starting_model(replace(recipe, model=ModelConfig(base=str(folder))), [], VOCABULARY)
    assert model.adapter is None and all(parameter.requires_grad for parameter in model.parameters())
    pixels, texts = torch.rand(1, 3, model.image_size, model.image_size), ["polyp"]
    with torch.no_grad():
        ours, theirs, plain = (m.eval()(pixels, texts) for m in (model, adapted, load_model(model_folder)))
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max() < 1e-2 * (plain - theirs).abs().max()
    with pytest.raises(ValueError, match="has adapters already"):
        starting_model(replace(recipe, model=ModelConfig(base=str(folder), trained="lora")), [], VOCABULARY)


def test_lora_needs_a_base():
    with pytest.raises(ValueError, match="name it as base"):
        ModelConfig(trained="lora", image_size=32)


@pytest.mark.parametrize(("images", "epochs", "early"), [(10, 40, 20), (50, 12, 6), (900, 1, 0)])
def test_large_sets_get_fewer_epochs(images, epochs, early):
    trainer = TrainerConfig(max_epochs=40, early_epochs=20, early_size=32, max_images=600)
    found = trainer.for_images(images)
    assert (found.max_epochs, found.early_epochs) == (epochs, early)
    assert replace(trainer, max_images=0).for_images(images).max_epochs == 40


@pytest.mark.parametrize(
    ("family", "sizes", "sentence"),
    [
        ("clipseg", {"patch_size": 0}, r"patch_size must be at least 1"),
        ("clipseg", {"hidden_size": -8}, r"hidden_size must be from 0 to 65536"),
        ("clipseg", {"layers": 2}, r"layers must be at least 3"),
        ("clipseg", {"hidden_size": 7}, r"The model\.sizes make no clipseg \(.*multiple of"),
        ("wordunet", {"heads": 0}, r"The model\.sizes make no wordunet"),
        ("wordunet", {"width": "many"}, r"model\.sizes: width: .* but it is 'many'"),
        ("image-only", {"targets": ["polyp"], "decoder_channels": [0] * 5}, r"decoder_channels must be at least 1"),
    ],
)
def test_sizes_that_make_no_model_are_a_sentence(recipe, family, sizes, sentence):
    wanted = ModelConfig(family=family, image_size=32, sizes=sizes)
    with pytest.raises(ValueError, match=sentence):
        starting_model(replace(recipe, model=wanted), [], VOCABULARY)


def test_the_side_must_fit_the_base(recipe):
    wanted = ModelConfig(family="wordunet", base="starter", image_size=100)
    with pytest.raises(ValueError, match="must be a multiple of 32 for this base, but is 100"):
        starting_model(replace(recipe, model=wanted), [], VOCABULARY)
