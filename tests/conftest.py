"""Fixtures: a small model, the shipped starter, and folders of the user that are not the user's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SAMPLES = Path(__file__).parents[1] / "napari_medvlsm" / "data" / "samples"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory, monkeypatch):
    """Nothing a test does reaches the user's models or autosaves."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("MEDVLSM_MODELS", str(home / "models"))
    monkeypatch.setenv("MEDVLSM_CACHE", str(home / "activations"))


@pytest.fixture(scope="session")
def samples():
    """The folder of shipped sample scans."""
    return SAMPLES


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def small_clipseg():
    """A CLIPSeg of few parameters with random weights and the tokenizer of the recipes."""
    import torch

    from medvlsm_training.models import ClipSegSizes, clipseg_config
    from medvlsm_training.tokenizer import cut_tokenizer
    from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg

    torch.manual_seed(0)
    tokenizer = cut_tokenizer(["small pink polyp", "left lung", "skin melanoma, located in top left of the image"])
    config = clipseg_config(ClipSegSizes(patch_size=8, hidden_size=48, layers=6, heads=3), tokenizer, 64)
    config.extract_layers = [0, 1, 3]
    return CLIPSeg.from_config(config, tokenizer, 64).eval()


@pytest.fixture(scope="session")
def small_card():
    from napari_medvlsm.core.models.store.card import ModelCard

    return ModelCard(name="small", title="Small", family="clipseg")


@pytest.fixture
def model_folder(tmp_path, small_clipseg, small_card):
    """The small model as a folder on disk."""
    from napari_medvlsm.core.models.store.card import write_card

    folder = tmp_path / "small"
    small_clipseg.save(folder)
    write_card(small_card, folder)
    return folder
