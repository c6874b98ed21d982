"""The check of data before training, on small sets made here and on upstream's own annotation files."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlsm_training.config import ModelConfig, Recipe, SourceConfig, TrainerConfig
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items
from medvlsm_training.train import refuse_misleading, train
from napari_medvlsm.cli import main
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.catalogue import load_catalogue
from napari_medvlsm.core.datasets.check import check_data, check_items
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.datasets.findings import KINDS
from napari_medvlsm.core.datasets.layouts import read_split
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.datasets.splits import require_enough
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.prompts import Attributes, load_vocabulary
from napari_medvlsm.core.prompts.upstream import load_datasets, upstream_prompts

VOCABULARY = load_vocabulary()
SHARED = Path(__file__).parents[4] / "shared"
UPSTREAM = SHARED / "reference" / "medvlsm_anns"
needs_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the development data are not here")
needs_upstream = pytest.mark.skipif(not UPSTREAM.is_dir(), reason="upstream's annotation files are not here")


def picture(path, rng, size=(24, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def outline(path, size=(24, 20), value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[4:12, 5:15] = value
    Image.fromarray(mask).save(path)


def entry(image, mask=None, **more):
    return {"img_name": image, "mask_name": mask or image, "prompts": {"p1": "polyp"}, **more}


def lists(folder, **splits):
    (folder / "anns").mkdir(parents=True, exist_ok=True)
    for split, entries in splits.items():
        (folder / "anns" / f"{split}.json").write_text(json.dumps(entries))


@pytest.fixture
def polyps(tmp_path, rng):
    """A sound data set in upstream's layout: 4 training, 1 validation and 1 test image."""
    folder = tmp_path / "polyps"
    for i in range(6):
        picture(folder / "images" / f"{i}.png", rng)
        outline(folder / "masks" / f"{i}.png")
    names = [entry(f"{i}.png") for i in range(6)]
    lists(folder, train=names[:4], val=names[4:5], test=names[5:])
    return folder


def source(folder="polyps", layout="upstream", **more):
    facts = {"modality": "endoscopy", "name": folder, "licence": "CC0", "citation": "none"}
    return SourceConfig(folder=folder, layout=layout, **(facts | more))


def test_sound_data_has_no_findings_and_is_counted(polyps):
    told = []
    report = check_data(polyps, progress=lambda done, total: told.append((done, total)))
    assert report.findings == () and report.images == {"train": 4, "val": 1, "test": 1} == report.masks
    assert told[-1] == (12, 12)
    report.refuse()


def test_files_that_are_missing_broken_or_do_not_fit(polyps):
    (polyps / "images" / "0.png").unlink()
    (polyps / "images" / "1.png").write_bytes(b"no image")
    outline(polyps / "masks" / "2.png", size=(20, 24))
    (polyps / "masks" / "3.png").write_bytes((polyps / "masks" / "3.png").read_bytes()[:-40])
    report = check_data(polyps)
    assert report.counts() == {"missing-file": 1, "unreadable": 2, "size-mismatch": 1}
    assert report.of("size-mismatch")[0].sentence == "2.png is 20 x 24 pixels, but its mask 2.png is 24 x 20."
    with pytest.raises(ValueError, match=r"listed files that are not there: 1 \(missing-file\), such as 0\.png"):
        report.refuse(["size-mismatch"])
    with pytest.raises(ValueError, match="cannot be accepted"):
        report.refuse(["unreadable"])


def test_masks_are_cut_at_the_middle_and_specks_and_empty_ones_are_counted(polyps):
    grey = np.zeros((24, 20), np.uint8)
    grey[0, :5], grey[1, :7], grey[2, :3], grey[3, :2] = 127, 128, 255, 1
    Image.fromarray(grey).save(polyps / "masks" / "0.png")
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(polyps / "masks" / "1.png")
    outline(polyps / "masks" / "2.png", value=1)
    report = check_data(polyps)
    assert report.counts() == {"empty-mask": 1, "non-binary-mask": 1}
    assert report.of("non-binary-mask")[0].sentence.startswith("14 of 480 pixels of 0.png are neither black nor white")
    assert "7 of them are background" in report.of("non-binary-mask")[0].sentence
    items = read_source(polyps.parent, source(), VOCABULARY)["train"]
    assert items[0].load_masks()["polyp"].sum() == 10 and items[2].load_masks()["polyp"].sum() == 80


def test_specks_of_a_jpeg_leave_an_empty_mask_empty(polyps):
    faint = np.zeros((24, 20), np.uint8)
    faint[3:9, 3:9] = 6
    Image.fromarray(faint).save(polyps / "masks" / "0.jpg", quality=95)
    lists(polyps, train=[entry("0.png", "0.jpg"), *(entry(f"{i}.png") for i in (1, 2, 3))])
    assert check_data(polyps).counts() == {"empty-mask": 1, "non-binary-mask": 1}


def test_copies_are_found_by_content_whatever_they_are_called(polyps, rng):
    Image.open(polyps / "images" / "5.png").save(polyps / "images" / "0.png", compress_level=1)
    shutil.copy(polyps / "images" / "1.png", polyps / "images" / "2.png")
    report = check_data(polyps)
    assert report.counts() == {"copy-in-two-splits": 1, "copy-in-split": 1}
    assert report.of("copy-in-two-splits")[0].split == "train, test"
    with pytest.raises(ValueError, match="or accept copy-in-two-splits to go on knowingly"):
        report.refuse()
    report.refuse(["copy-in-two-splits"])


def test_images_listed_twice_or_in_two_splits(polyps):
    boxes = [entry("0.png", bbox=[0, 0, 5, 5]), entry("0.png", bbox=[0, 0, 9, 9])]
    lists(polyps, train=[*boxes, entry("1.png"), entry("5.png")], test=[entry("5.png"), entry("4.png")])
    report = check_data(polyps)
    assert report.counts() == {"image-in-two-splits": 2, "listed-twice": 1}
    assert "2 times in train, with different boxes" in report.of("listed-twice")[0].sentence
    assert "with different" not in report.of("image-in-two-splits")[0].sentence
    between = {finding.split: finding.severity for finding in report.of("image-in-two-splits")}
    assert between == {"train, test": "stop", "val, test": "warning"}
    assert len(report.refusals()["image-in-two-splits"]) == 1
    read = {k: len(v) for k, v in read_source(polyps.parent, source(), VOCABULARY).items()}
    assert read == {"train": 2, "val": 0, "test": 2}
    kept = read_source(polyps.parent, source(as_listed=True), VOCABULARY)
    assert {k: len(v) for k, v in kept.items()} == {"train": 3, "val": 1, "test": 2}
    assert check_items("r", kept).counts() == {"image-in-two-splits": 2}


def test_patients_sequences_and_cases_in_two_splits(polyps):
    (polyps / "sequences.csv").write_text("image,sequence\n0.png,1\n1.png,1\n2.png,2\n3.png,3\n4.png,3\n5.png,4\n")
    (polyps / "clinic.csv").write_text("image,patient\n" + "".join(f"{i}.png,{'ab'[i > 4]}\n" for i in range(5)))
    report = check_data(polyps)
    assert [f.sentence for f in report.findings] == ["The images of sequence 3 are spread: 1 in train, 1 in val."]
    assert check_data(polyps, group_column="patient").of("group-in-two-splits")[0].item == "patient a"
    with pytest.raises(ValueError, match=r"No table in .* has the columns 'image' and 'doctor'"):
        check_data(polyps, group_column="doctor")
    # Found by the check, but taken out only where a recipe names the column.
    assert len(read_source(polyps.parent, source(), VOCABULARY)["train"]) == 4
    assert len(read_source(polyps.parent, source(group_column="sequence"), VOCABULARY)["train"]) == 3


@pytest.mark.parametrize("column", ["patient", "group"])
def test_tables_that_group_an_evaluation_are_known_to_the_check(polyps, column):
    (polyps / f"{column}s.csv").write_text(f"image,{column}\n0.png,1\n1.png,1\n2.png,2\n3.png,3\n4.png,3\n5.png,4\n")
    (found,) = check_data(polyps).findings
    assert found.sentence == f"The images of {column} 3 are spread: 1 in train, 1 in val."


def test_lists_that_repeat_or_are_empty_or_belong_to_another_set(polyps, tmp_path):
    other = tmp_path / "others" / "anns"
    other.mkdir(parents=True)
    with gzip.open(other / "test.json.gz", "wt") as file:
        file.write((polyps / "anns" / "test.json").read_text())
    shutil.copy(polyps / "anns" / "test.json", polyps / "anns" / "testB.json")
    lists(polyps, val=[])
    report = check_data(polyps)
    assert report.counts() == {"no-validation": 1, "empty-split": 1, "repeated-file": 1, "copy-of-another-set": 1}
    assert report.of("repeated-file")[0].sentence == "testB.json repeats test.json."
    assert report.refusals(["no-validation"]) == {}


def test_a_damaged_file_of_another_set_is_none_of_this_ones_business(polyps):
    other = polyps.parent / "other"
    other.mkdir()
    (other / "train.json.gz").write_bytes(b"\x1f\x8b\x08 cut off")
    assert not check_data(polyps).findings


def test_names_that_leave_the_folder_are_refused_without_a_way_around(polyps, tmp_path):
    outline(tmp_path / "secret.png")
    lists(polyps, train=[entry("../../secret.png"), entry("0.png", str(tmp_path / "secret.png")), entry("1.png")])
    report = check_data(polyps)
    assert report.counts() == {"outside-folder": 2} and report.images["train"] == 1
    with pytest.raises(ValueError, match="cannot be accepted"):
        report.refuse(["outside-folder"])
    with pytest.raises(ValueError, match="leaves the data folder"):
        read_source(tmp_path, source(), VOCABULARY)


def test_an_unknown_kind_names_the_nearest(polyps):
    with pytest.raises(ValueError, match="did you mean 'missing-file'"):
        check_data(polyps).refuse(["missing-files"])


@pytest.fixture
def camus(tmp_path, rng):
    """Two patients of one name, one in each part, with three structures each; and one of training alone."""
    folder = tmp_path / "camus"
    dataset = load_datasets()["camus"]
    entries = {"train": [], "val": [], "test": []}
    for split, part, patient in (("train", "train", 2), ("val", "train", 1), ("test", "test", 1)):
        name = f"patient000{patient}_2CH_ED"
        picture(folder / "images" / part / f"{name}.png", rng)
        for k, target in enumerate(dataset.targets, 1):
            outline(folder / "masks" / part / f"mask_{k}" / f"{name}_gt.png", value=255)
            said = Attributes(target, view="two-chamber", cycle="end of diastole", sex="male", age="forty")
            said = replace(said, shape="oval", quality="good")
            prompts = upstream_prompts(dataset, said)
            made = {"img_name": f"{name}.png", "mask_name": f"mask_{k}/{name}_gt.png", "prompts": prompts}
            entries[split].append(made)
    lists(folder, train=entries["train"])
    for split in ("val", "test"):
        with gzip.open(folder / "anns" / f"{split}.json.gz", "wt") as file:
            json.dump(entries[split], file)
    return folder


def test_camus_has_two_parts_and_three_masks_an_image(camus):
    report = check_data(camus)
    assert report.findings == () and report.images == {"train": 1, "val": 1, "test": 1}
    assert report.masks == {"train": 3, "val": 3, "test": 3}
    groups = {s: next(iter(read_split(camus, "upstream", s))).group for s in ("train", "val", "test")}
    assert groups == {"train": "patient train/0002", "val": "patient train/0001", "test": "patient test/0001"}
    items = read_source(camus.parent, source("camus", modality="heart ultrasound"), VOCABULARY)
    assert {k: len(v) for k, v in items.items()} == {"train": 1, "val": 1, "test": 1}
    (item,) = items["test"]
    assert sorted(item.masks) == ["left atrium cavity", "left ventricular cavity", "myocardium"]
    assert item.image.parent.name == "test" and item.masks["myocardium"].paths[0].parent.parent.name == "test"
    assert all("p7" in mask.prompts and mask.upstream is not None for mask in item.masks.values())
    # The same patient in training and validation.
    path = camus / "anns" / "train.json"
    path.write_text(path.read_text().replace("0002_2CH_ED", "0001_4CH_ED"))
    for old in camus.rglob("patient0002_2CH_ED*"):
        old.rename(old.with_name(old.name.replace("0002_2CH_ED", "0001_4CH_ED")))
    assert check_data(camus).counts() == {"group-in-two-splits": 1}


def test_a_plain_folder_with_lists_and_without(tmp_path, rng):
    folder = tmp_path / "plain"
    for i in range(4):
        picture(folder / "images" / f"{i}.jpg", rng)
        outline(folder / "masks" / f"{i}{'.tif' if i == 3 else '.png'}")
    assert check_data(folder).images == {"all": 4}
    (folder / "splits").mkdir()
    for split, text in {"train": "\ufeff0.jpg\r\n1.jpg\r\n\r\n", "val": "2.jpg\n", "test": "3.jpg"}.items():
        (folder / "splits" / f"{split}.txt").write_text(text, "utf-8", newline="")
    assert check_data(folder).findings == () and check_data(folder).images == {"train": 2, "val": 1, "test": 1}
    items = read_source(tmp_path, source("plain", "lists", target="polyp"), VOCABULARY)
    assert items["test"][0].load_masks()["polyp"].sum() == 80
    with pytest.raises(ValueError, match="nothing says what the masks show"):
        read_source(tmp_path, source("plain", "lists"), VOCABULARY)
    (folder / "targets.csv").write_text("image,mask\n0.jpg,0.png\n")
    with pytest.raises(ValueError, match="lacks the column 'target'"):
        check_data(folder)
    (folder / "targets.csv").write_text("image,mask,target\n0.jpg,0.png,polyp\n0.jpg,1.png,lungs\n")
    assert check_data(folder).masks == {"train": 2}
    # In folders below, with other ways of writing; what is written nearly so is named.
    (folder / "splits" / "val.txt").rename(folder / "splits" / "VAL.TXT")
    with pytest.raises(ValueError, match="no list of the split 'val', but one called VAL"):
        read_source(tmp_path, source("plain", "lists"), VOCABULARY)
    (folder / "splits" / "VAL.TXT").rename(folder / "splits" / "val.csv")
    with pytest.raises(ValueError, match=r"holds val\.csv, but a split is listed in a text file such as train\.txt"):
        check_data(folder)
    shutil.rmtree(folder / "splits")
    for part in ("images", "masks"):
        (folder / part / "new").mkdir()
        for path in [*(folder / part).glob("*.*")]:
            path.rename(folder / part / "new" / path.name)
    rows = "new/0.jpg;new/0.png;Polyp\nnew/1.jpg;new/1.png;pollyp\nnew/2.jpg;new/2.png;POLYP\nnew/3.jpg;new/3.tif;polyp"
    (folder / "targets.csv").write_text(f"Image;Mask;Target\n{rows}\n")
    (folder / "dataset.yaml").write_text("modality: endoscpy\n")
    report = check_data(folder)
    assert report.masks == {"all": 4} and report.counts() == {"unknown-modality": 1, "unknown-target": 1}
    assert "did you mean 'endoscopy'" in report.of("unknown-modality")[0].sentence
    assert "'pollyp' is in no vocabulary; is 'polyp' meant" in report.of("unknown-target")[0].sentence
    items = read_source(tmp_path, source("plain", "lists"), VOCABULARY)["test"]
    assert [target for item in items for target in item.masks] == ["polyp", "pollyp", "polyp", "polyp"]
    with pytest.raises(ValueError, match="holds no data set"):
        check_data(folder / "images")


def test_our_export_is_read_with_all_targets_of_an_image(tmp_path, rng):
    for i in range(3):
        scan = Scan(rng.integers(0, 2**12, (40, 30), dtype=np.uint16))
        mask = np.zeros((40, 30), bool)
        mask[5:20, 5:20] = i < 2
        for target in ("left lung", "right lung"):
            export_case(tmp_path / "mine", scan, Annotation(target, mask), VOCABULARY)
    report = check_data(tmp_path / "mine")
    assert report.counts() == {"target-not-shown": 2, "empty-mask": 2} and report.masks == {
        "train": 2,
        "val": 2,
        "test": 2,
    }
    found = read_source(tmp_path, source("mine", modality="chest x-ray"), VOCABULARY)
    items = [item for split in found.values() for item in split]
    assert len(items) == 3 and {t for i in items for t in i.masks} == {
        "left lung",
        "right lung",
    }


def test_deep_and_grey_images_reach_training_through_the_one_normalisation(tmp_path, rng):
    folder = tmp_path / "deep"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(np.linspace(0, 4000, 480).reshape(24, 20).astype(np.uint16)).save(folder / "images" / "a.png")
    outline(folder / "masks" / "a.png")
    (folder / "splits").mkdir()
    for split in ("train", "val", "test"):
        (folder / "splits" / f"{split}.txt").write_text("a.png" if split == "test" else "")
    (item,) = read_source(tmp_path, source("deep", "lists", target="polyp"), VOCABULARY)["test"]
    image = item.load_image()
    assert image.shape == (24, 20, 3) and image.dtype == np.uint8 and image.min() == 0 and image.max() == 255


def test_training_is_refused_unless_the_recipe_says_that_it_knows(polyps, tmp_path):
    shutil.copy(polyps / "images" / "5.png", polyps / "images" / "0.png")
    recipe = Recipe(
        "r", "R", "For tests.", "CC0", (source(),), ModelConfig(image_size=32), trainer=TrainerConfig(batch_size=2)
    )
    with pytest.raises(ValueError, match=r"Training on r would mislead: .*polyps/0\.png"):
        train(recipe, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    refuse_misleading(replace(recipe, accept=("copy-in-two-splits",)), read_items(recipe, tmp_path, VOCABULARY))
    without = replace(recipe, sources=(source(leave_out=("0.png",)),))
    refuse_misleading(without, read_items(without, tmp_path, VOCABULARY))
    (polyps / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"The file 1\.png is listed, but there is no .*1\.png"):
        read_items(without, tmp_path, VOCABULARY)
    assert len(read_items(replace(without, accept=("missing-file",)), tmp_path, VOCABULARY)["train"]) == 2


def test_the_catalogue_knows_the_eleven_sets():
    sets = load_catalogue()
    assert set(sets) == set(load_datasets())
    assert all(s.origin and s.terms and s.citation and s.files for s in sets.values())
    assert sets["camus"].folders[-1] == "anns/{train,val,test}.json" and "mask_{1,2,3}" in sets["camus"].folders[2]
    assert sets["cvc300_polyp"].folders[-1] == "anns/test.json"


def test_the_command_lists_sets_and_checks_folders(polyps, tmp_path, capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "verify them at the source" in out and all(name in out for name in load_catalogue())
    assert main(["data", "list", "busi"]) == 0 and "camus" not in capsys.readouterr().out
    assert main(["data", "list", "busy"]) == 2
    assert main(["data", "check", str(polyps)]) == 0 and "nothing found" in capsys.readouterr().out
    for i in (0, 1, 2, 3):
        shutil.copy(polyps / "images" / "5.png", polyps / "images" / f"{i}.png")
        (polyps / "masks" / f"{i}.png").unlink()
    assert main(["data", "check", str(polyps), "--csv", str(tmp_path / "found.csv")]) == 1
    said = capsys.readouterr()
    assert "and 1 more" in said.out and "copy-in-two-splits" in said.err and "missing-file" in said.err
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 6
    accepted = ["--accept", "missing-file", "--accept", "copy-in-two-splits"]
    assert main(["data", "check", str(polyps), "--all", *accepted]) == 0
    assert "accepted" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "gone")]) == 2


@needs_upstream
@pytest.mark.parametrize(
    ("name", "kind", "items"),
    [
        ("bkai_polyp", "listed-twice", {"04ccdc265a0b0a1230b118fa8625605d.jpeg"}),
        ("bkai_polyp", "image-in-two-splits", {"cdc265a0b0a1230b118fa8625605da20.jpeg"}),
        ("isic", "image-in-two-splits", {"ISIC_0001184.jpg"}),
        ("cvc300_polyp", "copy-of-another-set", {"train.json", "test.json.gz"}),
        ("colondb_polyp", "empty-split", {"val.json"}),
        ("etis_polyp", "empty-split", {"val.json"}),
        ("camus", "image-in-two-splits", set()),
        ("chexlocalize", "group-in-two-splits", set()),
    ],
)
def test_known_faults_of_upstream_are_found(name, kind, items):
    """Those of them that the stored three quarters of its files hold; images are not needed."""
    assert {finding.item for finding in check_data(UPSTREAM / name).of(kind)} == items


@needs_data
def test_the_video_sequences_of_clinicdb_are_in_two_splits():
    report = check_data(SHARED / "data" / "clinicdb_polyp")
    assert report.counts() == {"group-in-two-splits": 22}
    assert sum({"train", "test"} <= set(f.split.split(", ")) for f in report.findings) == 19


@needs_data
def test_normals_of_busi_are_counted_as_empty_masks():
    normals = list((SHARED / "data" / "busi" / "masks").glob("*normal*"))
    assert check_data(SHARED / "data" / "busi").counts() == {"empty-mask": len(normals)}


@needs_data
def test_the_starter_may_be_trained():
    recipe = load_recipe("starter")
    items = read_items(
        replace(recipe, sources=tuple(s for s in recipe.sources if "ulcer" in s.folder)), SHARED / "data", VOCABULARY
    )
    assert len(items["train"]) == 453 and check_items("starter", items).refusals() == {}


def test_every_kind_is_described():
    assert all(kind.words and kind.severity in ("stop", "warning", "note") for kind in KINDS.values())


# Nothing listed is dropped silently ---------------------------------------------------------------------------------


@pytest.fixture
def tabled(tmp_path, rng):
    """A set in split lists whose `targets.csv` names the masks."""
    folder = tmp_path / "mine"
    (folder / "splits").mkdir(parents=True)
    for i in range(4):
        picture(folder / "images" / f"{i}.png", rng)
        outline(folder / "masks" / f"{i}.png")
    for split, names in {"train": "0.png\n1.png\n", "val": "2.png\n", "test": "3.png\n"}.items():
        (folder / "splits" / f"{split}.txt").write_text(names)
    (folder / "targets.csv").write_text("image,mask,target\n" + "".join(f"{i}.png,{i}.png,polyp\n" for i in range(4)))
    return folder


def items_of(folder, **more):
    return read_source(folder.parent, source(folder.name, "lists", **more), VOCABULARY)


def test_listed_images_without_a_row_are_told_and_refused(tabled):
    assert check_data(tabled).findings == ()
    (tabled / "targets.csv").write_text("image;mask;target\n0.png;0.png;polyp\n9.png;0.png;polyp\n")
    report = check_data(tabled)
    assert [f.sentence for f in report.of("missing-file")] == [
        f"{i}.png is listed, but targets.csv has no row with a mask for it." for i in (1, 2, 3)
    ]
    assert [f.item for f in report.of("in-no-split")] == ["9.png"] and not report.of("empty-split")
    with pytest.raises(ValueError, match=r"1\.png is listed in train, but targets\.csv has no row"):
        items_of(tabled)
    with pytest.raises(ValueError, match="no row"):  # whatever of the table is wanted
        items_of(tabled, only=("polyp",))


def test_without_lists_the_table_is_one(tabled):
    shutil.rmtree(tabled / "splits")
    assert not check_data(tabled).findings
    with (tabled / "targets.csv").open("a") as file:
        file.write("lost.png,0.png,polyp\n")
    (found,) = check_data(tabled).findings
    assert found.kind == "missing-file" and found.sentence.startswith("The image lost.png is listed, but there is no")


def test_notes_beside_lists_are_no_annotation_file(tabled):
    (tabled / "notes.json").write_text('{"title": "polyps"}')
    assert not check_data(tabled).of("empty-split") and check_data(tabled).images
    (tabled / "train.json").write_text("[]")
    assert check_data(tabled).of("empty-split")


def test_a_table_of_groups_of_other_images_is_told(tabled):
    (tabled / "patients.csv").write_text("image,patient\nother.png,a\n")
    found = check_data(tabled).of("groups-of-others")
    assert len(found) == 1 and "names none of the images" in found[0].sentence
    (tabled / "patients.csv").write_text("image,patient\nother.png,a\n0.png,b\n")
    assert not check_data(tabled).of("groups-of-others")


def test_names_are_shown_as_listed_and_where_they_were_looked_for(tabled):
    (tabled / "targets.csv").unlink()
    (tabled / "splits" / "val.txt").write_text("images/2.png\n")
    (tabled / "splits" / "test.txt").write_text("3.jpg\n")
    sentences = [f.sentence for f in check_data(tabled).of("missing-file")]
    assert (
        f"The image images/2.png is listed, but there is no {tabled}/images/images/2.png; list it without images/."
        in (sentences)
    )
    assert f"The image 3.jpg is listed, but there is no {tabled}/images/3.jpg; is 3.png meant?" in sentences
    with pytest.raises(ValueError, match=r"images/2\.png is listed, but there is no .*; list it without images/"):
        items_of(tabled, target="polyp")
    (tabled / "splits" / "val.txt").write_text("images\\2.png\n")
    found = [f.sentence for f in check_data(tabled).of("missing-file")]
    assert any("images\\2.png is listed" in s and s.endswith("; list it without images\\.") for s in found)


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "a\0b.png", "loop", "../../x.png", "new\nline.png"])
def test_names_that_no_file_has_are_findings(polyps, name):
    (polyps / "images" / "loop").symlink_to("loop")
    lists(polyps, test=[entry(name)])
    report = check_data(polyps)
    (found,) = [f for f in report.findings if f.split == "test" and f.kind in ("missing-file", "outside-folder")][:1]
    assert found.severity == "stop" and "\n" not in found.sentence and len(found.sentence) < 800
    with pytest.raises(ValueError, match=r"list|name"):
        read_source(polyps.parent, source(), VOCABULARY)


def test_files_that_systems_leave_are_passed_over(tabled, polyps):
    def litter(folder):
        for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", "._train.json", "._a.txt", "._groups.csv"):
            (folder / name).write_bytes(b"\0\5\xff")
        (folder / ".ipynb_checkpoints").mkdir()

    def items(folder, layout):
        return read_source(folder.parent, source(folder.name, layout), VOCABULARY)

    for folder, layout in ((tabled, "lists"), (polyps, "upstream")):
        before = items(folder, layout)
        for part in (folder, folder.parent, *(p for p in folder.iterdir() if p.is_dir())):
            if not (part / ".DS_Store").exists():
                litter(part)
        assert check_data(folder).findings == ()
        assert {k: len(v) for k, v in items(folder, layout).items()} == {k: len(v) for k, v in before.items()}
    shutil.rmtree(tabled / "splits")
    assert check_data(tabled, "polyp").images == {"all": 4}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"img_name": None}, "item 2: img_name must be the name of a file, but is None"),
        ({"prompts": {"p1": 3}}, "item 2: the prompt p1 must be a text or a list of texts, but is 3"),
        ({"prompts": {"p1": ["a", None]}}, "the prompt p1 must be"),
        ({"prompts": {"p1": "polyp", "p7": []}}, r"the prompt p7 must be a text or a list of texts, but is \[\]"),
        ({"prompts": []}, "item 2: it holds no prompts"),
        ({"modality": "colonoscopy"}, "did you mean 'endoscopy'"),
        ({"modality": "y" * 70_000}, "which the vocabulary does not have"),
    ],
)
def test_wrong_items_of_annotation_files_are_named(polyps, wrong, words):
    lists(polyps, train=[entry("0.png"), {**entry("1.png"), **wrong}])
    with pytest.raises(ValueError, match=words) as error:
        read_source(polyps.parent, replace(source(), modality=""), VOCABULARY)
    assert len(str(error.value)) < 1000


def _targets(folder, rows):
    """A set in split lists, of (split, image, target, whether the mask shows it)."""
    for part in ("images", "masks", "splits"):
        (folder / part).mkdir(parents=True)
    rng, table, splits = np.random.default_rng(5), ["image,mask,target"], {}
    for i, (split, image, target, shows) in enumerate(rows):
        if image not in splits.setdefault(split, []):
            picture(folder / "images" / image, rng)
            splits[split].append(image)
        outline(folder / "masks" / f"{i}.png", value=255 * shows)
        table.append(f"{image},{i}.png,{target}")
    for split, names in splits.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(names))
    (folder / "targets.csv").write_text("\n".join(table))
    return folder


def test_a_target_that_a_split_does_not_show_is_told_before_training(tmp_path):
    rows = [
        *[("train", f"{i}.png", t, True) for i in range(3) for t in ("polyp", "left lung")],
        ("train", "3.png", "heart", False),
        *[("val", "4.png", "polyp", True), ("val", "4.png", "left lung", False), ("val", "4.png", "heart", False)],
        *[("test", "5.png", "polyp", True), ("test", "5.png", "left lung", True), ("test", "5.png", "heart", True)],
    ]
    folder = _targets(tmp_path / "set", rows)
    report = check_data(folder)
    assert [(f.item, f.split, f.severity) for f in report.of("target-not-shown")] == [
        ("left lung", "val", "warning"),
        ("heart", "train, val", "warning"),
    ]
    assert report.of("target-not-shown")[0].sentence == (
        "The masks that show 'left lung': 3 in train, 0 in val, 1 in test; the best model is chosen without it."
    )
    assert not report.refusals()
    source = SourceConfig("set", "lists", modality="endoscopy", name="set", licence="CC0", citation="none")
    assert check_items("r", read_source(tmp_path, source, VOCABULARY)).counts()["target-not-shown"] == 2


@pytest.mark.parametrize("validation", [[], [("val", "9.png", "polyp", False)]])
def test_what_training_would_refuse_the_check_of_the_folder_refuses(tmp_path, validation, capsys):
    rows = [("train", f"{i}.png", "polyp", True) for i in range(3)]
    folder = _targets(tmp_path / "set", rows + validation)
    assert main(["data", "check", str(folder)]) == 1
    assert "no-validation" in capsys.readouterr().err
    (recipe := tmp_path / "r.yaml").write_text(
        "{name: r, title: r, summary: r, licence: CC0, sources: [{folder: set}], prompts: {mix: {p1: 1}},"
        " model: {image_size: 32, sizes: {patch_size: 8}}}"
    )
    assert main(["train", str(recipe), "--data", str(tmp_path), "--run", str(tmp_path / "run")]) == 2
    assert "best model" in capsys.readouterr().err
    (folder / "splits" / "val.txt").unlink(missing_ok=True)
    (folder / "splits" / "validation.txt").write_text("0.png")
    assert main(["train", str(recipe), "--data", str(tmp_path), "--run", str(tmp_path / "run")]) == 2
    assert (
        "no list of the split 'val', but one called validation; if that is meant, rename it" in capsys.readouterr().err
    )
    # Without training images it may be a set for tests alone.
    assert not check_data(_targets(tmp_path / "other", [("test", "1.png", "polyp", True)])).refusals()


def test_splits_that_leave_nothing_to_train_on_say_why(tmp_path):
    folder = _targets(tmp_path / "set", [("train", f"{i}.png", "polyp", True) for i in range(3)])
    source = SourceConfig("set", "lists", modality="endoscopy", name="set", licence="CC0", citation="none")
    text = (folder / "splits" / "train.txt").read_text()

    def refused():
        with pytest.raises(ValueError, match="several splits list is for testing") as caught:
            require_enough("r", read_source(tmp_path, source, VOCABULARY))
        return str(caught.value)

    (folder / "splits" / "val.txt").write_text(text)
    (folder / "splits" / "test.txt").write_text(text)
    assert "leave no training images (images: train 0, val 0, test 3)" in refused()
    shutil.rmtree(folder / "splits")
    assert "without lists all images are for testing" in refused()
    lone = _targets(tmp_path / "empty" / "set", [("train", "1.png", "polyp", False), ("val", "2.png", "polyp", True)])
    with pytest.raises(ValueError, match="No training image of r shows"):
        (lone / "splits" / "test.txt").write_text("")
        require_enough("r", read_source(lone.parent, source, VOCABULARY))
