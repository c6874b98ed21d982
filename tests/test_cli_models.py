"""The commands of `medvlsm models`, through a parser as the command line has it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_medvlsm.cli import parser
from napari_medvlsm.core.io import atomic
from napari_medvlsm.core.models.adapters import save_lora
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.models.store.card import ModelCard, read_card, write_card
from napari_medvlsm.core.models.store.fetched import Fetched, sha256_of, write_fetched
from napari_medvlsm.core.models.store.registry import available_models, user_models_folder
from napari_medvlsm.core.models.store.sources import SOURCES

DATA = Path(__file__).parent / "core" / "data"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(*arguments):
    options = parser().parse_args(["models", *map(str, arguments)])
    return options.run(options)


@pytest.fixture
def hub_of_one(monkeypatch, small_clipseg, tmp_path):
    """The hub answers with the files of a small CLIPSeg, and without a network."""
    published = tmp_path / "published"
    small_clipseg.save(published)
    made = json.loads((published / "tokenizer.json").read_text())["model"]
    (published / "vocab.json").write_text(json.dumps(made["vocab"]))
    (published / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(m) for m in made["merges"])]) + "\n")
    (repository,) = SOURCES["clipseg"].repositories
    files = tuple(
        hub.PlannedFile(repository, COMMIT, COMMIT, path.name, path.stat().st_size, cached=path)
        for path in sorted(published.iterdir())
    )
    monkeypatch.setattr(hub, "_in_cache", lambda *_: list(files))
    return published


def test_list_shows_what_there_is_and_what_can_be_fetched(capsys):
    assert run() == run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert lines[0].startswith("starter") and "shipped" in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == list(SOURCES)
    assert "Apache-2.0" in lines[1] and "MB" in lines[1] and "finetune before use" in lines[2]


def test_fetch_tells_what_it_will_do_and_makes_a_model(hub_of_one, small_clipseg, capsys):
    assert run("fetch", "clipseg") == 0
    said = capsys.readouterr().out
    assert f"CIDAS/clipseg-rd64-refined at {COMMIT}\n" in said and "model.safetensors" in said
    assert "Licence: Apache-2.0. Cite: Lüddecke" in said and "free." in said and "imported as clipseg" in said
    folder = user_models_folder() / "clipseg"
    card = read_card(folder)
    assert (
        card.licence == "Apache-2.0"
        and "Lüddecke" in card.citation
        and not list((user_models_folder() / ".fetched").iterdir())
    )
    assert torch.equal(load_model(folder).net.decoder.film_mul.weight, small_clipseg.net.decoder.film_mul.weight)
    assert list(available_models()) == ["starter", "clipseg"]
    with pytest.raises(ValueError, match="There is a model clipseg already"):
        run("fetch", "clipseg")
    assert run("fetch", "clipseg", "--replace") == run("fetch", "clipseg", "--name", "second") == 0


def test_fetch_to_a_folder_and_import_it(hub_of_one, tmp_path, capsys):
    assert run("fetch", "clipseg", "--to", tmp_path / "stick") == 0
    assert "medvlsm models import stick" in capsys.readouterr().out and not (user_models_folder() / "clipseg").exists()
    assert run("import", tmp_path / "stick", "--name", "mine") == 0
    assert read_card(user_models_folder() / "mine").licence == "Apache-2.0"


def test_room_for_files_and_model_is_checked_before(hub_of_one, monkeypatch):
    size = sum(path.stat().st_size for path in hub_of_one.iterdir())
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, int(1.5 * size)))
    with pytest.raises(ValueError, match="are needed in"):
        run("fetch", "clipseg")


def test_a_change_is_accepted_on_request(hub_of_one, tmp_path, capsys):
    (repository,) = SOURCES["clipseg"].repositories
    run("fetch", "clipseg", "--to", tmp_path / "a")
    weights = hub_of_one / "config.json"
    weights.write_text(json.dumps(json.loads(weights.read_text()) | {"changed": 1}))
    with pytest.raises(ValueError, match="say so with --accept-change"):
        run("fetch", "clipseg", "--to", tmp_path / "b")
    assert run("fetch", "clipseg", "--to", tmp_path / "b", "--accept-change") == 0
    with pytest.raises(ValueError, match="say so with --accept-change"):
        run("import", tmp_path / "a")
    assert run("import", tmp_path / "a", "--accept-change") == 0
    # A manifest of any other commit stands for itself.
    files = {
        p.relative_to(tmp_path / "b").as_posix(): sha256_of(p) for p in (tmp_path / "b" / repository.folder).iterdir()
    }
    write_fetched(Fetched("clipseg", {repository.name: "main"}, {repository.name: "f" * 40}, files), tmp_path / "b")
    assert run("import", tmp_path / "b", "--name", "main") == 0


def test_import_a_checkpoint(tmp_path, small_clipseg, capsys):
    like = tmp_path / "like"
    small_clipseg.save(like)
    torch.save(
        {"state_dict": {f"net.clipseg.{n}": v for n, v in small_clipseg.net.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    assert run("import", tmp_path / "a.ckpt", "--like", like, "--tokenizer", like, "--licence", "CC0-1.0") == 0
    assert "imported as a, in" in capsys.readouterr().out
    assert read_card(user_models_folder() / "a").licence == "CC0-1.0"
    with pytest.raises(ValueError, match="can become clipseg, not cris"):
        run("import", tmp_path / "a.ckpt", "--family", "cris")
    with pytest.raises(ValueError, match="There is no file"):
        run("import", tmp_path / "gone.ckpt")


def test_an_adapter_is_merged_and_not_imported(tmp_path, model_folder, small_clipseg, capsys):
    shutil.copytree(model_folder, user_models_folder() / "small")
    adapter = tmp_path / "adapter"
    save_lora(add_lora(load_model(model_folder), LoraSettings(2)), adapter, model_folder)
    write_card(ModelCard("adapter", "Adapter", "clipseg", licence="MIT"), adapter)
    with pytest.raises(ValueError, match="`medvlsm models merge FOLDER --name NAME`"):
        run("import", adapter)
    assert run("merge", adapter, "--name", "whole") == 0
    assert "Adapter: merged as whole, in" in capsys.readouterr().out
    folder = user_models_folder() / "whole"
    assert (read_card(folder).name, read_card(folder).licence) == ("whole", "MIT")
    assert load_model(folder).adapter is None and list(available_models()) == ["starter", "small", "whole"]
    with pytest.raises(ValueError, match="There is a model whole already"):
        run("merge", adapter, "--name", "whole")
    assert run("merge", adapter, "--name", "whole", "--replace") == 0
    with pytest.raises(ValueError, match="holds no adapter"):
        run("merge", "small", "--name", "other")


def test_parity(capsys):
    files = DATA / "parity_keys.json", DATA / "parity_logits.npz"
    assert run("parity", *files, "--tags", "clipseg_small") == 0
    assert run("parity", *files, "--tags", "clipseg_small", "--image-constants", "0.05", "0.3", "0.031") == 1
    assert capsys.readouterr().out.count("MET") == 1


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match=r"called 'unet'\. Known: clipseg, cris, biomedclipseg, biomedclipseg-d"):
        run("fetch", "unet")


def test_listing_imports_no_torch():
    code = (
        "import sys, argparse; from napari_medvlsm.cli.models import add_to as add\n"
        "parser = argparse.ArgumentParser(); add(parser.add_subparsers())\n"
        "options = parser.parse_args(['models']); options.run(options)\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False False False"
