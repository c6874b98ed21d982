"""Export annotations to a data set's folder, in the layout of the paper's code, with all that is known about them.

    dataset.yaml               title, licence, modality, schema version (`info`)
    vocabulary.yaml            the words that the cases were written with (`vocabularies`)
    images/HASH.png            named by content, so that a scan is there once
    masks/HASH_TARGET.png
    anns/{train,val,test}.json

A case of an annotation file has upstream's fields (`img_name`, `mask_name`, `bbox`, `prompts`, ...), and beside them
`target`, `attributes` (`said`, `measured`), `modality`, `group`, `split_rank` (see `splits`), `spacing_mm`, `absent`
and `annotation`, the record of `core.annotation`. The annotation file is written last: what an interrupted export
leaves behind is not listed yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_medvlsm.core import annotation as records
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.case_words import training_prompts
from napari_medvlsm.core.datasets.groups import tidy
from napari_medvlsm.core.datasets.info import DatasetInfo, read_info, write_info
from napari_medvlsm.core.datasets.splits import SPLITS, Placed, place
from napari_medvlsm.core.datasets.vocabularies import extend_snapshot, require_modality
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.images import Scan, content_hash, to_unit_rgb
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.prompts import Attributes, Vocabulary, normalise

# Of a target's part of a file name: file systems take 255 in all.
_NAME_BYTES = 120


@dataclass(frozen=True)
class ExportedCase:
    """Where a case went.

    Attributes
    ----------
    annotations : Path
        The annotation file that lists it.
    split : str
        "train", "val" or "test".
    replaced : bool
        Whether an earlier outline of the same target in the same scan was replaced.
    number : int
        Cases that the folder holds now.
    """

    annotations: Path
    split: str
    replaced: bool
    number: int


def export_case(
    folder: Path,
    scan: Scan,
    annotation: Annotation,
    vocabulary: Vocabulary,
    *,
    modality: str = "",
    group: str = "",
    seed: int = 0,
) -> ExportedCase:
    """Add one scan with one outline to a data set's folder; the same scan and target again replaces its case.

    The scan is written as 8-bit RGB PNG through the normalisation that every model sees, named by its
    content hash: neither the file's name nor its metadata leaves. The prompts are those of `training_prompts`.
    A new case gets its split once (`splits`); one that is replaced stays where it is.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    scan : Scan
    annotation : Annotation
        Its mask has the scan's size; that of an absent target is empty.
    vocabulary : Vocabulary
        Its words are kept in the folder.
    modality : str
        Key of the vocabulary's modalities; "" for that of the target, or of the folder.
    group : str
        Patient, sequence or case that the scan belongs to, such as "patient 7", under a name that may leave with the
        data; all its scans get one split. "" where nothing is known: each scan is a group of its own.
    seed : int
        Of the choice among descriptions and paraphrases.

    Raises
    ------
    ValueError
        If there is no target, the sizes differ, the modality is unknown, a word means something else in the folder,
        the group and the scan are in different splits already, or the folder holds something else. No case was changed
        then.
    """
    writer = DatasetWriter(folder, vocabulary)
    exported = writer.add(scan, annotation, modality=modality, group=group, seed=seed)
    writer.write_lists()
    return exported


class DatasetWriter:
    """A data set's folder that many cases are added to; they are listed once `write_lists` was called.

    Parameters
    ----------
    folder : Path
        Made with the first case if it does not exist.
    vocabulary : Vocabulary

    Raises
    ------
    ValueError
        If the folder holds something else.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        self.folder, self.vocabulary = folder, vocabulary
        self._cases = {split: _read_cases(folder / "anns" / f"{split}.json") for split in SPLITS}
        self._info = read_info(folder)
        self._changed: list[str] = []
        self._has_words = False

    def add(
        self,
        scan: Scan,
        annotation: Annotation,
        *,
        modality: str = "",
        group: str = "",
        split: str = "",
        seed: int = 0,
    ) -> ExportedCase:
        """Add a case; parameters and errors as `export_case`.

        `split` is that which the case has already ("train", "val" or "test"); "" for the folder to choose.
        """
        if not annotation.target:
            raise ValueError("Choose what was outlined before you export: the training prompts are built from it.")
        if annotation.mask.shape != scan.size:
            raise ValueError(
                f"The mask is {annotation.mask.shape} but the scan is {scan.size}; they must have one size."
            )
        require_modality(modality, self.vocabulary, "The export")
        folder, vocabulary, cases = self.folder, self.vocabulary, self._cases
        stem, group = content_hash(scan.pixels)[:16], tidy(group)
        image_name, mask_name = f"{stem}.png", f"{stem}_{_file_name(annotation.target)}.png"
        info = self._info or DatasetInfo(folder.absolute().name, salt=stem)
        modality = modality or vocabulary.target(annotation.target).modality or info.modality
        before, placed = self._place(image_name, mask_name, group, split, info.salt)
        split = placed.split if before is None else before.split
        case = {
            "bbox": _bbox(annotation.mask),
            "cat": 0,
            "segment_id": mask_name.removesuffix(".png"),
            "img_name": image_name,
            "mask_name": mask_name,
            "sentences": [{"idx": 0, "sent_id": 0, "sent": ""}],
            "sentences_num": 1,
            "prompts": training_prompts(scan, annotation.mask, _said(annotation), vocabulary, seed),
            **_as_data(scan, annotation, modality, placed),
        }
        for part in ("images", "masks", "anns"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        if not self._has_words:
            extend_snapshot(folder, vocabulary)
            self._has_words = True
        if self._info is None or (modality and not info.modality):
            self._info = replace(info, modality=info.modality or modality)
            write_info(folder, self._info)
        _write_png(folder / "images" / image_name, np.rint(to_unit_rgb(scan.pixels) * 255).astype(np.uint8))
        _write_png(folder / "masks" / mask_name, annotation.mask.astype(np.uint8) * 255)
        cases[split] = [c for c in cases[split] if c.get("mask_name") != mask_name] + [case]
        self._changed = [*(name for name in self._changed if name != split), split]
        return ExportedCase(folder / "anns" / f"{split}.json", split, bool(before), sum(map(len, cases.values())))

    def write_lists(self) -> None:
        """List what was added; the split that was added to last is written last."""
        if not self._changed:
            return
        for name in sorted(SPLITS, key=lambda name: self._changed.index(name) if name in self._changed else -1):
            path = self.folder / "anns" / f"{name}.json"
            if name in self._changed or not path.exists():
                with replacing(path) as temporary:
                    temporary.write_text(json.dumps(self._cases[name], indent=1), "utf-8")
        self._changed = []

    def _place(self, image: str, mask: str, group: str, split: str, salt: str) -> tuple[Placed | None, Placed]:
        """(the case before that is replaced, the new one's place)."""
        cases = self._cases
        before = next((_placed(c, name) for name in SPLITS for c in cases[name] if c.get("mask_name") == mask), None)
        if split:
            return before, Placed(split, image, group)
        earlier = [_placed(c, name) for name in SPLITS for c in cases[name] if c.get("mask_name") != mask]
        if before is not None:  # its old group is given up, its split is not
            earlier.append(replace(before, group=""))
        return before, place(image, group, earlier, salt)


def _placed(case: Mapping[str, Any], split: str) -> Placed:
    group, rank = tidy(str(case.get("group") or "")), case.get("split_rank")
    return Placed(split, str(case.get("img_name")), group, rank if isinstance(rank, int) else None)


def _said(annotation: Annotation) -> Attributes:
    return replace(annotation.said, target=annotation.target)


def _as_data(scan: Scan, annotation: Annotation, modality: str, placed: Placed) -> dict[str, Any]:
    """What a case holds beside upstream's fields."""
    measured = annotation.measured
    if not measured.named() and annotation.mask.any():
        seen = describe(annotation.mask, scan.pixels, scan.spacing)
        measured = Attributes(**{name: word for name, word in (seen.measured | seen.suggested).items() if word})
        annotation = replace(annotation, measured=measured)
    spacing = annotation.provenance.spacing or scan.spacing
    attributes = {
        key: {name: word for name, word in asdict(value).items() if word and name != "target"}
        for key, value in (("said", annotation.said), ("measured", measured))
    }
    return {
        "target": annotation.target,
        "attributes": attributes,
        "modality": modality,
        "group": placed.group,
        "split_rank": placed.rank,
        "spacing_mm": None if spacing is None else list(spacing),
        "spacing_from": annotation.provenance.spacing_from,
        "absent": annotation.absent,
        "annotation": records.to_dict(annotation),
    }


def count_cases(folder: Path) -> dict[str, int]:
    """How many cases each split ("train", "val", "test") of an exported folder holds; none where there is no folder.

    Raises
    ------
    ValueError
        If an annotation file cannot be read.
    """
    return {split: len(_read_cases(folder / "anns" / f"{split}.json")) for split in SPLITS}


def _file_name(target: str) -> str:
    """A target as part of a file name; one that loses letters on the way, or is too long, gets a hash."""
    plain = normalise(target)
    if plain == target.lower() and len(plain.encode()) <= _NAME_BYTES:
        return plain.replace(" ", "-")
    return f"{plain.replace(' ', '-')[:40]}-{hashlib.sha256(target.encode()).hexdigest()[:8]}".lstrip("-")


def _read_cases(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        cases = read_json(path)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}; choose another folder, nothing was changed.") from error
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise ValueError(f"{path} is no list of cases; choose another folder, nothing was changed.")
    return cases


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _bbox(mask: Mask) -> list[int]:
    """[x1, y1, x2, y2] as upstream has them: one pixel around the foreground, within the image.

    So it is in ClinicDB's annotations, but where small fragments were left out of the box. An empty mask has
    [width, height, 0, 0].
    """
    rows, cols = np.nonzero(mask)
    height, width = mask.shape
    if rows.size == 0:
        return [width, height, 0, 0]
    low, high = (int(cols.min()) - 1, int(rows.min()) - 1), (int(cols.max()) + 1, int(rows.max()) + 1)
    return [max(0, low[0]), max(0, low[1]), min(width, high[0]), min(height, high[1])]
