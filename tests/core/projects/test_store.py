import shutil
import subprocess
import sys

import numpy as np
import pytest

from napari_medvlsm.core.projects.adding import add_scans, scans_in
from napari_medvlsm.core.projects.errors import ProjectError, ProjectInUse
from napari_medvlsm.core.projects.folder import create_project
from napari_medvlsm.core.projects.states import NEXT, State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from tests.core.projects.conftest import SIZE, outline, write_scans

# An unseen outline, and how it gets into each state.
WAYS = {
    State.UNSEEN: lambda store, case: None,
    State.DRAFT: lambda store, case: store.save_draft(case, outline()),
    State.SUBMITTED: lambda store, case: store.submit(case, "polyp", outline()),
    State.APPROVED: lambda store, case: (store.submit(case, "polyp", outline()), store.approve(case, "polyp")),
    State.ABSENT: lambda store, case: store.mark_absent(case, "polyp"),
}
DEEDS = {
    State.DRAFT: lambda store, case: store.save_draft(case, outline(rows=(2, 20))),
    State.SUBMITTED: lambda store, case: store.submit(case, "polyp", outline(rows=(2, 20))),
    State.APPROVED: lambda store, case: store.approve(case, "polyp"),
    State.ABSENT: lambda store, case: store.mark_absent(case, "polyp"),
}


def state_of(store, case=1):
    return store.case(case).states["polyp"]


def test_a_project_is_made_worked_on_and_opened_again(folder):
    with ProjectStore(folder, person="Ann") as store:
        assert store.targets == ("polyp",) and [c.name for c in store.cases()] == [f"scan{i}.png" for i in range(1, 7)]
        assert {c.state for c in store.cases()} == {State.UNSEEN} and store.current(1, "polyp") is None
        store.save_draft(1, outline(author="Ann", seconds=3.5, strokes=2, model="starter"))
        store.submit(1, "polyp", remark="please look")
        store.save_draft(2, outline(rows=None))
        store.mark_absent(3, "polyp")
    with ProjectStore(folder, person="Bob") as store:
        assert store.notices == []
        assert [c.state for c in store.cases()] == [State.SUBMITTED, State.DRAFT, State.ABSENT, *[State.UNSEEN] * 3]
        store.approve(1, "polyp")
        version = store.current(1, "polyp")
        loaded = store.load(version)
        np.testing.assert_array_equal(loaded.mask, outline().mask)
        assert (version.author, version.seconds, version.strokes, version.model) == ("Ann", 3.5, 2, "starter")
        assert loaded.provenance.author == "Ann" and loaded.corrected
        assert store.load(store.current(3, "polyp")).absent and not store.load(store.current(2, "polyp")).absent
        told = [(e.what, e.person, e.remark, e.state) for e in store.events(1)]
        assert told == [
            ("drawn", "Ann", "", State.DRAFT),
            ("submitted", "Ann", "please look", State.SUBMITTED),
            ("approved", "Bob", "", State.APPROVED),
        ]
        assert store.counts().states[State.APPROVED] == 1 and store.counts().answered == 2


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", list(DEEDS))
def test_only_legal_states_follow(store, old, new):
    WAYS[old](store, 1)
    files = sorted(store.folder.rglob("*.tif"))
    # From an answer one gets to a draft by reopening only.
    legal = new in NEXT[old] and not (new is State.DRAFT and old not in (State.UNSEEN, State.DRAFT))
    if legal:
        DEEDS[new](store, 1)
        assert state_of(store) is new
    else:
        with pytest.raises(ProjectError, match=r"reopen|only a submitted|yet"):
            DEEDS[new](store, 1)
        assert state_of(store) is old and sorted(store.folder.rglob("*.tif")) == files


@pytest.mark.parametrize("old", [State.SUBMITTED, State.APPROVED, State.ABSENT])
def test_every_answer_can_be_reopened_and_stays_a_version(store, old):
    WAYS[old](store, 1)
    answer = store.current(1, "polyp")
    store.reopen(1, "polyp", "look again")
    assert state_of(store) is (State.UNSEEN if old is State.ABSENT else State.DRAFT)
    store.save_draft(1, outline(rows=(0, 3)))
    first, second = store.versions(1, "polyp")
    assert (first.id, second.origin) == (answer.id, "draft") and second.current
    assert store.load(first).absent is (old is State.ABSENT)
    with pytest.raises(ProjectError, match="nothing to reopen"):
        store.reopen(1, "polyp")


def test_absent_after_a_drawing_goes_back_to_the_drawing(store):
    store.save_draft(1, outline())
    store.mark_absent(1, "polyp")
    store.approve(1, "polyp")
    store.send_back(1, "polyp", "I see one")
    np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline().mask)
    assert state_of(store) is State.DRAFT and store.events(1)[-1].remark == "I see one"


def test_a_version_that_lies_aside_is_not_what_is_reopened(store):
    store.submit(1, "polyp", outline())
    store.import_outline(1, outline(rows=(1, 3)), State.SUBMITTED)
    store.reopen(1, "polyp")
    np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline().mask)
    store.mark_absent(1, "polyp")
    store.import_outline(1, outline(rows=(1, 5)), State.SUBMITTED)
    store.reopen(1, "polyp")
    np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline().mask)
    assert [e.what for e in store.events(1)][1] == "imported aside"


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"other")])
def test_a_mask_that_is_not_as_it_was_written_is_neither_submitted_nor_approved(store, damage):
    draft = store.save_draft(1, outline())
    submitted = store.submit(2, "polyp", outline())
    for version in (draft, submitted):
        damage(store.folder / version.file)
    for answer, case in ((store.submit, 1), (store.approve, 2)):
        with pytest.raises(ProjectError, match="project repair"):
            answer(case, "polyp")
    assert [state_of(store, case) for case in (1, 2)] == [State.DRAFT, State.SUBMITTED]


def test_an_empty_outline_is_a_draft_and_no_answer(store):
    store.save_draft(1, outline(rows=None))
    assert state_of(store) is State.DRAFT
    for annotation in (None, outline(rows=None)):
        with pytest.raises(ProjectError, match="neither yes nor no"):
            store.submit(1, "polyp", annotation)
    assert state_of(store) is State.DRAFT and len(store.versions(1, "polyp")) == 1


def test_strokes_of_a_sitting_are_one_version_and_a_new_sitting_begins_another(folder):
    with ProjectStore(folder) as store:
        for rows in range(5, 12):
            store.save_draft(1, outline(rows=(4, rows)))
        assert len(store.versions(1, "polyp")) == 1 and len(list(folder.rglob("masks/*/*.tif"))) == 1
    with ProjectStore(folder) as store:
        store.save_draft(1, outline(rows=(4, 12)))
        first, second = store.versions(1, "polyp")
        np.testing.assert_array_equal(store.load(first).mask, outline(rows=(4, 11)).mask)
        assert second.current and second.number == 2


def test_a_draft_that_was_written_anew_since_is_loaded_as_it_is_now(store):
    first = store.save_draft(1, outline(rows=(2, 8)))
    store.save_draft(1, outline(rows=(2, 9)))
    np.testing.assert_array_equal(store.load(first).mask, outline(rows=(2, 9)).mask)


def test_a_stroke_that_loses_much_keeps_what_was_before(store):
    store.save_draft(1, outline(rows=(2, 20)))
    store.save_draft(1, outline(rows=(2, 18)))
    store.save_draft(1, outline(rows=(20, 23)))
    kept, now = store.versions(1, "polyp")
    np.testing.assert_array_equal(store.load(kept).mask, outline(rows=(2, 18)).mask)
    store.restore(kept.id)
    assert [v.origin for v in store.versions(1, "polyp")] == ["draft", "draft", "restored"]
    np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline(rows=(2, 18)).mask)
    np.testing.assert_array_equal(store.load(now).mask, outline(rows=(20, 23)).mask)
    store.save_draft(1, outline(rows=(2, 19)))
    assert len(store.versions(1, "polyp")) == 4


def test_a_prediction_waits_and_never_touches_a_drawing(store):
    predicted = store.save_prediction(2, outline(corrected=False, model="starter"))
    assert state_of(store, 2) is State.UNSEEN and store.prediction(2, "polyp").id == predicted.id
    assert store.counts().predictions == 1 and store.case_ids(CaseQuery(predicted=True)) == [2]
    store.save_draft(2, outline(rows=(1, 5)))
    store.save_prediction(2, outline(rows=(9, 20), corrected=False))
    np.testing.assert_array_equal(store.load(store.current(2, "polyp")).mask, outline(rows=(1, 5)).mask)
    assert store.counts().predictions == 0
    store.restore(predicted.id)
    assert store.current(2, "polyp").origin == "restored"
    with pytest.raises(ProjectError, match="no person changed"):
        store.save_prediction(2, outline())


def test_other_targets_of_one_scan_are_outlines_of_their_own(store):
    store.save_draft(1, outline("fold"))
    store.submit(1, "polyp", outline())
    assert store.case(1).states == {"polyp": State.SUBMITTED, "fold": State.DRAFT}
    assert store.case(1).state is State.DRAFT and store.case(2).states == {"polyp": State.UNSEEN}
    assert store.targets == ("polyp",) and store.all_targets == ("polyp", "fold")
    store.add_target("fold")
    assert store.case(2).states == {"polyp": State.UNSEEN, "fold": State.UNSEEN}
    assert store.case(1).states["fold"] is State.DRAFT


def test_a_mask_of_another_size_or_without_a_target_is_refused(store):
    other = outline()
    with pytest.raises(ProjectError, match="24 x 32"):
        store.save_draft(1, type(other)("polyp", np.zeros((5, 5), bool)))
    with pytest.raises(ProjectError, match="Choose what"):
        store.save_draft(1, type(other)("", np.zeros(SIZE, bool)))
    with pytest.raises(ProjectError, match="no scan with the number 99"):
        store.save_draft(99, outline())
    assert not list(store.folder.rglob("*.tif"))


def test_a_version_an_event_and_a_split_cannot_be_taken_away(store):
    store.save_draft(1, outline())
    for sql, why in [
        ("DELETE FROM version", "never deleted"),
        ("DELETE FROM event", "never deleted"),
        ("UPDATE event SET person = 'x'", "never changed"),
        ("UPDATE scan_group SET split = CASE split WHEN 'test' THEN 'train' ELSE 'test' END", "never changes"),
    ]:
        with pytest.raises(ProjectError, match=why), store.changing() as connection:
            connection.execute(sql)
    assert len(store.versions(1, "polyp")) == 1


# Opening -------------------------------------------------------------------------------------------------------------


def test_the_second_program_gets_one_sentence_and_may_look(folder):
    with ProjectStore(folder, person="Ann") as store:
        code = (
            "import sys; from pathlib import Path\n"
            "from napari_medvlsm.core.projects.store import ProjectStore\n"
            "try: ProjectStore(Path(sys.argv[1]))\n"
            "except ValueError as error: print(error)\n"
            "looking = ProjectStore(Path(sys.argv[1]), read_only=True)\n"
            "print([str(c.state) for c in looking.cases()][0])\n"
        )
        store.save_draft(1, outline())
        said = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True).stdout
        sentence, state = said.strip().splitlines()
        assert "open in another program (by Ann on " in sentence and state == "draft"
        with pytest.raises(ProjectInUse):
            ProjectStore(folder)
        store.save_draft(1, outline(rows=(3, 12)))
    ProjectStore(folder).close()


def test_read_only_changes_nothing(folder):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with ProjectStore(folder, read_only=True) as store:
        assert len(store.cases()) == 6
        with pytest.raises(ProjectError, match="read-only"):
            store.save_draft(1, outline())
        with pytest.raises(ProjectError, match="read-only"):
            store.reopen(1, "polyp")
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_what_is_no_project_says_so(tmp_path, folder):
    with pytest.raises(ProjectError, match="There is no folder"):
        ProjectStore(tmp_path / "nowhere")
    with pytest.raises(ProjectError, match="is no project"):
        ProjectStore(tmp_path)
    with pytest.raises(ProjectError, match="exists already"):
        create_project(folder, ["polyp"])
    with pytest.raises(ProjectError, match="at least one target"):
        create_project(tmp_path / "new", [" "])
    (tmp_path / "project.sqlite").write_bytes(b"no database at all" * 100)
    for read_only in (False, True):
        with pytest.raises(ProjectError, match="damaged"):
            ProjectStore(tmp_path, read_only=read_only)
    assert not (tmp_path / "project.open").exists()


def test_a_project_moves_with_its_scans_and_with_copies_alone(folder, tmp_path):
    with ProjectStore(folder) as store:
        store.submit(1, "polyp", outline())
        add_scans(store, list(scans_in(write_scans(tmp_path / "more", 2, seed=1))), copy=True)
    shutil.copytree(tmp_path / "scans", tmp_path / "elsewhere" / "scans")
    shutil.move(folder, tmp_path / "elsewhere" / "project")
    shutil.rmtree(tmp_path / "scans")
    shutil.rmtree(tmp_path / "more")
    with ProjectStore(tmp_path / "elsewhere" / "project") as store:
        assert all(store.scan_path(case.id).is_file() for case in store.cases())
        assert store.scan_path(1) == (tmp_path / "elsewhere" / "scans" / "scan1.png").resolve()
        assert store.scan_path(7).is_relative_to(store.folder)
        np.testing.assert_array_equal(store.load(store.current(1, "polyp")).mask, outline().mask)


def test_a_project_that_moves_alone_still_finds_its_scans(folder, tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.move(folder, tmp_path / "deep" / "er" / "project")
    with ProjectStore(tmp_path / "deep" / "er" / "project") as store:
        assert store.scan_path(1) == (tmp_path / "scans" / "scan1.png").resolve()


@pytest.mark.parametrize("name", ["a b#c?d%20e", "Ü-Ordner", "it's"])
def test_a_project_may_have_any_name(tmp_path, name):
    create_project(tmp_path / name, ["polyp"])
    with ProjectStore(tmp_path / name) as store:
        add_scans(store, list(scans_in(write_scans(tmp_path / f"{name} s", 2))), copy=True)
        store.save_draft(1, outline("Öse 'x\" / 1"))
    with ProjectStore(tmp_path / name, read_only=True) as store:
        assert store.case(1).states["Öse 'x\" / 1"] is State.DRAFT and store.title == name


def test_a_closed_project_says_that_it_is_closed(folder):
    store = ProjectStore(folder)
    store.close()
    store.close()
    for deed in (store.cases, lambda: store.save_draft(1, outline())):
        with pytest.raises(ProjectError, match="was closed"):
            deed()


# Queries -------------------------------------------------------------------------------------------------------------


def test_scans_are_found_by_state_target_text_and_sorted_as_people_sort(tmp_path):
    create_project(tmp_path / "p", ["polyp"])
    with ProjectStore(tmp_path / "p") as store:
        add_scans(store, list(scans_in(write_scans(tmp_path / "s", 12))))
        names = [c.name for c in store.cases()]
        assert names == [f"scan{i}.png" for i in range(1, 13)]
        ids = {c.name: c.id for c in store.cases()}
        store.save_draft(ids["scan2.png"], outline())
        store.submit(ids["scan11.png"], "polyp", outline())
        store.save_draft(ids["scan11.png"], outline("fold"))

        def found(**query):
            return [c.name for c in store.cases(query=CaseQuery(**query))]

        assert found(states=(State.DRAFT,)) == ["scan2.png", "scan11.png"]
        assert found(states=(State.DRAFT,), targets=("polyp",)) == ["scan2.png"]
        assert found(targets=("fold",)) == ["scan11.png"]
        assert found(text="SCAN1 png") == ["scan1.png", "scan10.png", "scan11.png", "scan12.png"]
        assert found(text="nothing") == [] and found(text="%") == []
        assert found(sort="state")[-2:] == ["scan2.png", "scan11.png"]
        assert found(sort="changed", descending=True)[:2] == ["scan11.png", "scan2.png"]
        assert found(descending=True) == names[::-1]
        assert store.counts(CaseQuery(targets=("polyp",))).states[State.SUBMITTED] == 1
        assert sum(store.counts().by_split.values()) == store.counts().cases == 12


def test_next_and_previous_keep_their_place_when_a_scan_leaves_the_filter(store):
    unseen = CaseQuery(states=(State.UNSEEN,))
    assert store.neighbour(None, 1) == 1 and store.neighbour(None, -1) == 6
    assert store.neighbour(2, 1, unseen) == 3 and store.neighbour(6, 1, unseen) is None
    store.submit(3, "polyp", outline())
    assert store.neighbour(3, 1, unseen) == 4 and store.neighbour(3, -1, unseen) == 2
    assert store.neighbour(None, 1, CaseQuery(text="none")) is None


def test_scans_that_come_first_lead_the_list_and_are_what_is_next(store):
    query = CaseQuery(states=(State.UNSEEN,), first=(5, 99, 2))
    assert store.case_ids(query) == [5, 2, 1, 3, 4, 6] and store.neighbour(None, 1, query) == 5
    store.submit(5, "polyp", outline())
    assert store.neighbour(5, 1, query) == 2 and store.neighbour(2, 1, query) == 1


def test_a_project_remembers_where_one_stopped(folder):
    with ProjectStore(folder) as store:
        store.remember("last case", "4")
    with ProjectStore(folder) as store:
        assert store.meta("last case") == "4" and store.meta("other") == ""
