"""A small project, and outlines to put into it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.projects.adding import add_scans, scans_in
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.store import ProjectStore

SIZE = (24, 32)


def write_scans(folder: Path, number: int, seed: int = 0) -> Path:
    """So many different scans, named scan1.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(1, number + 1):
        Image.fromarray(rng.integers(0, 256, SIZE, np.uint8)).save(folder / f"scan{i}.png")
    return folder


def outline(target="polyp", rows=(4, 12), prediction=None, corrected=True, absent=False, **made):
    """A rectangle of eight columns."""
    mask = np.zeros(SIZE, bool)
    if rows is not None and not absent:
        mask[slice(*rows), 8:16] = True
    return Annotation(
        target, mask, corrected=corrected, absent=absent, provenance=new_provenance(**made), prediction=prediction
    )


@pytest.fixture
def folder(tmp_path):
    """A closed project of six scans that lie beside it."""
    create_project(tmp_path / "project", ["polyp"])
    with ProjectStore(tmp_path / "project") as store:
        add_scans(store, list(scans_in(write_scans(tmp_path / "scans", 6))))
    return tmp_path / "project"


@pytest.fixture
def store(folder):
    with ProjectStore(folder, person="Ann") as opened:
        yield opened
