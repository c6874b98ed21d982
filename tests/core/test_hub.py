"""Public weights from a server on the loopback that imitates the hub's file interface. No test reaches further."""

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch
from filelock import FileLock
from huggingface_hub import constants
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save

from napari_medvlsm.core.io import atomic
from napari_medvlsm.core.models.checkpoints import convert
from napari_medvlsm.core.models.checkpoints.convert import Wishes, import_model
from napari_medvlsm.core.models.checkpoints.import_process import import_in_process
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.card import WEIGHTS_FILE, read_card
from napari_medvlsm.core.models.store.download import download_and_import
from napari_medvlsm.core.models.store.fetched import MANIFEST_FILE, forget, read_fetched
from napari_medvlsm.core.models.store.naming import ModelExists
from napari_medvlsm.core.models.store.registry import available_models, user_models_folder
from napari_medvlsm.core.models.store.sources import CLIP_RN50, SOURCES, HubFile, Repository, Source, find_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Files from this size on are large files, which the hub keeps by their SHA-256 elsewhere.
LARGE = 50_000


class FakeHub(ThreadingHTTPServer):
    """The hub's listing and files, with what can go wrong.

    Attributes
    ----------
    files : dict
        Repository to file to content.
    statuses : dict
        Path to the status that it is answered with.
    served : dict
        File to what is sent instead of what is announced.
    cut_after : list of int
        For the next answers: bytes after which the connection ends.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.statuses, self.served = {}, {}, {}
        self.cut_after, self.requests = [], []
        self.ranges, self.sizes, self.page = True, True, None
        self.cdn = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, method="GET"):
        return [(path, headers.get("Range")) for m, path, headers in self.requests if m == method and "resolve" in path]

    def handle_error(self, request, client_address):
        pass  # connections are cut on purpose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        server = self.server
        path, _, query = self.path.partition("?")
        server.requests.append((self.command, path, dict(self.headers)))
        for mark, (status, code) in server.statuses.items():
            if mark in path:
                return self.reply(status, b"{}", {"X-Error-Code": code} if code else {})
        if server.page is not None:
            return self.reply(200, server.page, {"Content-Type": "text/html"})
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            assert query == "blobs=true" and revision in ("", "main", COMMIT)
            return self.reply(200, json.dumps(self.listing(name)).encode(), {"Content-Type": "application/json"})
        name, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        content = server.files[name][file]
        large = len(content) >= LARGE
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{git_hash(content)}"'}
        if large:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{sha256(content)}"'}
            if server.cdn is not None:
                return self.reply(302, b"", headers | {"Location": f"{server.cdn.endpoint}{self.path}"})
        content = server.served.get(file, content)
        status, start = 200, 0
        wanted = self.headers.get("Range")
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.reply(416, b"")
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        self.reply(status, content[start:] if body else b"", headers, len(content) - start)

    def listing(self, name):
        siblings = []
        for file, content in self.server.files[name].items():
            entry = {"rfilename": file}
            if self.server.sizes:
                entry |= {"size": len(content), "blobId": git_hash(content)}
                if len(content) >= LARGE:
                    entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}

    def reply(self, status, content, headers=(), length=None):
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command == "GET" and "resolve" in self.path and status < 300 and self.server.cut_after:
            self.wfile.write(content[: self.server.cut_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(content)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_hash(content):
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@contextmanager
def serving():
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _own_session(monkeypatch, tmp_path):
    """No proxy, no token, no cache and no waiting of the user's; and no connection left over."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_PAUSE", 0.01)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def published(server, small_builders, tmp_path, monkeypatch):
    """The server holds small models in the place of the public ones."""
    folder = tmp_path / "published"
    clipseg = small_builders["clipseg"]()
    clipseg.save(folder)
    server.files["CIDAS/small"] = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    biomed = small_builders["biomedclipseg"]()
    biomed.tokenizer.save_pretrained(tmp_path / "bert")
    server.files["microsoft/small"] = {p.name: p.read_bytes() for p in sorted((tmp_path / "bert").iterdir())}
    torch.save(encoders(biomed, "biomedclip."), tmp_path / "open_clip_pytorch_model.bin")
    server.files["microsoft/small"]["open_clip_pytorch_model.bin"] = (
        tmp_path / "open_clip_pytorch_model.bin"
    ).read_bytes()
    rn50 = {n: v for n, v in encoders(small_builders["cris"](), "backbone.").items() if ".connect." not in n}
    server.files["timm/small"] = {"open_clip_model.safetensors": save(rn50)}
    repositories = {
        name: Repository(name, COMMIT, f"licence of {name}", f"{name} et al.", files_of(server, name))
        for name in server.files
    }
    small, microsoft, timm = (repositories[n] for n in ("CIDAS/small", "microsoft/small", "timm/small"))
    for name, parts in {
        "clipseg": (small,),
        "cris": (timm,),
        "biomedclipseg": (microsoft,),
        "biomedclipseg-d": (microsoft, small),
    }.items():
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], repositories=parts))
    return server


def files_of(server, name):
    return tuple(HubFile(file, len(content)) for file, content in server.files[name].items())


def encoders(model, prefix):
    state = model.upstream.state_dict()
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.fixture
def source(server, monkeypatch):
    """A source of two files that is no model."""
    rng = torch.Generator().manual_seed(1)
    big = torch.randint(0, 256, (3_000_000,), generator=rng, dtype=torch.uint8).numpy().tobytes()
    server.files["someone/thing"] = {"config.json": b'{"a": 1}', "big.bin": big, "extra.txt": b"not wanted"}
    files = (HubFile("config.json", 8), HubFile("big.bin", 3_000_000), HubFile("notes.md", 10, optional=True))
    made = Source("thing", "Thing", "", "clipseg", (Repository("someone/thing", COMMIT, "MIT", "One", files),))
    monkeypatch.setitem(SOURCES, "thing", made)
    return made


def unpinned(source):
    return replace(source, repositories=tuple(replace(r, revision=None) for r in source.repositories))


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_source_becomes_a_model_folder(published, small_builders, small_model_like, tmp_path, name):
    planned = hub.plan(find_source(name), tmp_path / "fetched", published.endpoint)
    seen = []
    folder = hub.fetch(planned, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (planned.total, planned.total)
    family = find_source(name).family
    wishes = Wishes() if name == "clipseg" else Wishes(like=small_model_like[family])
    if name == "cris":
        wishes = replace(wishes, tokenizer=small_model_like[family])
    made = import_model(folder, wishes=wishes)
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


def test_the_plan_tells_files_sizes_and_room_and_nothing_is_fetched(server, source, tmp_path):
    planned = hub.plan(source, tmp_path / "a" / "b", server.endpoint)
    assert [(f.name, f.size, f.revision) for f in planned.files] == [
        ("config.json", 8, COMMIT),
        ("big.bin", 3_000_000, COMMIT),
    ]
    assert planned.total == planned.left == 3_000_008 and planned.free > 0
    assert planned.files[1].sha256 == sha256(server.files["someone/thing"]["big.bin"])
    assert not server.sent() and not (tmp_path / "a").exists()
    hub.fetch(planned)
    assert planned.left == 0 and len(server.sent()) == 2
    hub.fetch(hub.plan(source, tmp_path / "a" / "b", server.endpoint))
    assert len(server.sent()) == 2


def test_broken_connections_are_resumed(server, source, tmp_path):
    server.cut_after = [8, 1_000_000, 0, 500_000]
    folder = hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
    assert (folder / "someone--thing" / "big.bin").read_bytes() == server.files["someone/thing"]["big.bin"]
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) if r else 0 for path, r in server.sent() if "big" in path]
    assert starts == sorted(starts) and len(starts) == 4 and starts[-1] >= 1_000_000
    assert sorted(p.name for p in (folder / "someone--thing").iterdir()) == ["big.bin", "config.json"]


def test_a_connection_that_brings_nothing_is_given_up_and_kept(server, source, tmp_path):
    server.cut_after = [8, 700_000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"The hub cannot be reached at .*models fetch thing --to FOLDER"):
        hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
    server.cut_after = []
    planned = hub.plan(source, tmp_path / "f", server.endpoint)
    assert 2_000_000 < planned.left < 2_500_000
    hub.fetch(planned)


def test_cancelled_and_gone_on_with(server, source, tmp_path):
    class Cancelled(Exception):
        pass

    calls = []

    def check():
        calls.append(0)
        if len(calls) > 6:
            raise Cancelled

    planned = hub.plan(source, tmp_path / "f", server.endpoint)
    with pytest.raises(Cancelled):
        hub.fetch(planned, check=check)
    assert 0 < planned.left < 3_000_000 and not (tmp_path / "f" / MANIFEST_FILE).exists()
    hub.fetch(planned)
    assert server.sent()[-1][1] is not None and planned.left == 0


def test_a_server_without_ranges_sends_all_again(server, source, tmp_path):
    server.ranges, server.cut_after = False, [8, 1_000_000]
    folder = hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
    assert (folder / "someone--thing" / "big.bin").read_bytes() == server.files["someone/thing"]["big.bin"]


def test_mirrors_that_list_names_only(server, source, tmp_path):
    server.sizes = False
    planned = hub.plan(source, tmp_path / "f", server.endpoint)
    content = server.files["someone/thing"]
    assert [f.size for f in planned.files] == [8, 3_000_000] and len(server.sent("HEAD")) == 2
    assert planned.files[0].git_hash == git_hash(content["config.json"])
    assert planned.files[1].sha256 == sha256(content["big.bin"])
    hub.fetch(planned)


@pytest.mark.parametrize("file", ["config.json", "big.bin"])
def test_wrong_checksums_are_refused_and_do_not_stay(server, source, tmp_path, file):
    content = bytearray(server.files["someone/thing"][file])
    content[-1] ^= 1
    server.served[file] = bytes(content)
    with pytest.raises(ValueError, match=rf"{file} of someone/thing did not arrive as the hub announced it"):
        hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
    assert not [p for p in (tmp_path / "f" / "someone--thing").iterdir() if p.name.startswith(file)]
    server.served.clear()
    hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))


@pytest.mark.parametrize("length", [100, 2_999_999, 3_000_100])
def test_files_of_another_length_are_refused(server, source, tmp_path, length):
    server.served["big.bin"] = bytes(length)
    with pytest.raises(ValueError, match=r"ends too early|checksum differs|\(416\)"):
        hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "", r"refuses someone/thing \(401\); it may ask for a login"),
        (401, "RepoNotFound", r"refuses someone/thing \(401\)"),
        (403, "GatedRepo", r"refuses someone/thing \(403\).* terms to be accepted at http"),
        (403, "", r"refuses someone/thing \(403\)"),
        (404, "RepoNotFound", r"has no someone/thing .*\(404\)"),
        (404, "RevisionNotFound", rf"has no someone/thing at revision {COMMIT} \(404\)"),
        (500, "", r"does not give someone/thing now \(500\)"),
        (429, "", r"does not give someone/thing now \(429\)"),
    ],
)
@pytest.mark.parametrize("where", ["/api/models/", "/resolve/"])
def test_refusals_give_one_sentence(server, source, tmp_path, status, code, words, where):
    server.statuses[where] = status, code
    with pytest.raises(ValueError, match=words) as caught:
        hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
    assert "\n" not in str(caught.value)


def test_missing_files_and_login_pages_give_one_sentence(server, source, tmp_path):
    del server.files["someone/thing"]["big.bin"]
    with pytest.raises(ValueError, match=rf"has no file big\.bin at {COMMIT}"):
        hub.plan(source, tmp_path, server.endpoint)
    server.page = b"<html>Please log in</html>"
    with pytest.raises(ValueError, match="is not the hub; a proxy or a login page"):
        hub.plan(source, tmp_path, server.endpoint)


def test_another_name_is_taken_where_the_first_is_missing(server, source, tmp_path):
    (repository,) = source.repositories
    files = (HubFile("big.safetensors", 3_000_000, "0" * 64, instead="big.bin"),)
    other = replace(source, repositories=(replace(repository, files=files),))
    (file,) = hub.plan(other, tmp_path, server.endpoint).files
    assert file.name == "big.bin"


def test_no_room_is_said_before_anything_is_fetched(server, source, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 2_000_000))
    planned = hub.plan(source, tmp_path / "f", server.endpoint)
    assert planned.free == 2_000_000
    with pytest.raises(ValueError, match=r"3\.0 MB are needed in .*, but only 2\.0 MB are free"):
        hub.fetch(planned)
    assert not server.sent()


def test_a_disk_that_fills_up_gives_a_sentence(server, source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "_stream", full)
    with pytest.raises(ValueError, match="The disk is full; what was fetched so far is kept"):
        hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))


def test_two_processes_do_not_fetch_into_one_folder(server, source, tmp_path):
    planned = hub.plan(source, tmp_path / "f", server.endpoint)
    (tmp_path / "f").mkdir()
    with FileLock(tmp_path / "f" / ".lock"), pytest.raises(ValueError, match="Another process is fetching into"):
        hub.fetch(planned)
    hub.fetch(planned)


def test_no_network_is_said_within_seconds(source, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    words = r"cannot be reached at .*: check the network .*models fetch thing --to FOLDER.*models import FOLDER"
    start = time.monotonic()
    with pytest.raises(ValueError, match=words):
        hub.plan(source, tmp_path, endpoint)
    # One that takes the connection and never answers.
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ValueError, match=words):
            hub.plan(source, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - start < 5


def test_offline_takes_the_cache_of_the_hub_or_says_what_to_do(server, source, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"not in the cache, and HF_HUB_OFFLINE forbids .*models fetch thing --to"):
        hub.plan(source, tmp_path / "f", server.endpoint)
    cached = tmp_path / "cache" / "models--someone--thing"
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    for name, content in server.files["someone/thing"].items():
        (cached / "snapshots" / COMMIT / name).write_bytes(content)
    planned = hub.plan(source, tmp_path / "f", server.endpoint)
    assert [f.revision for f in planned.files] == [COMMIT, COMMIT] and planned.total == 3_000_008
    assert read_fetched(hub.fetch(planned)).revisions == {"someone/thing": COMMIT}
    # A branch is known there by its name.
    with pytest.raises(ValueError, match="not in the cache"):
        hub.plan(unpinned(source), tmp_path / "g", server.endpoint)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    hub.fetch(hub.plan(unpinned(source), tmp_path / "g", server.endpoint))
    assert not server.requests


def test_the_pinned_revision_is_taken_from_the_cache_online_too(server, source, tmp_path):
    folder = tmp_path / "cache" / "models--someone--thing" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for name, content in server.files["someone/thing"].items():
        (folder / name).write_bytes(content)
    hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
    assert not server.requests


def test_content_that_changes_later_is_refused_until_it_is_accepted(server, source, tmp_path):
    moving = unpinned(source)
    hub.fetch(hub.plan(moving, tmp_path / "a", server.endpoint))
    for file, content in {"big.bin": bytes(3_000_000), "config.json": b'{"a": 2}'}.items():
        before = server.files["someone/thing"][file]
        server.files["someone/thing"][file] = content
        sent = len(server.sent())
        with pytest.raises(ValueError, match=rf"{file} of someone/thing is not what was fetched before .*--accept-ch"):
            hub.fetch(hub.plan(moving, tmp_path / file, server.endpoint))
        # What the hub announces is enough to refuse a large file.
        assert file != "big.bin" or len(server.sent()) == sent
        server.files["someone/thing"][file] = before
    server.files["someone/thing"]["big.bin"] = bytes(3_000_000)
    forget(moving.repositories[0])
    hub.fetch(hub.plan(moving, tmp_path / "c", server.endpoint))


def test_a_hash_in_the_table_is_held_to(server, source, tmp_path):
    (repository,) = source.repositories
    files = (HubFile("big.bin", 3_000_000, "ab" * 32),)
    pinned = replace(source, repositories=(replace(repository, files=files),))
    with pytest.raises(ValueError, match=r"announces another content of big\.bin of someone/thing than is known"):
        hub.plan(pinned, tmp_path, server.endpoint)
    # Another revision may have another content.
    assert hub.plan(pinned, tmp_path, server.endpoint, revision="main").files[0].sha256 != "ab" * 32


def test_the_token_goes_to_the_hub_and_not_beyond(server, source, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as cdn:
        cdn.files, server.cdn = server.files, cdn
        hub.fetch(hub.plan(source, tmp_path / "f", server.endpoint))
        lowered = [{k.lower(): v for k, v in headers.items()} for _, _, headers in server.requests]
        assert all(headers["authorization"] == "Bearer hf_secret" for headers in lowered)
        assert len(cdn.requests) == 1 and not any("hf_secret" in str(headers) for _, _, headers in cdn.requests)


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
    import_model(folder, wishes=Wishes(like=small_model_like["biomedclipseg-d"]))
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


class Stopped(Exception):
    pass


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


def test_an_import_in_a_process_can_be_stopped_and_leaves_nothing(model_folder):
    started = time.monotonic()

    def check():
        if time.monotonic() > started + 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        import_in_process(model_folder, "mine", check=check)
    assert time.monotonic() - started < 5
    assert not user_models_folder().exists() or not list(user_models_folder().iterdir())


def test_a_stopped_import_takes_its_unfinished_folder_along(model_folder):
    """As if the process had begun to write, with a model of this name and one of another that are not its own."""
    models = user_models_folder()
    others = [models / ".mine-aaaaaaaa", models / ".mine-old-bbbbbbbb", models / ".mine-2-cccccccc", models / "mine"]
    others[0].mkdir(parents=True)

    def check():
        for path in (*others[1:], models / ".mine-dddddddd"):
            path.mkdir()
        raise Stopped

    with pytest.raises(Stopped):
        import_in_process(model_folder, "mine", check=check)
    assert sorted(models.iterdir()) == sorted(others)


def test_an_import_in_a_process_gives_the_folder_or_a_sentence(model_folder, tmp_path):
    made = import_in_process(model_folder)
    assert made == user_models_folder() / "small" and read_card(made).name == "small"
    with pytest.raises(ModelExists):
        import_in_process(model_folder, "small")
    assert import_in_process(model_folder, "small", replace_existing=True) == made
    with pytest.raises(ValueError, match=r"^There is no file .*gone\.ckpt"):
        import_in_process(tmp_path / "gone.ckpt")


def test_variables_of_the_hub_are_respected_without_torch(server, source, tmp_path):
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from napari_medvlsm.core.models.store import hub, sources\n"
        "from napari_medvlsm.core.models.store.sources import HubFile, Repository, Source\n"
        "files = (HubFile('big.bin', 1),)\n"
        f"repository = Repository('someone/thing', {COMMIT!r}, 'MIT', '', files)\n"
        "source = Source('thing', 'Thing', '', 'clipseg', (repository,))\n"
        "try:\n    print(hub.plan(source, Path('.')).total)\nexcept ValueError as error:\n    print(error)\n"
        "print('torch' in sys.modules)\n"
    )

    def run(**variables):
        environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | variables
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return found.stdout.split("\n")[:2]

    assert run(HF_ENDPOINT=server.endpoint, HF_HOME=str(tmp_path / "home")) == ["3000000", "False"]
    said, _ = run(HF_ENDPOINT=server.endpoint, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids" in said
    snapshot = tmp_path / "home" / "hub" / "models--someone--thing" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "big.bin").write_bytes(b"12345")
    assert run(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home")) == ["5", "False"]
    said, _ = run(HF_ENDPOINT="http://hub.invalid", HF_HOME=str(tmp_path / "x"), HTTP_PROXY=server.endpoint)
    assert server.requests[-1][1].startswith("http://hub.invalid/api/models/someone/thing")


def test_the_table_is_complete():
    for source in SOURCES.values():
        for repository in source.repositories:
            assert repository.licence and repository.citation and repository.files
            assert repository.revision is None or len(repository.revision) == 40
        assert source.size > 400e6 and ("finetune before use" in source.title) == bool(source.untrained)
    assert get_pretrained_cfg("RN50", "openai")["hf_hub"].rstrip("/") == CLIP_RN50.name
    with pytest.raises(ValueError, match=r"called 'unet'\. Known: clipseg, cris"):
        find_source("unet")
