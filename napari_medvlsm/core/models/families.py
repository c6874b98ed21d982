"""The model families: which class a card's `family` stands for. Imports no torch until a model is loaded.

A further family is one module with a subclass of `base.VLSM`, and one line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medvlsm.core.models.store.card import ADAPTER_FILE, read_card

if TYPE_CHECKING:
    from napari_medvlsm.core.models.architectures.base import VLSM


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes
    ----------
    name : str
        As in `model_card.json`.
    title : str
        As in the paper.
    module, cls : str
        Where its class is; imported when needed, since CLIPSeg needs no `open_clip` and the others do.
    importable : bool
        Whether checkpoints can be imported as such; else it is only trained here.
    """

    name: str
    title: str
    module: str
    cls: str
    importable: bool = True

    def load(self, folder: Path) -> VLSM:
        """Load a model folder of this family."""
        model: VLSM = getattr(import_module(self.module), self.cls).load(folder)
        return model


_HERE = "napari_medvlsm.core.models.architectures"
FAMILIES = {
    family.name: family
    for family in (
        Family("clipseg", "CLIPSeg", f"{_HERE}.clipseg", "CLIPSeg"),
        Family("cris", "CRIS", f"{_HERE}.cris", "CRIS"),
        Family("biomedclipseg", "BiomedCLIPSeg", f"{_HERE}.biomedclipseg", "BiomedCLIPSeg"),
        Family("biomedclipseg-d", "BiomedCLIPSeg-D", f"{_HERE}.biomedclipseg", "BiomedCLIPSeg"),
        Family("wordunet", "WordUNet", f"{_HERE}.wordunet", "WordUNet", importable=False),
        Family("image-only", "UNet, UNet++, DeepLabV3+", f"{_HERE}.image_only", "ImageOnly", importable=False),
    )
}
IMPORTABLE = tuple(name for name, family in FAMILIES.items() if family.importable)


def load_model(folder: Path) -> VLSM:
    """Load a model folder; its card tells the family. One that holds an adapter needs its base beside it or installed.

    Raises
    ------
    ValueError
        If the family is unknown or the folder is broken; the sentence says what to do.
    """
    name = read_card(folder).family
    if (folder / ADAPTER_FILE).is_file():
        # Here, since it imports torch and this module does not; and it loads the base through this function.
        from napari_medvlsm.core.models.architectures.lora import load_lora

        return load_lora(folder)
    if name not in FAMILIES:
        raise ValueError(f"The model in {folder} is of the unknown family {name!r}. Known: {', '.join(FAMILIES)}.")
    return FAMILIES[name].load(folder)
