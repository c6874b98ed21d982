"""Which scans a model was trained on, by their pixels: a list in the model's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import read_json

# Beside the weights: hashes of the pixels of all scans that a model was trained on.
TRAINED_FILE = "trained_on.json"


def read_trained(folder: Path) -> list[str]:
    """The pixel hashes that `write_trained` left in a model's folder; empty where it did not."""
    path = folder / TRAINED_FILE
    if not path.is_file():
        return []
    raw = read_json(path)
    scans = raw.get("scans") if isinstance(raw, dict) else None
    if not isinstance(scans, list):
        raise ValueError(f"{path} does not list the scans that the model was trained on; copy the folder again.")
    return [str(scan) for scan in scans]


def write_trained(folder: Path, scans: Mapping[str, str]) -> None:
    """Write the pixel hashes of the scans that a model was trained on beside its weights."""
    with replacing(folder / TRAINED_FILE) as temporary:
        temporary.write_text(json.dumps({"scans": sorted(scans)}, indent=1) + "\n", "utf-8")
