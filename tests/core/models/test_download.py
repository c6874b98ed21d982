"""Public weights, fetched and imported in one step."""

import shutil
from dataclasses import replace

import pytest
import torch

from napari_medvlsm.core.io import atomic
from napari_medvlsm.core.models.checkpoints.convert import ImportOptions, import_model
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.models.store.download import download_and_import
from napari_medvlsm.core.models.store.naming import ModelExists
from napari_medvlsm.core.models.store.registry import available_models
from napari_medvlsm.core.models.store.sources import SOURCES, find_source
from tests.core.models.fake_hub import COMMIT, sha256


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_source_becomes_a_model_folder(published, small_builders, small_model_like, tmp_path, name):
    planned = hub.plan(find_source(name), tmp_path / "fetched", published.endpoint)
    seen = []
    folder = hub.fetch(planned, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (planned.total, planned.total)
    family = find_source(name).family
    options = ImportOptions() if name == "clipseg" else ImportOptions(like=small_model_like[family])
    if name == "cris":
        options = replace(options, tokenizer=small_model_like[family])
    made = import_model(folder, options=options)
    card = read_card(made)
    assert list(available_models())[1:] == [name] and card.title == find_source(name).title
    assert card.licence == " and ".join(f"licence of {r.name}" for r in find_source(name).repositories)
    assert "et al." in card.citation and COMMIT in card.base
    assert {entry["sha256"] for entry in card.source["files"]} == {
        sha256(content) for r in find_source(name).repositories for content in published.files[r.name].values()
    }
    assert ("finetune before use" in card.title) == bool(card.training) == (name != "clipseg")
    model, given = load_model(made), small_builders[family]()
    same = {n for n, v in given.state_dict().items() if torch.equal(v, model.state_dict()[n])}
    if name == "clipseg":
        assert len(same) == len(given.state_dict())
    else:
        prefix = "backbone." if name == "cris" else "biomedclip."
        assert all(n in same for n in given.state_dict() if n.startswith(prefix) and ".connect." not in n)
    if name == "biomedclipseg-d":
        theirs = small_builders["clipseg"]().net.decoder.state_dict()
        assert all(torch.equal(value, theirs[n]) for n, value in model.decoder.state_dict().items())


def imported_here(path, name, /, *, replace_existing, check):
    return import_model(path, name, replace_existing=replace_existing)


def test_obtained_once_then_only_on_request(published, tmp_path):
    source, seen = find_source("clipseg"), []
    made = download_and_import(
        hub.plan(source, tmp_path / "f", published.endpoint), imported_here, progress=lambda *n: seen.append(n)
    )
    assert read_card(made).name == made.name == "clipseg" and seen and not (tmp_path / "f").exists()
    planned, sent = hub.plan(source, tmp_path / "f", published.endpoint), len(published.sent())
    with pytest.raises(ModelExists, match="There is a model clipseg already") as raised:
        download_and_import(planned, imported_here)
    assert raised.value.name == "clipseg" and len(published.sent()) == sent
    assert download_and_import(planned, imported_here, replace=True) == made
    assert download_and_import(planned, imported_here, "second").name == "second"


def test_room_for_files_and_model_before_anything_is_fetched(published, tmp_path, monkeypatch):
    planned = hub.plan(find_source("clipseg"), tmp_path / "f", published.endpoint)
    free = int(1.5 * planned.total)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, free))
    with pytest.raises(ValueError, match="are needed in"):
        download_and_import(planned, imported_here)
    assert not published.sent()
