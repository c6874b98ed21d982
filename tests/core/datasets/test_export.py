"""Exported folders: upstream's layout, everything that is known as data, and one split for ever."""

import json

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.annotation import Annotation, from_dict, new_provenance
from napari_medvlsm.core.datasets import export
from napari_medvlsm.core.datasets.case_words import case_words, training_prompts
from napari_medvlsm.core.datasets.check import check_data
from napari_medvlsm.core.datasets.export import count_cases, export_case
from napari_medvlsm.core.datasets.info import read_info
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
from napari_medvlsm.core.images import Scan, content_hash, to_unit_rgb
from napari_medvlsm.core.prompts import LEVELS, Attributes, Prompt, load_families, load_vocabulary, parse
from napari_medvlsm.core.prompts.own_words import OwnWords, own_words_path

VOCABULARY = load_vocabulary()
OWN_WORDS = """
targets:
  gallstone: {modality: abdominal ultrasound, synonyms: [stone], lateralised: true}
attributes: {color: [maroon], shape: [bulgy]}
"""


def noise(rng, size=(30, 30)):
    return Scan(rng.integers(0, 255, size, dtype=np.uint8))


def outline(target, value=True, size=(30, 30), **said):
    return Annotation(target, np.full(size, value), corrected=True, said=Attributes(target, **said))


def cases(folder):
    """All cases by split."""
    return {path.stem: json.loads(path.read_text()) for path in (folder / "anns").glob("*.json")}


def read(folder, vocabulary=VOCABULARY, **more):
    return read_source(folder.parent, SourceConfig(folder.name, **more), vocabulary)


@pytest.fixture
def own_vocabulary():
    path = own_words_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OWN_WORDS, "utf-8")
    return load_vocabulary(path)


def test_export_writes_upstreams_layout(tmp_path, rng):
    scan = Scan(rng.integers(0, 4000, (90, 120)).astype(np.uint16), source="Jane Doe 1950-01-01.tif")
    mask = np.zeros((90, 120), bool)
    mask[5:20, 100:115] = True
    said = Attributes("polyp", color="pink", shape="round")
    exported = export_case(tmp_path, scan, Annotation("polyp", mask, said=said), VOCABULARY)
    (entry,) = json.loads(exported.annotations.read_text())
    assert entry["prompts"]["p6"] == "one small pink round polyp, located in the top right of the image"
    assert list(entry["prompts"]) == list(LEVELS) and entry["bbox"] == [99, 4, 115, 20]
    image = np.asarray(Image.open(tmp_path / "images" / entry["img_name"]))
    np.testing.assert_array_equal(image, np.rint(to_unit_rgb(scan.pixels) * 255).astype(np.uint8))
    stored = np.asarray(Image.open(tmp_path / "masks" / entry["mask_name"]))
    assert sorted(np.unique(stored)) == [0, 255] and (stored > 0).sum() == mask.sum()
    assert {p.name for p in (tmp_path / "anns").iterdir()} == {"train.json", "val.json", "test.json"}
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*.*")) + str(list(tmp_path.rglob("*"))).encode()
    assert b"Jane" not in everything and b"1950" not in everything


def test_export_again_replaces_and_other_targets_add(tmp_path, rng):
    scan = noise(rng)
    empty = Annotation("polyp", np.zeros((30, 30), bool), absent=True)
    told = [export_case(tmp_path, scan, one, VOCABULARY) for one in (empty, outline("polyp"), outline("foot ulcer"))]
    assert [(e.split, e.replaced, e.number) for e in told] == [
        ("train", False, 1),
        ("train", True, 1),
        ("train", False, 2),
    ]
    found = json.loads(told[-1].annotations.read_text())
    assert len(found) == 2 and len(list((tmp_path / "images").iterdir())) == 1
    assert found[0]["prompts"]["p5"] == "one large rectangular polyp"


def test_a_case_of_another_split_is_replaced_where_it_is(tmp_path, rng):
    scan = noise(rng)
    first = export_case(tmp_path, scan, outline("polyp"), VOCABULARY)
    (tmp_path / "anns" / "val.json").write_text(first.annotations.read_text())
    first.annotations.write_text("[]")
    again = export_case(tmp_path, scan, outline("polyp"), VOCABULARY)
    assert again.split == "val" and again.replaced and again.number == 1
    assert {split: len(found) for split, found in cases(tmp_path).items()} == {"train": 0, "val": 1, "test": 0}


@pytest.fixture
def left_half(rng):
    """A colour scan, brown on the left, and a mask of two parts there."""
    pixels = np.full((90, 120, 3), (139, 69, 19), np.uint8)
    pixels[:, 60:] = rng.integers(0, 255, (90, 60, 3))
    mask = np.zeros((90, 120), bool)
    mask[5:15, 5:25] = mask[40:55, 5:25] = True
    return Scan(pixels), mask


def test_prompts_have_every_level_of_the_targets_kind_of_scan(left_half):
    scan, mask = left_half
    polyp = training_prompts(scan, mask, Attributes("polyp"), VOCABULARY)
    assert list(polyp) == [f"p{i}" for i in range(10)] and polyp["p0"] == "" and polyp["p1"] == "polyp"
    assert polyp["p6"] == "two small brown rectangular polyps, located in the top left and left of the image"
    tumor = training_prompts(scan, mask, Attributes("breast tumor", tumor_type="malignant"), VOCABULARY)
    assert list(tumor) == [f"p{i}" for i in range(7)]
    assert tumor["p5"] in (
        "two small malignant breast tumors, located in the top left and left of the image",
        "two small irregular-shaped breast tumors, located in the top left and left of the image",
    )
    said = Attributes("myocardium", view="two-chamber", cycle="diastole", sex="male", age="eighty", quality="good")
    heart = training_prompts(scan, mask, said, VOCABULARY)
    assert list(heart) == [f"p{i}" for i in range(8)]
    assert heart["p5"].endswith("at the end of diastole of an eighty-year-old male")
    assert heart["p7"].startswith("rectangular myocardium in the two-chamber view of the ")
    chest = training_prompts(scan, mask, Attributes("edema", view="frontal", findings="edema, fracture"), VOCABULARY)
    assert list(chest) == [f"p{i}" for i in range(7)]
    assert chest["p4"] == (
        "rectangular edema in the frontal view of a chest X-ray, located in the top left and left of the image"
    )
    assert chest["p6"] == "edema; edema and fracture are present"


def test_number_size_and_place_are_the_masks_and_the_rest_the_persons(left_half):
    scan, mask = left_half
    said = Attributes("polyp", "one", "large", "pink", "round", "right", "odd")
    prompts = training_prompts(scan, mask, said, VOCABULARY)
    assert prompts["p8"] == "two small pink round polyps which are odd"
    assert prompts["p6"].endswith("located in the top left and left of the image")
    unsaid = training_prompts(scan, mask, Attributes("polyp", shape="round"), VOCABULARY)
    assert unsaid["p3"] == "brown round polyp"


@pytest.mark.parametrize("number", ["", "zero"])
def test_what_is_absent_is_asked_for_in_the_words_of_what_is_not(left_half, number):
    scan, mask = left_half
    said = Attributes("polyp", number, "small", shape="round", color="pink", general="odd")
    prompts = training_prompts(scan, np.zeros(mask.shape, bool), said, VOCABULARY)
    assert prompts["p4"] == prompts["p6"] == "pink round polyp" and prompts["p7"] == "polyp which is odd"


def test_descriptions_and_paraphrases_are_chosen_by_seed(left_half):
    scan, mask = left_half
    said = Attributes("myocardium", view="two-chamber")

    def chosen(seed, of=scan):
        return training_prompts(of, mask, Attributes("polyp"), VOCABULARY, seed), training_prompts(
            of, mask, said, VOCABULARY, seed
        )

    assert chosen(3) == chosen(3) and chosen(3, Scan(scan.pixels.copy(), source="b")) == chosen(3)
    polyps, hearts = zip(*(chosen(seed) for seed in range(40)), strict=True)
    general = VOCABULARY.targets["polyp"].general
    assert {p["p7"] for p in polyps} == {f"polyp which is {sentence}" for sentence in general}
    assert {h["p2"] for h in hearts} == {
        "myocardium in the two-chamber view of the heart",
        "myocardium in the two-chamber view of the cardiac ultrasound",
    }
    # Each level and each scan has a choice of its own.
    assert any(general.index(p["p7"].removeprefix("polyp which is ")) != _index_of(p["p8"]) for p in polyps)
    others = [Scan(np.full((90, 120), i, np.uint8)) for i in range(20)]
    assert len({training_prompts(s, mask, Attributes("polyp"), VOCABULARY)["p7"] for s in others}) > 1
    # What leaves no choice is the same whatever the seed.
    assert len({p["p6"] for p in polyps}) == 1


def _index_of(text):
    return next(i for i, s in enumerate(VOCABULARY.targets["polyp"].general) if text.endswith(s))


def test_the_seed_reaches_the_file(tmp_path, left_half):
    scan, mask = left_half
    found = []
    for seed in (0, 0, 1, 2, 3):
        exported = export_case(tmp_path / str(len(found)), scan, Annotation("polyp", mask), VOCABULARY, seed=seed)
        found.append(json.loads(exported.annotations.read_text())[0]["prompts"])
    assert found[0] == found[1] and len({str(prompts) for prompts in found}) > 1


def test_the_interfaces_words_are_written_not_upstreams(left_half):
    scan, mask = left_half
    for seed in range(10):
        for target in VOCABULARY.targets:
            for text in training_prompts(scan, mask, Attributes(target), VOCABULARY, seed).values():
                assert parse(text, VOCABULARY).attributes.target == (target if text else "")
                assert "mucuos" not in text and "Xray" not in text


def test_export_refuses_what_it_cannot_do_and_changes_nothing(tmp_path):
    scan = Scan(np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="Choose what was outlined"):
        export_case(tmp_path, scan, outline("", size=(5, 5)), VOCABULARY)
    with pytest.raises(ValueError, match="one size"):
        export_case(tmp_path, scan, outline("polyp", size=(5, 6)), VOCABULARY)
    with pytest.raises(ValueError, match=r"'colonoscopy', which .* does not have; did you mean 'endoscopy'"):
        export_case(tmp_path, scan, outline("polyp", size=(5, 5)), VOCABULARY, modality="colonoscopy")
    (tmp_path / "anns").mkdir()
    (tmp_path / "anns" / "val.json").write_text("{broken")
    with pytest.raises(ValueError, match="nothing was changed"):
        export_case(tmp_path, scan, outline("polyp", size=(5, 5)), VOCABULARY)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["val.json"]
    assert (tmp_path / "anns" / "val.json").read_text() == "{broken"


def test_targets_of_any_script_get_files_of_their_own(tmp_path):
    scan = Scan(np.zeros((30, 30), np.uint8))
    long = " ".join(["очень длинное название"] * 10)
    for target in ("полип", "язва", "polyp", "polyp?", "../polyp", long, f"{long}!"):
        exported = export_case(tmp_path, scan, outline(target), VOCABULARY)
    assert exported.number == len(json.loads(exported.annotations.read_text())) == 7
    assert len(list((tmp_path / "masks").iterdir())) == 7


# What travels as data -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", load_families())
def test_every_attribute_of_every_family_comes_back(tmp_path, rng, family):
    targets = [target for target in VOCABULARY.targets.values() if target.family == family]
    for target in targets:
        for number in range(3):
            words = {}
            for name in load_families()[family].attributes:
                known = VOCABULARY.words(name, target.phrase) or ("eighty",)
                words[name] = known[number % len(known)]
            said = Attributes(target.phrase, **words)
            folder = tmp_path / target.phrase / str(number)
            export_case(folder, noise(rng), Annotation(target.phrase, np.ones((30, 30), bool), said=said), VOCABULARY)
            (item,) = read(folder)["train"]
            (mask,) = item.masks.values()
            # What the mask shows is read from the mask.
            beyond = frozenset(words) - {"number", "size", "location"}
            assert mask.attributes.only(beyond) == said.only(beyond)
            ((case,), *_) = (found for found in cases(folder).values() if found)
            assert case["attributes"]["said"] == words
            assert from_dict(case["annotation"], mask.load()).said == said


def test_words_of_ones_own_come_back(tmp_path, rng, own_vocabulary):
    scan, mask = noise(rng, (40, 50)), np.zeros((40, 50), bool)
    mask[4:20, 5:30] = True
    said = Attributes("gallstone", color="maroon", shape="bulgy", general="a thing in the gallbladder")
    provenance = new_provenance(
        scan_hash=content_hash(scan.pixels), spacing=(0.2, 0.3), prompt=Prompt("gallstone", "p1"), model="starter"
    )
    annotation = Annotation("gallstone", mask, True, said=said, provenance=provenance, prediction=~mask)
    exported = export_case(tmp_path / "own", scan, annotation, own_vocabulary, group="patient 7")
    (case,) = json.loads(exported.annotations.read_text())
    assert case["modality"] == "abdominal ultrasound" and case["group"] == "patient 7"
    assert case["spacing_mm"] == [0.2, 0.3] and case["absent"] is False and case["target"] == "gallstone"
    assert case["attributes"]["measured"]["size"] == "medium" and "bulgy gallstone" in case["prompts"]["p2"]
    back = from_dict(case["annotation"], mask)
    assert back.provenance == provenance and np.array_equal(back.prediction, ~mask) and back.said == said
    # On a computer whose user never heard of gallstones.
    own_words_path().unlink()
    vocabulary = dataset_vocabulary([tmp_path / "own"])
    assert vocabulary.target("gallstone").lateralised and vocabulary.find_target("the stone").phrase == "gallstone"
    (item,) = read(tmp_path / "own", vocabulary)["train"]
    assert (item.modality, item.group) == ("abdominal ultrasound", "patient 7")
    assert item.masks["gallstone"].attributes == said
    assert parse("maroon bulgy gallstone", vocabulary).attributes == Attributes(
        "gallstone", color="maroon", shape="bulgy"
    )


def test_absent_is_an_empty_mask_that_says_so(tmp_path, rng):
    absent = Annotation("polyp", np.zeros((30, 30), bool), corrected=True, absent=True)
    exported = export_case(tmp_path / "own", noise(rng), absent, VOCABULARY)
    (case,) = json.loads(exported.annotations.read_text())
    assert case["absent"] is True and case["annotation"]["absent"] is True and case["bbox"] == [30, 30, 0, 0]
    (item,) = read(tmp_path / "own")["train"]
    assert not item.load_masks()["polyp"].any()


def test_the_folder_tells_what_it_is(tmp_path, rng):
    export_case(tmp_path / "own", noise(rng), outline("polyp"), VOCABULARY)
    info = read_info(tmp_path / "own")
    assert (info.title, info.modality, info.schema_version) == ("own", "endoscopy", 1) and info.salt
    path = tmp_path / "own" / "dataset.yaml"
    path.write_text(path.read_text().replace("title: own", "title: Our polyps") + "contact: someone\n")
    export_case(tmp_path / "own", noise(rng), outline("polyp"), VOCABULARY)
    again = read_info(tmp_path / "own")
    assert again.title == "Our polyps" and again.salt == info.salt and "contact: someone" in path.read_text()
    path.write_text("schema_version: 99\n")
    with pytest.raises(ValueError, match=r"schema version 99, .* up to 1; update napari-medvlsm"):
        export_case(tmp_path / "own", noise(rng), outline("polyp"), VOCABULARY)


def test_words_are_only_ever_added_to_a_folder(tmp_path, rng, own_vocabulary):
    folder = tmp_path / "own"
    export_case(folder, noise(rng), outline("gallstone"), own_vocabulary)
    export_case(folder, noise(rng), outline("polyp"), VOCABULARY)
    kept = OwnWords.read(folder / "vocabulary.yaml").content
    assert "gallstone" in kept["targets"] and "maroon" in kept["attributes"]["color"] and "polyp" in kept["targets"]
    other = OWN_WORDS.replace("abdominal ultrasound", "endoscopy")
    own_words_path().write_text(other, "utf-8")
    with pytest.raises(ValueError, match=r"'gallstone' has the modality 'abdominal ultrasound' in .*yaml, but"):
        export_case(folder, noise(rng), outline("gallstone"), load_vocabulary(own_words_path()))
    assert sum(map(len, cases(folder).values())) == 2


@pytest.mark.parametrize("written", range(7))
def test_a_crash_between_two_files_leaves_a_readable_folder(tmp_path, rng, monkeypatch, written):
    class Crash(BaseException):
        pass

    folder, left = tmp_path / "own", [written]
    real = {name: getattr(export, name) for name in ("replacing", "write_info", "extend_snapshot")}

    def counted(name):
        def call(*arguments):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return real[name](*arguments)

        return call

    for name in real:
        monkeypatch.setattr(export, name, counted(name))
    with pytest.raises(Crash):
        export_case(folder, noise(rng), outline("polyp"), VOCABULARY)
        export_case(folder, noise(rng), outline("polyp"), VOCABULARY)
    monkeypatch.undo()
    assert export_case(folder, noise(rng), outline("polyp"), VOCABULARY).number <= 2
    report = check_data(folder)
    assert report.refusals(["no-validation"]) == {} and sum(report.masks.values()) in (1, 2)


def test_the_eyes_of_upstreams_loader(tmp_path, rng):
    """What upstream's data set class reads: a list, file names, and prompts by level (strings or lists of strings)."""
    for _ in range(4):
        export_case(tmp_path, noise(rng), outline("polyp"), VOCABULARY)
    for split, count in {"train": 2, "val": 1, "test": 1}.items():
        entries = json.loads((tmp_path / "anns" / f"{split}.json").read_text())
        assert len(entries) == count
        for entry in entries:
            assert (tmp_path / "images" / entry["img_name"]).is_file()
            assert (tmp_path / "masks" / entry["mask_name"]).is_file()
            assert all(isinstance(entry["prompts"][f"p{i}"], str) for i in range(10))
            assert {"bbox", "cat", "segment_id", "sentences", "sentences_num"} <= entry.keys()


# Splits -----------------------------------------------------------------------------------------------------------


def test_ten_scans_have_all_splits_and_keep_them(tmp_path, rng):
    scans = [noise(rng) for _ in range(10)]
    first = [export_case(tmp_path, scan, outline("polyp"), VOCABULARY).split for scan in scans]
    assert first[:5] == ["train", "val", "test", "train", "train"] and sorted(first[5:]) == sorted(first[:5])
    again = [export_case(tmp_path, scan, outline("foot ulcer"), VOCABULARY).split for scan in reversed(scans)]
    assert again[::-1] == first


def test_a_patient_is_on_one_side(tmp_path, rng):
    folder, scans = tmp_path / "own", [noise(rng) for _ in range(12)]
    told = [
        export_case(folder, scan, outline("polyp"), VOCABULARY, group=f"patient {i % 3}")
        for i, scan in enumerate(scans)
    ]
    assert [exported.split for exported in told] == ["train", "val", "test"] * 4
    assert check_data(folder).findings == ()
    with pytest.raises(ValueError, match="already, but other scans of patient 1 are in val, and one group must stay"):
        export_case(folder, scans[0], outline("foot ulcer"), VOCABULARY, group="patient 1")


def test_cases_of_the_first_version_stay_and_new_ones_are_split(tmp_path, rng):
    scans = [noise(rng) for _ in range(7)]
    for scan in scans[:4]:
        export_case(tmp_path, scan, outline("polyp"), VOCABULARY)
    every = [case for found in cases(tmp_path).values() for case in found]
    old = [{k: v for k, v in case.items() if k in ("img_name", "mask_name", "bbox", "prompts")} for case in every]
    for split in ("train", "val", "test"):
        (tmp_path / "anns" / f"{split}.json").write_text(json.dumps(old if split == "train" else []))
    for name in ("dataset.yaml", "vocabulary.yaml"):
        (tmp_path / name).unlink()
    told = [export_case(tmp_path, scan, outline("polyp"), VOCABULARY) for scan in scans]
    assert [exported.split for exported in told] == ["train"] * 4 + ["train", "val", "test"]
    assert [exported.replaced for exported in told] == [True] * 4 + [False] * 3


def test_it_is_known_where_each_word_comes_from(left_half):
    scan, mask = left_half
    said = Attributes("polyp", size="large", color="pink")
    words = case_words(scan, mask, said, VOCABULARY)
    assert words.said == Attributes("polyp", color="pink"), "the size is read from the mask, whatever was said"
    assert {"number", "size", "location"} <= words.measured.named() and not words.measured.color
    assert words.prompts == training_prompts(scan, mask, said, VOCABULARY)
    assert words.drawn and all(text in words.prompts[level] for level, text in words.drawn.items())
    own = case_words(scan, mask, Attributes("polyp", general="a bump of the gut"), VOCABULARY)
    assert not own.drawn


def test_the_cases_of_a_folder_are_counted_by_split(tmp_path, left_half):
    scan, mask = left_half
    assert count_cases(tmp_path / "new") == {"train": 0, "val": 0, "test": 0}
    for target in ("polyp", "foot ulcer"):
        export_case(tmp_path, scan, Annotation(target, mask), VOCABULARY)
    counts = count_cases(tmp_path)
    assert sum(counts.values()) == 2 == max(counts.values()), "one scan, one split"
