"""A project with finished outlines, and rounds of it."""

from __future__ import annotations

import pytest

from napari_medvlsm.core.improve.cases import choose_cases
from napari_medvlsm.core.improve.making import make_round
from napari_medvlsm.core.improve.plan import Base
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.prompts import load_vocabulary
from tests.core.projects.conftest import outline, write_scans

BASE = Base("starter", "starter", "ab" * 32, "wordunet")
VOCABULARY = load_vocabulary()


@pytest.fixture
def store(tmp_path):
    """Twelve scans of twelve patients: seven outlined from nothing, four begun from a prediction, one absent."""
    create_project(tmp_path / "project", ["polyp"], "Polyps of ward 3")
    write_scans(tmp_path / "scans", 12)
    with ProjectStore(tmp_path / "project", person="Ann") as opened:
        add_scans(opened, [NewScan(tmp_path / "scans" / f"scan{i}.png", group=f"patient {i}") for i in range(1, 13)])
        # One of those for training, whichever these are: of every project they are others.
        absent = next(case.id for case in opened.cases() if case.split == "train" and case.id % 3)
        for case in opened.cases():
            if case.id == absent:
                opened.mark_absent(case.id, "polyp")
            else:
                predicted = outline(rows=(1, 9)).mask if case.id % 3 == 0 else None
                opened.submit(case.id, "polyp", outline(rows=(4, 12), prediction=predicted, model="starter"))
        yield opened


@pytest.fixture
def new_round(store):
    """Makes rounds of the project as it is now."""

    def make(base=BASE, **more):
        return make_round(store, choose_cases(store).cases, base, VOCABULARY, **more)

    return make
