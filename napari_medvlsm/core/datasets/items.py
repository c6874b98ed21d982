"""One image of a data set with its masks and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_medvlsm.core.datasets.annotation_files import read_binary
from napari_medvlsm.core.images import to_unit_rgb
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.prompts.reference import Prompts

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes
    ----------
    image : Path
    masks : mapping of target phrase to the mask's file
    modality, source, group : str
        Key of the vocabulary, folder of the data set, patient or case.
    words : mapping of target to mapping
        Attribute words that cannot be read from the mask ("shape", "view", ...), where annotated.
    split_lungs : bool
        Whether the mask of "lungs" also gives "left lung" and "right lung".
    prompts : mapping
        Of the annotation file, for each target: level to text, or to a list of which one is drawn.
    """

    image: Path
    masks: Mapping[str, Path]
    modality: str
    source: str
    group: str
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    split_lungs: bool = False
    prompts: Mapping[str, Prompts] = field(default_factory=dict)

    def load_image(self) -> npt.NDArray[np.uint8]:
        """The image as RGB, shape (H, W, 3)."""
        pixels = read_scan(self.image).pixels
        if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
            return pixels.astype(np.uint8, copy=False)
        return np.rint(to_unit_rgb(pixels) * 255).astype(np.uint8)

    def load_masks(self) -> dict[str, Mask]:
        """Masks by target, shape (H, W), binarised at 127.5."""
        masks = {target: read_binary(path) for target, path in self.masks.items()}
        if self.split_lungs and "lungs" in masks:
            sides = split_lungs(masks["lungs"])
            if sides is not None:
                masks["left lung"], masks["right lung"] = sides
        return masks


def split_lungs(lungs: Mask) -> tuple[Mask, Mask] | None:
    """(the patient's left lung, the patient's right lung) of a frontal X-ray shown the usual way.

    The patient's left is the right side of the image. None unless the two largest components lie on
    different sides of one another and hold nearly everything.
    """
    labels, count = ndimage.label(lungs)
    if count < 2:
        return None
    areas = np.bincount(labels.ravel())[1:]
    first, second = np.argsort(areas)[::-1][:2]
    if areas[second] < 0.2 * areas[first]:
        return None
    columns = [ndimage.center_of_mass(labels == i + 1)[1] for i in (first, second)]
    image_left, image_right = (first, second) if columns[0] < columns[1] else (second, first)
    return labels == image_right + 1, labels == image_left + 1


def data_hash(items: Iterable[Item]) -> str:
    """SHA-256 over the names and bytes of all images and masks."""
    digest = hashlib.sha256()
    for path in sorted({p for item in items for p in (item.image, *item.masks.values())}):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
