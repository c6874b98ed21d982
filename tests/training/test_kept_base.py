"""What of the base a trained model's folder keeps."""

from dataclasses import replace

import pytest
import torch

from medvlsm_training.config import CacheConfig, ModelConfig
from medvlsm_training.kept_base import keep_base
from medvlsm_training.recipes import load_recipe
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.adapters import save_lora
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.checkpoints.convert import import_model
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.models.store.card import BASE_FOLDER, ModelCard, kept_bases, read_card, write_card
from napari_medvlsm.core.models.store.trained_on import read_trained, write_trained
from napari_medvlsm.core.prompts import Vocabulary, load_vocabulary
from tests.core.models.small_models import small_wordunet

VOCABULARY = load_vocabulary()


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return small_wordunet()


@pytest.fixture
def starter(tmp_path, model):
    """The folder of a model that knows polyps and lungs."""
    metrics = {"test": {"polyp": {"cases": 9, "dice": 0.8}}}
    words = ("polyp", "polyps", "lungs", "left")
    card = ModelCard("first", "First", "wordunet", targets=("polyp", "lungs"), words=words, metrics=metrics)
    return written(tmp_path / "first", model, card)


def written(folder, model, card):
    model.save(folder)
    write_card(card, folder)
    return folder


def recipe(base):
    return replace(load_recipe("best/own"), model=ModelConfig("wordunet", str(base), "decoder", keep_base=True))


def kept(folder, model, base, *trained, vocabulary=VOCABULARY):
    """A model trained from a base: its folder, with the card of `keep_base`."""
    model.save(folder)
    names = {name for target in trained for name in (target, *vocabulary.target(target).synonyms)}
    alone = ModelCard(
        *(folder.name, folder.name, "wordunet"),
        targets=tuple(target for target in vocabulary.targets if target in trained),
        phrases=tuple(sorted(names)),
        words=trained,
    )
    card = keep_base(alone, recipe(base), trained, vocabulary, folder)
    write_card(card, folder)
    return card


def test_the_base_answers_what_only_it_was_trained_on(starter, model, tmp_path):
    card = kept(tmp_path / "own", model, starter, "polyp", "gallstone")
    assert card.targets == ("polyp", "lungs") and {*card.kept_base.targets} == {"lungs"}
    assert "lung fields" in card.kept_base.targets["lungs"] and "polyps" in card.kept_base.own["polyp"]
    assert card.kept_base.own["gallstone"] == ("gallstone",), "which the vocabulary does not have"
    assert {"lung fields", "gallstone"} <= {*card.phrases} and {"left", "polyp"} <= {*card.words}
    assert card.kept_base.title == "First" and card.kept_base.dice == {} and card.test_dice("polyp") is None
    segmenter = load_segmenter(str(tmp_path / "own"), "cpu")
    assert [segmenter.place_of(text) for text in ("polyps", "lung fields", "gallstone")] == [0, 1, 0]

    (tmp_path / "own" / "LICENSE").write_text("Ours.", "utf-8")
    write_trained(tmp_path / "own", {"ab12": "own"})
    imported = import_model(tmp_path / "own", "again")
    assert (imported / "LICENSE").read_text("utf-8") == "Ours." and read_trained(imported) == ["ab12"]
    assert read_card(imported).kept_base == card.kept_base
    again = load_segmenter(str(imported), "cpu")
    assert again.place_of("lungs") == 1
    theirs = read_card(imported / BASE_FOLDER)
    assert theirs == read_card(starter)


def test_nothing_is_kept_of_what_was_all_trained_or_is_not_wanted(starter, model, tmp_path):
    own = ModelCard("own", "Own", "wordunet", targets=("polyp", "lungs"), phrases=("polyp", "lungs"))
    assert keep_base(own, recipe(starter), own.targets, VOCABULARY, tmp_path) is own
    new = replace(own, targets=("skin melanoma",))
    unwanted = replace(recipe(starter), model=ModelConfig("wordunet", str(starter), "decoder"))
    assert keep_base(new, unwanted, new.targets, VOCABULARY, tmp_path) is new
    alone = replace(unwanted, model=ModelConfig("wordunet", image_size=96), cache=CacheConfig(views=0))
    assert keep_base(new, alone, new.targets, VOCABULARY, tmp_path) is new
    write_card(replace(read_card(starter), targets=()), starter)
    assert keep_base(new, recipe(starter), new.targets, VOCABULARY, tmp_path) is new
    assert not (tmp_path / BASE_FOLDER).exists()


def test_a_round_after_a_round_keeps_what_is_still_needed(starter, model, tmp_path):
    words = Vocabulary.from_dict(
        VOCABULARY.as_dict() | {"targets": VOCABULARY.as_dict()["targets"] | {"gallstone": {"synonyms": ["stone"]}}},
        "own",
        ["gallstone"],
    )
    one = kept(tmp_path / "1", model, starter, "gallstone", vocabulary=words)
    assert {*one.targets} == {"gallstone", "polyp", "lungs"}

    # Trained on all of that anew: only the first is needed beside it.
    two = kept(tmp_path / "2", model, tmp_path / "1", "gallstone", "skin melanoma", vocabulary=words)
    ((where, _),) = kept_bases(tmp_path / "2", two)
    assert where == tmp_path / "2" / BASE_FOLDER and read_card(where).title == "First"

    # Without the gallstones: of these the round before still knows.
    three = kept(tmp_path / "3", model, tmp_path / "2", "skin melanoma")
    assert [card.title for _, card in kept_bases(tmp_path / "3", three)] == ["2", "First"]
    assert three.kept_base.targets["gallstone"] == words.names(words.target("gallstone")), "as it was called there"
    segmenter = load_segmenter(str(tmp_path / "3"), "cpu")
    places = [segmenter.place_of(text) for text in ("skin lesion", "stones", "gallstone", "polyp")]
    assert places == [0, 1, 1, 2]


def test_what_the_vocabulary_takes_for_a_target_of_the_base_is_the_models_own(starter, model, tmp_path):
    card = kept(tmp_path / "own", model, starter, "large polyp")
    assert {*card.kept_base.targets} == {"lungs"}
    segmenter = load_segmenter(str(tmp_path / "own"), "cpu")
    # The window asks for it as "polyp".
    assert [segmenter.place_of(text) for text in ("large polyp", "polyp", "two polyps", "lungs")] == [0, 0, 0, 1]


def test_what_no_training_scan_shows_stays_the_bases(starter, model, tmp_path):
    alone = ModelCard("own", "Own", "wordunet", targets=("polyp", "lungs"), phrases=("polyp", "lungs"))
    model.save(tmp_path / "own")
    card = keep_base(alone, recipe(starter), ["lungs"], VOCABULARY, tmp_path / "own")
    assert card.targets == ("polyp", "lungs") and {*card.kept_base.targets} == {"polyp"}


def test_a_target_outside_the_vocabulary_is_asked_of_the_round_that_had_it(starter, model, tmp_path):
    kept(tmp_path / "1", model, starter, "gallstone")
    two = kept(tmp_path / "2", model, tmp_path / "1", "skin melanoma")
    assert two.targets == ("skin melanoma", "polyp", "lungs") and "gallstone" in two.phrases
    segmenter = load_segmenter(str(tmp_path / "2"), "cpu")
    assert [segmenter.place_of(text) for text in ("skin lesion", "gallstones", "polyp")] == [0, 1, 2]

    plain = written(tmp_path / "plain", model, ModelCard("plain", "Plain", "wordunet", phrases=("gallstone",)))
    card = kept(tmp_path / "3", model, plain, "skin melanoma")
    assert card.kept_base.targets == {"gallstone": ("gallstone",)} and card.targets == ("skin melanoma",)


def test_a_base_that_is_only_measured_keeps_what_it_kept(starter, model, tmp_path):
    card = kept(tmp_path / "1", model, starter, "skin melanoma")
    untrained = recipe(tmp_path / "1")
    untrained = replace(untrained, trainer=replace(untrained.trainer, max_epochs=0))
    model.save(tmp_path / "measured")
    assert keep_base(card, untrained, (), VOCABULARY, tmp_path / "measured") is card
    write_card(card, tmp_path / "measured")
    assert load_segmenter(str(tmp_path / "measured"), "cpu").place_of("polyp") == 1


def test_of_an_adapter_the_whole_model_is_kept(starter, model, tmp_path):
    adapter = tmp_path / "adapter"
    save_lora(add_lora(load_model(starter), LoraSettings(2, encoders=("text",))), adapter, starter)
    write_card(read_card(starter), adapter)
    kept(tmp_path / "own", model, adapter, "skin melanoma")
    for file in starter.iterdir():
        file.unlink()
    assert load_segmenter(str(tmp_path / "own"), "cpu").place_of("polyp") == 1


@pytest.mark.parametrize("given", [{"base": ""}, {"trained": "lora"}, {"image_size": 64}])
def test_a_base_cannot_be_kept_beside_adapters_or_images_of_another_size(given):
    with pytest.raises(ValueError, match="keep_base needs a base"):
        ModelConfig(**{"family": "wordunet", "base": "starter", "keep_base": True, **given})
