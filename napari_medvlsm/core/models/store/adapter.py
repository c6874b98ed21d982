"""`adapter.json`: how a model adapts another one by LoRA, and which one that is. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_medvlsm.core.models.store.card import ADAPTER_FILE, WEIGHTS_FILE, read_card
from napari_medvlsm.core.models.store.fetched import sha256_of
from napari_medvlsm.core.models.store.registry import available_models
from napari_medvlsm.core.plain_files import is_folder, is_system_file, read_json

# What adapters can be put on: the attention projections of either encoder.
ENCODERS = ("vision", "text")
PROJECTIONS = ("query", "key", "value", "output")


@dataclass(frozen=True)
class LoraSettings:
    """What is adapted, and how strongly (Hu et al., ICLR 2022).

    Attributes
    ----------
    rank : int
        Of the matrices that are added.
    alpha : float
        What is added is scaled by `alpha / rank`.
    dropout : float
        On the input of the added matrices, in training.
    encoders : tuple of str
        Of "vision", "text".
    projections : tuple of str
        Of "query", "key", "value", "output". Where a model computes several by one matrix, any of them means all of
        that matrix.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    encoders: tuple[str, ...] = ENCODERS
    projections: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                "LoRA needs a rank of at least 1, an alpha above 0 and a dropout from 0 to below 1, but got "
                f"{self.rank}, {self.alpha} and {self.dropout}."
            )
        for given, known, what in (
            (self.encoders, ENCODERS, "encoders"),
            (self.projections, PROJECTIONS, "projections"),
        ):
            if not given or set(given) - set(known):
                raise ValueError(f"LoRA's {what} must be some of {', '.join(known)}, but are {', '.join(given)}.")


@dataclass(frozen=True)
class BaseModel:
    """The model that an adapter belongs to.

    Attributes
    ----------
    name, title, licence : str
        From its card.
    size : int
        Bytes of its `model.safetensors`, so that most other models need not be hashed.
    sha256 : str
        Of that file; this decides.
    """

    name: str
    title: str
    licence: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Adapter:
    """The content of `adapter.json`."""

    settings: LoraSettings
    base: BaseModel


def read_adapter(folder: Path) -> Adapter:
    """Read the `adapter.json` of a model folder.

    Raises
    ------
    OSError, ValueError, TypeError, KeyError
        If it cannot be read or is not valid; `architectures.weights.loading` makes one sentence of these.
    """
    read_card(folder)
    raw: Mapping[str, Mapping[str, Any]] = read_json(folder / ADAPTER_FILE)
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw["settings"].items()}
    return Adapter(LoraSettings(**settings), BaseModel(**raw["base"]))


def write_adapter(settings: LoraSettings, base: Path, folder: Path) -> None:
    """Write `adapter.json` into `folder`, for an adapter of the model in the folder `base`."""
    card, weights = read_card(base), base / WEIGHTS_FILE
    adapter = Adapter(
        settings, BaseModel(card.name, card.title, card.licence, weights.stat().st_size, _cached_sha256(weights))
    )
    (folder / ADAPTER_FILE).write_text(json.dumps(asdict(adapter), indent=1) + "\n", "utf-8")


def find_base(base: BaseModel, beside: Path) -> Path | None:
    """The folder of a base model, among the available models and the folders in `beside`; None if it is not there.

    A folder with an adapter is none, also where the base's weights were copied into it.
    """
    for folder in dict.fromkeys([*(entry.folder for entry in available_models().values()), *_folders(beside)]):
        weights = folder / WEIGHTS_FILE
        if (folder / ADAPTER_FILE).is_file():
            continue
        if weights.is_file() and weights.stat().st_size == base.size and _cached_sha256(weights) == base.sha256:
            return folder
    return None


def _folders(parent: Path) -> Iterator[Path]:
    return (folder for folder in sorted(parent.iterdir()) if is_folder(folder) and not is_system_file(folder))


def _cached_sha256(file: Path) -> str:
    status = file.stat()
    return _sha256_of_version(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of_version(file: Path, size: int, modified_ns: int) -> str:
    """The hash of a file, computed again only when its size or modification time changes."""
    return sha256_of(file)
