"""The size and normalisation of a model's images, as `preprocessor_config.json` of its folder.

The file has the form of `transformers`, whose own class would import torchvision for three values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from napari_medvlsm.core.models.store.card import PREPROCESSING_FILE
from napari_medvlsm.core.plain_files import read_json, shown

_SIDES = (16, 4096)


@dataclass(frozen=True)
class Preprocessing:
    """What images are brought to before the first layer.

    Attributes
    ----------
    side : int
        Rows and columns.
    mean, std : tuple of 3 float
        Of the channels, in units of [0, 1].

    Raises
    ------
    ValueError
        If the side is not from 16 to 4096, or mean and deviation are not three numbers, the latter above 0.
    """

    side: int
    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        low, high = _SIDES
        if type(self.side) is not int or not low <= self.side <= high:
            raise ValueError(f"the side of its images must be from {low} to {high} pixels, but is {_short(self.side)}")
        for name, least in (("mean", -math.inf), ("std", 0.0)):
            values = getattr(self, name)
            good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) == 3
            if not good or not all(isinstance(v, int | float) and math.isfinite(v) and v > least for v in values):
                raise ValueError(f"image_{name} must be three numbers, but is {_short(values)}")
            object.__setattr__(self, name, tuple(values))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file of a model folder.

        Raises
        ------
        ValueError
            If it does not hold a side, means and deviations.
        """
        found = read_json(folder / PREPROCESSING_FILE)
        if not isinstance(found, dict):
            raise ValueError(f"{PREPROCESSING_FILE} holds no keys and values.")
        size = found.get("size")
        if isinstance(size, Mapping):
            size = size.get("height", size.get("shortest_edge"))
        return cls(size, found.get("image_mean"), found.get("image_std"))  # type: ignore[arg-type]  # checked there

    def write(self, folder: Path) -> None:
        """Write the file into a model folder, so that `transformers` reads it too."""
        values = {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(self.mean),
            "image_processor_type": "ViTImageProcessor",
            "image_std": list(self.std),
            "resample": 2,  # bilinear
            "rescale_factor": 1 / 255,
            "size": {"height": self.side, "width": self.side},
        }
        (folder / PREPROCESSING_FILE).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _short(value: Any) -> str:
    return shown(value, 60)
