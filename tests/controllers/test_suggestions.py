"""Which scans come next, by the shipped starter in its own process; layers and engine are played by the test."""

import pytest

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.controllers.suggestions import Suggestions
from napari_medvlsm.core.improve.order import AT_RANDOM, UNLIKE
from napari_medvlsm.core.improve.survey import ORDER_FILE
from napari_medvlsm.core.improve.survey_process import follow_survey, start_survey
from napari_medvlsm.core.projects.states import State
from tests.controllers.test_project import desk, folder  # noqa: F401


@pytest.fixture
def suggestions(desk):  # noqa: F811
    jobs = lambda function, done=None, failed=None: desk.jobs.append((function, done, failed))  # noqa: E731
    found = Suggestions(desk.project, desk.session, jobs, lambda seconds, function: None)
    found.message.connect(lambda text, problem: desk.heard.append((text, problem)))
    desk.open()
    yield found
    found.close()


def test_the_model_says_which_scans_come_first_and_why(suggestions, desk, folder):  # noqa: F811
    assert "can look at the scans" in suggestions.sentence and suggestions.ids == ()
    suggestions.make()
    assert suggestions.far == (0, 0) and "looks at the scans" in suggestions.sentence
    desk.rest()
    store = desk.project.store
    waiting = {case.id for case in store.cases() if case.split != "test"}
    assert suggestions.far is None and set(suggestions.ids) == waiting and (folder / ORDER_FILE).is_file()
    first, *_ = store.cases([suggestions.ids[0]])
    assert suggestions.reason(first) in (UNLIKE, AT_RANDOM)
    assert suggestions.sentence == f"{len(waiting)} scans suggested for {desk.project.target}."
    # An answered scan is suggested no more; the order is found again.
    store.mark_absent(first.id, desk.project.target)
    (first,) = store.cases([first.id])
    assert first.states[desk.project.target] is State.ABSENT and suggestions.reason(first) == ""
    desk.project.close()
    assert suggestions.ids == ()
    desk.rest()
    assert desk.open()
    assert suggestions.ids[0] == first.id


def test_a_survey_that_is_cancelled_writes_nothing_and_one_that_fails_says_why(suggestions, desk, folder, monkeypatch):  # noqa: F811
    engine = desk.session.engine
    assert engine.state is EngineState.PREPARING
    suggestions.make()
    assert engine.state is EngineState.PREPARING, "there is room for both"
    suggestions.cancel()
    desk.rest()
    # A model that would take more than any computer has.
    monkeypatch.setattr("napari_medvlsm.controllers.suggestions.PROCESS_BYTES", 2**60)
    suggestions.make()
    assert engine.state is EngineState.OFF and any("engine rests meanwhile" in text for text, _ in desk.heard)
    desk.heard.clear()
    suggestions.cancel()
    desk.rest()
    assert suggestions.far is None and suggestions.order is None and not (folder / ORDER_FILE).exists()
    assert not [text for text, problem in desk.heard if problem], "who cancels needs no message"
    with start_survey(folder, "stone", "starter") as process, pytest.raises(ValueError, match="no target 'stone'"):
        follow_survey(process, lambda done, of: None)
