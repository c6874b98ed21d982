"""Twenty of the thousand kills of `tests/bench/kills.py`."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed processes are forks")
def test_a_session_killed_at_any_instant_loses_no_state_that_was_stored(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("kills", BENCH / "kills.py")
    kills = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kills", kills)
    spec.loader.exec_module(kills)
    (tmp_path / "work").mkdir()
    counts = kills.kill_autosaves(tmp_path / "work", 20)
    assert (counts.kills, counts.lost, counts.different) == (20, 0, 0)
