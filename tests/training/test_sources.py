"""A recipe's data sets: what they leave open, their words, and what is too few to train on."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medvlsm_training.config import AugmentationConfig, ModelConfig, PromptConfig, Recipe, SourceConfig
from medvlsm_training.data import PromptedImages
from medvlsm_training.evaluation.data import read_data, recipe_sets
from medvlsm_training.prompting import Prompter, every_text
from medvlsm_training.recipes import load_recipe, recipe_from
from medvlsm_training.sources import read_items, recipe_vocabulary, resolved
from medvlsm_training.train import train
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.prompts import Attributes, load_vocabulary
from napari_medvlsm.core.prompts.own_words import own_words_path

OWN_WORDS = """
targets:
  gallstone: {modality: abdominal ultrasound, synonyms: [stone], lateralised: true}
  liver: {modality: abdominal ultrasound}
attributes: {color: [maroon]}
modalities: {abdominal ultrasound: {absent: [womb]}}
"""


@pytest.fixture
def own(tmp_path, rng):
    """Makes a folder of exported scans, outlined in the left half, and takes the user's own words away afterwards."""

    def made(count=5, target="gallstone", words=OWN_WORDS):
        path = own_words_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(words, "utf-8")
        vocabulary = load_vocabulary(path)
        mask = np.zeros((40, 48), bool)
        mask[10:20, 5:15] = True
        for _ in range(count):
            scan = Scan(rng.integers(0, 255, mask.shape, dtype=np.uint8))
            annotation = Annotation(target, mask, said=Attributes(target, color="maroon"))
            export_case(tmp_path / "own", scan, annotation, vocabulary)
        path.unlink()
        return tmp_path / "own"

    return made


RECIPE = Recipe("own", "Own", "For tests.", "CC0", (SourceConfig("."),), ModelConfig(image_size=32))


class Input:
    """The size and normalisation of a model's input."""

    image_size, mean, std = 48, (0.0,) * 3, (1.0,) * 3


def shown(folder, epochs=12, **prompts):
    """The samples of one training image in some epochs, mirrored where that is allowed."""
    vocabulary = recipe_vocabulary(RECIPE, folder)
    items = read_items(RECIPE, folder, vocabulary)["train"]
    prompter = Prompter(PromptConfig(**prompts), vocabulary, [name for item in items for name in item.masks])
    images = PromptedImages(items, prompter, Input, 1, AugmentationConfig(flip=True))
    samples = []
    for images.epoch in range(epochs):
        samples.append(images[0])
    return samples


def test_a_target_of_ones_own_that_is_lateralised_is_never_mirrored(own):
    for sample in shown(own()):
        assert np.nonzero(sample.masks[0].numpy())[1].mean() < 24


def test_other_targets_of_ones_own_are_mirrored(own):
    sides = {np.nonzero(sample.masks[0].numpy())[1].mean() < 24 for sample in shown(own(target="liver"))}
    assert sides == {True, False}


def test_synonyms_colours_and_absent_targets_of_ones_own_are_asked_for(own):
    folder = own()
    samples = shown(folder, 60, mix={"synonym": 1, "attributes": 1}, absent=0.3, per_image=2)
    asked = {text: bool(mask.any()) for s in samples for text, mask in zip(s.texts, s.masks, strict=True)}
    assert asked["stone"] and not asked["womb"] and any("maroon" in text and found for text, found in asked.items())
    assert {text for text, found in asked.items() if not found} == {"womb"}
    vocabulary = recipe_vocabulary(RECIPE, folder)
    items = read_items(RECIPE, folder, vocabulary)["train"]
    names, texts = every_text(PromptConfig(), items, vocabulary)
    assert names == {"gallstone", "stone"} and {"womb", "maroon"} <= texts


def test_a_target_without_a_kind_of_scan_is_trained_without_absent_ones(own):
    samples = shown(own(target="thing", words="{}"), 5, absent=0.5)
    assert {text for sample in samples for text in sample.texts} == {"thing"}


def test_an_unknown_kind_of_scan_names_the_nearest(own):
    folder = own()
    recipe = replace(RECIPE, sources=(SourceConfig(".", modality="colonoscopy"),))
    with pytest.raises(ValueError, match=r"names the modality 'colonoscopy', .* did you mean 'endoscopy'"):
        train(recipe, folder, folder.parent / "run")


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, r"leave no validation images, .* \(images: train 1, val 0, test 0\)\. Export more scans \(of every five"),
        (0, "holds no data set"),
    ],
)
def test_too_few_scans_are_said_with_what_to_do(own, tmp_path, count, sentence):
    folder = own(count)
    folder.mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=sentence):
        train(load_recipe("best/own"), folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_without_the_target_is_said(own, tmp_path):
    folder = own(2)
    (case,) = json.loads((folder / "anns" / "val.json").read_text())
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(folder / "masks" / case["mask_name"])
    with pytest.raises(ValueError, match="No validation image of best_own shows what its mask is named after"):
        train(load_recipe("best/own"), folder, tmp_path / "run")


def test_the_folder_itself_or_the_one_above_may_be_named(own):
    folder = own()
    recipe = resolved(RECIPE, folder)
    (source,) = recipe.sources
    assert (source.folder, source.layout, source.name, source.licence) == ("own", "upstream", "own", "not stated")
    assert resolved(recipe, folder) == recipe == resolved(recipe, folder.parent)
    text = (folder / "dataset.yaml").read_text()
    text = text.replace("title: own", "title: Our stones").replace("licence: ''", "licence: CC0")
    (folder / "dataset.yaml").write_text(text)
    (source,) = resolved(RECIPE, folder).sources
    assert (source.name, source.licence) == ("Our stones", "CC0")
    vocabulary = recipe_vocabulary(recipe, folder)
    (tested,) = recipe_sets(recipe, folder, "test", vocabulary)
    plain = read_data(folder, "test", vocabulary)
    assert tested.name == plain.name == "own" and tested.sha256 == plain.sha256
    assert plain.cases[0].modality == "abdominal ultrasound" and plain.vocabulary is vocabulary
    with pytest.raises(ValueError, match="The data set own is not in"):
        resolved(recipe, folder / "images")


def test_masks_of_one_target_that_a_table_lists_are_united(tmp_path, rng):
    folder = tmp_path / "lists"
    for part in ("images", "masks", "splits"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).save(folder / "images" / "a.png")
    for name, rows in (("one", slice(2, 5)), ("two", slice(10, 15))):
        mask = np.zeros((20, 20), np.uint8)
        mask[rows, 2:8] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "splits" / "test.txt").write_text("a.png")
    (folder / "targets.csv").write_text("image,mask,target\na.png,one.png,polyp\na.png,two.png,polyp\n")
    for split in ("train", "val"):
        (folder / "splits" / f"{split}.txt").write_text("")
    vocabulary = load_vocabulary()
    (item,) = read_source(tmp_path, SourceConfig("lists"), vocabulary)["test"]
    (case,) = read_data(folder, "test", vocabulary).cases
    for mask in (item.load_masks()["polyp"], case.load_mask()):
        assert mask.sum() == 8 * 6 and mask[3, 3] and mask[12, 3]


# Names of before ---------------------------------------------------------------------------------------------------


OLD = """
name: old
title: Old
summary: For tests.
licence: CC0
sources: [{folder: mine, layout: reference, modality: endoscopy, name: mine, licence: CC0, citation: none}]
model: {image_size: 32}
prompts: {mix: {p1: 1}, carriers: ["a {}"], carried: 0.5, made_up: 0.2, negatives_from: 3}
"""


def test_keys_of_the_version_before_are_read_with_a_warning(tmp_path, caplog):
    (tmp_path / "old.yaml").write_text(OLD)
    recipe = load_recipe(tmp_path / "old.yaml", ["prompts.carried=0.25"])
    prompts = recipe.prompts
    assert (prompts.templates, prompts.template_prob, prompts.nonsense_prob) == (("a {}",), 0.25, 0.2)
    assert prompts.negatives_start_epoch == 3 and recipe.sources[0].layout == "upstream"
    told = [record.getMessage() for record in caplog.records]
    assert "old.yaml: the key prompts.carriers is now called templates; the old name will be refused" in told[0]
    assert any("The key prompts.carried is now called template_prob" in text for text in told)
    assert any("the value layout: reference is now called upstream" in text for text in told) and len(told) == 6
    words = ["prompts={mix: {p1: 1}}", "prompts.wording=release"]
    assert load_recipe(tmp_path / "old.yaml", words).prompts.wording == "upstream"


def test_pretrained_weights_where_the_version_before_had_them_are_read_with_a_warning(tmp_path, caplog):
    sizes = "family: image-only, image_size: 64, sizes: {encoder: resnet50, encoder_weights: imagenet}"
    (tmp_path / "old.yaml").write_text(OLD.replace("image_size: 32", sizes))
    model = load_recipe(tmp_path / "old.yaml").model
    assert model.encoder_weights == "library" and model.sizes == {"encoder": "resnet50"}
    assert "old.yaml: model.encoder_weights, no longer in model.sizes: imagenet is now called library" in caplog.text


def test_the_recipe_in_the_starters_card_is_read(caplog):
    recipe = recipe_from(find_model("starter").card.training["recipe"], "the starter's card")
    assert recipe.name == "starter" and recipe.prompts == load_recipe("starter").prompts
    assert [source.folder for source in recipe.sources] == [source.folder for source in load_recipe("starter").sources]
