"""A model and the base that its folder keeps: who answers, and that each answers as it does alone."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.kept_base import Answering, SegmenterWithBase, ThresholdMap, load_segmenter
from napari_medvlsm.core.models.store.card import (
    BASE_FOLDER,
    CARD_FILE,
    KeptBase,
    ModelCard,
    kept_bases,
    read_card,
    write_card,
)
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from tests.core.models.small_models import small_wordunet

KEPT = KeptBase(
    "Starter",
    {"polyp": ("polyp", "bump"), "left lung": ("left lung",), "breast tumor": ("breast tumor", "tumor")},
    {"vessels": ("vessels", "blood vessels"), "left lung nodule": ("left lung nodule",)},
    {"polyp": 0.9},
)
OWN = ModelCard("own", "Own", "wordunet", threshold=0.4, presence=0.3, kept_base=KEPT)
BASE = ModelCard("starter", "Starter", "wordunet", threshold=0.6, presence=0.05, targets=("polyp",))


def made(seed):
    """A small WordUNet whose answers spread over all probabilities."""
    torch.manual_seed(seed)
    model = small_wordunet().eval()
    return spread(model)


def spread(model):
    decoder, pixels = model.decoder, torch.rand(1, 3, model.image_size, model.image_size)
    with torch.no_grad():
        width = model(pixels, ["polyp"]).std()
        for head in (*decoder.logits, decoder.presence):
            head.weight.mul_(2 / width)
            head.bias.mul_(2 / width)
        decoder.presence.bias.sub_(model(pixels, ["polyp"]).mean())
    return model


def like(model, seed):
    """Another with the same encoders."""
    other = made(seed)
    other.encoders.load_state_dict(model.encoders.state_dict())
    return spread(other)


@pytest.fixture(scope="module")
def models():
    own = made(0)
    return own, like(own, 1)


@pytest.fixture
def folder(tmp_path, models):
    """The model's folder, with its base."""
    for model, card, where in zip(models, (OWN, BASE), (tmp_path / "own", tmp_path / "own" / BASE_FOLDER), strict=True):
        model.save(where)
        write_card(card, where)
    return tmp_path / "own"


@pytest.fixture
def image(rng):
    return np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((12, 12, 1), np.uint8))


@pytest.mark.parametrize(
    ("text", "by_base"),
    [
        ("polyp", True),
        ("two small Polyps, located in top left", True),
        ("bump", True),
        ("polyp and left lung", True),
        ("left lung", True),
        ("tumor", True),
        ("vessels", False),
        ("blood vessels near the polyp", False),
        ("left lung nodule", False),
        ("brain tumor", False),
        ("the bright spot", False),
        ("", False),
    ],
)
def test_the_names_in_a_prompt_tell_who_answers(text, by_base):
    assert Answering(KEPT).base_answers(text) is by_base


def test_what_both_know_is_the_models_own():
    both = replace(KEPT, own={**KEPT.own, "polyp": ("polyp",)})
    assert not Answering(both).base_answers("polyp") and Answering(both).base_answers("left lung")
    named_alike = replace(KEPT, own={"colon bump": ("colon bump", "bump")})
    assert not Answering(named_alike).base_answers("bump") and Answering(named_alike).base_answers("polyp")


def test_each_answers_as_it_does_alone_whatever_else_is_asked(folder, models, image):
    both = load_segmenter(str(folder), device="cpu")
    assert isinstance(both, SegmenterWithBase)
    own, base = (Segmenter(model, card, device="cpu") for model, card in zip(models, (OWN, BASE), strict=True))
    for segmenter in (both, own, base):
        segmenter.set_image(image)
    texts = ["polyp", "vessels", "left lung", "the bright spot", "small polyp"]
    together = both.segment(texts)
    assert [answer.prompt for answer in together] == texts
    for text, answer, alone in zip(texts, together, both.segment(texts[::-1])[::-1], strict=True):
        np.testing.assert_allclose(answer.logits, alone.logits, atol=1e-4)
        (expected,) = (base if text in ("polyp", "left lung", "small polyp") else own).segment(text)
        assert (answer.mask() != expected.mask()).mean() < 0.005, text
    assert 0.05 < together[0].mask().mean() < 0.95
    assert not np.allclose(together[0].logits, own.segment("polyp")[0].logits, atol=0.1)
    np.testing.assert_array_equal(both.features(), own.features())

    one, other = image, image[::-1].copy()
    rows = both.segment_batch([both.prepare(one), both.prepare(other)], texts)
    both.set_image(other)
    for answers, expected in zip(rows, (together, both.segment(texts)), strict=True):
        for answer, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer.logits, wanted.logits, atol=1e-3)
    # Where tiles overlap, probabilities are averaged, which maps of thresholds change a little.
    tiles = both.segment_tiled(texts, tile=48)
    base.set_image(other)
    assert (tiles[0].mask() != base.segment_tiled("polyp", tile=48)[0].mask()).mean() < 0.1


def test_encoders_that_differ_are_both_asked(models, image):
    own, base = models[0], made(2)
    chain = SegmenterWithBase([(own, OWN), (base, BASE)], "cpu")
    alone = Segmenter(base, BASE, device="cpu")
    for segmenter in (chain, alone):
        segmenter.set_image(image)
    assert (chain.segment("polyp")[0].mask() != alone.segment("polyp")[0].mask()).mean() < 0.005


def test_a_model_that_comes_on_a_graphics_card_is_compared_there(models, monkeypatch):
    moved = []
    monkeypatch.setattr(type(models[0]), "to", lambda model, device: moved.append(model))

    def same(*both):
        assert all(model in moved for model in both)
        return True

    monkeypatch.setattr("napari_medvlsm.core.kept_base._same", same)
    SegmenterWithBase(list(zip(models, (OWN, BASE), strict=True)), "cpu")


def test_the_error_of_a_precision_is_that_of_who_answers(folder, models, image):
    both, alone = load_segmenter(str(folder), "cpu", "bfloat16"), Segmenter(models[1], BASE, "cpu", "bfloat16")
    for segmenter in (both, alone):
        segmenter.set_image(image)
    assert both.precision_difference("polyp") == alone.precision_difference("polyp") > 0
    assert both.precision_difference("vessels") != alone.precision_difference("vessels")


def test_a_base_may_keep_its_own(folder, models, image):
    inner = ModelCard("first", "First", "wordunet", threshold=0.5, targets=("left lung",))
    within = replace(BASE, kept_base=KeptBase("First", {"left lung": ("left lung",)}, {"polyp": ("polyp", "bump")}))
    write_card(within, folder / BASE_FOLDER)
    first = like(models[0], 5)
    first.save(folder / BASE_FOLDER / BASE_FOLDER)
    write_card(inner, folder / BASE_FOLDER / BASE_FOLDER)
    chain, alone = load_segmenter(str(folder), "cpu"), Segmenter(first, inner, "cpu")
    assert [chain.place_of(text) for text in ("vessels", "polyp", "left lung")] == [0, 1, 2]
    for segmenter in (chain, alone):
        segmenter.set_image(image)
    assert (chain.segment("left lung")[0].mask() != alone.segment("left lung")[0].mask()).mean() < 0.005


def test_what_is_damaged_is_told_in_a_sentence(folder, models):
    with_base, deep = weights_hash(folder), folder
    for _ in range(9):
        write_card(OWN, deep)
        deep = deep / BASE_FOLDER
        if not (deep / CARD_FILE).is_file():
            models[1].save(deep)
    write_card(BASE, deep)
    with pytest.raises(ValueError, match="at most 8 within one another"):
        load_segmenter(str(folder), "cpu")
    shutil.rmtree(folder / BASE_FOLDER)
    assert weights_hash(folder) != with_base
    with pytest.raises(ValueError, match=r"There is no model folder at .*base"):
        load_segmenter(str(folder), "cpu")
    other = made(3)
    other.preprocessing = replace(other.preprocessing, side=64)
    other.save(folder / BASE_FOLDER)
    write_card(BASE, folder / BASE_FOLDER)
    with pytest.raises(ValueError, match="takes images of size"):
        load_segmenter(str(folder), "cpu")


def test_a_card_keeps_what_is_said_of_the_base(folder):
    card = read_card(folder)
    assert card.kept_base == KEPT and card.test_dice("polyp") == 0.9 and card.test_dice("vessels") is None
    ((where, of),) = kept_bases(folder, card)
    assert where == folder / BASE_FOLDER and of == BASE


_Fraction = st.floats(0.02, 0.98)


@given(_Fraction, _Fraction, _Fraction, _Fraction)
def test_thresholds_of_one_become_those_of_the_other(outline, presence, other_outline, other_presence):
    assume(presence < outline and other_presence < other_outline)
    one, other = replace(BASE, threshold=outline, presence=presence), replace(OWN, threshold=other_outline)
    found = ThresholdMap.between(one, replace(other, presence=other_presence))
    logits = torch.linspace(-9, 9, 400, dtype=torch.float64)
    mapped = found.apply(logits)
    assert (mapped.diff() >= 0).all()
    at = found.apply(torch.tensor([outline, presence], dtype=torch.float64).logit()).sigmoid()
    assert at[0] == pytest.approx(other_outline, abs=1e-6) and at[1] <= other_presence + 1e-6
    assert torch.allclose(ThresholdMap.between(one, one).apply(logits), logits)


def test_without_a_threshold_of_presence_logits_are_shifted():
    found = ThresholdMap.between(replace(BASE, presence=0), OWN)
    assert found.presence is None and found.apply(torch.zeros(1)).item() == pytest.approx(found.shift)
