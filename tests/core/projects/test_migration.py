"""A project of the first version of the schema, as a program of then left it."""

import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.core.projects import schema
from napari_medvlsm.core.projects.check import check_project
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.ledger import read_ledger
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from tests.core.projects.conftest import outline


@pytest.fixture
def old(tmp_path):
    with zipfile.ZipFile(Path(__file__).with_name("version_1.zip")) as stored:
        stored.extractall(tmp_path / "old")
    return tmp_path / "old"


def version_of(folder):
    connection = sqlite3.connect(folder / schema.DATABASE_FILE)
    try:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()


def holds_what_it_held(store):
    cases = store.cases()
    assert [c.state for c in cases] == [State.APPROVED, State.DRAFT, State.ABSENT, State.SUBMITTED, State.UNSEEN]
    assert [c.group for c in cases] == ["patient 1", "patient 1", "", "", ""] and store.title == "First version"
    drawn = store.load(store.current(1, "polyp"))
    np.testing.assert_array_equal(drawn.mask, outline(rows=(4, 10)).mask)
    np.testing.assert_array_equal(drawn.prediction, outline(rows=(4, 12)).mask)
    assert [e.what for e in store.events(4)] == ["submitted", "sent back", "drawn", "submitted"]
    (effort,) = [e for e in read_ledger(store.database) if e.case_id == 1]
    # What version 1 did not know is computed from the masks: 2 of 8 rows of 8 pixels were taken away.
    assert (effort.pixels_changed, effort.dice) == (16, pytest.approx(2 * 48 / (48 + 64)))
    assert (effort.seconds, effort.strokes, effort.clicks, effort.model) == (12.5, 3, 0, "old")


def test_a_project_of_version_1_is_brought_to_the_present_one(old):
    assert version_of(old) == 1 < schema.VERSION
    with ProjectStore(old) as store:
        holds_what_it_held(store)
        store.save_draft(5, outline(clicks=3))
        assert store.current(5, "polyp").clicks == 3
    assert version_of(old) == schema.VERSION and check_project(old) == []
    kept = sqlite3.connect(old / "project.version-1.sqlite")
    assert kept.execute("PRAGMA user_version").fetchone()[0] == 1
    kept.close()


def test_it_can_be_looked_at_without_being_changed(old):
    before = (old / schema.DATABASE_FILE).read_bytes()
    with ProjectStore(old, read_only=True) as store:
        holds_what_it_held(store)
    assert (old / schema.DATABASE_FILE).read_bytes() == before and check_project(old) == []


def test_a_migration_that_fails_leaves_the_old_version(old, monkeypatch):
    def fails(connection, folder):
        connection.execute("ALTER TABLE version ADD COLUMN clicks INTEGER")
        raise OSError(28, "No space left on device")

    before = (old / schema.DATABASE_FILE).read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:1], fails))
    with pytest.raises(ProjectError, match="is full"):
        ProjectStore(old)
    monkeypatch.undo()
    assert (old / schema.DATABASE_FILE).read_bytes() == before
    with ProjectStore(old) as store:
        holds_what_it_held(store)


def test_a_new_database_and_a_migrated_one_are_alike(old, folder):
    def tables(path):
        connection = sqlite3.connect(path / schema.DATABASE_FILE)
        rows = connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
        columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for (name,) in rows}
        connection.close()
        return columns

    ProjectStore(old).close()
    assert tables(old) == tables(folder)


def test_a_newer_project_is_left_alone(folder):
    connection = sqlite3.connect(folder / schema.DATABASE_FILE)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(ProjectError, match="update napari-medvlsm"):
            ProjectStore(folder, read_only=read_only)
    with pytest.raises(ProjectError, match="update napari-medvlsm"):
        check_project(folder)
