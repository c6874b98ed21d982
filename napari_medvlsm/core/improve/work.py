"""The process of a round: trains, then measures the candidate beside the present model.

`python -m napari_medvlsm.core.improve.work FOLDER [--finish]`, started by `rounds.start_round`, outlives the window.
Everything goes on where it was: training after its last epoch, measuring after its last model. The training is a
process of its own, which ends when this one does, however it ends.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medvlsm.core.exit_codes import ExitCode, carry_out, exit_sentence
from napari_medvlsm.core.improve.history import called
from napari_medvlsm.core.improve.plan import AFTER_FOLDER, BEFORE_FOLDER, DATA_FOLDER, RUN_FOLDER, read_plan
from napari_medvlsm.core.improve.rounds import FAILURE_FILE, ROOM_FILE, STOP_FILE, WORK_LOCK, Round, write_failure
from napari_medvlsm.core.improve.stopping import Stop
from napari_medvlsm.core.io.disk_errors import sentence
from napari_medvlsm.core.models.store.trained_on import write_trained
from napari_medvlsm.core.runs.events import EventSink, Started, Stopped, ignore_event
from napari_medvlsm.core.runs.folder import MODEL_FOLDER
from napari_medvlsm.core.runs.log import EventLog
from napari_medvlsm.core.runs.results import SUMMARY_FILE
from napari_medvlsm.core.runs.start import (
    RunEnd,
    RunProcess,
    start_evaluation,
    start_packaging,
    start_training,
)

# What both models are asked: the name, name and attributes, the wrong side or size, and what such a scan cannot show.
KINDS = ("class", "oracle", "wrong", "absent")
# Seconds between two looks at whether somebody asked to stop.
_LOOK = 0.5
# Whoever looks whether a round runs holds its lock for a moment.
_LOCK_SECONDS = 2.0
# Kept free for the sentence of a failure, where the disk fills up.
_ROOM = 65536
# Of an end that somebody asked for: Ctrl+C, or a system that shuts down.
_ASKED = (128 + 2, 128 + 15, -2, -15)

Tell = Callable[[str], None]


def work(
    round_: Round, report: EventSink = ignore_event, finish: bool = False, tell: Tell = lambda sentence: None
) -> RunEnd:
    """Do what is left of a round; blocks until it is done, stopped or failed.

    Parameters
    ----------
    round_ : Round
    report : callable
        Gets the events of the training.
    finish : bool
        Train no further: the best model so far is written and measured.
    tell : callable
        Gets a sentence when measuring begins.

    Returns
    -------
    RunEnd
        Exit code and sentence; code 0 if all is done.

    Raises
    ------
    ValueError
        If another process works on it.
    """
    try:
        with FileLock(round_.folder / WORK_LOCK, timeout=_LOCK_SECONDS, is_singleton=False):
            for name in (FAILURE_FILE, STOP_FILE):
                (round_.folder / name).unlink(missing_ok=True)
            with _room(round_), _stoppable(round_) as stop:
                try:
                    end = _done(round_, report, finish, stop, tell)
                except OSError as error:
                    end = RunEnd(ExitCode.FAILED, sentence(error))
                asked = stop.asked
            if not end.done and not asked and end.code not in _ASKED:
                write_failure(round_, end.sentence)
            return end
    except Timeout as error:
        raise ValueError(f"Round {round_.name} runs already.") from error


@contextmanager
def _room(round_: Round) -> Iterator[None]:
    """Take some of the disk, and give it back."""
    path = round_.folder / ROOM_FILE
    with suppress(OSError):
        path.write_bytes(bytes(_ROOM))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


_STOPPED = RunEnd(128 + 15, "Stopped when asked to; the same command goes on.")


def _done(round_: Round, report: EventSink, finish: bool, stop: Stop, tell: Tell) -> RunEnd:
    if round_.run.model is None:
        end = _trained(round_, report, finish or _is_time_up(round_), stop)
        if end.done and not stop.asked and round_.run.model is None and _is_time_up(round_):
            # `medvlsm train` waits then for the next call; a round takes the best model until then.
            end = _trained(round_, report, True, stop)
        if not end.done or stop.asked:
            return end if not stop.asked else _STOPPED
    model = round_.run.model
    if model is None:
        return RunEnd(ExitCode.FAILED, f"The training ended without a model; look into {round_.run.folder}.")
    write_trained(model, round_.plan.trained)
    candidate = f"{RUN_FOLDER}/{MODEL_FOLDER}"
    present, scans = called(round_.plan.present.name), len({case.case_id for case in round_.plan.held_out})
    for name, out, who in (
        (round_.plan.present.model, BEFORE_FOLDER, f"The present model, {present},"),
        (candidate, AFTER_FOLDER, "The new model"),
    ):
        if scans and not (round_.folder / out / SUMMARY_FILE).is_file():
            tell(f"{who} is measured on {scans} scans of the hold-out, and on older ones.")
            end = _measured(round_, name, out, stop)
            if not end.done:
                return end
    return RunEnd(ExitCode.OK, "The new model was measured beside the present one.")


def _trained(round_: Round, report: EventSink, finish: bool, stop: Stop) -> RunEnd:
    with _process(round_, finish) as process, stop.reaching(process.ask_to_stop):
        for event in process.events():
            report(event)
        end = process.end()
    if end.code < 0 and round_.run.last_checkpoint:  # which had no time to say it itself
        return RunEnd(end.code, f"{end.sentence} The epochs until then are kept, and it can go on after them.")
    return end


def _is_time_up(round_: Round) -> bool:
    """Whether the training came to the end of the time that the plan gives it."""
    for logged in reversed(EventLog(round_.run.folder).new() if round_.plan.minutes is not None else []):
        if isinstance(logged.event, Started):
            return False
        if isinstance(logged.event, Stopped) and logged.event.reason == "time is up":
            return True
    return False


def _process(round_: Round, finish: bool) -> RunProcess:
    if finish:
        return start_packaging(Path(DATA_FOLDER), Path(RUN_FOLDER), round_.folder)
    return start_training(round_.plan.arguments, Path(RUN_FOLDER), round_.folder)


def _measured(round_: Round, model: str, out: str, stop: Stop) -> RunEnd:
    with start_evaluation(model, [Path(DATA_FOLDER)], Path(out), KINDS, round_.folder, replay=True) as child:
        with stop.reaching(child.ask_to_end):
            code = child.wait()
        if stop.asked:
            return _STOPPED
        last = child.stderr_tail().splitlines()[-1:] if code > 0 else []
    if code == ExitCode.OK:
        return RunEnd(code, "")
    return RunEnd(code, " ".join(["The model could not be measured.", *(last or [exit_sentence(code)])]))


@contextmanager
def _stoppable(round_: Round) -> Iterator[Stop]:
    """Look for the file that asks to stop, until the work is done."""
    stop, done = Stop(), threading.Event()

    def look() -> None:
        while not done.wait(_LOOK):
            if (round_.folder / STOP_FILE).exists():
                stop.request()
                return

    thread = threading.Thread(target=look, name="look-for-stop", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        done.set()
        thread.join()


def main(arguments: list[str] | None = None) -> int:
    """Work on a round and return the exit code."""
    parser = argparse.ArgumentParser(prog="medvlsm round", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--finish", action="store_true")
    options = parser.parse_args(arguments)

    def whole() -> int:
        round_ = Round(options.folder.absolute(), read_plan(options.folder))
        end = work(round_, finish=options.finish)
        print(end.sentence)
        return end.code

    return carry_out("medvlsm", whole)


if __name__ == "__main__":
    raise SystemExit(main())
