"""What a round is made of: who began it, from which model, with which outlines and recipe. One file, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.improve.cases import TrainingCase

PLAN_FILE = "round.json"
# The data set that the outlines were copied to, the run, and the results of both models on the hold-out.
DATA_FOLDER, RUN_FOLDER, BEFORE_FOLDER, AFTER_FOLDER = "data", "run", "before", "after"
#: The recipe that fits any folder of own outlines.
RECIPE = "best/own"


@dataclass(frozen=True)
class Base:
    """The model that a round starts from: the present one at its beginning.

    Attributes
    ----------
    name : str
        Of the project's model, such as "starter" or "2".
    model : str
        What `medvlsm` finds it by within the round's folder: the name of an installed model, or a relative path.
    weights_hash : str
        SHA-256 (`store.weights_hash`).
    family : str
    """

    name: str
    model: str
    weights_hash: str
    family: str


@dataclass(frozen=True)
class Plan:
    """What a round is made of.

    Attributes
    ----------
    number : int
        From 1; also the name of its folder, and of the model that comes out.
    created : str
        ISO time in UTC.
    person : str
    base : Base
    recipe : str
        Name of a shipped recipe, or a path relative to the round's folder.
    changes : tuple of str
        `key=value` words of the recipe.
    cases : tuple of TrainingCase
    software : str
    remark : str
    """

    number: int
    created: str
    person: str
    base: Base
    recipe: str
    changes: tuple[str, ...]
    cases: tuple[TrainingCase, ...]
    software: str
    remark: str = ""

    @property
    def held_out(self) -> tuple[TrainingCase, ...]:
        """What both models are measured on."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """The training as a shell command, to be given in the round's folder, on this computer or another one."""
        raise NotImplementedError


def changes_for(family: str, model: str) -> tuple[str, ...]:
    """The `key=value` words with which a recipe trains a model further.

    Raises
    ------
    ValueError
        If models of this family cannot be trained further with own outlines.
    """
    raise NotImplementedError


def read_plan(folder: Path) -> Plan:
    """The plan of a round's folder. Raises ValueError if it is missing or damaged."""
    raise NotImplementedError


def write_plan(plan: Plan, folder: Path) -> None:
    """Write it, at once or not at all."""
    raise NotImplementedError
