import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medvlsm.cli import main
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import load_mask, read_record
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.options import SegmentOptions
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.prompts.variants import Contrast


def test_segments_files_folders_and_patterns_and_python_gives_the_same(tmp_path, samples, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    Image.open(samples / "breast_ultrasound.png").convert("L").save(folder / "us.png")
    tifffile.imwrite(folder / "deep.tif", np.arange(2000, dtype=np.uint16).reshape(40, 50))
    out = tmp_path / "out"
    code = main(["segment", str(folder), str(samples / "skin_*.jpg"), "--prompt", "skin melanoma", "--out", str(out)])
    assert code == 0 and {p.name for p in out.glob("*.tif")} == {"us.tif", "deep.tif", "skin_lesion.tif"}
    assert "3 of 3 scans outlined" in capsys.readouterr().out
    annotation = load_mask(out / "skin_lesion.tif")
    mask, made = annotation.mask, annotation.provenance
    scan = read_scan(samples / "skin_lesion.jpg")
    segmenter = load_segmenter(device="cpu")
    segmenter.set_image(scan)
    assert mask.shape == scan.size
    np.testing.assert_array_equal(mask, segmenter.segment("skin melanoma")[0].mask())
    assert made.model == "starter" and made.prompt.text == annotation.target == "skin melanoma"
    assert made.scan_size == scan.size and made.vocabulary_hash == load_vocabulary().digest
    assert made.weights_hash == weights_hash(find_model("starter").folder) and not annotation.corrected
    assert "skin_lesion" not in json.dumps(read_record(out / "skin_lesion.tif"))


def test_goes_on_after_bad_files_and_says_so(tmp_path, samples, capsys):
    (tmp_path / "bad.png").write_bytes(b"no")
    arguments = [str(tmp_path / "bad.png"), str(tmp_path / "gone.png"), str(samples / "cell_nuclei.png")]
    code = main(["segment", *arguments, "--prompt", "nuclei", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 1 and "skipped" in said and "bad.png" in said and "gone.png" in said
    assert [p.name for p in (tmp_path / "out").glob("*.tif")] == ["cell_nuclei.tif"]
    assert main(["segment", str(tmp_path / "bad.png"), "--prompt", "x", "--out", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--prompt", " "], "prompt is empty"),
        (["--prompt", "polyp", "--threshold", "2"], "between 0 and 1"),
        (["--prompt", "polyp", "--model", "nope"], "Known models: starter"),
        (["--prompt", "polyp", "--batch-size", "0"], "batch size must be at least 1"),
        (["--prompt", "polyp", "--processes", "-1"], "processes must be at least 1"),
    ],
)
def test_wrong_options_give_a_sentence(tmp_path, samples, capsys, more, words):
    assert main(["segment", str(samples / "cell_nuclei.png"), "--out", str(tmp_path), *more]) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_two_scans_of_one_name_and_masks_over_scans_are_refused(tmp_path, capsys):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / "x.tif", np.zeros((9, 9), np.uint8))
    scans = [str(tmp_path / part / "x.tif") for part in ("a", "b")]
    assert main(["segment", *scans, "--prompt", "polyp", "--out", str(tmp_path / "o")]) == 2
    assert "segment them apart" in capsys.readouterr().err
    (tmp_path / "b" / "x.tif").rename(tmp_path / "b" / "X.TIF")  # one name, on disks of Windows and macOS
    assert main(["segment", scans[0], str(tmp_path / "b" / "X.TIF"), "--prompt", "polyp", "--out", str(tmp_path)]) == 2
    assert "segment them apart" in capsys.readouterr().err
    assert main(["segment", scans[0], "--prompt", "polyp", "--out", str(tmp_path / "a")]) == 2
    assert "would replace the scan" in capsys.readouterr().err


def test_tiles_and_rectangles_are_looked_at_and_told(tmp_path, samples):
    scan = tmp_path / "scan.png"
    Image.open(samples / "skin_lesion.jpg").resize((300, 224)).save(scan)
    run = ["segment", str(scan), "--prompt", "skin melanoma"]
    assert main([*run, "--out", str(tmp_path / "tiles"), "--tiles"]) == 0
    assert main([*run, "--out", str(tmp_path / "part"), "--rectangle", "0", "0", "224", "140"]) == 0
    part = load_mask(tmp_path / "part" / "scan.tif")
    assert part.mask.shape == (224, 300) and not part.mask[:, 140:].any()
    assert part.provenance.options == SegmentOptions(region=(0, 0, 224, 140))
    assert load_mask(tmp_path / "tiles" / "scan.tif").provenance.options.tiling.overlap == 0.25
    assert main([*run, "--out", str(tmp_path / "beyond"), "--rectangle", "0", "0", "999", "9"]) == 2
    assert main([*run, "--out", str(tmp_path / "line"), "--rectangle", "5", "5", "5", "9"]) == 2
    assert main([*run, "--out", str(tmp_path / "x"), "--precision", "int3"]) == 2


def test_unknown_prompt_warns_with_the_nearest(tmp_path, samples, capsys):
    main(["segment", str(samples / "cell_nuclei.png"), "--prompt", "cell nucleuses", "--out", str(tmp_path)])
    assert "was not trained on" in (said := capsys.readouterr().err) and "cell nucle" in said


def test_models_lists_the_starter(capsys):
    assert main(["models"]) == 0
    assert "starter" in (said := capsys.readouterr().out) and "foot ulcer" in said


def test_installed_command_knows_no_qt():
    code = (
        "import sys\nfrom napari_medvlsm.cli import main\nmain(['models'])\n"
        "print([m for m in ('qtpy', 'napari', 'PyQt5', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_prompts_are_built_as_the_interface_and_as_the_release_writes_them(capsys):
    words = ["--number", "two", "--size", "small", "--color", "pink", "--shape", "round", "--location", "left"]
    assert main(["prompts", "build", "--target", "polyp", *words, "--level", "p6"]) == 0
    assert capsys.readouterr().out == "two small pink round polyps, located in the left of the image\n"
    assert main(["prompts", "build", "--target", "polyp", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and lines[2] == "p3\tpink round polyp"
    assert main(["prompts", "build", "--target", "polyp", "--size", "huge", "--shape", "lumpy", "--level", "p4"]) == 0
    said = capsys.readouterr()
    assert said.out == "large lumpy polyp\n" and "'lumpy' is not among the words for shape" in said.err
    assert main(["prompts", "build", "--target", "polyp", "--wording", "7"]) == 2
    assert "has 1 wordings" in capsys.readouterr().err
    assert main(["prompts", "build", "--dataset", "kvasir_polyp", *words]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["p6"] == "two small pink round polyp, located in left of the image" and len(made["p9"]) == 5


def test_prompts_are_parsed_and_masks_described(tmp_path, capsys):
    assert main(["prompts", "parse", "Two small polyps at the upper left, thumb"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "target": "polyp",
        "number": "two",
        "size": "small",
        "location": "top left",
        "level": "p6",
        "not placed": ["thumb"],
    }
    mask = np.zeros((60, 90), np.uint8)
    mask[5:15, 70:85] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(np.dstack([mask, mask // 4, mask // 4])).save(tmp_path / "scan.png")
    assert main(["prompts", "describe", str(tmp_path / "mask.png"), "--image", str(tmp_path / "scan.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured"] == {"number": "one", "size": "small", "location": "top right"}
    assert found["suggested"]["color"] == "red"
    assert main(["prompts", "describe", str(tmp_path / "mask.png"), "--rules", "upstream"]) == 0
    # By upstream's rule a column counts against thirds of the height: right all the same.
    assert json.loads(capsys.readouterr().out)["location"] == "top right"
    assert main(["prompts", "describe", str(tmp_path / "mask.png"), "--rules", "reference"]) == 0
    assert "--rules reference is now called upstream" in capsys.readouterr().err
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "other.png")
    assert main(["prompts", "describe", str(tmp_path / "mask.png"), "--image", str(tmp_path / "other.png")]) == 2
    assert "must have one size" in capsys.readouterr().err


def test_prompts_list_names_targets_words_and_data_sets(capsys):
    assert main(["prompts", "list"]) == 0
    assert "myocardium" in capsys.readouterr().out
    assert main(["prompts", "list", "--target", "heart muscle"]) == 0
    said = capsys.readouterr().out
    assert "two-chamber; four-chamber" in said and "P6: name, view, heart cycle, sex, age and image quality" in said
    assert main(["prompts", "list", "--datasets"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 11


def test_annotations_are_checked_and_failures_named(tmp_path, capsys):
    sample = json.loads((Path(__file__).parent / "core" / "data" / "annotations_sample.json").read_text())["items"]
    folder = tmp_path / "clinicdb_polyp"
    (folder / "anns").mkdir(parents=True)
    (folder / "masks").mkdir()
    items = sample["clinicdb_polyp"][:1]
    (folder / "anns" / "train.json").write_text(json.dumps(items))
    with gzip.open(folder / "anns" / "test.json.gz", "wt") as file:
        json.dump(sample["clinicdb_polyp"][1:], file)
    assert main(["prompts", "check", str(folder)]) == 0
    count = len(sample["clinicdb_polyp"])
    assert f"{count:6} {count:8}      0" in capsys.readouterr().out
    items[0]["prompts"]["p6"] += "!"
    (folder / "anns" / "train.json").write_text(json.dumps(items))
    assert main(["prompts", "check", str(folder)]) == 1
    said = capsys.readouterr()
    assert f"{count:6} {count - 1:8}" in said.out and items[0]["mask_name"] in said.err
    assert main(["prompts", "check", str(tmp_path)]) == 2 and "kvasir_polyp" in capsys.readouterr().err


def test_effect_of_a_set_goes_into_the_card(tmp_path, samples, model_folder, capsys):
    arguments = ["prompts", "effect", str(samples / "skin_lesion.jpg"), "--prompt", "brown skin melanoma"]
    assert main([*arguments, "--model", str(model_folder), "--card"]) == 0
    said = capsys.readouterr().out
    assert "1 scans outlined" in said and "no words at all" in said
    (found,) = read_card(model_folder).prompt_effect.values()
    assert found["cases"] == 1 and set(found["contrasts"]) <= {c.value for c in Contrast}

    folder = tmp_path / "busi"
    for part in ("images", "masks", "anns"):
        (folder / part).mkdir(parents=True)
    scan = Image.open(samples / "breast_ultrasound.png").convert("L")
    mask = np.zeros((scan.height, scan.width), np.uint8)
    mask[40:90, 40:120] = 255
    scan.save(folder / "images" / "a.png")
    Image.fromarray(mask).save(folder / "masks" / "a.png")
    sample = json.loads((Path(__file__).parent / "core" / "data" / "annotations_sample.json").read_text())["items"]
    item = next(i for i in sample["busi"] if isinstance(i["prompts"]["p2"], list))
    item |= {"img_name": "a.png", "mask_name": "a.png"}
    away = item | {"img_name": "../secret.png"}
    (folder / "anns" / "val.json").write_text(json.dumps([item, away]))
    assert main(["prompts", "effect", "--data", str(folder), "--model", str(model_folder)]) == 0
    assert "of 1 scans" in (said := capsys.readouterr().out) and "Dice with the truth" in said
    assert "the prompt's own" in said
    assert main(["prompts", "effect", "--data", str(folder), "--model", str(model_folder), "--pairs", "2"]) == 2
    assert "no two scans" in capsys.readouterr().err
    assert main(["prompts", "effect", str(folder), "--prompt", "polyp", "--pairs", "2"]) == 2
    assert "--pairs needs" in capsys.readouterr().err
    assert main(["prompts", "effect", "--data", str(folder), "--split", "dev"]) == 2
    assert "it has val" in capsys.readouterr().err
    assert main(["prompts", "effect"]) == 2 and "--data" in capsys.readouterr().err


@pytest.mark.parametrize(("rule", "fraction"), [("nonzero", 0.5), ("2", 0.25), ("1,2", 0.5)])
def test_a_mask_of_labels_is_described_by_what_is_said_of_them(tmp_path, capsys, rule, fraction):
    labels = np.zeros((8, 8), np.uint8)
    labels[:2], labels[2:4] = 1, 2
    Image.fromarray(labels).save(tmp_path / "m.png")
    assert main(["prompts", "describe", str(tmp_path / "m.png")]) == 2
    assert "could mean several things" in (said := capsys.readouterr().err) and "say it with --foreground" in said
    assert main(["prompts", "describe", str(tmp_path / "m.png"), "--foreground", rule]) == 0
    assert json.loads(capsys.readouterr().out)["fraction"] == fraction
