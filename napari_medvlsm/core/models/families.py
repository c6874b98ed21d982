"""The model families, by the `family` of a model card. Imports no torch until a class is asked for.

A further family is one module with a subclass of `architectures.base.VLSM`, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class ModelFamily:
    """A model family.

    Attributes
    ----------
    name : str
        As in `model_card.json`.
    title : str
        As in the paper.
    module, cls : str
        Where its class is. Names, since the window and the command line list the families without importing torch,
        and a family whose libraries are slow to import is imported only for its own models.
    importable : bool
        Whether checkpoints can be imported as such; else it is only trained here.
    """

    name: str
    title: str
    module: str
    cls: str
    importable: bool = True

    def model_class(self) -> Any:
        """The family's subclass of `VLSM`."""
        return getattr(import_module(f"napari_medvlsm.core.models.architectures.{self.module}"), self.cls)


FAMILIES = {
    family.name: family
    for family in (
        ModelFamily("clipseg", "CLIPSeg", "clipseg", "CLIPSeg"),
        ModelFamily("cris", "CRIS", "cris", "CRIS"),
        ModelFamily("biomedclipseg", "BiomedCLIPSeg", "biomedclipseg", "BiomedCLIPSeg"),
        ModelFamily("biomedclipseg-d", "BiomedCLIPSeg-D", "biomedclipseg", "BiomedCLIPSeg"),
        ModelFamily("wordunet", "WordUNet", "wordunet", "WordUNet", importable=False),
        ModelFamily("image-only", "UNet, UNet++, DeepLabV3+", "image_only", "ImageOnly", importable=False),
    )
}
IMPORTABLE = tuple(name for name, family in FAMILIES.items() if family.importable)
