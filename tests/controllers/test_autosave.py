"""Corrections that could not be written are written later, and never in the wrong order."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import numpy as np
import pytest

from napari_medvlsm.controllers.autosave import RETRY_SECONDS, Autosave
from napari_medvlsm.core.annotation import Annotation, Provenance
from napari_medvlsm.core.io.autosave import AutosaveStore


def state(side, target="polyp"):
    mask = np.zeros((20, 20), bool)
    mask[:side, :side] = True
    return Annotation(target, mask, True, provenance=Provenance("abc"))


class FullDisk(AutosaveStore):
    """A real store on a disk that is full now and then."""

    full = False

    def save(self, annotation):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", "/home/ada/secret")
        super().save(annotation)


@pytest.fixture
def parts(tmp_path):
    """An autosave with its store, what it said, and its jobs and timers, which a test carries out."""
    made = SimpleNamespace(store=FullDisk(tmp_path), jobs=[], timers=[], said=[], label=[])

    def work():
        while made.jobs:
            function, done, failed = (*made.jobs.pop(0), None, None)[:3]
            try:
                value = function()
            except OSError as error:
                failed(error)
            else:
                if done is not None:
                    done(value)

    def ring():
        timers, made.timers[:] = list(made.timers), []
        for seconds, function in timers:
            assert seconds == RETRY_SECONDS
            function()
        work()

    made.work, made.ring = work, ring
    made.autosave = Autosave(made.store, lambda *job: made.jobs.append(job), lambda *timer: made.timers.append(timer))
    made.autosave.message.connect(lambda text, problem: made.said.append((text, problem)))
    made.autosave.failing.connect(made.label.append)
    yield made
    made.store.close()


def stored(parts):
    parts.store.close()
    later = AutosaveStore(parts.store.folder)
    return {entry.target: int(later.load(entry).mask.sum()) for entry in later.find("abc")}


def test_a_stroke_that_could_not_be_written_is_written_without_another(parts):
    done = []
    parts.store.full = True
    parts.autosave.save(state(5), lambda: done.append("first"))
    parts.work()
    ((text, problem),) = parts.said
    assert problem and "the disk is full" in text and "/home" not in text and parts.label == ["the disk is full"]
    parts.ring()
    assert len(parts.said) == 1 and not done, "it is said once"
    parts.store.full = False
    parts.ring()
    assert parts.said[1:] == [("Corrections are autosaved again.", False)] and parts.label[-1] == ""
    assert done == ["first"] and not parts.timers and stored(parts) == {"polyp": 25}


def test_an_older_state_never_replaces_a_newer_one(parts):
    parts.store.full = True
    parts.autosave.save(state(5), lambda: None)
    parts.work()
    parts.store.full = False
    parts.autosave.save(state(6), lambda: None)
    # The timer of the older state rings while the newer one waits for its turn.
    parts.ring()
    assert stored(parts) == {"polyp": 36}
    assert parts.said[-1] == ("Corrections are autosaved again.", False)


def test_each_correction_that_failed_is_tried_again(parts):
    parts.store.full = True
    for target in ("polyp", "instrument"):
        parts.autosave.save(state(4, target), lambda: None)
    parts.work()
    parts.store.full = False
    parts.ring()
    assert [text for text, problem in parts.said if not problem] == ["Corrections are autosaved again."]
    assert stored(parts) == {"polyp": 16, "instrument": 16}


def test_what_is_in_a_file_of_the_persons_is_not_tried_again(parts):
    parts.store.full = True
    parts.autosave.save(state(5), lambda: None)
    parts.work()
    parts.store.full = False
    parts.autosave.forget(("abc", "polyp"))
    parts.ring()
    assert stored(parts) == {}


def test_closing_tries_once_more_and_logs_what_is_lost(parts, caplog):
    parts.store.full = True
    parts.autosave.save(state(5), lambda: None)
    parts.work()
    parts.autosave.close()
    parts.work()
    assert "could not be autosaved when the panel was closed: the disk is full" in caplog.text
    parts.autosave.save(state(5), lambda: None)
    parts.work()
    parts.store.full = False
    parts.autosave.close()
    parts.work()
    assert stored(parts) == {"polyp": 25}
