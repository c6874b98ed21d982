"""The rounds of a project, `PROJECT/models/NUMBER`: found again, started, stopped, their states read off files."""

from __future__ import annotations

import enum
import json
import logging
import platform
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medvlsm.core.improve.history import (
    MODELS_FOLDER,
    changing,
    earlier_models,
    note_deleted,
    present_name,
    read_history,
)
from napari_medvlsm.core.improve.plan import (
    AFTER_FOLDER,
    BEFORE_FOLDER,
    DATA_FOLDER,
    RUN_FOLDER,
    Plan,
    read_plan,
)
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.process import start_detached
from napari_medvlsm.core.runs import events
from napari_medvlsm.core.runs.folder import LOCK_FILE, Run
from napari_medvlsm.core.runs.log import EventLog, Logged
from napari_medvlsm.core.runs.results import SUMMARY_FILE

# Within a round: held by the process that works on it; the space that it keeps free; asks it to stop; what it said when
# it failed; the decision against its model; what it prints.
WORK_LOCK, ROOM_FILE, STOP_FILE, FAILURE_FILE, REJECTION_FILE, PRINTED_FILE = (
    ".lock",
    ".room",
    "stop",
    "failed.json",
    "rejected.json",
    "printed.txt",
)
# A run on another computer, whose lock cannot be seen here, counts as running until it was silent for so many seconds:
# longer than any validation or measuring that is worth a try.
SILENCE = 900.0
# Seconds between two looks at whether a new process has taken its round.
_LOOK = 0.05
_log = logging.getLogger(__name__)


class RoundState(enum.StrEnum):
    """Where a round stands.

    Attributes
    ----------
    READY
        Its data are there, nothing was trained yet.
    RUNNING
        A process works on it, here or on another computer.
    STOPPED
        Interrupted, however that came; it goes on where it was.
    FAILED
        It could not go on by itself; `Round.failure` says why. It can be tried again.
    TRAINED
        The model is there and has yet to be measured beside the present one.
    FINISHED
        Measured; a person decides.
    PROMOTED
        Its model is or was the present one.
    REJECTED
    """

    READY = "ready"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    TRAINED = "trained"
    FINISHED = "finished"
    PROMOTED = "promoted"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Progress:
    """How far a round is, as its files say.

    Attributes
    ----------
    stage : str
        "waiting", "preparing" (libraries are loaded, data checked), "training", "writing" (the model is written, its
        numbers for the card are measured), "measuring" (beside the present model) or "done".
    epoch, epochs : int
        Complete ones, and all; 0 where not known yet.
    step, steps : int
        Of all epochs; 0 where not known yet.
    val_dice, best_dice : float or None
        Of the last epoch, and the best so far.
    seconds_left : float or None
        Of the training, at its own pace; None before its first steps.
    computer : str
        Where it runs or ran; "" where not known.
    sentence : str
        What the run said last of itself when it ended; "".
    """

    stage: str
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    val_dice: float | None = None
    best_dice: float | None = None
    seconds_left: float | None = None
    computer: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Round:
    """The folder of a round; all but `plan` is read anew whenever it is asked for."""

    folder: Path
    plan: Plan

    @property
    def name(self) -> str:
        """Of the round and of its model: its number."""
        return str(self.plan.number)

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self.folder.parent.parent

    @property
    def data(self) -> Path:
        """The frozen copy of its outlines, a data set."""
        return self.folder / DATA_FOLDER

    @property
    def run(self) -> Run:
        """The folder of its training: curves, events, checkpoints, model, report."""
        return Run(self.folder / RUN_FOLDER)

    @property
    def before(self) -> Path:
        """Results of the present model on the hold-out (`runs.results`)."""
        return self.folder / BEFORE_FOLDER

    @property
    def after(self) -> Path:
        """Results of the candidate on the hold-out."""
        return self.folder / AFTER_FOLDER

    @property
    def measured(self) -> bool:
        """Whether all that can be measured is: without a hold-out, nothing can."""
        if not self.plan.held_out:
            return self.run.model is not None
        return self.run.model is not None and all(
            (folder / SUMMARY_FILE).is_file() for folder in (self.before, self.after)
        )

    @property
    def running(self) -> bool:
        """Whether a process works on it: one of this computer that holds a lock, or another one that was heard of."""
        if _is_held(self.folder / WORK_LOCK) or _is_held(self.run.folder / LOCK_FILE):
            return True
        said = EventLog(self.run.folder).new()
        started = next((e.event for e in reversed(said) if isinstance(e.event, events.Started)), None)
        elsewhere = isinstance(started, events.Started) and started.computer not in ("", platform.node())
        return elsewhere and not _has_ended(said) and time.time() - said[-1].time < SILENCE

    @property
    def state(self) -> RoundState:
        """Read off the files."""
        changes = read_history(self.project)
        if self.name in {entry.model for entry in changes}:
            return RoundState.PROMOTED
        if (self.folder / REJECTION_FILE).is_file():
            return RoundState.REJECTED
        if self.running:
            return RoundState.RUNNING
        if self.measured:
            return RoundState.FINISHED
        if self.failure:
            return RoundState.FAILED
        if self.run.model is not None:
            return RoundState.TRAINED
        return RoundState.STOPPED if self.run.recipe is not None else RoundState.READY

    @property
    def failure(self) -> str:
        """Why it failed, in a sentence; "" if it did not."""
        path = self.folder / FAILURE_FILE
        if path.is_file():
            with suppress(ValueError, OSError, KeyError, TypeError):
                return str(read_json(path)["sentence"])
        said = EventLog(self.run.folder).new()
        last = said[-1].event if said else None
        return last.sentence if isinstance(last, events.Failed) else ""

    @property
    def progress(self) -> Progress:
        """Read off the files."""
        if self.measured:
            stage = "done"
        elif self.run.model is not None:
            stage = "measuring" if self.running else "waiting"
        else:
            stage = "preparing" if self.running else "waiting"
        return _progress(EventLog(self.run.folder).new(), stage)


def find_rounds(project: Path) -> list[Round]:
    """All rounds of a project by number; a damaged folder is logged and left out."""
    found = []
    folder = project / MODELS_FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.isdecimal() or not path.is_dir():
            continue
        try:
            found.append(Round(path, read_plan(path)))
        except (ValueError, OSError) as error:
            _log.warning("%s", error)
    return sorted(found, key=lambda round_: round_.plan.number)


def find_round(project: Path, name: str = "") -> Round:
    """A round by its number, or the latest. Raises ValueError if there is none."""
    rounds = {round_.name: round_ for round_ in find_rounds(project)}
    if not rounds:
        raise ValueError(f"The project {project} has no round yet; 'medvlsm improve {project}' begins one.")
    if name and name not in rounds:
        raise ValueError(f"The project {project} has no round {name!r}; there are {', '.join(rounds)}.")
    return rounds[name] if name else list(rounds.values())[-1]


def start_round(round_: Round, finish: bool = False) -> int:
    """Start, or go on with, a round in a process of its own that outlives this one; its process number.

    Returns when that process has taken the round, in a second or a few, so that its state is "running" then.

    Parameters
    ----------
    round_ : Round
    finish : bool
        Train no further: the best model so far is written and measured.

    Raises
    ------
    ValueError
        If it runs already, here or elsewhere, or nothing is left to do.
    OSError
        If the process cannot be started.
    """
    require_startable(round_)
    arguments = [str(round_.folder.absolute()), *(["--finish"] if finish else [])]
    printed = round_.folder / PRINTED_FILE
    process = start_detached("napari_medvlsm.core.improve.work", arguments, printed)
    while process.poll() is None and not _is_held(round_.folder / WORK_LOCK):
        time.sleep(_LOOK)
    if process.poll():
        last = printed.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise ValueError(" ".join([f"Round {round_.name} did not start.", *last]))
    return process.pid


def require_startable(round_: Round) -> None:
    """Raise ValueError if a round runs already, here or elsewhere, or nothing is left to do."""
    if round_.running:
        where = round_.progress.computer
        elsewhere = f" on {where}" if where and where != platform.node() else ""
        raise ValueError(f"Round {round_.name} runs already{elsewhere}.")
    if round_.measured:
        raise ValueError(f"Round {round_.name} is done; its model waits for a decision, or has got one.")


def stop_round(round_: Round) -> None:
    """Ask the process of a round to stop after its present step; returns at once, the best model so far is kept."""
    (round_.folder / STOP_FILE).touch()


def reject_round(round_: Round, person: str, remark: str = "") -> None:
    """Decide against its model, which stays until it is deleted."""
    if round_.state in (RoundState.RUNNING, RoundState.PROMOTED, RoundState.REJECTED):
        raise ValueError(f"Round {round_.name} is {round_.state}, so it cannot be rejected.")
    said = {"person": person, "remark": remark, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    with replacing(round_.folder / REJECTION_FILE) as temporary:
        temporary.write_text(json.dumps(said, indent=1, ensure_ascii=False), "utf-8")


def delete_round(round_: Round) -> None:
    """Delete its folder.

    Raises
    ------
    ValueError
        While it runs, or if its model is the present one, what rolling back leads to, or an unfinished round's base.
    """
    with changing(round_.project):
        entries = read_history(round_.project)
        if round_.name == present_name(entries, ""):
            raise ValueError(f"Model {round_.name} is the present one; promote another or roll back first.")
        if round_.name in earlier_models(entries):
            raise ValueError(f"Model {round_.name} is what rolling back leads to, so it is kept.")
        if round_.running:
            raise ValueError(f"Round {round_.name} runs; stop it first.")
        waiting = [r for r in find_rounds(round_.project) if not r.measured and r.name != round_.name]
        needed = [r for r in waiting if round_.name in (r.plan.base.name, r.plan.present.name)]
        if needed:
            raise ValueError(f"Round {needed[0].name}, which is not finished, needs model {round_.name}.")
        note_deleted(round_.project, round_.plan.number)
        # Under a name that is no round's: what a killed program leaves of it is not found again.
        aside = round_.folder.with_name(f".{round_.name}-deleted")
        round_.folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def write_failure(round_: Round, sentence: str) -> None:
    """Note why a round failed; on a full disk it is not noted."""
    with suppress(OSError), replacing(round_.folder / FAILURE_FILE) as temporary:
        temporary.write_text(json.dumps({"sentence": sentence}, ensure_ascii=False), "utf-8")


def _is_held(lock: Path) -> bool:
    """Whether a process of this computer holds a lock; where nobody ever made it, nobody does."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0, is_singleton=False):
            return False
    except Timeout:
        return True
    except OSError:  # in a folder that cannot be written
        return False


def _has_ended(said: Sequence[Logged]) -> bool:
    last = said[-1].event
    if isinstance(last, events.Stopped):  # after an end that is no interruption, the model is measured
        return last.reason not in ("finished", "early stopping")
    return isinstance(last, events.Failed | events.Saved)


def _progress(said: Sequence[Logged], stage: str) -> Progress:
    """The progress that the events of a run tell; `stage` is what the files say, refined by these."""
    values: dict[str, object] = asdict(Progress(stage))
    begun = (0, 0.0)  # step and time at which the present session began
    best = None
    for logged in said:
        event = logged.event
        if isinstance(event, events.Started):
            steps = event.steps_per_epoch * event.epochs
            begun = (event.first_epoch * event.steps_per_epoch, 0.0)
            values |= {"epoch": event.first_epoch, "epochs": event.epochs, "steps": steps, "step": begun[0]}
            values |= {"computer": event.computer, "sentence": "", "seconds_left": None}
            values["stage"] = "training" if stage == "preparing" else stage
        elif isinstance(event, events.Step):
            if not begun[1]:
                begun = (event.step, logged.time)
            values |= {"step": event.step, "steps": event.steps}
            if event.step > begun[0] and logged.time > begun[1]:
                pace = (logged.time - begun[1]) / (event.step - begun[0])
                values["seconds_left"] = pace * max(0, event.steps - event.step)
        elif isinstance(event, events.Epoch):
            best = event.val_dice if event.best else best
            values |= {"epoch": event.epoch + 1, "val_dice": event.val_dice, "best_dice": best}
        elif isinstance(event, events.Stopped):
            # What runs after an interruption begins anew, or writes the best model.
            values |= {"sentence": event.sentence, "seconds_left": None, "stage": stage}
            if stage == "preparing" and event.reason in ("finished", "early stopping", "time is up"):
                values["stage"] = "writing"
        elif isinstance(event, events.Failed):
            values |= {"sentence": event.sentence, "seconds_left": None, "stage": stage}
    return Progress(**values)  # type: ignore[arg-type]
