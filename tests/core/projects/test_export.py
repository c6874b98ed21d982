"""A project as a data set to train on."""

import json

import numpy as np
import pytest
from PIL import Image

from napari_medvlsm.core.datasets.items import data_hash
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.datasets.source import SourceConfig
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
from napari_medvlsm.core.projects.adding import NewScan, add_scans
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.export import export_project
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from napari_medvlsm.core.prompts import load_vocabulary
from tests.core.projects.conftest import outline, write_scans

VOCABULARY = load_vocabulary()


@pytest.fixture
def done(tmp_path):
    """Twelve scans of six patients: ten approved (one as absent), one absent, one submitted only."""
    create_project(tmp_path / "project", ["polyp"], "Polyps of ward 3")
    write_scans(tmp_path / "scans", 12)
    with ProjectStore(tmp_path / "project", person="Ann") as store:
        scans = [NewScan(tmp_path / "scans" / f"scan{i}.png", group=f"patient {(i + 1) // 2}") for i in range(1, 13)]
        add_scans(store, scans)
        for case in range(1, 13):
            if case in (4, 5):
                store.mark_absent(case, "polyp")
            else:
                predicted = outline(rows=(1, 9)).mask if case % 2 else None
                store.submit(case, "polyp", outline(rows=(4, 8 + case), prediction=predicted, model="starter"))
            if case not in (5, 12):
                store.approve(case, "polyp")
        yield store


def listed(folder):
    return {p.stem: json.loads(p.read_text("utf-8")) for p in (folder / "anns").iterdir()}


def test_splits_are_those_of_the_project_and_the_hold_out_is_the_test_split(done, tmp_path):
    report = export_project(done, tmp_path / "set", VOCABULARY)
    assert report.failed == [] and sum(report.outlines.values()) == 11 and report.absent == 2
    lists = listed(tmp_path / "set")
    splits = {c.group: c.split for c in done.cases()}
    found = {(case["group"], split) for split, cases in lists.items() for case in cases}
    assert found == {*splits.items()} and {s: len(c) for s, c in lists.items()} == report.outlines
    held_out = done.cases(query=CaseQuery(splits=("test",)))
    versions = [done.current(c.id, "polyp") for c in held_out if c.id != 12]
    assert report.assisted == sum(v.predicted for v in versions)
    assert {case["annotation"]["absent"] for case in lists["train"] + lists["test"] + lists["val"]} == {True, False}


def test_training_reads_what_was_drawn(done, tmp_path):
    export_project(done, tmp_path / "set", VOCABULARY)
    vocabulary = dataset_vocabulary([tmp_path / "set"])
    items = read_source(tmp_path / "set", SourceConfig("."), vocabulary)
    assert sum(map(len, items.values())) == 11
    masks = {i.load_masks()["polyp"].sum() for split in items.values() for i in split}
    assert masks == {8 * (4 + case) for case in range(1, 12) if case not in (4, 5)} | {0}
    groups = [{item.group for item in items[split]} for split in ("train", "val", "test")]
    assert all(groups) and not groups[0] & groups[2] and not groups[0] & groups[1]


def test_states_and_targets_can_be_chosen_and_an_earlier_export_is_replaced(done, tmp_path):
    done.save_draft(1, outline("fold"))
    folder = tmp_path / "set"
    assert sum(export_project(done, folder, VOCABULARY, (State.SUBMITTED,)).outlines.values()) == 1
    before = data_hash([])
    with pytest.raises(ProjectError, match="earlier export"):
        export_project(done, folder, VOCABULARY)
    both = export_project(done, folder, VOCABULARY, (State.APPROVED, State.DRAFT), replace=True)
    assert sum(both.outlines.values()) == 11 and before == data_hash([])
    only = export_project(done, folder, VOCABULARY, (State.DRAFT,), ("fold",), replace=True)
    assert sum(only.outlines.values()) == 1 and len(list((folder / "masks").iterdir())) == 1
    with pytest.raises(ProjectError, match="nothing to export"):
        export_project(done, tmp_path / "other", VOCABULARY, (State.DRAFT,), ("polyp",))
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_no_export_is_never_replaced(done, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for replace in (False, True):
        with pytest.raises(ProjectError, match="is no export"):
            export_project(done, tmp_path / "mine", VOCABULARY, replace=replace)
    with pytest.raises(ProjectError, match="is no export"):
        export_project(done, tmp_path / "mine" / "thesis.txt", VOCABULARY, replace=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_scans_that_are_gone_or_changed_are_named_and_the_others_go_on(done, tmp_path):
    (tmp_path / "scans" / "scan1.png").unlink()
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / "scans" / "scan2.png")
    report = export_project(done, tmp_path / "set", VOCABULARY)
    assert sum(report.outlines.values()) == 9 and len(report.failed) == 2
    assert "scan1.png" in report.failed[0] and "has changed" in report.failed[1]
    for path in (tmp_path / "scans").iterdir():
        path.unlink()
    with pytest.raises(ProjectError, match="None of 11 scans"):
        export_project(done, tmp_path / "set2", VOCABULARY)
    assert not (tmp_path / "set2").exists() and not list(tmp_path.glob(".set2*"))


def test_no_file_name_and_no_path_leaves(done, tmp_path):
    export_project(done, tmp_path / "set", VOCABULARY)
    files = [p for p in (tmp_path / "set").rglob("*") if p.is_file()]
    everything = b"".join(p.read_bytes() for p in files) + str([p.name for p in files]).encode()
    assert b"scan1" not in everything and str(tmp_path).encode() not in everything
