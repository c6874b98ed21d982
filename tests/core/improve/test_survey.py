"""The order of a project's waiting scans, by the shipped starter itself."""

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.cli import main
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.improve.order import AT_RANDOM, FIRST, UNLIKE
from napari_medvlsm.core.improve.survey import ORDER_FILE, read_order
from napari_medvlsm.core.improve.versions import promote
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.models.store.registry import user_models_folder
from napari_medvlsm.core.projects.adding import add_scans, scans_in
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from tests.core.models.small_models import small_wordunet

COUNT = 24


@pytest.fixture
def project(tmp_path):
    """Two kinds of pictures: dark ones with a bright disk, and bright ones with a dark disk."""
    rng, scans = np.random.default_rng(3), tmp_path / "scans"
    scans.mkdir()
    y, x = np.mgrid[:64, :64]
    for i in range(COUNT):
        row, col = rng.integers(20, 44, 2)
        disk = (y - row) ** 2 + (x - col) ** 2 < 12**2
        picture = rng.integers(0, 30, (64, 64, 3)) + 150 * (disk if i % 2 else ~disk)[..., None]
        Image.fromarray(picture.astype(np.uint8)).save(scans / f"scan{i}.png")
    create_project(tmp_path / "project", ["polyp"])
    with ProjectStore(tmp_path / "project") as store:
        add_scans(store, list(scans_in(scans)))
    return tmp_path / "project"


def test_the_first_scans_are_of_both_kinds_and_none_is_of_the_hold_out(project, capsys):
    assert main(["project", "next", str(project), "--count", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    order = read_order(project)
    assert len(lines) == len(order.cases) == 6 and not order.doubts
    with ProjectStore(project, read_only=True) as store:
        cases = store.cases([found.case_id for found in order.cases])
    assert lines == [f"{case.name}: {found.reason}" for case, found in zip(cases, order.cases, strict=True)]
    assert all(case.split != "test" for case in cases)
    spread = [case for case, found in zip(cases, order.cases, strict=True) if found.reason == UNLIKE]
    assert {int(case.name[4:-4]) % 2 for case in spread} == {0, 1} and order.cases[4].reason == AT_RANDOM

    # By the project's present model, once another one was promoted.
    assert order.model == "starter"
    small_wordunet().save(user_models_folder() / "small")
    write_card(ModelCard(name="small", title="Small", family="wordunet"), user_models_folder() / "small")
    promote(project, "small", "Ann")
    assert main(["project", "next", str(project), "--count", "1"]) == 0 and read_order(project).model == "small"


def test_later_scans_go_by_the_models_doubt_and_outlined_ones_are_not_asked_again(project, capsys):
    with ProjectStore(project) as store:
        done = store.cases(query=CaseQuery(splits=("train", "val")))[:FIRST]
        for case in done:
            store.submit(case.id, "polyp", Annotation("polyp", np.ones(case.size, bool), corrected=True))
    assert main(["project", "next", str(project), "--count", "99"]) == 0
    capsys.readouterr()
    order = read_order(project)
    assert order.doubts and not {case.id for case in done} & {found.case_id for found in order.cases}
    reasons = [found.reason for found in order.cases]
    assert UNLIKE not in reasons and AT_RANDOM in reasons and all(reasons)


def test_a_damaged_order_is_none_and_an_unknown_target_is_named(project, capsys):
    assert read_order(project) is None
    (project / ORDER_FILE).write_text("{")
    assert read_order(project) is None
    assert main(["project", "next", str(project), "--target", "poly"]) != 0
    assert "no target 'poly'; it has polyp" in capsys.readouterr().err
