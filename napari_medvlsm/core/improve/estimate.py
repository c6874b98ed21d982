"""How long a training takes: from steps that were measured on this computer, never from a guess."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.datasets.splits import TRAIN
from napari_medvlsm.core.improve.plan import DATA_FOLDER
from napari_medvlsm.core.improve.rounds import Round
from napari_medvlsm.core.improve.stopping import Stop
from napari_medvlsm.core.plain_files import read_yaml
from napari_medvlsm.core.runs.epochs import epochs_for
from napari_medvlsm.core.runs.events import Epoch, Started, Step
from napari_medvlsm.core.runs.log import EventLog
from napari_medvlsm.core.runs.start import start_training

_TRIAL_FOLDER = ".trial"


@dataclass(frozen=True)
class TrainingTime:
    """An estimate.

    Attributes
    ----------
    seconds : float
        For all epochs; early stopping may end it sooner.
    measured : str
        What was measured, such as "12 steps" or "the epochs of round 2".
    """

    seconds: float
    measured: str

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"About {about(self.seconds)} at most (from {self.measured} on this computer); it ends sooner where it no "
            "longer gets better."
        )


def about(seconds: float) -> str:
    """A time as people say it: no finer than it is known."""
    if seconds < 90:
        return "a minute" if seconds >= 45 else "half a minute"
    minutes = seconds / 60
    if minutes < 90:
        return f"{round(minutes) if minutes < 20 else 5 * round(minutes / 5)} minutes"
    hours = round(2 * minutes / 60) / 2
    return f"{hours:g} hours"


def from_rounds(rounds: Sequence[Round], images: int, epochs: int = 0) -> TrainingTime | None:
    """From the pace of the latest round that was trained on this computer; None where there is none.

    Parameters
    ----------
    rounds : sequence of Round
        The latest last.
    images : int
        Scans of the project that would be trained on.
    epochs : int
        At most so many; 0 for as many as the recipe of that round says.
    """
    for round_ in reversed(rounds):
        said = [logged.event for logged in EventLog(round_.run.folder).new()]
        started = next((e for e in reversed(said) if isinstance(e, Started)), None)
        seconds = [event.seconds for event in said if isinstance(event, Epoch)]
        own = len({case.case_id for case in round_.plan.cases if case.split == TRAIN})
        if started is None or not seconds or started.computer != platform.node() or not own:
            continue
        # Scans that are replayed come beside them, and take their time: as many for each as then.
        times = images / own
        most = _epochs(round_.run.recipe, round(times * started.train_images), epochs) or started.epochs
        return TrainingTime(sum(seconds) / len(seconds) * times * most, f"the epochs of round {round_.name}")
    return None


def _epochs(recipe: Path | None, images: int, most: int) -> int:
    """How many epochs a recipe gives so many images, or `most` if there is such; 0 where it does not say."""
    try:
        trainer = read_yaml(recipe)["trainer"] if recipe is not None else {}
        return epochs_for(images, most or trainer["max_epochs"], trainer["max_images"], trainer["min_epochs"])
    except (ValueError, OSError, KeyError, TypeError):
        return 0


def by_trial(round_: Round, seconds: float = 20.0, stop: Stop | None = None) -> TrainingTime:
    """Train for some seconds, or an epoch, in a folder that is removed afterwards.

    Parameters
    ----------
    round_ : Round
    seconds : float
        From the first step.
    stop : Stop, optional
        Asked from another thread, it ends the training at once.

    Raises
    ------
    ValueError
        With the run's own words, if it comes to no second step.
    Cancelled
        Where it was asked to stop.
    """
    trial = round_.folder / _TRIAL_FOLDER
    arguments = ["train", round_.plan.recipe, *round_.plan.changes, "--data", DATA_FOLDER, "--run", _TRIAL_FOLDER]
    started: Started | None = None
    steps: list[tuple[float, Step]] = []
    stop = stop or Stop()
    try:
        with (
            start_training([*arguments, "--no-measure"], Path(_TRIAL_FOLDER), round_.folder) as process,
            stop.reaching(process.kill),
        ):
            for event in process.events():
                now = time.monotonic()
                stop.check()
                if isinstance(event, Started):
                    started = event
                elif isinstance(event, Epoch) and started is not None:
                    # Validation included.
                    return TrainingTime(event.seconds * event.epochs, f"{started.steps_per_epoch} steps")
                elif isinstance(event, Step):
                    steps.append((now, event))
                    if now - steps[0][0] >= seconds and event.step > steps[0][1].step:
                        break
            else:
                stop.check()
                raise ValueError(process.end().sentence)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    (begun, first), (now, last) = steps[0], steps[-1]
    made = last.step - first.step
    return TrainingTime((now - begun) / made * last.steps, f"{made} steps")
