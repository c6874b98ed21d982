"""The models of a project: the present one, candidates and earlier ones; promote, roll back, export, delete."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from napari_medvlsm.core.improve.history import (
    PROMOTED,
    ROLLED_BACK,
    Entry,
    append,
    called,
    changing,
    earlier_models,
    present_name,
    read_history,
)
from napari_medvlsm.core.improve.plan import Base
from napari_medvlsm.core.improve.rounds import Round, delete_round, find_round, find_rounds
from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.models.store.card import KeptBase, ModelCard, read_card
from napari_medvlsm.core.models.store.registry import STARTER, find_model
from napari_medvlsm.core.models.store.trained_on import read_trained, write_trained
from napari_medvlsm.core.models.store.weights_hash import weights_hash

_log = logging.getLogger(__name__)


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
    """The models of a project, installed ones that it used first, then those of rounds by number.

    One that is not there any more, or cannot be read, is logged and left out.

    Parameters
    ----------
    project : Path
    default : str
        The installed model that is present until one is promoted.
    """
    entries, rounds = read_history(project), find_rounds(project)
    numbers = {round_.name for round_ in rounds}
    used = [default, *(r.plan.base.name for r in rounds), *(name for e in entries for name in (e.before, e.model))]
    names = [name for name in dict.fromkeys(used) if name not in numbers]
    found = []
    for name in [*names, *(round_.name for round_ in rounds if round_.run.model)]:
        try:
            found.append(find_project_model(project, name, default))
        except ValueError as error:
            _log.warning("%s", error)
    return found


def find_project_model(project: Path, name: str = "", default: str = STARTER) -> ProjectModel:
    """A model of a project by its name; without one, the present model.

    Raises
    ------
    ValueError
        If it is not there; the sentence says what to do.
    """
    present = present_name(read_history(project), default)
    name = name or present
    if name.isdecimal():
        round_ = find_round(project, name)
        folder = round_.run.model
        if folder is None:
            raise ValueError(f"Round {name} has no model yet; it is {round_.state}.")
        return ProjectModel(name, f"Model {name}", folder, read_card(folder), round_, name == present)
    entry = find_model(name)
    return ProjectModel(name, entry.card.title, entry.folder, entry.card, None, name == present)


def base_of(project: Path, name: str = "", default: str = STARTER) -> Base:
    """The model (by default the present one) as the base of a round. Raises ValueError if it is not there."""
    model = find_project_model(project, name, default)
    # Relative, so that the folder of models can lie elsewhere on another computer.
    found_by = f"../{model.name}/{model.folder.relative_to(model.round.folder).as_posix()}" if model.round else name
    return Base(model.name, found_by or model.name, weights_hash(model.folder), model.card.family, trained_scans(model))


def promote(project: Path, name: str, person: str, remark: str = "", default: str = STARTER) -> Entry:
    """Make a model the present one. Raises ValueError if it is not there, is the present one, or was not measured."""
    with changing(project):
        model = find_project_model(project, name, default)
        if model.present:
            raise ValueError(f"{model.title} is the present one already.")
        if model.round is not None and not model.round.measured:
            raise ValueError(
                f"{model.title} was not measured beside the present one yet; 'medvlsm improve {project} --go-on' does."
            )
        return _changed(project, PROMOTED, model, person, remark, default)


def roll_back(project: Path, person: str, remark: str = "", default: str = STARTER) -> Entry:
    """Make the model before the present one the present one again. Raises ValueError if there is none."""
    with changing(project):
        earlier = earlier_models(read_history(project))
        if not earlier:
            raise ValueError("No model was promoted in this project, so there is nothing to go back to.")
        return _changed(
            project, ROLLED_BACK, find_project_model(project, earlier[-1], default), person, remark, default
        )


def export_model(project: Path, name: str, folder: Path) -> None:
    """Copy a model with its card and `trained_on.json` to a new folder, which `medvlsm models import` takes.

    Raises
    ------
    ValueError
        If the model is not there, or the folder is.
    """
    model = find_project_model(project, name)
    with making_folder(folder) as temporary:
        shutil.copytree(model.folder, temporary, dirs_exist_ok=True)
        write_trained(temporary, trained_scans(model))


def delete_model(project: Path, name: str) -> None:
    """Delete a model of a round with all its data; errors as `rounds.delete_round`."""
    if not name.isdecimal():
        raise ValueError(f"{name} is an installed model and not one of this project; it is not deleted from here.")
    delete_round(find_round(project, name))


def trained_scans(model: ProjectModel) -> dict[str, str]:
    """Pixel hashes of the scans that a model or its bases were trained on, each with the model that saw it first.

    Empty of an installed model that does not say so, such as the starter: nothing is known of single scans then.
    """
    if model.round is not None:
        return model.round.plan.trained
    return dict.fromkeys(read_trained(model.folder), model.name)


def unlisted_bases(round_: Round) -> dict[str, tuple[str, ...]]:
    """Installed models that the two models of a round come from and whose training scans are not known one by one.

    Returns
    -------
    dict of str to tuple of str
        The names of their data sets by their title; none where the card names none, or the model is not there any more.
    """
    rounds = {other.name: other for other in find_rounds(round_.project)}
    found = {}
    for base in (round_.plan.present, round_.plan.base):
        name = base.name
        while name in rounds:
            name = rounds[name].plan.base.name
        # Of a model of this project that was deleted, nobody knows any more where it came from.
        if name in base.trained.values() and not name.isdecimal():
            continue
        try:
            card = find_model(name).card
            found[card.title] = tuple(source.name for source in card.data)
        except ValueError:
            found[called(name)] = ()
    return found


def known_before(round_: Round) -> tuple[str, ...]:
    """Targets that the card of the model before names; none where the model is not there any more."""
    try:
        return find_project_model(round_.project, round_.plan.present.name).card.targets
    except ValueError:
        return ()


def kept_base(round_: Round) -> KeptBase | None:
    """What the new model of a round keeps; None for nothing, or where the model is not there."""
    try:
        return None if round_.run.model is None else read_card(round_.run.model).kept_base
    except ValueError:
        return None


def was_trained_on(model: ProjectModel, pixels_hash: str) -> bool:
    """Whether a model was trained on a scan, so that a prediction on it is of no use for judging the model."""
    return pixels_hash in trained_scans(model)


def _changed(project: Path, what: str, model: ProjectModel, person: str, remark: str, default: str) -> Entry:
    entry = Entry(
        what,
        model.name,
        present_name(read_history(project), default),
        weights_hash(model.folder),
        person,
        remark,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    append(project, entry)
    return entry
