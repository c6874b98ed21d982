"""Models of all families with few parameters, as builders by family, for files that go in and out."""

from __future__ import annotations

import os

import pytest

from napari_medvlsm.core.process import ChildProcess

SMALL_TEXTS = ["small pink polyp", "a dark spot, located in the top left of the image"]


@pytest.fixture(scope="session")
def small_texts():
    return SMALL_TEXTS


@pytest.fixture(scope="session")
def small_builders():
    """By family, a function that builds a model with the same random weights each time."""
    import torch

    from napari_medvlsm.core.models.families import IMPORTABLE
    from tests.core.models.small_models import SMALL

    def seeded(build):
        def made():
            torch.manual_seed(3)
            return build().eval()

        return made

    return {family: seeded(SMALL[family].build) for family in IMPORTABLE}


@pytest.fixture(scope="session")
def small_model_like(small_builders, tmp_path_factory):
    """By family, a folder with the configuration, preprocessing and tokenizer of the small model."""
    from napari_medvlsm.core.models.store.card import WEIGHTS_FILE

    folders = {}
    for family, build in small_builders.items():
        folders[family] = tmp_path_factory.mktemp(family)
        build().save(folders[family])
        (folders[family] / WEIGHTS_FILE).unlink()
    return folders


@pytest.fixture
def child(tmp_path):
    """Start a script as a module of its own; what still runs after the test is ended."""
    started = []

    def start(script, *arguments, **more):
        (tmp_path / "a_child.py").write_text(script, "utf-8")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        started.append(ChildProcess("a_child", arguments, environment={"PYTHONPATH": path}, **more))
        return started[-1]

    yield start
    for process in started:
        process.close()
