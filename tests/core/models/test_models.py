import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import CLIPSegForImageSegmentation

from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.store.card import CARD_FILE, read_card, write_card
from napari_medvlsm.core.models.store.registry import STARTER, available_models, find_model


def test_save_and_load_give_the_same_answer(small_clipseg, model_folder):
    again = CLIPSeg.load(model_folder)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = again(pixels, ["left lung"]), small_clipseg(pixels, ["left lung"])
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.std()
    assert again.mean == small_clipseg.mean and again.image_size == 64


def test_folder_loads_in_plain_transformers(model_folder, small_clipseg):
    plain = CLIPSegForImageSegmentation.from_pretrained(model_folder, local_files_only=True)
    key = "decoder.film_mul.weight"
    torch.testing.assert_close(plain.state_dict()[key], small_clipseg.net.state_dict()[key])


def test_everything_gets_a_gradient(small_clipseg):
    small_clipseg(torch.randn(2, 3, 64, 64), ["left lung", "polyp"]).sum().backward()
    trained = {n.split(".")[1] for n, p in small_clipseg.named_parameters() if p.grad is not None}
    parts = {n.split(".")[2] for n, p in small_clipseg.named_parameters() if p.grad is not None and ".clip." in n}
    small_clipseg.zero_grad(set_to_none=True)
    assert trained == {"clip", "decoder"} and {"vision_model", "text_model", "text_projection"} <= parts


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (96, 96)])
def test_other_input_sizes(small_clipseg, size):
    with torch.no_grad():
        assert small_clipseg(torch.randn(1, 3, *size), ["polyp"]).shape == (1, size[0] // 2, size[1] // 2)


def test_incomplete_folder_says_what_is_missing(model_folder):
    (model_folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"misses model\.safetensors"):
        CLIPSeg.load(model_folder)


def test_broken_weights_and_card_give_sentences(model_folder):
    (model_folder / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match="cannot be loaded"):
        CLIPSeg.load(model_folder)
    (model_folder / CARD_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"model_card\.json is no valid JSON"):
        read_card(model_folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"licence": 5}, "licence: .*string, but it is 5"),
        ({"title": None}, "title: .*string, but it is None"),
        ({"threshold": 2}, "threshold: "),
        ({"targets": "polyp"}, "targets: "),
        ({"data": [{"name": "x"}]}, r"data\.0\.licence: Field required"),
        ({"metrics": {"test": {"polyp": {"dice": 0.5}}}}, r"metrics\.test\.polyp: it has a \"dice\" and no \"cases\""),
        (
            {"metrics": {"test": {"polyp": {"cases": 3, "dice": "good"}}}},
            r"metrics\.test\.polyp\.dice: expected a number",
        ),
        ({"metrics": {"test": {"polyp": {"cases": float("nan"), "dice": 1}}}}, r"polyp\.cases: expected a number"),
        ({"metrics": {"test": {"polyp": 0.5}}}, r"metrics\.test\.polyp: "),
        ({"metrics": {"test": None}}, r"metrics\.test: "),
        ({"metrics": []}, "metrics: "),
        ({"prompt_effect": {"a": {}}}, r"prompt_effect\.a\.contrasts: Field required"),
        (
            {"prompt_effect": {"a": {"contrasts": {"b": {"change": None}}}}},
            r"a\.contrasts\.b\.change: expected a number",
        ),
        ({"prompt_effect": {"a": {"contrasts": {"b": 1}}}}, r"prompt_effect\.a\.contrasts\.b: "),
    ],
)
def test_cards_of_others_are_checked(model_folder, change, words):
    path = model_folder / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"cannot be read as a model card: .*{words}"):
        read_card(model_folder)


def test_keys_that_are_not_known_are_ignored_and_numbers_stay(model_folder, small_card):
    path = model_folder / CARD_FILE
    score = {"cases": 3, "dice": 0.5, "more": 1}
    facts = {
        "metrics": {
            "test": {"polyp": score, "absent": {"absent_cases": 2}},
            "test_absent": {"false_positive_rate": 0.0},
        },
        "prompt_effect": {"a": {"cases": 2, "contrasts": {"b": {"dice": 1}}}},
    }
    data = {"name": "a", "licence": "b", "citation": "c", "train_images": 1, "sha256": "d", "new": 1}
    path.write_text(json.dumps(json.loads(path.read_text()) | facts | {"data": [data], "new": {}}))
    card = read_card(model_folder)
    assert {"metrics": card.metrics, "prompt_effect": card.prompt_effect} == facts
    assert isinstance(card.metrics["test"]["polyp"]["cases"], int) and card.data[0].name == "a"
    write_card(card, model_folder)
    assert read_card(model_folder) == card
    assert replace(small_card, training={"untrained": "decoder"}).untrained == "decoder" and not small_card.untrained


def test_a_card_that_cannot_be_written_stays_as_it_was(model_folder, small_card, monkeypatch):
    def fail(path, text, encoding):
        path.write_bytes(text.encode()[:10])
        raise OSError("no more space")

    monkeypatch.setattr(type(model_folder), "write_text", fail)
    with pytest.raises(OSError, match="no more space"):
        write_card(replace(small_card, title="New"), model_folder)
    assert read_card(model_folder) == small_card


def test_pickled_weights_are_never_opened(model_folder):
    class Evil:
        def __reduce__(self):
            return (open, (str(model_folder / "executed"), "w"))

    (model_folder / "model.safetensors").unlink()
    (model_folder / "model.safetensors").symlink_to(model_folder / "pytorch_model.bin")
    torch.save(Evil(), model_folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded"):
        CLIPSeg.load(model_folder)
    assert not (model_folder / "executed").exists()


def test_registry_finds_shipped_and_user_models(model_folder, monkeypatch):
    monkeypatch.setenv("MEDVLSM_MODELS", str(model_folder.parent))
    models = available_models()
    assert next(iter(models)) == STARTER and models[STARTER].shipped and not models["small"].shipped
    assert find_model(str(model_folder)).card.name == "small"
    with pytest.raises(ValueError, match="Known models: starter, small"):
        find_model("nope")
    with pytest.raises(ValueError, match="cris is not on this computer; fetch it once by: medvlsm models fetch cris"):
        find_model("cris")


def test_broken_user_model_does_not_hide_the_others(model_folder, monkeypatch, caplog):
    monkeypatch.setenv("MEDVLSM_MODELS", str(model_folder.parent))
    (model_folder / "config.json").unlink()
    assert list(available_models()) == [STARTER]
    assert "misses config.json" in caplog.text


def test_starter_card_is_complete_and_small():
    entry = find_model(STARTER)
    card = entry.card
    wanted = {"polyp", "skin melanoma", "foot ulcer", "lungs", "left lung", "right lung", "breast tumor", "cell nuclei"}
    assert wanted <= set(card.targets) and set(card.targets) <= set(card.metrics["test"])
    assert "CC BY-NC-SA 4.0" in card.licence and all(d.licence and d.citation and d.sha256 for d in card.data)
    assert len(card.data) == 7 and not any("ClinicDB" in d.name or "DRIVE" in d.name for d in card.data)
    assert sum(f.stat().st_size for f in entry.folder.iterdir()) <= 20e6
    assert 1e6 < card.training["parameters"] < 5e6
    assert json.loads((entry.folder / "config.json").read_text())["model_type"] == card.family
    assert (entry.folder / "LICENSE").read_text().count("NonCommercial")


def test_starter_outlines_the_shipped_skin_lesion(samples):
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.kept_base import load_segmenter

    segmenter = load_segmenter()
    segmenter.set_image(read_scan(samples / "skin_lesion.jpg"))
    mask = segmenter.segment("skin melanoma")[0].mask()
    rows, cols = np.nonzero(mask)
    # The lesion lies about the middle of the scan and fills some 6 % of it.
    assert 0.02 < mask.mean() < 0.2
    assert 0.3 < rows.mean() / mask.shape[0] < 0.7 and 0.3 < cols.mean() / mask.shape[1] < 0.7


def test_starter_picks_the_lesion_on_the_side_that_is_asked_for(samples):
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.kept_base import load_segmenter
    from napari_medvlsm.core.metrics import dice

    segmenter = load_segmenter()
    segmenter.set_image(read_scan(samples / "breast_ultrasound_two.jpg"))
    place = "breast tumor, located in the {} of the image"
    left, right, both = (
        a.mask() for a in segmenter.segment([place.format("left"), place.format("right"), "breast tumor"])
    )
    middle = left.shape[1] // 2
    assert left[:, :middle].any() and not left[:, middle:].any() and not right[:, :middle].any()
    assert dice(left, both & ~right) > 0.8 and dice(right, both & ~left) > 0.8


def test_card_and_registry_import_no_torch():
    code = (
        "import sys, napari_medvlsm.core.models.store.registry as r; r.available_models(); "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
