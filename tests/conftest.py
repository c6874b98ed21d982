"""Fixtures: a small model, the shipped starter, and folders of the user that are not the user's."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# napari keeps its settings in memory: tests neither read nor write the user's, nor those of another worker.
os.environ["NAPARI_CONFIG"] = ""
if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each worker and for the processes that it starts, set before numpy and torch read it: threads
    # that outnumber the cores wait for one another. LP_NUM_THREADS is that of Mesa's software renderer.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import numpy as np
import psutil
import pytest
from hypothesis import settings

# The same examples in every run, however slow the machine. To search for others: pytest --hypothesis-profile search
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=5000, database=None)
settings.load_profile("suite")

SAMPLES = Path(__file__).parents[1] / "napari_medvlsm" / "data" / "samples"
# A worker with torch, a window and an engine process of its own.
WORKER_BYTES = 3 * 2**30
# What opens a window, directly or through other fixtures.
GUI_FIXTURES = {"qapp", "qtbot", "make_napari_viewer"}


def pytest_xdist_auto_num_workers(config):
    """For `-n auto`: a worker for each core that this process may use, as far as the memory goes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().available // WORKER_BYTES))


def pytest_collection_modifyitems(items):
    """Mark what opens a window."""
    for item in items:
        if GUI_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("gui")


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
