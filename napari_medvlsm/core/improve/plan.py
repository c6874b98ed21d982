"""What a round is made of: who began it, from which model, with which outlines and recipe. One file, never changed."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from napari_medvlsm.core.datasets.splits import TEST
from napari_medvlsm.core.improve.cases import TrainingCase
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.runs.start import word
from napari_medvlsm.core.validation_errors import first_problem

PLAN_FILE = "round.json"
# The data set that the outlines were copied to, the run, and the results of both models on the hold-out.
DATA_FOLDER, RUN_FOLDER, BEFORE_FOLDER, AFTER_FOLDER = "data", "run", "before", "after"
#: The recipe that fits any folder of own outlines.
RECIPE = "best/own"
# How the recipe calls the models that it can train further, by family.
_RECIPE_MODELS = {
    "wordunet": "starter",
    "clipseg": "clipseg",
    "cris": "cris",
    "biomedclipseg": "biomedclipseg",
    "biomedclipseg-d": "biomedclipseg-d",
}


@dataclass(frozen=True)
class Base:
    """A model that a round starts from, or that its candidate is compared with.

    Attributes
    ----------
    name : str
        Of the project's model, such as "starter" or "2".
    model : str
        What `medvlsm` finds it by within the round's folder: the name of an installed model, or a relative path.
    weights_hash : str
        SHA-256 (`store.weights_hash`).
    family : str
    trained : mapping of str to str
        Pixel hashes of the scans that it or its bases were trained on, each with the name of that model.
    """

    name: str
    model: str
    weights_hash: str
    family: str
    trained: dict[str, str] = field(default_factory=dict)


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
        That it starts from.
    present : Base
        The present model at its beginning, with which the candidate is compared; mostly the same.
    recipe : str
        Name of a shipped recipe, or a path.
    changes : tuple of str
        `key=value` words of the recipe.
    cases : tuple of TrainingCase
    software : str
    remark : str
    minutes : float or None
        The training ends after this time, at the end of an epoch; None for no limit.
    left_out : tuple of int
        Ids of scans that a person left out.
    """

    number: int
    created: str
    person: str
    base: Base
    present: Base
    recipe: str
    changes: tuple[str, ...]
    cases: tuple[TrainingCase, ...]
    software: str
    remark: str = ""
    minutes: float | None = None
    left_out: tuple[int, ...] = ()

    @property
    def held_out(self) -> tuple[TrainingCase, ...]:
        """What both models are measured on."""
        return tuple(case for case in self.cases if case.split == TEST)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after `medvlsm` that train it, in the round's folder."""
        limit = () if self.minutes is None else ("--minutes", f"{self.minutes:g}")
        return "train", self.recipe, *self.changes, "--data", DATA_FOLDER, "--run", RUN_FOLDER, *limit

    @property
    def command(self) -> str:
        """The training as a shell command, to be given in the round's folder, on this computer or another one."""
        return shlex.join(("medvlsm", *self.arguments))

    @property
    def trained(self) -> dict[str, str]:
        """Pixel hashes of the scans that its model will have been trained on, each with the model that saw it first."""
        own = {case.pixels_hash: str(self.number) for case in self.cases if case.split != TEST}
        return own | self.base.trained


def changes_for(base: Base, title: str) -> tuple[str, ...]:
    """The `key=value` words with which a recipe trains a model further.

    Parameters
    ----------
    base : Base
    title : str
        Of the model that comes out.

    Raises
    ------
    ValueError
        If models of this family cannot be trained further with own outlines.
    """
    if base.family not in _RECIPE_MODELS:
        raise ValueError(
            f"The model {base.name} is of the family {base.family}, which takes no words and is not trained further "
            f"here; choose one of the families {', '.join(_RECIPE_MODELS)}."
        )
    changes = {"model": _RECIPE_MODELS[base.family], "model.base": base.model, "title": title}
    return tuple(word(key, value) for key, value in changes.items())


def read_plan(folder: Path) -> Plan:
    """The plan of a round's folder. Raises ValueError if it is missing or damaged."""
    path = folder / PLAN_FILE
    try:
        return TypeAdapter(Plan).validate_python(read_json(path))
    except ValidationError as error:
        raise ValueError(f"{path} cannot be read as the plan of a round: {first_problem(error)}.") from error


def write_plan(plan: Plan, folder: Path) -> None:
    """Write it, at once or not at all."""
    with replacing(folder / PLAN_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(plan), indent=1, ensure_ascii=False) + "\n", "utf-8")
