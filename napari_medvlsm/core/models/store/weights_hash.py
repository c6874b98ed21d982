"""Which weights a model has. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_medvlsm.core.models.store.card import (
    ADAPTER_FILE,
    ADAPTER_WEIGHTS_FILE,
    BASE_FOLDER,
    CARD_FILE,
    WEIGHTS_FILE,
)
from napari_medvlsm.core.plain_files import is_there

_CHUNK = 2**20


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights in a model's folder, with those of a base that it keeps.

    Of an adapter it is that of `adapter.json`, which names its base by hash, and of what is added.
    """
    adapts = (folder / ADAPTER_FILE).is_file()
    digest = hashlib.sha256()
    for name in (ADAPTER_FILE, ADAPTER_WEIGHTS_FILE) if adapts else (WEIGHTS_FILE,):
        with (folder / name).open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
    if is_there(folder / BASE_FOLDER / CARD_FILE):
        digest.update(bytes.fromhex(weights_hash(folder / BASE_FOLDER)))
    return digest.hexdigest()
