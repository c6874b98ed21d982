"""Which models there are: the shipped one and the user's own folders. Imports no torch."""

from __future__ import annotations

import difflib
import logging
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from platformdirs import user_data_path

from napari_medvlsm.core.models.store.card import CARD_FILE, ModelCard, read_card
from napari_medvlsm.core.models.store.sources import SOURCES
from napari_medvlsm.core.plain_files import is_folder, is_system_file, is_there, shown

STARTER = "starter"
# Environment variable that names another folder of user models.
MODELS_VARIABLE = "MEDVLSM_MODELS"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelEntry:
    """A model folder and its card."""

    name: str
    folder: Path
    card: ModelCard
    shipped: bool


def user_models_folder() -> Path:
    """Where the user's model folders lie."""
    chosen = os.environ.get(MODELS_VARIABLE)
    return Path(chosen) if chosen else user_data_path("napari-medvlsm", appauthor=False) / "models"


def fetched_folder(name: str) -> Path:
    """Where the files of public weights lie until they are a model; its leading dot hides it from the models."""
    return user_models_folder() / ".fetched" / name


def available_models() -> dict[str, ModelEntry]:
    """All readable models by name, the shipped ones first. Broken folders are logged and left out."""
    shipped = Path(str(resources.files("napari_medvlsm") / "data" / "models"))
    entries: dict[str, ModelEntry] = {}
    for parent, is_shipped in ((shipped, True), (user_models_folder(), False)):
        for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
            # A leading dot marks what is still being made or fetched.
            if folder.name in entries or is_system_file(folder) or not is_there(folder / CARD_FILE):
                continue
            try:
                entries[folder.name] = ModelEntry(folder.name, folder, read_card(folder), is_shipped)
            except ValueError as error:
                _log.warning("%s", error)
    return entries


def find_model(name: str) -> ModelEntry:
    """A model by its name, or by the path of its folder.

    Raises
    ------
    ValueError
        If there is none; the sentence lists the known names, or tells how to fetch the model.
    """
    entries = available_models()
    if name in entries:
        return entries[name]
    folder = Path(name)
    if is_folder(folder):
        return ModelEntry(folder.name, folder, read_card(folder), shipped=False)
    if name in SOURCES:
        raise ValueError(f"The model {name} is not on this computer; fetch it once by: medvlsm models fetch {name}")
    known = ", ".join(entries) or "none"
    near = difflib.get_close_matches(name[:200], [*entries, *SOURCES], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"There is no model {shown(repr(name))}.{hint} Known models: {known}; or give the path of a model folder."
    )
