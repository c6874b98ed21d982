"""The rounds of a project, `PROJECT/models/NUMBER`: made, found again, and their states read off their files."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medvlsm.core.improve.plan import AFTER_FOLDER, BEFORE_FOLDER, DATA_FOLDER, RECIPE, RUN_FOLDER, Base, Plan
from napari_medvlsm.core.runs.folder import Run

if TYPE_CHECKING:
    from napari_medvlsm.core.improve.cases import TrainingCase
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.prompts import Vocabulary

MODELS_FOLDER = "models"


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
        "waiting", "preparing" (libraries are loaded, data checked), "training", "measuring" or "done".
    epoch, epochs : int
        Complete ones, and all; 0 where not known yet.
    step, steps : int
        Of all epochs; 0 where not known yet.
    val_dice, best_dice : float or None
    seconds_left : float or None
        Of the training.
    computer : str
        Where it runs or ran; "" where not known.
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
    def data(self) -> Path:
        """The frozen copy of its outlines, a data set."""
        return self.folder / DATA_FOLDER

    @property
    def run(self) -> Run:
        """The folder of its training: curves, checkpoints, model, report."""
        return Run(self.folder / RUN_FOLDER)

    @property
    def before(self) -> Path:
        """Results of the base model on the hold-out (`runs.results`)."""
        return self.folder / BEFORE_FOLDER

    @property
    def after(self) -> Path:
        """Results of the candidate on the hold-out."""
        return self.folder / AFTER_FOLDER

    @property
    def state(self) -> RoundState:
        """Read off the files."""
        raise NotImplementedError

    @property
    def failure(self) -> str:
        """Why it failed, in a sentence; "" if it did not."""
        raise NotImplementedError

    @property
    def progress(self) -> Progress:
        """Read off the files."""
        raise NotImplementedError


def find_rounds(project: Path) -> list[Round]:
    """All rounds of a project by number; a damaged folder is logged and left out."""
    raise NotImplementedError


def find_round(project: Path, name: str = "") -> Round:
    """A round by its number, or the latest. Raises ValueError if there is none."""
    raise NotImplementedError


def make_round(
    store: ProjectStore,
    cases: Sequence[TrainingCase],
    base: Base,
    vocabulary: Vocabulary,
    *,
    recipe: str = RECIPE,
    changes: Collection[str] = (),
    remark: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Round:
    """Copy outlines and write the plan: a new folder with the next number, whole or not at all; nothing is started.

    Parameters
    ----------
    store : ProjectStore
        Reading suffices.
    cases : sequence of TrainingCase
        See `cases.choose_cases`; the check (`cases.check_scans`) came before.
    base : Base
        See `versions.base_of`.
    vocabulary : Vocabulary
    recipe, remark : str
    changes : collection of str
        Further `key=value` words; they win over the recipe's.
    progress : callable, optional
        ``progress(done, of)`` in scans.

    Raises
    ------
    ValueError
        If something cannot be copied, such as a scan that has changed since it was checked, or the disk is full.
    """
    raise NotImplementedError


def start_round(round_: Round, finish: bool = False) -> int:
    """Start, or go on with, a round in a process of its own that outlives this one; its process number.

    Parameters
    ----------
    round_ : Round
    finish : bool
        Train no further: the best model so far is written and measured.

    Raises
    ------
    ValueError
        If it runs already, here or elsewhere, or was decided on.
    """
    raise NotImplementedError


def stop_round(round_: Round) -> None:
    """Ask a round that runs on this computer to stop after its present step; returns at once, the best so far is kept."""
    raise NotImplementedError


def reject_round(round_: Round, person: str, remark: str = "") -> None:
    """Decide against its model, which stays until it is deleted."""
    raise NotImplementedError


def delete_round(round_: Round) -> None:
    """Delete its folder. Raises ValueError while it runs, and for the present model or one to which could be rolled back."""
    raise NotImplementedError
