"""One whole round by command with a real training of a small model: full disk, kills, elsewhere, promoted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from napari_medvlsm.cli import main
from napari_medvlsm.core.improve.rounds import ROOM_FILE, RoundState, find_round, start_round, stop_round
from napari_medvlsm.core.improve.versions import find_project_model
from napari_medvlsm.core.models.store.card import ModelCard, read_card, write_card
from napari_medvlsm.core.models.store.registry import user_models_folder
from napari_medvlsm.core.models.store.trained_on import TRAINED_FILE
from napari_medvlsm.core.runs.folder import LAST_FILE
from napari_medvlsm.core.runs.results import read_results
from tests.core.models.small_models import small_wordunet
from tests.test_cli_project import write_stones

resource = pytest.importorskip("resource", reason="limits the size of files as Linux and macOS do")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="kills as Linux and macOS do")]
LONG = 240.0
# Stopped by what the test does, however slow the computer is.
ENDLESS = ["--set", "trainer.max_epochs=200", "--set", "trainer.patience=200"]
SMALL = ["--base", "small", "--set", "optimizer.ema=0", "--person", "Ann"]


@pytest.fixture
def stones(tmp_path, monkeypatch):
    """A project of ten finished scans, and a small model to start from."""
    write_stones(tmp_path, 10)
    monkeypatch.chdir(tmp_path)
    folder = user_models_folder() / "small"
    small_wordunet().save(folder)
    write_card(ModelCard(name="small", title="Small", family="wordunet"), folder)
    assert main(["project", "new", "stones", "--target", "gallstone", "--title", "Stones: ward 3"]) == 0
    masks = ["--masks", "masks", "--target", "gallstone", "--author", "Ann", "--as", "approved"]
    assert main(["project", "add", "stones", "scans", *masks, "--modality", "endoscopy"]) == 0
    return tmp_path / "stones"


def until(true):
    """Wait for a state, never for a time."""
    for _ in range(int(LONG / 0.1)):
        if true():
            return
        threading.Event().wait(0.1)
    raise AssertionError("It did not come to that.")


def test_a_round_survives_all_that_may_befall_it_is_trained_elsewhere_promoted_and_taken_back(stones, tmp_path, capsys):
    """One training throughout, since each start of a process takes seconds: it goes on from what the last one left."""
    assert main(["improve", "stones", "--prepare", *SMALL, *ENDLESS]) == 0
    said = capsys.readouterr()
    assert "medvlsm train best/own model=starter model.base=small" in said.out and "too few to tell" in said.err
    round_, run = find_round(stones), find_round(stones).run.folder

    # No file may grow beyond a limit, which is what a full disk looks like to a program.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        start_round(round_)
        until(lambda: not round_.running)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert round_.state is RoundState.FAILED and "then give the same command again" in round_.failure
    assert not (round_.folder / ROOM_FILE).exists()

    # The training is killed, in its middle.
    worker = psutil.Process(start_round(round_))
    until(lambda: (run / LAST_FILE).is_file())
    (training,) = worker.children()
    training.kill()
    until(lambda: not round_.running)
    assert round_.state is RoundState.FAILED
    assert round_.failure == (
        "The training stopped unexpectedly. It was ended by SIGKILL, which often means that memory ran out. The epochs "
        "until then are kept, and it can go on after them."
    )

    # The process of the round is killed, and takes the training with it.
    before = round_.progress.epoch
    worker = start_round(round_)
    until(lambda: round_.progress.epoch > before)
    os.kill(worker, signal.SIGKILL)
    until(lambda: not round_.running)
    before = round_.progress.epoch
    assert round_.state is RoundState.STOPPED and before >= 2
    with pytest.raises(SystemExit):
        main(["improve"])
    assert main(["improve", "stones", *SMALL]) == 2, "no second round beside it"
    assert "Round 1 is stopped: go on with" in capsys.readouterr().err

    # It is asked to stop.
    start_round(round_)
    until(lambda: round_.progress.epoch > before)
    stop_round(round_)
    until(lambda: not round_.running)
    assert (round_.state, round_.failure) == (RoundState.STOPPED, "")
    epochs = [epoch.epoch for epoch in round_.run.epochs()]
    assert epochs == list(range(len(epochs))) and len(epochs) > before, "no epoch was trained twice"

    # The command that is printed, in another place, for an epoch more; then the folder comes back.
    there = shutil.copytree(round_.folder, tmp_path / "there")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-m", "napari_medvlsm.cli", *round_.plan.arguments, "--minutes", "0.001"]
    subprocess.run(command, cwd=there, check=True, capture_output=True, env=environment)
    shutil.rmtree(run)
    shutil.copytree(there / "run", run)
    progress = round_.progress
    assert (round_.state, progress.stage, progress.epoch) == (RoundState.STOPPED, "waiting", len(epochs) + 1)
    assert main(["improve", "promote", "stones", "1"]) == 2, "it was not measured yet"

    # Enough: the best model so far is written and measured here.
    capsys.readouterr()
    assert main(["improve", "stones", "--go-on", "--finish"]) == 0
    assert "Too few to tell" in capsys.readouterr().out
    assert (round_.state, round_.failure) == (RoundState.FINISHED, "")
    results = read_results(round_.before), read_results(round_.after)
    assert {result.about.model for result in results} == {"starter", "model"}
    for result in results:
        assert {name: found.split for name, found in result.sets.items()} == {
            "data": "test",
            "busi": "val",
            "dsb2018_nuclei": "val",
        }
    replayed = json.loads((run / "data.json").read_text("utf-8"))["splits"]["replay"]
    assert len(replayed) == 48, "no scan of which forgetting is measured"
    assert main(["improve", "compare", "stones"]) == 0
    said = capsys.readouterr().out
    assert "Model 1 beside starter" in said and "Too few to tell: the hold-out has 5 scans" in said
    assert "Hold-out, asked by name: Dice" in said and "what such a scan cannot show" in said
    assert "Of older data, breast tumor: the new model" in said and "Of older data, cell nuclei" in said
    assert "listens to the words" in said and "questions about older scans for what they do not show" in said
    assert "Of Starter, only its data sets are known (Kvasir-SEG" in said

    # Promoted, and taken back.
    assert main(["improve", "promote", "stones", "1", "--person", "Ann"]) == 0
    present = find_project_model(stones)
    assert present.name == "1" and present.card.title == "Stones: ward 3, model 1"
    held_out = {case.pixels_hash for case in round_.plan.held_out}
    assert len(held_out) == 5 and not held_out & set(round_.plan.trained)
    assert main(["improve", "rollback", "stones"]) == 0 and find_project_model(stones).name == "starter"
    assert main(["improve", "versions", "stones"]) == 0
    assert "Ann promoted model 1, before starter" in capsys.readouterr().out
    assert main(["improve", "export", "stones", "1", "out"]) == 0
    assert read_card(Path("out")).family == "wordunet" and Path("out", TRAINED_FILE).is_file()
