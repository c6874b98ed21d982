import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medvlsm.cli import main
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import load_mask


def test_segments_files_folders_and_patterns_and_python_gives_the_same(tmp_path, samples, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    Image.open(samples / "breast_ultrasound.png").convert("L").save(folder / "us.png")
    tifffile.imwrite(folder / "deep.tif", np.arange(2000, dtype=np.uint16).reshape(40, 50))
    out = tmp_path / "out"
    code = main(["segment", str(folder), str(samples / "skin_*.jpg"), "--prompt", "skin melanoma", "--out", str(out)])
    assert code == 0 and {p.name for p in out.iterdir()} == {"us.tif", "deep.tif", "skin_lesion.tif"}
    assert "3 of 3 scans outlined" in capsys.readouterr().out
    mask, story = load_mask(out / "skin_lesion.tif")
    scan = read_scan(samples / "skin_lesion.jpg")
    segmenter = Segmenter.load(device="cpu")
    segmenter.set_image(scan)
    assert mask.shape == scan.size
    np.testing.assert_array_equal(mask, segmenter.segment("skin melanoma")[0].mask())
    assert story["model"] == "starter" and story["prompt"]["text"] == "skin melanoma"
    assert "skin_lesion" not in json.dumps(story)


def test_goes_on_after_bad_files_and_says_so(tmp_path, samples, capsys):
    (tmp_path / "bad.png").write_bytes(b"no")
    arguments = [str(tmp_path / "bad.png"), str(tmp_path / "gone.png"), str(samples / "cell_nuclei.png")]
    code = main(["segment", *arguments, "--prompt", "nuclei", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 1 and "skipped" in said and "bad.png" in said and "gone.png" in said
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["cell_nuclei.tif"]
    assert main(["segment", str(tmp_path / "bad.png"), "--prompt", "x", "--out", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--prompt", " "], "prompt is empty"),
        (["--prompt", "polyp", "--threshold", "2"], "between 0 and 1"),
        (["--prompt", "polyp", "--model", "nope"], "Known models: starter"),
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
    assert main(["segment", scans[0], "--prompt", "polyp", "--out", str(tmp_path / "a")]) == 2
    assert "replace the scan itself" in capsys.readouterr().err


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
