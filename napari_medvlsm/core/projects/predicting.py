"""Predictions of a model for the unseen scans of a project.

A process beside the window outlines them, by the prediction of folders (`core.bulk`), into a folder of the project; the
program that has the project open takes each mask in as a prediction. Both may end at any time: what lies in the folder
is taken in when the work goes on, and what the project has is not predicted again.

`core.bulk.project` is that process. It prints a line of JSON for each scan.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.options import AUTO
from napari_medvlsm.core.process import ChildProcess
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.files import remove
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore

#: In the project's folder; holds the masks of target N in a folder N.
PREDICTING_FOLDER = "predicting"
# What the project remembers of the work: the request as JSON, "" when it is done.
_META = "predicting"
_MODULE = "napari_medvlsm.core.bulk.project"


@dataclass(frozen=True)
class BatchRequest:
    """What is predicted.

    Attributes
    ----------
    prompts : mapping of target to prompt
        The project's targets, and what the model reads for each.
    model : str
        Name or folder.
    device, precision : str
        As `core.inference.Segmenter`.
    """

    prompts: Mapping[str, str]
    model: str
    device: str = AUTO
    precision: str = AUTO

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("Choose at least one target that is to be predicted.")
        for target, prompt in self.prompts.items():
            if not prompt.strip():
                raise ValueError(f"The prompt for {target} is empty; say what the model is to outline.")


@dataclass(frozen=True)
class Predicted:
    """A scan that the process is done with, or how many there are.

    Attributes
    ----------
    of : int
        Outlines to be predicted, of all targets; 0 where this tells of a scan.
    target : str
    case_id : int
    file : str
        The mask, relative to the project; "" where none could be made.
    problem : str
        Why there is none.
    """

    of: int = 0
    target: str = ""
    case_id: int = 0
    file: str = ""
    problem: str = ""


def remember_request(store: ProjectStore, request: BatchRequest | None) -> None:
    """Let the project remember what is being predicted; None, and its folder is removed, when that is over."""
    store.remember(_META, "" if request is None else json.dumps(asdict(request)))
    if request is None:
        shutil.rmtree(store.folder / PREDICTING_FOLDER, ignore_errors=True)


def remembered_request(store: ProjectStore) -> BatchRequest | None:
    """What was being predicted when the project was closed; None for nothing."""
    try:
        return BatchRequest(**json.loads(store.meta(_META)))
    except (ValueError, TypeError):
        return None


def start_process(store: ProjectStore) -> ChildProcess:
    """Start the process for what `remember_request` was told last."""
    return ChildProcess(_MODULE, [os.fspath(store.folder)], watches_stdin=False)


def told_by(child: ChildProcess) -> Iterator[Predicted]:
    """What the process says, until it ends; lines of others are passed over."""
    for line in child.lines():
        with suppress(ValueError, TypeError):
            yield Predicted(**json.loads(line))


def lying_there(store: ProjectStore, request: BatchRequest) -> Iterator[Predicted]:
    """Masks that were made before and not taken in."""
    for number, target in enumerate(request.prompts):
        for path in sorted((store.folder / PREDICTING_FOLDER / str(number)).glob("[0-9]*.tif")):
            yield Predicted(0, target, int(path.stem), path.relative_to(store.folder).as_posix())


def take_in(store: ProjectStore, predicted: Predicted) -> bool:
    """Make a mask a prediction of the project, and remove its file; False where a person answered meanwhile.

    Raises
    ------
    ProjectError
        If the scan is another picture than when it entered the project, or the disk fails.
    ValueError
        If the file cannot be read.
    """
    case, path = store.case(predicted.case_id), store.folder / predicted.file
    annotation = replace(load_mask(path), target=predicted.target)
    unseen = case.states.get(predicted.target) is State.UNSEEN
    if annotation.provenance.scan_hash != case.pixels_hash:
        remove(store.folder, predicted.file)
        raise ProjectError(f"{case.name} is another picture than when it entered the project.")
    if unseen:
        store.save_prediction(case.id, annotation)
    remove(store.folder, predicted.file)
    return unseen
