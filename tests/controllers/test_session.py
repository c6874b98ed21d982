from unittest.mock import MagicMock

import numpy as np
import pytest

from napari_medvlsm.controllers.engine import EngineController, Request
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.models.registry import available_models
from napari_medvlsm.core.prompts import load_vocabulary


class Asked(list):
    """Requests that reached the engine."""


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def session(asked):
    engine = EngineController(MagicMock(), lambda *_: None)

    def segment(model, image, prompts):
        asked.append(Request(len(asked) + 1, model, image, tuple(prompts)))
        return asked[-1]

    engine.segment = segment
    return Session(engine, load_vocabulary(), available_models())


def scan(value=0):
    return Scan(np.full((10, 12), value, np.uint8))


def test_choices_build_the_prompt_and_typing_wins(session):
    session.choose(target="polyp")
    session.choose(size="small", location="left")
    assert session.prompt.text == "small polyp, located in left of the image"
    session.type("left lung")
    assert session.prompt.text == "left lung" and session.target == "left lung"
    session.type(None)
    assert session.prompt.level == "p6"
    session.type("x")
    session.choose(size="")
    assert session.typed is None and session.prompt.text == "polyp, located in left of the image"


def test_segment_without_what_it_needs_says_so(session):
    with pytest.raises(ValueError, match="scan first"):
        session.segment()
    session.set_scan(scan())
    with pytest.raises(ValueError, match="Choose what to outline"):
        session.segment()
    session.type("  ")
    with pytest.raises(ValueError, match="prompt is empty"):
        session.segment()


def test_answer_becomes_the_result_of_what_was_asked(session, asked):
    session.set_scan(scan())
    session.choose(target="polyp")
    session.segment()
    session.choose(target="foot ulcer")
    session.engine.answered.emit(asked[0], [np.full((10, 12), 200, np.uint8)])
    assert session.result.target == "polyp" and session.result.prompt.text == "polyp"
    assert session.mask().all()
    session.set_threshold(0.9)
    assert not session.mask().any()


def test_answer_for_another_scan_is_dropped(session, asked):
    session.set_scan(scan(0))
    session.choose(target="polyp")
    session.segment()
    session.set_scan(scan(1))
    session.engine.answered.emit(asked[0], [np.zeros((10, 12), np.uint8)])
    assert session.result is None


def test_same_pixels_keep_the_result(session, asked):
    session.set_scan(scan())
    session.choose(target="polyp")
    session.segment()
    session.engine.answered.emit(asked[0], [np.zeros((10, 12), np.uint8)])
    session.set_scan(scan())
    assert session.result is not None
    session.set_scan(None)
    assert session.result is None


def test_history_keeps_the_latest_first_and_each_once(session):
    session.set_scan(scan())
    for text in ("polyp", "left lung", "polyp"):
        session.type(text)
        session.segment()
    assert [p.text for p in session.history] == ["polyp", "left lung"]
    session.choose(target="foot ulcer")
    session.segment()
    session.type("something else")
    session.use(session.history[0])
    assert session.typed is None and session.prompt.text == "foot ulcer"


def test_coverage_is_of_the_chosen_model(session):
    session.type("liver tumour")
    assert not session.coverage().complete and session.coverage().unknown == ("liver", "tumour")
    session.type("small polyp")
    assert session.coverage().complete


def test_targets_the_model_is_weak_at_are_known(session):
    card = session.model.card
    for target, row in card.metrics["test"].items():
        session.choose(target=target)
        assert session.weak_dice() == (row["dice"] if row["dice"] < 0.7 else None)
    session.type("the spleen")
    assert session.weak_dice() is None


def test_cleanup_and_story(session, asked):
    session.set_scan(scan())
    session.choose(target="polyp", size="small")
    session.segment()
    probability = np.zeros((10, 12), np.uint8)
    probability[1:4, 1:4] = probability[6, 6] = 255
    session.engine.answered.emit(asked[0], [probability])
    session.set_cleanup(Cleanup(keep_largest=True))
    assert session.mask().sum() == 9 and session.mask(clean=False).sum() == 10
    story = session.story(corrected=True)
    assert story["prompt"]["text"] == "small polyp" and story["cleanup"] == ["keep_largest"]
    assert story["made"] == "correction by a person" and story["model"] == "starter"


def test_another_model_brings_its_threshold(session):
    session.set_threshold(0.9)
    session.set_model("starter")
    assert session.threshold == session.model.card.threshold
    with pytest.raises(ValueError, match="no model"):
        session.set_model("nope")
