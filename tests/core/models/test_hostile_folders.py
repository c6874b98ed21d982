"""Weights as other programs wrap and part them; model folders within limits; whatever is wrong as one sentence."""

import json
import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from napari_medvlsm.core.models.checkpoints.detect import read_checkpoint
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import write_card
from tests.core.models.small_models import SMALL, card_of


def weights():
    return {"backbone.visual.a": torch.ones(2, 3), "neck.b": torch.zeros(4)}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.model.", "ema."])
@pytest.mark.parametrize("place", ["", "state_dict", "model_state_dict", "model", "ema"])
def test_wrappers_are_taken_off(tmp_path, prefix, place):
    state = {prefix + name: value for name, value in weights().items()}
    torch.save({place: state, "epoch": 3, "optimizer": {"state": {}}} if place else state, tmp_path / "a.pt")
    checkpoint = read_checkpoint(tmp_path / "a.pt")
    assert checkpoint.named.keys() == weights().keys() and checkpoint.kind().name == "cris"


def test_wrappers_that_nobody_knows_are_taken_off_where_one_alone_is_there(tmp_path):
    path, own = tmp_path / "a.pt", weights()
    other = {name: value + 5 for name, value in own.items()}
    states = [{f"segmentor.inner.{name}": value for name, value in own.items()}]
    states += [{f"{a}.{k}": v for a, s in (("online_model", own), ("ema_model", other)) for k, v in s.items()}]
    optimizer = {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}
    found = [*states, {"best": {"swa": own}, "optimizer": optimizer}, (own, 3), {"teachers": own, "epoch": 2}]
    for content in found:
        torch.save(content, path)
        checkpoint = read_checkpoint(path)
        assert checkpoint.kind().name == "cris"
        assert {k: v.tolist() for k, v in checkpoint.named.items()} == {k: v.tolist() for k, v in own.items()}
    torch.save({"student": own, "teacher": other}, path)
    with pytest.raises(ValueError, match=r"holds several state dicts \(student, teacher\); save the one"):
        read_checkpoint(path)
    # The same dict very often is looked into once.
    inner = {str(i): 0 for i in range(1000)}
    for _ in range(3):
        inner = dict.fromkeys(map(str, range(1000)), inner)
    torch.save(inner, path)
    with pytest.raises(ValueError, match="holds no state dict"):
        read_checkpoint(path)


def test_the_trained_weights_are_taken_and_what_is_beside_them_named(tmp_path):
    own, average = weights(), {name: value + 5 for name, value in weights().items()}
    torch.save({"model": own, "model_ema": average}, tmp_path / "a.pt")
    first = read_checkpoint(tmp_path / "a.pt")
    torch.save({f"{a}.{k}": v for a, s in (("ema", average), ("model", own)) for k, v in s.items()}, tmp_path / "b.pt")
    second = read_checkpoint(tmp_path / "b.pt")
    assert first.ignored == ("model_ema",) and second.ignored == ("ema.backbone.visual.a", "ema.neck.b")
    for checkpoint in (first, second):
        assert {k: v.tolist() for k, v in checkpoint.named.items()} == {k: v.tolist() for k, v in own.items()}
    torch.save({"neck._orig_mod.b": torch.ones(1), "neck.b": torch.ones(1)}, tmp_path / "c.pt")
    twice = read_checkpoint(tmp_path / "c.pt")
    with pytest.raises(ValueError, match="twice under different names"):
        twice.kind()


def test_parts_are_put_together_by_their_index(tmp_path):
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, (key, value) in zip(names, weights().items(), strict=True):
        save_file({key: value}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict(zip(weights(), names, strict=True))}))
    checkpoint = read_checkpoint(index)
    assert checkpoint.named.keys() == weights().keys() and [path.name for path in checkpoint.files] == names
    with pytest.raises(ValueError, match=r"part 1 of 2 of a model; give the folder"):
        read_checkpoint(tmp_path / names[0])
    (tmp_path / names[1]).unlink()
    with pytest.raises(ValueError, match=r"1 of them are not beside it \(model-00002-of-00002"):
        read_checkpoint(index)
    for wrong in ({}, [], {"weight_map": {"a": "../x.safetensors"}}, {"weight_map": {"a": 3}}):
        index.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"index\.json"):
            read_checkpoint(index)


def test_weights_are_told_by_their_content(tmp_path):
    save_file(weights(), tmp_path / "a.pt")
    assert read_checkpoint(tmp_path / "a.pt").named.keys() == weights().keys()


@pytest.fixture(scope="module")
def cris(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cris")
    SMALL["cris"].build().save(folder)
    write_card(card_of("cris"), folder)
    return folder


@pytest.fixture
def folder(cris, tmp_path):
    for path in cris.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("config.json", {"decoder_mlp": 10**9}, "asks for more than"),
        ("config.json", {"text_layers": 10**7}, "asks for more than"),
        ("config.json", {"context_length": 10**6}, "asks for more than|do not fit"),
        ("config.json", {"vision_layers": "x"}, "cannot be loaded"),
        ("config.json", {"x" * 1000: 1}, "cannot be loaded"),
        ("preprocessor_config.json", {"size": {"height": 10**9, "width": 10**9}}, "side of its images must be"),
        ("preprocessor_config.json", {"image_std": [0, 1, 1]}, "image_std must be three numbers"),
        ("preprocessor_config.json", {"image_mean": "abc"}, "cannot be loaded"),
        ("tokenizer.json", {"model": None}, "cannot be loaded"),
    ],
)
def test_a_configuration_that_does_not_belong_is_refused_in_one_sentence(folder, file, values, words):
    change(folder / file, **values)
    with pytest.raises(ValueError, match=words) as error:
        load_model(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1200


@pytest.mark.parametrize("file", ["config.json", "model_card.json", "tokenizer.json", "preprocessor_config.json"])
def test_deep_brackets_are_refused(folder, file):
    (folder / file).write_text("[" * 100_000)
    with pytest.raises(ValueError, match="brackets within brackets"):
        load_model(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes and links")
def test_pipes_and_links_are_not_waited_for(folder):
    (folder / "tokenizer_config.json").unlink()
    os.mkfifo(folder / "tokenizer_config.json")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is no file"):
        load_model(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")
    with pytest.raises(ValueError, match=r"misses config\.json"):
        load_model(folder)
