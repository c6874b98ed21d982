"""Fixtures of models: every family at small size, and a hub on the loopback."""

from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.card import write_card
from napari_medvlsm.core.models.store.sources import SOURCES, HubFile, Repository, Source
from tests.core.models.fake_hub import COMMIT, serving
from tests.core.models.small_models import SMALL, card_of


@pytest.fixture(scope="module", params=list(SMALL))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    torch.manual_seed(3)
    return SMALL[family].build().eval()


@pytest.fixture(scope="module")
def pixels(model):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, model.image_size, model.image_size, generator=generator)


@pytest.fixture
def folder(tmp_path, model, family):
    model.save(tmp_path)
    write_card(card_of(family), tmp_path)
    return tmp_path


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.fixture
def hub_session(monkeypatch, tmp_path):
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
def server(hub_session):
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
