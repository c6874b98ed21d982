"""The models of a project: the present one, candidates and earlier ones; promote, roll back, export, delete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.improve.history import Entry
from napari_medvlsm.core.improve.plan import Base
from napari_medvlsm.core.improve.rounds import Round
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.models.store.registry import STARTER

# Beside the weights: hashes of the pixels of all scans that a model was trained on.
TRAINED_FILE = "trained_on.json"


@dataclass(frozen=True)
class ProjectModel:
    """A model of a project.

    Attributes
    ----------
    name : str
        A round's number, or the name of an installed model.
    title : str
        For people: "Model 2", or the title of the card.
    folder : Path
    card : ModelCard
    round : Round or None
        That it came from; None of an installed model.
    present : bool
    """

    name: str
    title: str
    folder: Path
    card: ModelCard
    round: Round | None
    present: bool


def project_models(project: Path, default: str = STARTER) -> list[ProjectModel]:
    """The models of a project, the one that it began with first, then those of rounds by number.

    Parameters
    ----------
    project : Path
    default : str
        The installed model that is present until one is promoted.
    """
    raise NotImplementedError


def present_model(project: Path, default: str = STARTER) -> ProjectModel:
    """The model that outlines in this project. Raises ValueError if it is gone; the sentence says what to do."""
    raise NotImplementedError


def base_of(project: Path, name: str = "", default: str = STARTER) -> Base:
    """The model (by default the present one) as the base of a round. Raises ValueError if it cannot be trained further."""
    raise NotImplementedError


def promote(project: Path, name: str, person: str, remark: str = "", default: str = STARTER) -> Entry:
    """Make a model the present one. Raises ValueError if it is not there, is the present one, or was not measured."""
    raise NotImplementedError


def roll_back(project: Path, person: str, remark: str = "", default: str = STARTER) -> Entry:
    """Make the model before the present one the present one again. Raises ValueError if there is none."""
    raise NotImplementedError


def export_model(project: Path, name: str, folder: Path) -> None:
    """Copy a model with its card and `trained_on.json` to a new folder, which `medvlsm models import` takes."""
    raise NotImplementedError


def delete_model(project: Path, name: str) -> None:
    """Delete a model of a round with all its data. Raises ValueError for the present one and for those to roll back to."""
    raise NotImplementedError


def trained_scans(model: ProjectModel) -> dict[str, str]:
    """Pixel hashes of the scans that a model or its bases were trained on, each with the model that saw it first.

    Empty of an installed model that does not say so, such as the starter: nothing is known of single scans then.
    """
    raise NotImplementedError


def was_trained_on(model: ProjectModel, pixels_hash: str) -> bool:
    """Whether a prediction on this scan is of no use for judging the model."""
    raise NotImplementedError
