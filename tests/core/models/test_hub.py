"""Public weights from a server on the loopback that imitates the hub. No test reaches further."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from filelock import FileLock
from huggingface_hub import constants
from open_clip.pretrained import get_pretrained_cfg

from napari_medvlsm.core.io import atomic
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.fetched import MANIFEST_FILE, forget, read_fetched
from napari_medvlsm.core.models.store.sources import CLIP_RN50, SOURCES, HubFile, find_source
from tests.core.models.fake_hub import COMMIT, git_hash, serving, sha256


def unpinned(source):
    return replace(source, repositories=tuple(replace(r, revision=None) for r in source.repositories))


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


def test_no_network_is_said(source, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    words = r"cannot be reached at .*: check the network .*models fetch thing --to FOLDER.*models import FOLDER"
    with pytest.raises(ValueError, match=words):
        hub.plan(source, tmp_path, endpoint)
    # One that takes the connection and never answers.
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ValueError, match=words):
            hub.plan(source, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")


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
