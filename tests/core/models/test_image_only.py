"""A model without words goes wherever the others go: window's engine, commands, prompt effect."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_medvlsm.cli import main
from napari_medvlsm.core.effect import EffectCase, measure
from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.architectures.image_only import ImageOnly, ImageOnlyConfig, plane_names
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.prompts import Attributes, build, coverage, load_vocabulary
from napari_medvlsm.core.prompts.own_words import OwnWords
from napari_medvlsm.core.prompts.upstream import load_datasets, upstream_attributes

SAMPLE = json.loads((Path(__file__).parents[1] / "data" / "annotations_sample.json").read_text("utf-8"))["items"]
VOCABULARY = load_vocabulary()
TARGETS = tuple(sorted({target for dataset in load_datasets().values() for target in dataset.targets}))


def small(targets):
    torch.manual_seed(4)
    return ImageOnly.from_config(ImageOnlyConfig(targets, "unet", "mobilenet_v2", (32, 24, 16, 8, 8)), 64).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "unet"
    small(("breast tumor", "polyp")).save(path)
    names = ("breast tumor", "polyp")
    words = ("breast", "polyp", "tumor")
    write_card(ModelCard("unet", "UNet", "image-only", targets=names, phrases=names, words=words, threshold=0.4), path)
    return path


def test_every_upstream_prompt_names_the_plane_of_its_target():
    model = small(TARGETS)
    assert len(TARGETS) == 17
    for name, dataset in load_datasets().items():
        for entry in SAMPLE[name]:
            target = upstream_attributes(dataset, entry["prompts"]).target
            for level, said in entry["prompts"].items():
                for text in [said] if isinstance(said, str) else said:
                    plane = 1 + TARGETS.index(target) if level != "p0" else 0
                    assert model.tokenize([text]).tolist() == [[plane]], text


def test_every_prompt_of_the_interface_names_the_plane_of_its_target():
    model = small(TARGETS)
    for i, target in enumerate(TARGETS):
        said = Attributes(target, size="small", location="left", view="frontal", findings="edema, atelectasis")
        for level in VOCABULARY.family(target).levels:
            assert model.tokenize([build(said, VOCABULARY, level).text]).tolist() == [[i + 1 if level != "p0" else 0]]


def test_the_effect_of_the_words_is_measured_and_is_the_names_alone(folder, samples):
    scan = Scan(np.asarray(Image.open(samples / "breast_ultrasound.png").convert("L")))
    prompt = build(Attributes("breast tumor", size="small", location="left"), VOCABULARY)
    found = measure(load_segmenter(str(folder), device="cpu"), [EffectCase(scan, prompt)], VOCABULARY)
    assert found["outlined"] == 1
    changes = {what: row["change"] for what, row in found["contrasts"].items()}
    assert changes["the name alone"] == changes["the opposite side"] == changes["the wrong size"] == 0
    assert changes["no words at all"] == 1


def test_a_users_own_names_select_planes_and_travel_with_the_model(tmp_path):
    own = {"targets": {"polyp": {"synonyms": ["bump"]}, "gallstone": {"synonyms": ["bile pebble"]}}}
    vocabulary = load_vocabulary(OwnWords(tmp_path / "words.yaml", own))
    config = replace(small(("polyp",)).config, names=plane_names(("polyp",), vocabulary))
    ImageOnly.from_config(config, 64).save(tmp_path / "own")
    write_card(ModelCard("own", "Own", "image-only", targets=("polyp",)), tmp_path / "own")
    model = load_model(tmp_path / "own")
    assert model.config.names == config.names
    assert model.tokenize(["bump", "polyp", "a bile pebble beside a bump"]).tolist() == [[1], [1], [0]]


def test_a_folder_without_names_takes_those_of_the_shipped_vocabulary(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text("utf-8"))
    del config["names"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    assert load_model(tmp_path / "old").tokenize(["polyp", "polyps", "bump"]).tolist() == [[2], [2], [0]]


def test_names_of_planes_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"refer to planes \[1\]; there are 1"):
        ImageOnlyConfig(("polyp",), names={"bump": 1})


def test_words_beyond_the_names_are_told_as_unknown():
    card = ModelCard("unet", "UNet", "image-only", targets=("polyp",), phrases=("polyp",), words=("polyp",))
    assert "pink" in str(coverage("pink polyp", *VOCABULARY.trained(card))) and not card.open_vocabulary


def test_the_engine_answers_with_it(folder, samples):
    pixels = np.asarray(Image.open(samples / "breast_ultrasound.png").convert("L"))
    engine = EngineProcess()
    try:
        request = {"op": "segment", "id": 1, "model": str(folder), "image": "a", "device": "cpu"}
        engine.send(request | {"prompts": ["small breast tumor", "", "knee joint"]}, [pixels])
        message, maps = engine.receive()
        while message.get("id") != 1 or message["event"] == "progress":
            message, maps = engine.receive()
        assert message["event"] == "done" and [m.shape for m in maps] == [pixels.shape] * 3
        assert maps[0].any() and not maps[1].any() and not maps[2].any()
    finally:
        engine.close()


def test_the_commands_take_it(folder, samples, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDVLSM_MODELS", str(folder.parent))
    assert main(["models"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("unet ") and "breast tumor, polyp" in line for line in listed)
    assert len([line for line in listed if " to fetch " in line]) == 4
    scan, out = samples / "breast_ultrasound.png", tmp_path / "out"
    arguments = ["segment", str(scan), "--prompt", "small breast tumor", "--model", str(folder), "--out", str(out)]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert (out / "breast_ultrasound.tif").is_file()

    busi = tmp_path / "busi"
    for part in ("images", "masks", "anns"):
        (busi / part).mkdir(parents=True)
    image = Image.open(scan).convert("L")
    image.save(busi / "images" / "a.png")
    mask = np.zeros((image.height, image.width), np.uint8)
    mask[2:-2, 2:-2] = 255
    Image.fromarray(mask).save(busi / "masks" / "a.png")
    item = SAMPLE["busi"][0] | {"img_name": "a.png", "mask_name": "a.png"}
    (busi / "anns" / "test.json").write_text(json.dumps([item]))
    arguments = ["evaluate", str(busi), "--model", str(folder), "--out", str(tmp_path / "result"), "--device", "cpu"]
    assert main([*arguments, "--kinds", "class", "oracle", "wrong", "--wording", "upstream"]) == 0
    with (tmp_path / "result" / "cases.csv").open() as file:
        scores = {row["dice"] for row in csv.DictReader(file) if row["size"] == "original"}
    assert len(scores) == 1  # whatever is said
    assert main(["prompts", "effect", str(scan), "--prompt", "breast tumor", "--model", str(folder)]) == 0


class TestImageOnly:
    @pytest.fixture(scope="class")
    def small(self):
        torch.manual_seed(3)
        config = ImageOnlyConfig(("lungs", "left lung", "gall-stone"), "unet", "mobilenet_v2", (32, 24, 16, 8, 8))
        return ImageOnly.from_config(config, 64).eval()

    @pytest.mark.parametrize(
        ("text", "plane"),
        [
            ("lungs", 1),
            ("outline the Lungs, please", 1),
            ("left lung", 2),
            ("the gall-stone", 3),
            ("small gall stone", 3),
            ("right lung", 0),
            ("knee joint", 0),
            ("galling stones", 0),
            ("", 0),
        ],
    )
    def test_a_name_picks_its_plane_and_nothing_else_does(self, small, text, plane):
        assert small.tokenize([text]).tolist() == [[plane]]

    def test_describing_words_change_nothing_and_a_foreign_name_outlines_nothing(self, small, image):
        segmenter = Segmenter(small, ModelCard("small", "Small", "image-only"), device="cpu")
        segmenter.set_image(image)
        plain, described, foreign, empty = segmenter.segment(["lungs", "tiny lungs, on the left", "knee joint", ""])
        assert np.array_equal(plain.probability, described.probability)
        assert not foreign.probability.any() and not empty.probability.any()

    def test_adapters_are_refused_in_a_sentence(self, small):
        with pytest.raises(ValueError, match="no attention to put adapters on; train all of it"):
            add_lora(small, LoraSettings(2))

    def test_what_it_cannot_be_is_said(self, small):
        for wrong, sentence in (({"architecture": "unett"}, "there are unet, unet"), ({"targets": ()}, "names of its")):
            with pytest.raises(ValueError, match=sentence):
                ImageOnlyConfig(**({"targets": ("polyp",)} | wrong))
        for unknown in ("resnet5", "tu-resnet5"):
            with pytest.raises(ValueError, match=f"no encoder '{unknown}'"):
                ImageOnly.from_config(replace(small.config, encoder=unknown), 64)
        for elsewhere in ("tu-hf-hub:someone/something", "tu-local-dir:/somewhere"):
            with pytest.raises(ValueError, match=f"must be one that .* knows, not '{elsewhere}'"):
                ImageOnly.from_config(replace(small.config, encoder=elsewhere), 64)
        with pytest.raises(ValueError, match="multiple of 32, but is 100"):
            ImageOnly.from_config(small.config, 100)

    def test_an_encoder_that_the_library_takes_from_timm_is_one_too(self):
        config = ImageOnlyConfig(("polyp",), "unet", "timm-mobilenetv3_small_minimal_100", (32, 24, 16, 8, 8))
        assert ImageOnly.from_config(config, 64).parameter_count() > 0

    def test_a_saved_folder_asks_no_hub(self, small, monkeypatch, tmp_path):
        small.save(tmp_path)
        write_card(ModelCard("small", "Small", "image-only"), tmp_path)
        monkeypatch.setattr(
            "segmentation_models_pytorch.encoders.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked")
        )
        assert load_model(tmp_path).config == small.config

    def test_the_library_is_imported_only_where_such_a_model_is_made(self):
        code = (
            "import sys, medvlsm_training.models, napari_medvlsm.core.models.architectures.image_only\n"
            "print('segmentation_models_pytorch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"

    @pytest.mark.parametrize(
        ("architecture", "parameters"), [("unet", 32_521_105), ("unet++", 48_985_745), ("deeplabv3+", 26_677_585)]
    )
    def test_as_many_parameters_as_the_papers(self, architecture, parameters):
        with torch.device("meta"):
            model = ImageOnly.from_config(ImageOnlyConfig(("polyp",), architecture))
        assert model.parameter_count() == parameters
