"""Which weights a model has. Imports no torch."""

from __future__ import annotations

import hashlib

from napari_medvlsm.core.models.card import ADAPTER_FILE, ADAPTER_WEIGHTS_FILE, WEIGHTS_FILE
from napari_medvlsm.core.models.registry import ModelEntry

_CHUNK = 2**20


def weights_hash(entry: ModelEntry) -> str:
    """SHA-256 of a model's weights; of an adapter, with `adapter.json`, which names the base by its own hash."""
    adapts = (entry.folder / ADAPTER_FILE).is_file()
    digest = hashlib.sha256()
    for name in (ADAPTER_FILE, ADAPTER_WEIGHTS_FILE) if adapts else (WEIGHTS_FILE,):
        with (entry.folder / name).open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
    return digest.hexdigest()
