"""Which weights a model has. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_medvlsm.core.models.store.card import ADAPTER_FILE, ADAPTER_WEIGHTS_FILE, WEIGHTS_FILE

_CHUNK = 2**20


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights in a model's folder; of an adapter, with `adapter.json`, which names its base by hash."""
    adapts = (folder / ADAPTER_FILE).is_file()
    digest = hashlib.sha256()
    for name in (ADAPTER_FILE, ADAPTER_WEIGHTS_FILE) if adapts else (WEIGHTS_FILE,):
        with (folder / name).open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()
