"""Every prompt of upstream, to the letter: over the whole annotations where they are at hand, else over a sample."""

import json
from pathlib import Path

import pytest

from napari_medvlsm.core.datasets.annotation_files import read_annotations
from napari_medvlsm.core.prompts import Attributes, load_vocabulary, parse
from napari_medvlsm.core.prompts.upstream import (
    load_datasets,
    rebuilt,
    upstream_attributes,
    upstream_prompts,
    upstream_sentences,
)

DATASETS = load_datasets()
SAMPLE = json.loads((Path(__file__).parents[1] / "data" / "annotations_sample.json").read_text("utf-8"))["items"]
SHARED = Path(__file__).parents[4] / "shared"
VOCABULARY = load_vocabulary()


def annotation_files(name):
    return [
        *sorted((SHARED / "reference" / "medvlsm_anns" / name).glob("*.json*")),
        *sorted((SHARED / "data" / name / "anns").glob("*.json")),
    ]


def texts(items):
    """Every text of some items, each once."""
    found = {}
    for item in items:
        for prompt in item["prompts"].values():
            found |= dict.fromkeys([prompt] if isinstance(prompt, str) else prompt)
    return list(found)


def check_read(text, dataset):
    """A text of upstream is read whole, in clean words where they exist."""
    parsed = parse(text, VOCABULARY)
    assert not parsed.unplaced, text
    assert parsed.attributes.target in ({""} if text == "" else set(dataset.targets)), text
    for name, words in vars(parsed.attributes).items():
        known = VOCABULARY.attributes.get(name, {})
        unclean = {synonym for same in known.values() for synonym in same} - known.keys()
        assert not unclean & {words, *words.split(", ")}, (text, name, words)
    general = parsed.attributes.general
    assert not general or general in VOCABULARY.targets[parsed.attributes.target].general


def test_the_sample_holds_every_data_set():
    assert SAMPLE.keys() == DATASETS.keys() and all(SAMPLE.values())


@pytest.mark.parametrize("name", DATASETS)
def test_every_item_of_the_sample_is_rebuilt_and_read(name):
    assert [i["mask_name"] for i in SAMPLE[name] if not rebuilt(DATASETS[name], i["prompts"])] == []
    for text in texts(SAMPLE[name]):
        check_read(text, DATASETS[name])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the annotations of upstream are not at hand")
@pytest.mark.parametrize("name", DATASETS)
def test_every_item_of_upstream_is_rebuilt_and_read(name, record_property):
    files = annotation_files(name)
    assert files
    items = [item for path in files for item in read_annotations(path)]
    count = sum(rebuilt(DATASETS[name], item["prompts"]) for item in items)
    record_property("rebuilt", f"{count} of {len(items)}")
    assert count == len(items) > 100
    for text in texts(items):
        check_read(text, DATASETS[name])


@pytest.mark.parametrize("name", DATASETS)
def test_one_letter_off_is_not_rebuilt(name):
    for item in SAMPLE[name]:
        for level, prompt in item["prompts"].items():
            wrong = f"{prompt} " if isinstance(prompt, str) else [*prompt[:-1], f"{prompt[-1]}."]
            assert not rebuilt(DATASETS[name], item["prompts"] | {level: wrong})


def test_attributes_are_upstreams_own_words():
    item = {"p6": "two small white it is round polyp, located in top left, top left of the image"}
    attributes = upstream_attributes(DATASETS["kvasir_polyp"], item)
    assert attributes == Attributes("polyp", "two", "small", "white", "it is round", "top left, top left")
    prompts = upstream_prompts(DATASETS["kvasir_polyp"], attributes)
    assert prompts["p6"] == item["p6"] and list(prompts) == [f"p{i}" for i in range(10)]
    assert len(prompts["p9"]) == 5 and prompts["p7"][4].endswith("mucuos membrane")


def test_irregularities_of_upstream():
    absent = upstream_prompts(DATASETS["bkai_polyp"], Attributes("polyp", "zero"))
    assert (absent["p0"], absent["p1"], absent["p9"]) == ("", "no polyp", ["no polyp"])
    normal = upstream_prompts(DATASETS["busi"], Attributes("breast tumor", "zero"))
    assert {str(t) for level, t in normal.items() if level != "p0"} == {"No tumor in the breast ultrasound image."}
    tumor = Attributes("breast tumor", "two", "small", shape="oval", location="left", tumor_type="malignant")
    assert upstream_prompts(DATASETS["busi"], tumor)["p6"] == [
        "Two small oval-shaped malignant tumors at the left in the breast ultrasound image.",
        "Two small oval-shaped irregular tumors at the left in the breast ultrasound image.",
    ]
    finding = Attributes("edema", view="frontal", shape="xbox", location="top, left", findings="edema")
    chest = upstream_prompts(DATASETS["chexlocalize"], finding)
    assert chest["p1"] == "Edema in a chest Xray." and chest["p6"] == "Edema in a Chest Xray. Edema are present. "


def test_what_is_missing_or_of_another_form_is_said():
    with pytest.raises(ValueError, match="needs shape"):
        upstream_prompts(DATASETS["isic"], Attributes("skin melanoma"))
    with pytest.raises(ValueError, match=r"not of the form of ISIC 2016"):
        upstream_attributes(DATASETS["isic"], {"p1": "a mole", "p6": "something else"})
    assert not rebuilt(DATASETS["isic"], {}) and not rebuilt(DATASETS["isic"], {"p1": []})


def test_descriptions_stand_in_the_order_of_the_clean_ones():
    assert upstream_sentences("polyp")[4].startswith("which is an abnormal growth")
    assert VOCABULARY.targets["polyp"].general[4].startswith("an abnormal growth")
    assert upstream_sentences("lungs") == ()
