"""A model without words goes wherever the others go: window's engine, commands, prompt effect."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_medvlsm.cli import main
from napari_medvlsm.core.effect import Case, measure
from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.models.architectures.image_only import ImageOnly, ImageOnlyConfig
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.prompts import Attributes, build, coverage, load_vocabulary
from napari_medvlsm.core.prompts.upstream import load_datasets, upstream_attributes

SAMPLE = json.loads((Path(__file__).parent / "data" / "annotations_sample.json").read_text("utf-8"))["items"]
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


def test_every_prompt_of_the_release_names_the_plane_of_its_target():
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
    found = measure(Segmenter.load(str(folder), device="cpu"), [Case(scan, prompt)], VOCABULARY)
    assert found["outlined"] == 1
    changes = {what: row["change"] for what, row in found["contrasts"].items()}
    assert changes["the name alone"] == changes["the opposite side"] == changes["the wrong size"] == 0
    assert changes["no words at all"] == 1


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
    Image.fromarray(np.full((image.height, image.width), 255, np.uint8)).save(busi / "masks" / "a.png")
    item = SAMPLE["busi"][0] | {"img_name": "a.png", "mask_name": "a.png"}
    (busi / "anns" / "test.json").write_text(json.dumps([item]))
    arguments = ["evaluate", str(busi), "--model", str(folder), "--out", str(tmp_path / "result"), "--device", "cpu"]
    assert main([*arguments, "--kinds", "class", "oracle", "wrong", "--wording", "release"]) == 0
    with (tmp_path / "result" / "cases.csv").open() as file:
        scores = {row["dice"] for row in csv.DictReader(file) if row["size"] == "original"}
    assert len(scores) == 1  # whatever is said
    assert main(["prompts", "effect", str(scan), "--prompt", "breast tumor", "--model", str(folder)]) == 0
