"""Folders of fetched files: their manifest, and what it allows to be imported."""

import json
import shutil
from dataclasses import replace

import pytest

from napari_medvlsm.core.models.checkpoints import convert
from napari_medvlsm.core.models.checkpoints.convert import ImportOptions, import_model
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.card import WEIGHTS_FILE, read_card
from napari_medvlsm.core.models.store.fetched import KNOWN_FILE, MANIFEST_FILE, KnownHashes, read_fetched
from napari_medvlsm.core.models.store.sources import SOURCES, find_source
from tests.core.models.fake_hub import sha256


def test_fetched_here_and_imported_there(published, tmp_path, monkeypatch):
    folder = hub.fetch(hub.plan(find_source("clipseg"), tmp_path / "stick", published.endpoint))
    copied = shutil.copytree(folder, tmp_path / "copied")
    monkeypatch.setenv("MEDVLSM_MODELS", str(tmp_path / "elsewhere"))
    assert read_card(import_model(copied)).licence == "licence of CIDAS/small"
    weights = copied / "CIDAS--small" / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors is missing or not as it was fetched"):
        import_model(copied, "again")
    # Whole in itself, but not what was imported before under this name.
    manifest = json.loads((copied / MANIFEST_FILE).read_text())
    manifest["files"][f"CIDAS--small/{WEIGHTS_FILE}"] = sha256(weights.read_bytes())
    (copied / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="is not what was fetched before"):
        import_model(copied, "again")


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../secret": "0" * 64}},
        {"files": {"CIDAS--small/../../secret": "0" * 64}},
        {"files": {"/etc/passwd": "0" * 64}},
        {"files": ["a"]},
        {"source": "unknown"},
        {"asked": {}},
        {"more": 1},
        {"files": {}},
        {"revisions": {"CIDAS/small": 5}},
        {"revisions": {}},
    ],
)
def test_manifests_of_others_are_checked(published, tmp_path, change):
    folder = hub.fetch(hub.plan(find_source("clipseg"), tmp_path / "f", published.endpoint))
    (tmp_path / "secret").write_text("x")
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    if change.get("files") and isinstance(change["files"], dict):
        change = {"files": manifest["files"] | change["files"]}
    manifest |= change
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"outside of its folder|cannot be read|does not list|is missing"):
        read_fetched(folder)


@pytest.mark.parametrize(
    "name", ["open_clip_model.safetensors", "model.safetensors", "tokenizer.model", "below/vocab.txt"]
)
def test_files_beside_the_fetched_ones_are_refused(published, tmp_path, name):
    folder = hub.fetch(hub.plan(find_source("biomedclipseg"), tmp_path / "f", published.endpoint))
    beside = folder / "microsoft--small" / name
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"{name} was not fetched with the others"):
        import_model(folder)
    beside.unlink()
    # What systems and broken fetches leave is never read.
    (folder / "microsoft--small" / ".DS_Store").write_bytes(b"x")
    (folder / "microsoft--small" / "a.bin.0123.part").write_bytes(b"x")
    read_fetched(folder)


def test_exactly_the_listed_weights_are_read(published, tmp_path, small_model_like, monkeypatch):
    folder = hub.fetch(hub.plan(find_source("biomedclipseg-d"), tmp_path / "f", published.endpoint))
    read, seen = convert.read_checkpoint, []
    monkeypatch.setattr(convert, "read_checkpoint", lambda path: seen.append(path) or read(path))
    import_model(folder, options=ImportOptions(like=small_model_like["biomedclipseg-d"]))
    listed = [f"microsoft--small/{name}" for name in ("open_clip_pytorch_model.bin",)] + [
        f"CIDAS--small/{WEIGHTS_FILE}"
    ]
    assert [path.relative_to(folder).as_posix() for path in seen] == listed


def test_a_hash_in_the_table_holds_for_imports_too(published, tmp_path, monkeypatch):
    folder = hub.fetch(hub.plan(find_source("clipseg"), tmp_path / "f", published.endpoint))
    source = find_source("clipseg")
    (repository,) = source.repositories
    files = tuple(replace(f, sha256="ab" * 32 if f.name == WEIGHTS_FILE else None) for f in repository.files)
    monkeypatch.setitem(SOURCES, "clipseg", replace(source, repositories=(replace(repository, files=files),)))
    with pytest.raises(ValueError, match=r"has another content than is known of this revision \(SHA-256 .*, not abab"):
        import_model(folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    other = {"asked": {"CIDAS/small": "main"}, "revisions": {"CIDAS/small": "f" * 40}}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest | other))
    read_fetched(folder)


@pytest.mark.parametrize("content", ["[]", "null", '{"someone/something@": []}'])
def test_hashes_that_are_none_are_named(tmp_path, monkeypatch, content):
    monkeypatch.setenv("MEDVLSM_MODELS", str(tmp_path))
    (tmp_path / KNOWN_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"it holds no hashes of files\); delete it to start anew"):
        KnownHashes()
