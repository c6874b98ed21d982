"""Edits of a correction: each is one undoable step that counts as work, and begins a correction where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medvlsm.controllers.editing import Editing
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.controllers.training_set import TrainingSet, explained
from napari_medvlsm.core.io.settings import Settings
from tests.controllers.test_corrections import (  # noqa: F401
    POLYP,
    SIZE,
    clock,
    corrections,
    layers,
    predict,
    rows,
    store,
    waiting,
)


@pytest.fixture
def editing(session, corrections):  # noqa: F811
    return Editing(session, corrections)


def mask_of(corrections):  # noqa: F811
    return corrections.annotation().mask


def test_pointing_begins_from_the_prediction_and_is_one_step(editing, corrections, session, wire):  # noqa: F811
    predict(session, wire)
    changed = editing.point([(8, 7)], include=True)
    found = corrections.annotation()
    assert found.mask[8, 7] and changed == np.count_nonzero(found.mask != found.prediction) > 0
    assert (found.provenance.clicks, found.provenance.strokes) == (1, 0) and found.prediction.any()
    corrections.undo()
    np.testing.assert_array_equal(mask_of(corrections), rows(2, 3, 4, 5))
    corrections.redo()
    assert mask_of(corrections)[8, 7]
    # What was done is not undone: it was work.
    corrections.take_prediction()
    assert corrections.annotation().provenance.clicks == 1


def test_not_this_takes_away(editing, corrections, session, wire):  # noqa: F811
    predict(session, wire)
    editing.point([(3, 7), (3, 8)], include=False)
    assert not mask_of(corrections)[3, 7:9].any() and not (mask_of(corrections) & ~rows(2, 3, 4, 5)).any()


def test_what_was_pointed_at_before_holds_until_it_is_undone(editing, corrections, session, wire):  # noqa: F811
    predict(session, wire)
    editing.point([(3, 7)], include=False)
    editing.point([(3, 12)], include=True)
    assert not mask_of(corrections)[3, 7] and len(editing._hints) == 2
    corrections.undo()
    corrections.undo()
    assert mask_of(corrections)[3, 7]
    editing.point([(8, 12)], include=True)
    assert all(hint.include for hint in editing._hints), "what was undone is forgotten"


def test_a_box_limits_and_points_outside_of_it_change_nothing(editing, corrections, session, wire, heard):  # noqa: F811
    predict(session, wire)
    said = heard(editing.message)
    assert editing.point([(8, 7)], True, (0, 0, 6, SIZE[1])) == 0 and said[-1][1]
    assert editing.point([(-3, 70)], True) == 0 and said[-1] == ("Nothing was changed: point on the scan.", True)
    editing.point([(1, 7)], True, (0, 5, 6, 10))
    changed = mask_of(corrections) != rows(2, 3, 4, 5)
    assert changed[1, 7] and not changed[:, :5].any() and not changed[:, 10:].any()


@pytest.mark.parametrize("edit", ["smooth", "grow", "shrink"])
def test_edits_of_the_whole_outline_are_single_steps(editing, corrections, layers, edit):  # noqa: F811
    corrections.begin()
    layers.paint(POLYP, (slice(3, 9), slice(2, 9)))
    layers.paint(POLYP, (slice(3, 4), slice(9, 11)))
    before = mask_of(corrections)
    getattr(editing, edit)()
    after = corrections.annotation()
    assert not np.array_equal(after.mask, before) and after.provenance.strokes == 3
    corrections.undo()
    np.testing.assert_array_equal(mask_of(corrections), before)


def test_parts_are_kept_and_dropped_by_a_click(editing, corrections, layers, heard):  # noqa: F811
    corrections.begin()
    layers.paint(POLYP, slice(0, 2))
    layers.paint(POLYP, slice(5, 7))
    layers.paint(POLYP, slice(9, 11))
    editing.drop_part((6, 3))
    np.testing.assert_array_equal(mask_of(corrections), rows(0, 1, 9, 10))
    said = heard(editing.message)
    editing.keep_part((6, 3))
    assert said == [("Click on a part of the outline; nothing was changed.", True)]
    editing.keep_part((9, 3))
    np.testing.assert_array_equal(mask_of(corrections), rows(9, 10))


def test_the_outline_of_the_scan_before_is_copied(editing, corrections, layers, view, scan, heard):  # noqa: F811
    said = heard(editing.message)
    editing.copy_earlier()
    assert said[-1][1] and corrections.current is None
    corrections.begin()
    layers.paint(POLYP, 4)
    view.choose(scan(3))
    editing.copy_earlier()
    np.testing.assert_array_equal(mask_of(corrections), rows(4))
    corrections.undo()
    assert not mask_of(corrections).any()


def test_the_slice_before_goes_before_another_scan(editing, corrections, layers, view, scan):  # noqa: F811
    corrections.begin()
    layers.paint(POLYP, 4)
    view.choose(scan(3))
    layers.before = rows(7)
    editing.copy_earlier()
    np.testing.assert_array_equal(mask_of(corrections), rows(7))


def test_without_a_target_or_a_scan_nothing_begins(editing, corrections, session, heard):  # noqa: F811
    said = heard(editing.message)
    session.choose(target="")
    editing.grow()
    assert said[-1] == ("Choose what to outline, or type it.", True)
    session.view.choose(None)
    editing.point([(1, 1)], True)
    assert said[-1] == ("Choose or open a scan first.", True) and corrections.current is None


# The training set ---------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "other settings.json")


@pytest.fixture
def stepped():
    return []


@pytest.fixture
def training_set(session, corrections, settings, stepped):  # noqa: F811
    saving = Saving(session, corrections)
    found = TrainingSet(session, corrections, saving, settings, lambda: stepped.append(True))
    found.said = []
    saving.message.connect(lambda *values: found.said.append(values))
    found.message.connect(lambda *values: found.said.append(values))
    return found


def test_add_and_next_adds_counts_and_says_replaced(training_set, corrections, layers, stepped, tmp_path):  # noqa: F811
    corrections.begin()
    layers.paint(POLYP, 4)
    assert not training_set.add(go_on=True) and not stepped, "no folder was chosen"
    (tmp_path / "set").mkdir()
    training_set.choose(tmp_path / "set")
    assert training_set.summary() == "set: no cases yet"
    assert training_set.add(go_on=True) and stepped == [True]
    assert training_set.summary().startswith("set: 1 case (1 ")
    training_set.add()
    assert training_set.said[-1][0].startswith("Replaced the case of this scan in set") and stepped == [True]


def test_what_could_not_be_added_does_not_go_on(training_set, corrections, stepped, tmp_path):  # noqa: F811
    training_set.choose(tmp_path)
    corrections.begin()
    assert not training_set.add(go_on=True) and not stepped and "empty" in training_set.said[-1][0]


def test_the_folder_and_that_its_words_were_shown_are_remembered(training_set, settings, tmp_path):
    training_set.choose(tmp_path)
    assert not training_set.words_agreed
    training_set.agree()
    again = Settings(settings.path)
    assert training_set.words_agreed and again.folder("training set") == str(tmp_path)
    (tmp_path / "another").mkdir()
    training_set.choose(tmp_path / "another")
    assert not training_set.words_agreed, "another set, other people: its words are shown too"


def test_words_are_told_with_where_they_come_from(training_set, corrections, layers, session):  # noqa: F811
    assert training_set.words() is None
    corrections.begin()
    layers.paint(POLYP, 4)
    session.choose(color="<pink>")
    words = training_set.words()
    text = explained(words, training_set.target(words))
    assert "color: <b>&lt;pink&gt;</b>" in text.lower() or "&lt;pink&gt;" in text
    assert "Measured from the outline" in text and "Drawn at random" in text and "polyp" in text


def test_a_change_of_the_measured_words_is_said(training_set, corrections, layers, session):  # noqa: F811
    from napari_medvlsm.core.describe import Description

    corrections.begin()
    layers.paint(POLYP, 4)
    session.measure(Description("one", "small", "center"))
    assert not training_set.said
    session.measure(Description("one", "medium", "center"))
    assert training_set.said[-1][0].endswith("size: small → medium.")
    session.choose(color="red")
    assert len(training_set.said) == 1
