"""One image of a data set with its masks and metadata, as training and evaluation use it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy

from napari_medvlsm.core.images import to_unit_rgb
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.mask_files import Foreground, read_foreground
from napari_medvlsm.core.prompts.attributes import Attributes
from napari_medvlsm.core.prompts.upstream import Prompts

LUNGS, SIDES = "lungs", ("left lung", "right lung")
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TargetMask:
    """The mask of one target in one image.

    Attributes
    ----------
    paths : tuple of Path
        Several files are united: a set may list the parts of one target apart.
    name : str
        Of the first file, as listed.
    attributes : Attributes
        What is known beside what the mask shows (so no number, size or location), in the vocabulary's words.
    prompts : mapping
        Of the annotation file: level to text, or to a list of texts; empty where there are none.
    upstream : Attributes or None
        What the annotation of one of the paper's data sets says, in upstream's words.
    foreground : Foreground
        What is known of the values of the set's masks; see `core.io.mask_files`.
    """

    paths: tuple[Path, ...]
    name: str = ""
    attributes: Attributes = field(default_factory=Attributes)
    prompts: Prompts = field(default_factory=dict)
    upstream: Attributes | None = None
    foreground: Foreground = ""

    def load(self) -> Mask:
        """The mask, shape (H, W).

        Raises
        ------
        ValueError
            If a file cannot be read, its values could mean several things, or two have different sizes.
        """
        masks = [read_foreground(path, self.foreground).mask for path in self.paths]
        if len({mask.shape for mask in masks}) > 1:
            raise ValueError(f"{' and '.join(path.name for path in self.paths)} have different sizes.")
        return np.logical_or.reduce(masks) if len(masks) > 1 else masks[0]


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes
    ----------
    image : Path
    masks : mapping of target phrase to TargetMask
    modality : str
        Key of the vocabulary; "" where unknown.
    source : str
        Folder of the data set.
    group : str
        Such as "patient 7"; "" where nothing is known: the image is its own group.
    split_lungs : bool
        Whether the mask of "lungs" also gives "left lung" and "right lung".
    """

    image: Path
    masks: Mapping[str, TargetMask]
    modality: str
    source: str
    group: str = ""
    split_lungs: bool = False

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The files of all masks."""
        return tuple(path for mask in self.masks.values() for path in mask.paths)

    def load_image(self) -> npt.NDArray[np.uint8]:
        """The image as RGB, shape (H, W, 3)."""
        pixels = read_scan(self.image).pixels
        if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
            return pixels.astype(np.uint8, copy=False)
        return np.rint(to_unit_rgb(pixels) * 255).astype(np.uint8)

    def load_masks(self) -> dict[str, Mask]:
        """Masks by target, shape (H, W), with both lungs apart where that is wanted and possible."""
        masks = {target: mask.load() for target, mask in self.masks.items()}
        if self.split_lungs and LUNGS in masks:
            sides = split_lungs(masks[LUNGS])
            if sides is not None:
                masks |= dict(zip(SIDES, sides, strict=True))
        return masks


def split_lungs(lungs: Mask) -> tuple[Mask, Mask] | None:
    """(the patient's left lung, the patient's right lung) of a frontal X-ray shown the usual way.

    The patient's left is the right side of the image. None unless the two largest components lie on
    different sides of one another and hold nearly everything.
    """
    labels, count = scipy.ndimage.label(lungs)
    if count < 2:
        return None
    areas = np.bincount(labels.ravel())[1:]
    first, second = np.argsort(areas)[::-1][:2]
    if areas[second] < 0.2 * areas[first]:
        return None
    columns = [scipy.ndimage.center_of_mass(labels == i + 1)[1] for i in (first, second)]
    image_left, image_right = (first, second) if columns[0] < columns[1] else (second, first)
    return labels == image_right + 1, labels == image_left + 1


def data_hash(items: Iterable[Item]) -> str:
    """SHA-256 over the names and bytes of all images and masks."""
    digest = hashlib.sha256()
    for path in sorted({p for item in items for p in (item.image, *item.mask_paths)}):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
