"""What models may be called, and which names are taken. Imports no torch."""

from __future__ import annotations

import re
import unicodedata
from itertools import count
from pathlib import Path

from napari_medvlsm.core.models.store.card import CARD_FILE, read_card
from napari_medvlsm.core.models.store.fetched import KNOWN_FILE, MANIFEST_FILE, read_manifest
from napari_medvlsm.core.models.store.registry import STARTER, user_models_folder

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ +-]*(?<![. ])")
_LONGEST = 100
# Windows takes no file of these names, whatever follows a dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])\s*(\..*)?", re.IGNORECASE)
# What lies in the folder of the models, or is shipped.
_OURS = (STARTER, KNOWN_FILE)


class ModelExists(ValueError):
    """There is a model of this name already.

    Attributes
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a model {name} already; choose another name, or replace that model.")
        self.name = name


def clean_name(text: str) -> str:
    """A name that a model can have on every system, like a text (of a file, say)."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._]+", "-", plain)[:_LONGEST].strip("-._") or "model"
    return f"model-{name}"[:_LONGEST].rstrip("-._") if _RESERVED.fullmatch(name) else name


def check_name(name: str) -> None:
    """Raise ValueError if no model can have this name."""
    good = _NAME.fullmatch(name) and len(name) <= _LONGEST and not _RESERVED.fullmatch(name)
    if not good or name.lower() in _OURS:
        raise ValueError(
            f"{name!r} cannot be the name of a model; give another one, of letters, digits, spaces and any of . _ + -"
        )


def target_dir(name: str, models: Path | None = None, replace: bool = False) -> Path:
    """Where a new model of a name comes to lie.

    Parameters
    ----------
    name : str
    models : Path, optional
        Where the model folders lie; by default the user's.
    replace : bool
        Whether a model of this name may be there.

    Raises
    ------
    ModelExists
        If it is there and may not be.
    ValueError
        If no model can have this name.
    """
    check_name(name)
    place = (models or user_models_folder()) / name
    if place.exists() and not replace:
        raise ModelExists(name)
    return place


def free_target_dir(path: Path, models: Path | None = None, replace: bool = False) -> Path:
    """Where the model of a path comes to lie when nobody names it: under a name that is free, unless `replace`.

    Raises
    ------
    ValueError
        If the card or manifest in a folder cannot be read.
    """
    models = models or user_models_folder()
    name = clean_name(_default(path))
    if name.lower() not in _OURS and (replace or not (models / name).exists()):
        return models / name
    numbered = (models / f"{name[: _LONGEST - 6]}-{number}" for number in count(2))
    return next(place for place in numbered if not place.exists())


def _default(path: Path) -> str:
    if not path.is_dir():
        return path.stem
    if (path / MANIFEST_FILE).is_file():
        return read_manifest(path).source
    return read_card(path).name if (path / CARD_FILE).is_file() else path.resolve().name
