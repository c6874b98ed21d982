"""Names planted in every field of the inputs, and looked for in every byte of the outputs."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from medvlsm_training.__main__ import main as training
from napari_medvlsm.cli import main
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import save_mask
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.prompts import load_vocabulary
from tests.training.builders import disk
from tests.training.conftest import RECIPE

# One name for each place, so that a finding says where it comes from.
FILE, FOLDER, USER = "zwackelmann", "petrosilius", "kasperlhuber"
FIELDS = ("wachtmeister", "grossmutter", "seppelbauer", "schlotterbeck")  # EXIF, UTF-16, PNG text, TIFF tags
SET = "amaryllis"
SECRETS = (FILE, FOLDER, USER, *FIELDS)
# By output: what of the inputs' names it may hold. The guide lists these, and `SET`, the name of a data set's folder.
ALLOWED = {"manifest.csv": {FILE, FOLDER, USER}, "recipe.yaml": {FILE, FOLDER, USER}}


def exif():
    """Names, a place and a comment in EXIF, also in UTF-16."""
    made = Image.Exif()
    made[0x013B] = made[0x010E] = made[0x9286] = f"Patient {FIELDS[0]}"
    made[0x9C9D] = FIELDS[1].encode("utf-16-le")
    place = made.get_ifd(0x8825)
    place |= {1: "N", 2: (48.0, 8.0, 14.25), 3: "E", 4: (11.0, 34.0, 30.5), 18: FIELDS[0]}
    return made


def png_text():
    """Plain, compressed and Unicode texts."""
    made = PngImagePlugin.PngInfo()
    made.add_text("Author", FIELDS[2])
    made.add_text("Comment", f"{FIELDS[2]} " * 9, zip=True)
    made.add_itxt("Title", f"{FIELDS[2]} Ä" * 9, zip=True)
    return made


def write_tiff(path, pixels):
    """Description, and the tags for artist, host, document and software."""
    ascii_tags = [(code, "s", 0, f"{FIELDS[3]} of {USER}", True) for code in (269, 315, 316)]
    tifffile.imwrite(path, pixels, description=FIELDS[3], software=FIELDS[3], extratags=ascii_tags, metadata=None)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a data set of scans that say whose they are."""
    home = tmp_path_factory.mktemp("home") / USER / FOLDER
    rng, folder = np.random.default_rng(3), home / "data" / SET
    for part in ("images", "masks", "anns"):
        (folder / part).mkdir(parents=True)
    entries = []
    for i in range(9):
        image, mask = disk(rng, 40, 7.75, 10)
        name = f"{FILE}_{i}"
        image_name = name + (".jpg", ".png", ".tif")[i % 3]
        if i % 3 == 0:
            Image.fromarray(image).save(folder / "images" / image_name, quality=95, exif=exif(), comment=FIELDS[0])
        elif i % 3 == 1:
            Image.fromarray(image).save(folder / "images" / image_name, pnginfo=png_text(), exif=exif())
        else:
            write_tiff(folder / "images" / image_name, image)
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{name}.png", pnginfo=png_text())
        entries.append({"img_name": image_name, "mask_name": f"{name}.png", "prompts": {"p1": "polyp"}})
    for split, found in (("train", entries[:4]), ("val", entries[4:6]), ("test", entries[6:])):
        (folder / "anns" / f"{split}.json").write_text(json.dumps(found))
    (home / f"{FILE}.yaml").write_text(RECIPE.replace("folder: disks", f"folder: {SET}"))
    return home


@pytest.fixture(autouse=True)
def user(home, monkeypatch):
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    monkeypatch.setenv("HOME", str(home))


def found_in(raw: bytes, secrets=SECRETS, depth: int = 4) -> set[str]:
    """The names in some bytes: plain, in UTF-16, in archives, compressed, in base64, and in what pictures say."""
    low = raw.lower()
    found = {
        s for s in secrets if any(s.encode(code) in low for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"))
    }
    if not depth:
        return found
    for part in _inside(raw):
        found |= found_in(part, secrets, depth - 1)
    return found


def _inside(raw: bytes):
    if zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for entry in archive.infolist():
                # Of a checkpoint the bytes of tensors, which are long and say nothing, are only searched plainly.
                content = archive.read(entry)
                yield entry.filename.encode() + entry.comment + (content if len(content) < 10**5 else b"")
    for start in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", raw[: 10**6]):
        try:
            yield zlib.decompressobj().decompress(raw[start.start() :], 10**6)
        except zlib.error:
            continue
    for text in re.finditer(rb"[A-Za-z0-9+/]{40,}={0,2}", raw[: 3 * 10**6]):
        try:
            yield base64.b64decode(text[0])
        except binascii.Error:
            continue
    if raw[:2] in (b"II", b"MM"):
        with tifffile.TiffFile(io.BytesIO(raw)) as tiff:
            yield " ".join(str(tag.value) for page in tiff.pages for tag in page.tags).encode()
    if raw[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1"):
        with Image.open(io.BytesIO(raw)) as picture:
            picture.load()
            said = {k: v for k, v in picture.info.items() if k != "exif"}
            yield f"{said} {dict(picture.getexif())} {dict(picture.getexif().get_ifd(0x8825))}".encode()


def everything(folder: Path) -> dict[str, set[str]]:
    """The names in each file of a folder, and in the files' own names; only where there are some."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = found_in(path.read_bytes()) if path.is_file() else set()
        if names := inside | found_in(path.name.encode(), depth=0):
            found[path.relative_to(folder).as_posix()] = names
    return found


def pictures(folder: Path):
    return [path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".tif")]


def test_the_search_finds_what_was_planted(home):
    found = everything(home / "data")
    every = {name for names in found.values() for name in names}
    assert every == {FILE, USER, *FIELDS}, "the other names are those of the folders above"
    jpeg = next(path for path in found if path.endswith(".jpg"))
    assert {FILE, *FIELDS[:2]} <= found[jpeg]
    packed = json.dumps({"zlib_bits": base64.b64encode(zlib.compress(bytes(range(200)) + USER.encode())).decode()})
    assert found_in(packed.encode()) == {USER} and not found_in(b"nothing" * 50)


def test_a_training_its_model_and_its_report_name_nobody(home, tmp_path, capsys):
    words = [str(home / f"{FILE}.yaml"), "trainer.max_epochs=1", "--data", str(home / "data"), "--run"]
    accepted = ["--accelerator", "cpu"]
    run = home / f"runs of {FILE}" / FILE
    assert training(["train", *words, str(run), *accepted]) == 0
    capsys.readouterr()
    names = {path.name for path in run.rglob("*")}
    assert {"report.html", "cases.csv", "best.ckpt", "last.ckpt", "data.json", "model_card.json", "curves.csv"} <= names
    assert (run / "events.jsonl").read_text("utf-8").count("\n") > 5 and everything(run) == {}
    assert SET in (run / "recipe.yaml").read_text()
    # Asked for, names are there.
    asked = [*words, str(tmp_path / "named"), *accepted, "measure.file_names=true"]
    assert training(["train", *asked]) == 0
    named = everything(tmp_path / "named")
    assert named["test/cases.csv"] == named["report.html"] == {FILE}
    assert set(named) == {"test/cases.csv", "report.html"}


def test_a_card_names_no_folder_of_its_base_and_no_file_left_out(home, tmp_path, model_folder, capsys):
    base = home / "models" / "small"
    base.parent.mkdir(exist_ok=True)
    model_folder.rename(base)
    recipe = (home / f"{FILE}.yaml").read_text().replace("{image_size: 32, sizes:", "{base: BASE, sizes:")
    recipe = re.sub(r"model: \{base: BASE, .*\}\}", f"model: {{base: {base}}}", recipe)
    recipe = recipe.replace("repeat: 2", f"repeat: 2, leave_out: [{FILE}_0.jpg]")
    (home / "based.yaml").write_text(recipe)
    words = ["train", str(home / "based.yaml"), "trainer.max_epochs=1", "--data", str(home / "data")]
    assert training([*words, "--run", str(tmp_path / "run"), "--accelerator", "cpu"]) == 0
    capsys.readouterr()
    assert everything(tmp_path / "run") == {"recipe.yaml": ALLOWED["recipe.yaml"]}


def test_results_name_files_only_if_asked(home, tmp_path, model_folder, capsys):
    words = ["evaluate", str(home / "data" / SET), "--model", str(model_folder), "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "results")]) == 0
    assert everything(tmp_path / "results") == {}
    assert main([*words, str(tmp_path / "named"), "--file-names"]) == 0
    assert everything(tmp_path / "named") == {"cases.csv": {FILE}}
    assert main(["evaluate", "compare", str(tmp_path / "results"), str(tmp_path / "results")]) == 0
    assert not found_in(capsys.readouterr().out.encode())


def test_outlined_folders_name_scans_in_the_manifest_and_the_names_of_masks_alone(home, tmp_path, model_folder):
    scans, out = home / "data" / SET / "images", tmp_path / "out"
    words = ["segment", str(scans), "--prompt", "polyp", "--model", str(model_folder), "--device", "cpu"]
    assert main([*words, "--out", str(out)]) == 0
    found = everything(out)
    assert found.pop("manifest.csv") <= ALLOWED["manifest.csv"]
    assert len(found) == 9 and all(names == {FILE} for names in found.values())
    for path in pictures(out):
        assert not found_in(path.read_bytes()), "only its name says it"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_labels_exports_and_autosaves_name_nobody(home, tmp_path, number):
    (path,) = (home / "data" / SET / "images").glob(f"{FILE}_{number}.*")
    scan = read_scan(path)
    mask = np.zeros(scan.size, bool)
    mask[5:20, 5:20] = True
    provenance = new_provenance(scan_hash=content_hash(scan.pixels), scan_size=scan.size, spacing=scan.spacing)
    annotation = Annotation("polyp", mask, True, provenance=provenance, prediction=mask)
    for suffix in (".tif", ".png"):
        save_mask(tmp_path / f"label{suffix}", annotation)
    export_case(tmp_path / "export", scan, annotation, load_vocabulary())
    store = AutosaveStore(tmp_path / "autosave")
    store.save(annotation)
    store.close()
    assert everything(tmp_path) == {}
    for picture in pictures(tmp_path):
        with Image.open(picture) as opened:
            assert not opened.getexif().get_ifd(0x8825), "no place either"
    assert Settings(tmp_path / "settings.json").author == "", "the system's user is not taken for the author"


def test_a_round_names_scans_and_groups_where_the_page_says_so_alone(home, tmp_path, capsys):
    project, scans = tmp_path / "project", home / "data" / SET / "images"
    groups = [f"{path.name},{FOLDER} {number}" for number, path in enumerate(sorted(scans.iterdir()))]
    (home / "groups.csv").write_text("\n".join(["image,patient", *groups]), "utf-8")
    assert main(["project", "new", str(project), "--target", "polyp"]) == 0
    data = ["--masks", str(scans.parent / "masks"), "--target", "polyp", "--group-table", str(home / "groups.csv")]
    data += ["--group-column", "patient"]
    assert main(["project", "add", str(project), str(scans), *data, "--as", "approved"]) == 0
    assert main(["improve", str(project), "--prepare", "--person", USER]) == 0
    capsys.readouterr()
    assert main(["improve", "promote", str(project), "starter", "--person", USER]) == 2, "it is present already"
    found = everything(project / "models")
    assert found.pop("1/round.json") == {FILE, FOLDER, USER}
    assert all(path.startswith("1/data/") and names == {FOLDER} for path, names in found.items()), "groups alone"


def test_the_page_that_the_readme_links_lists_what_may_hold_a_file_name():
    root = Path(__file__).parents[1]
    assert "napari_medvlsm/guide/privacy.md#what-may-name-a-file" in (root / "README.md").read_text("utf-8")
    text = (root / "napari_medvlsm" / "guide" / "privacy.md").read_text("utf-8").partition("## What may name a file")[2]
    for output in (*ALLOWED, "medvlsm segment", "--file-names", "measure.file_names", "--events", "dataset.yaml"):
        assert output in text, output
