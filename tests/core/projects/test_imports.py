"""Outlines that exist already, from masks beside scans, data sets and COCO."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.core.projects.adding import NewScan, scans_in
from napari_medvlsm.core.projects.coco import decode, read_coco
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.imports import import_outlines, masks_beside, read_dataset, refuse_misleading
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.prompts import load_vocabulary
from tests.core.projects.conftest import SIZE, outline, write_scans

VOCABULARY = load_vocabulary()


@pytest.fixture
def empty(tmp_path):
    create_project(tmp_path / "new", ["polyp"])
    with ProjectStore(tmp_path / "new") as store:
        yield store


def grey(path, mask, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * value).save(path)


def states(store, target="polyp"):
    return [case.states.get(target) for case in store.cases()]


def test_masks_beside_scans_with_what_they_say_themselves(tmp_path, empty):
    scans = list(scans_in(write_scans(tmp_path / "s", 6)))
    m = tmp_path / "m"
    grey(m / "scan1.png", outline().mask)
    grey(m / "scan2_mask.png", outline(rows=(1, 5)).mask, value=1)
    save_mask(m / "scan3.tif", outline("fold", author="Eve", seconds=9))
    save_mask(m / "scan4.tif", outline(absent=True))
    save_mask(m / "scan5_polyp.png", outline(corrected=False, model="starter"))
    grey(m / "elsewhere.png", outline().mask)
    given = masks_beside(scans, m, "polyp", author="Ann")
    report = import_outlines(empty, scans, given)
    assert (report.outlines, report.failed, report.known) == (5, [], [])
    assert states(empty) == ["submitted", "submitted", "unseen", "absent", "unseen", "unseen"]
    assert states(empty, "fold")[2] == "submitted" and empty.current(3, "fold").author == "Eve"
    assert empty.current(1, "polyp").author == "Ann" and empty.prediction(5, "polyp").model == "starter"
    np.testing.assert_array_equal(empty.load(empty.current(2, "polyp")).mask, outline(rows=(1, 5)).mask)
    again = import_outlines(empty, scans, given)
    assert again.outlines == 0 and len(again.known) == 5 and len(empty.versions(1, "polyp")) == 1


def test_masks_are_known_by_content_several_are_united_and_a_choice_is_refused(tmp_path, empty):
    scans = list(scans_in(write_scans(tmp_path / "s", 3)))
    m = tmp_path / "m"
    one, two = outline(rows=(0, 3)).mask, outline(rows=(5, 8)).mask
    grey(m / "scan1_mask.png", one)
    grey(m / "scan1_mask_1.png", two)
    grey(m / "scan2.png", one)
    (m / "scan2.png").rename(m / "scan2.seg")
    grey(m / "._scan3.png", two)
    given = masks_beside(scans, m, "polyp")
    report = import_outlines(empty, scans, given)
    assert (report.outlines, report.failed) == (2, []) and states(empty) == ["submitted", "submitted", "unseen"]
    np.testing.assert_array_equal(empty.load(empty.current(1, "polyp")).mask, one | two)
    grey(m / "scan2.bmp", two)
    with pytest.raises(ProjectError, match=r"scan2\.bmp and scan2\.seg for the scan scan2"):
        masks_beside(scans, m, "polyp")


def test_a_scan_is_not_its_own_mask_however_its_folder_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "both").mkdir()
    for name in ("a.png", "a_mask.png"):
        Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "both" / name)
    for folder in (Path("both"), tmp_path / "both", Path("both/../both")):
        (given,) = masks_beside([NewScan(Path("both/a.png"))], folder, "polyp")
        assert given.name == "a_mask.png"


def test_masks_that_could_mean_several_things_are_settled_by_what_is_said(tmp_path, empty):
    scans = list(scans_in(write_scans(tmp_path / "s", 1)))
    labels = outline().mask.astype(np.uint8)
    labels[labels > 0] = 7
    labels[0, 0] = 3
    (tmp_path / "m").mkdir()
    Image.fromarray(labels).save(tmp_path / "m" / "scan1.png")
    report = import_outlines(empty, scans, masks_beside(scans, tmp_path / "m", "polyp"))
    assert report.outlines == 0 and "say it with --foreground" in report.failed[0]
    report = import_outlines(empty, scans, masks_beside(scans, tmp_path / "m", "polyp", foreground=(7,)))
    assert report.outlines == 1
    np.testing.assert_array_equal(empty.load(empty.current(1, "polyp")).mask, outline().mask)
    # A data set says it for all who read it.
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (tmp_path / "m").rename(folder / "masks")
    scans[0].path.rename(folder / "images" / "scan1.png")
    (folder / "dataset.yaml").write_text("foreground: [3]")
    (given,) = read_dataset(folder, VOCABULARY, "polyp")[1]
    assert given.load().mask.sum() == 1
    (given,) = read_dataset(folder, VOCABULARY, "polyp", foreground=(7,))[1]
    np.testing.assert_array_equal(given.load().mask, outline().mask & (labels == 7))


def test_masks_of_one_target_in_a_data_set_are_united_as_training_unites_them(tmp_path, empty):
    root = tmp_path / "set"
    write_scans(root / "images", 1)
    one, two = outline(rows=(0, 3)).mask, outline(rows=(10, 13)).mask
    grey(root / "masks" / "a.png", one)
    grey(root / "masks" / "b.png", two)
    lines = ["scan1.png,a.png,polyp", "scan1.png,b.png,polyp", "scan1.png,b.png,polyp", "scan1.png,a.png,gallstone"]
    (root / "targets.csv").write_text("\n".join(["image,mask,target", *lines]))
    report = import_outlines(empty, *read_dataset(root, VOCABULARY))
    assert report.outlines == 2 and not report.failed
    np.testing.assert_array_equal(empty.load(empty.current(1, "polyp")).mask, one | two)
    np.testing.assert_array_equal(empty.load(empty.current(1, "gallstone")).mask, one)


def test_masks_that_are_inverted_or_not_turned_with_their_scans_are_refused(tmp_path):
    scans = list(scans_in(write_scans(tmp_path / "s", 2)))
    for scan in scans:
        grey(tmp_path / "m" / scan.path.name, ~outline().mask)
    refuse_misleading(masks_beside(scans, tmp_path / "m", "polyp", foreground="dark"))
    masks = masks_beside(scans, tmp_path / "m", "polyp")
    with pytest.raises(ProjectError, match=r"2 of 2 masks .* --foreground dark, or go on with --accept inverted-masks"):
        refuse_misleading(masks)
    refuse_misleading(masks, ["inverted-masks"])
    grey(tmp_path / "m" / "scan1.png", outline().mask)
    with Image.open(scans[0].path) as picture:
        tag = picture.getexif()
        tag[0x0112] = 3
        picture.save(scans[0].path, exif=tag)
    with pytest.raises(ProjectError, match=r"scan1\.png is turned .* go on with --accept turned-image"):
        refuse_misleading(masks_beside(scans[:1], tmp_path / "m", "polyp"))


def test_an_import_never_replaces_what_a_person_did(tmp_path, store):
    store.submit(1, "polyp", outline())
    store.approve(1, "polyp")
    scans = list(scans_in(tmp_path / "scans"))
    grey(tmp_path / "m" / "scan1.png", outline(rows=(0, 3)).mask)
    report = import_outlines(store, scans, masks_beside(scans, tmp_path / "m", "polyp"), State.APPROVED)
    assert report.outlines == 1 and states(store)[0] is State.APPROVED
    np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline().mask)
    imported = store.versions(1, "polyp")[-1]
    assert imported.origin == "imported" and not imported.current
    store.restore(imported.id)
    assert store.load(store.current(1, "polyp")).mask[0, 8]


def test_masks_that_do_not_fit_are_named_and_the_others_go_on(tmp_path, empty):
    scans = list(scans_in(write_scans(tmp_path / "s", 5)))
    m = tmp_path / "m"
    grey(m / "scan1.png", np.ones((3, 3), bool))
    grey(m / "scan2.png", np.zeros(SIZE, bool))
    Image.fromarray(np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % 4).save(m / "scan3.png")
    (m / "scan4.png").write_bytes(b"broken")
    grey(m / "scan5.png", outline().mask)
    report = import_outlines(empty, scans, masks_beside(scans, m, "polyp"))
    assert report.outlines == 1 and [f.split(":")[0] for f in report.failed] == [f"scan{i}.png" for i in (1, 2, 3, 4)]
    for sentence, words in zip(
        report.failed, ["one size", "neither yes nor no", "several things", "scan4.png"], strict=True
    ):
        assert words in sentence
    with pytest.raises(ProjectError, match="holds no mask"):
        masks_beside(scans[:1], tmp_path / "s", "polyp")
    with pytest.raises(ProjectError, match="There is no folder"):
        masks_beside(scans, tmp_path / "nowhere", "polyp")


@pytest.mark.parametrize("value", [1, 7, 255])
def test_masks_of_two_values_are_read_whatever_these_are(tmp_path, empty, value):
    scans = list(scans_in(write_scans(tmp_path / "s", 1)))
    grey(tmp_path / "m" / "scan1.png", outline().mask, value)
    import_outlines(empty, scans, masks_beside(scans, tmp_path / "m", "polyp"))
    np.testing.assert_array_equal(empty.load(empty.current(1, "polyp")).mask, outline().mask)


def test_an_exported_folder_comes_back_with_all_that_it_says(tmp_path, empty):
    for i, path in enumerate(sorted(write_scans(tmp_path / "s", 4).iterdir())):
        absent = i == 3
        annotation = outline(
            "foot ulcer", absent=absent, author="Ann", seconds=2.5, prediction=outline(rows=(1, 9)).mask
        )
        export_case(tmp_path / "set", read_scan(path), annotation, VOCABULARY, group=f"patient {i}")
    scans, masks = read_dataset(tmp_path / "set", VOCABULARY)
    report = import_outlines(empty, scans, masks, State.APPROVED, copy=True)
    assert report.outlines == 4 and report.failed == []
    cases = empty.cases(sorted(report.scans.added))
    assert sorted((c.group, c.split) for c in cases) == [
        ("patient 0", "train"),
        ("patient 1", "val"),
        ("patient 2", "test"),
        ("patient 3", "train"),
    ]
    versions = [empty.current(c.id, "foot ulcer") for c in cases]
    assert {v.author for v in versions} == {"Ann"} and {v.seconds for v in versions} == {2.5}
    assert sorted(v.absent for v in versions) == [False, False, False, True] and all(v.predicted for v in versions)
    assert all(case.states["foot ulcer"] is State.APPROVED for case in cases)


def test_the_papers_layout_keeps_its_splits_and_its_words(tmp_path, empty):
    root = tmp_path / "kvasir_polyp"
    write_scans(root / "images", 3)
    for i, split in enumerate(("train", "val", "test"), 1):
        grey(root / "masks" / f"scan{i}.png", outline().mask)
        prompts = {"p0": "", "p1": "polyp", "p2": "round polyp", "p4": "small pink round polyp"}
        item = {"img_name": f"scan{i}.png", "mask_name": f"scan{i}.png", "bbox": [1, 2, 3, 4], "prompts": prompts}
        (root / "anns").mkdir(exist_ok=True)
        (root / "anns" / f"{split}.json").write_text(json.dumps([item]))
    report = import_outlines(empty, *read_dataset(root, VOCABULARY))
    assert report.outlines == 3 and [c.split for c in empty.cases()] == ["train", "val", "test"]
    annotation = empty.load(empty.current(1, "polyp"))
    assert annotation.said.shape == "round" and annotation.said.color == "pink" and annotation.corrected


def test_plain_folders_of_images_and_masks(tmp_path, empty):
    root = tmp_path / "plain"
    write_scans(root / "images", 3)
    for i in (1, 2):
        grey(root / "masks" / f"scan{i}.png", outline().mask)
    (root / "dataset.yaml").write_text("modality: endoscopy")
    report = import_outlines(empty, *read_dataset(root, VOCABULARY, "polyp"))
    assert {case.modality for case in empty.cases()} == {"endoscopy"}
    (root / "dataset.yaml").write_text("modality: endoscpy")
    with pytest.raises(ValueError, match="did you mean 'endoscopy'"):
        read_dataset(root, VOCABULARY, "polyp")
    assert report.outlines == 2 and len(report.failed) == 1 and "scan3.png" in report.failed[0]
    assert states(empty) == ["submitted", "submitted", "unseen"]


# COCO ----------------------------------------------------------------------------------------------------------------

# A block of 8 columns from column 8 and 8 rows from row 4, in 24 x 32 pixels, column by column.
RUNS = [8 * 24 + 4, *[8, 16] * 7, 8, 12 + 16 * 24]


def packed(counts):
    """COCO's compressed form, as its own tools write it."""
    text = ""
    for i, count in enumerate(counts):
        value, more = count - counts[i - 2] if i > 2 else count, True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | 0x20 * more) + 48)
    return text


@pytest.mark.parametrize(
    "segmentation",
    [
        [[8, 4, 16, 4, 16, 12, 8, 12]],
        [[8, 4, 12, 4, 12, 12, 8, 12], [12, 4, 16, 4, 16, 12, 12, 12]],
        {"size": list(SIZE), "counts": RUNS},
        {"size": list(SIZE), "counts": packed(RUNS)},
    ],
)
def test_polygons_and_run_lengths_are_the_same_mask(segmentation):
    np.testing.assert_array_equal(decode(segmentation, SIZE), outline().mask)


def test_run_lengths_of_a_random_mask_come_back():
    mask = np.random.default_rng(3).random(SIZE) > 0.7
    flat = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = [int(n) for n in np.diff([0, *edges, flat.size])]
    counts = [0, *counts] if flat[0] else counts
    for form in (counts, packed(counts)):
        np.testing.assert_array_equal(decode({"size": list(SIZE), "counts": form}, SIZE), mask)


def test_a_compressed_text_that_was_worked_out_by_hand():
    """Runs 0, 2, 1, 3 and 10: the first three as they are, then 3 - 2 and 10 - 1, each 48 higher as a letter."""
    assert packed([0, 2, 1, 3, 10]) == "02119"
    assert decode({"size": [4, 4], "counts": "02119"}, (4, 4)).ravel(order="F").sum() == 5


@pytest.mark.parametrize(
    "segmentation", [[[1, 2, 3]], {"size": [2, 2], "counts": [4]}, {"size": list(SIZE), "counts": [5]}, 7, {"a": 1}]
)
def test_a_segmentation_that_does_not_fit_is_one_sentence(segmentation):
    with pytest.raises(ProjectError):
        decode(segmentation, SIZE)


def test_coco_gives_one_outline_for_each_category_of_an_image(tmp_path, empty):
    write_scans(tmp_path / "s", 2)
    square = [[8, 4, 16, 4, 16, 12, 8, 12]]
    content = {
        "categories": [{"id": 1, "name": "Polyps"}, {"id": 2, "name": "other_thing"}],
        "images": [{"id": i, "file_name": f"scan{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": square},
            {"image_id": 1, "category_id": 1, "segmentation": [[20, 4, 24, 4, 24, 12, 20, 12]]},
            {"image_id": 1, "category_id": 2, "segmentation": {"size": list(SIZE), "counts": RUNS}},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    report = import_outlines(empty, *read_coco(tmp_path / "a.json", tmp_path / "s", VOCABULARY))
    assert report.outlines == 2 and empty.case(1).states == {"polyp": "submitted", "other thing": "submitted"}
    assert empty.current(1, "polyp").foreground == 8 * 12 and empty.case(2).states["polyp"] is State.UNSEEN
    content["images"][0]["file_name"] = "../../scan1.png"
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="leaves the data folder"):
        read_coco(tmp_path / "a.json", tmp_path / "s", VOCABULARY)
    for text in ("{}", "[1]", "no json", '{"categories": [], "images": [{"id": 1}], "annotations": []}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"is no valid JSON|is no annotation file"):
            read_coco(tmp_path / "a.json", tmp_path / "s", VOCABULARY)


def test_an_unchanged_prediction_is_confirmed_by_submitting_it(store):
    scan = Scan(np.zeros(SIZE, np.uint8))
    predicted = Annotation("polyp", outline().mask)
    assert scan.size == predicted.mask.shape
    store.restore(store.save_prediction(1, predicted).id)
    assert not store.load(store.current(1, "polyp")).corrected
    store.submit(1, "polyp")
    accepted = store.load(store.current(1, "polyp"))
    assert accepted.corrected and accepted.provenance.author == "Ann"
    np.testing.assert_array_equal(accepted.prediction, accepted.mask)
