"""Annotations in COCO's JSON: polygons and run lengths, one outline for each category of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.annotation_files import located
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.projects.adding import NewScan
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.imports import GivenMask, by_a_person
from napari_medvlsm.core.prompts import Vocabulary, normalise


def read_coco(path: Path, images: Path, vocabulary: Vocabulary) -> tuple[list[NewScan], list[GivenMask]]:
    """The scans and outlines of an annotation file.

    Parameters
    ----------
    path : Path
        JSON with "images", "annotations" and "categories".
    images : Path
        Folder of the images.
    vocabulary : Vocabulary
        A category that it knows by any name becomes its target; another keeps its name.

    Raises
    ------
    ValueError
        If the file is damaged, or names a file outside of the folder.
    """
    try:
        raw = read_json(path)
        names = {c["id"]: _target(str(c["name"]), vocabulary) for c in raw["categories"]}
        files = {i["id"]: (str(i["file_name"]), (int(i["height"]), int(i["width"]))) for i in raw["images"]}
        parts: dict[tuple[Any, str], list[Any]] = {}
        for entry in raw["annotations"]:
            parts.setdefault((entry["image_id"], names[entry["category_id"]]), []).append(entry["segmentation"])
        scans = {id_: NewScan(located(images, name), name) for id_, (name, _) in files.items()}
        masks = [
            GivenMask(scans[id_].path, f"{files[id_][0]}, {target}", _Reader(target, shapes, files[id_][1]))
            for (id_, target), shapes in parts.items()
        ]
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ProjectError(f"{path} is no annotation file of COCO ({type(error).__name__}: {error}).") from error
    return list(scans.values()), masks


@dataclass(frozen=True)
class _Reader:
    target: str
    shapes: Sequence[Any]
    size: tuple[int, int]

    def __call__(self) -> Annotation:
        mask = np.zeros(self.size, bool)
        for shape in self.shapes:
            mask |= decode(shape, self.size)
        return by_a_person(self.target, mask)


def decode(segmentation: object, size: tuple[int, int]) -> Mask:
    """One "segmentation" of COCO as a mask of (rows, columns).

    Polygons are lists of x, y in pixels, from the corner of the first one; run lengths go down the columns, either as a
    list or packed into a text.

    Raises
    ------
    ValueError
        If it is neither, or does not fit the size.
    """
    try:
        if isinstance(segmentation, Mapping):
            counts = segmentation["counts"]
            rows, columns = (int(n) for n in segmentation["size"])
            if (rows, columns) != size:
                raise ProjectError(f"its run lengths are for {rows} x {columns} pixels, the image has {size}.")
            return _runs(_unpacked(counts) if isinstance(counts, str) else [int(n) for n in counts], size)
        if isinstance(segmentation, list):
            return _polygons([[float(n) for n in flat] for flat in segmentation], size)
    except (KeyError, TypeError, IndexError) as error:
        raise ProjectError(f"its segmentation cannot be read ({error}).") from error
    raise ProjectError("its segmentation is neither polygons nor run lengths.")


def _polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    mask = np.zeros(size, bool)
    for flat in polygons:
        if len(flat) < 6 or len(flat) % 2:
            raise ProjectError(f"a polygon needs x and y of three points or more, but has {len(flat)} numbers.")
        # Half a pixel: COCO's coordinates begin at the corner of the first pixel, and those of arrays at its centre.
        rows, columns = skimage.draw.polygon(np.array(flat[1::2]) - 0.5, np.array(flat[::2]) - 0.5, size)
        mask[rows, columns] = True
    return mask


def _runs(counts: Sequence[int], size: tuple[int, int]) -> Mask:
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise ProjectError(f"its run lengths cover {sum(counts)} of {size[0] * size[1]} pixels.")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def _unpacked(text: str) -> list[int]:
    """The run lengths of COCO's compressed form.

    Each is a signed number in groups of five bits, the lowest first; bit 6 says that more follow, 48 is added to make
    letters. From the fourth on, it is the difference to the run before the last.
    """
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            place, shift = place + 1, shift + 5
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def _target(name: str, vocabulary: Vocabulary) -> str:
    plain = normalise(name)
    for target in vocabulary.targets.values():
        if plain in map(normalise, target.names):
            return target.phrase
    return " ".join(name.replace("_", " ").split())
