"""The machine of a run, and the versions of the software."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from napari_medvlsm import __version__
from napari_medvlsm.core.devices import device_name
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.runs.folder import ENVIRONMENT_FILE

_PACKAGES = ("torch", "torchvision", "lightning", "transformers", "monai", "segmentation_models_pytorch", "peft")


def environment(device: torch.device) -> dict[str, Any]:
    """Processor, cores, device, system, and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device_name(device),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "medvlsm": __version__,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def write_environment(run: Path, device: torch.device, processes: int, images_per_epoch: int) -> None:
    """Write what a run is trained with into its folder; a run that is resumed elsewhere names the last machine."""
    facts = environment(device) | {"processes": processes, "images_per_epoch": images_per_epoch}
    with replacing(run / ENVIRONMENT_FILE) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def _processor() -> str:
    """The processor's name as its maker calls it, where the system knows it."""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():  # Linux; elsewhere `platform` knows it
        for line in facts.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
