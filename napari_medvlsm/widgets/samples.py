"""Sample scans for napari's menu. Sources and licences: `data/samples/LICENSE`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from napari_medvlsm.core.io.images import read_image
from napari_medvlsm.core.synthetic import polyp_picture
from napari_medvlsm.widgets._layers import SPACING_KEY

LayerData = tuple[Any, dict[str, Any], str]


def breast_ultrasound() -> list[LayerData]:
    """A breast ultrasound with a tumor (BUSI, CC0)."""
    return _sample("breast_ultrasound.png", "Breast ultrasound")


def breast_ultrasound_two() -> list[LayerData]:
    """A breast ultrasound with two lesions, one on the left and one on the right (BUSI, CC0)."""
    return _sample("breast_ultrasound_two.jpg", "Breast ultrasound, two lesions")


def cell_nuclei() -> list[LayerData]:
    """Cell nuclei under the microscope (BBBC038, CC0)."""
    return _sample("cell_nuclei.png", "Cell nuclei")


def skin_lesion() -> list[LayerData]:
    """A skin lesion, dermoscopy (ISIC, CC0)."""
    return _sample("skin_lesion.jpg", "Skin lesion")


def chest_xray() -> list[LayerData]:
    """A chest X-ray with 16 bits (NEMA sample, MIT)."""
    return _sample("chest_xray.tif", "Chest X-ray")


def polyp() -> list[LayerData]:
    """A drawn picture that looks like a polyp in an endoscopy."""
    pixels, _ = polyp_picture()
    return [(pixels, {"name": "Polyp (drawn)", "rgb": True, "metadata": {SPACING_KEY: None}}, "image")]


def _sample(file: str, name: str) -> list[LayerData]:
    image = read_image(Path(str(resources.files("napari_medvlsm") / "data" / "samples" / file)))
    metadata = {SPACING_KEY: image.spacing}
    return [(image.pixels, {"name": name, "rgb": image.colour, "metadata": metadata}, "image")]
