"""The training layout of the paper's code: `images/`, `masks/`, `anns/{train,val,test}.json`."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.images import Scan, content_hash, to_unit_rgb
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build, normalise
from napari_medvlsm.core.prompts.variants import filled

SPLITS = ("train", "val", "test")
# Of a target's part of a file name: file systems take 255 in all.
_NAME_BYTES = 120


@dataclass(frozen=True)
class ExportedCase:
    """Where a case went: the annotation file, its split, whether it was there before, and how many cases there are."""

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
    """Add one scan with one mask to a training folder; the same scan and target again replaces its entry.

    The scan is written as 8-bit RGB PNG through the normalisation that every model sees, named by its
    content hash: neither the file's name nor its metadata leaves. The prompts are those of `training_prompts`.
    New cases go to the training split.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    scan : Scan
    annotation : Annotation
        An empty mask says that the target is absent.
    vocabulary : Vocabulary
    modality, group : str
        Not kept yet.
    seed : int
        Draws descriptions and paraphrases.

    Raises
    ------
    ValueError
        If there is no target, the sizes differ, or the folder holds something else.
    """
    mask, attributes = annotation.mask, replace(annotation.said, target=annotation.target)
    if not attributes.target:
        raise ValueError("Choose what was outlined before you export: the training prompts are built from it.")
    if mask.shape != scan.size:
        raise ValueError(f"The mask is {mask.shape} but the scan is {scan.size}; they must have one size.")
    stem = content_hash(scan.pixels)[:16]
    image_name = f"{stem}.png"
    mask_name = f"{stem}_{_file_name(attributes.target)}.png"
    for part in ("images", "masks", "anns"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    entries = {split: _read_entries(folder / "anns" / f"{split}.json") for split in SPLITS}
    _write_png(folder / "images" / image_name, np.rint(to_unit_rgb(scan.pixels) * 255).astype(np.uint8))
    _write_png(folder / "masks" / mask_name, (np.asarray(mask) > 0).astype(np.uint8) * 255)
    entry = {
        "bbox": _bbox(mask),
        "cat": 0,
        "segment_id": mask_name.removesuffix(".png"),
        "img_name": image_name,
        "mask_name": mask_name,
        "sentences": [{"idx": 0, "sent_id": 0, "sent": ""}],
        "sentences_num": 1,
        "prompts": training_prompts(scan, mask, attributes, vocabulary, seed),
    }
    before = next((s for s in SPLITS if any(e.get("mask_name") == mask_name for e in entries[s])), None)
    split = before or "train"
    entries[split] = [e for e in entries[split] if e.get("mask_name") != mask_name] + [entry]
    for name in SPLITS:
        if name == split or not (folder / "anns" / f"{name}.json").exists():
            with replacing(folder / "anns" / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(entries[name], indent=1), "utf-8")
    number = sum(map(len, entries.values()))
    return ExportedCase(folder / "anns" / f"{split}.json", split, before is not None, number)


def training_prompts(
    scan: Scan, mask: npt.NDArray[np.generic], said: Attributes, vocabulary: Vocabulary, seed: int = 0
) -> dict[str, str]:
    """The prompt of every level of the target's kind of scan for a mask.

    Number, size and location are read from the mask. Shape and colour are the person's words, or else what the mask
    and the pixels suggest; attributes that no mask shows (view, age ...) are the person's. Of general descriptions
    and of paraphrases one is drawn for each scan and level. An empty mask is asked for in the words of one that is
    not: that is how an absent target is asked for later.

    Parameters
    ----------
    scan : Scan
    mask : array of shape (H, W)
    said : Attributes
        `target`, and what the person said of it.
    vocabulary : Vocabulary
    seed : int
        The same seed, scan and target draw the same.
    """
    seen = describe(mask, scan.pixels, scan.spacing)
    person = said.only(said.named() - {"number", "size", "location"})
    full = filled(person, {} if seen.number == "zero" else seen.measured | seen.suggested, vocabulary)[0]
    target = vocabulary.target(said.target)
    key = f"{seed}:{content_hash(scan.pixels)}:{said.target}"
    prompts = {}
    for level in ("p0", *vocabulary.family(said.target).levels):
        draw = random.Random(f"{key}:{level}")
        general = full.general or (draw.choice(target.general) if target.general else "")
        wording = draw.randrange(len(vocabulary.family(said.target).clean))
        prompts[level] = build(replace(full, general=general), vocabulary, level, wording).text
    return prompts


def _file_name(target: str) -> str:
    """A target as part of a file name; one that loses letters on the way, or is too long, gets a hash."""
    plain = normalise(target)
    if plain == target.lower() and len(plain.encode()) <= _NAME_BYTES:
        return plain.replace(" ", "-")
    return f"{plain.replace(' ', '-')[:40]}-{hashlib.sha256(target.encode()).hexdigest()[:8]}".lstrip("-")


def _read_entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); choose another folder, nothing was changed.") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} is no list of cases; choose another folder, nothing was changed.")
    return entries


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _bbox(mask: npt.NDArray[np.generic]) -> list[int]:
    """[x1, y1, x2, y2] as in the release: one pixel around the foreground, within the image.

    So it is in ClinicDB's annotations, but where small fragments were left out of the box. An empty mask has
    [width, height, 0, 0].
    """
    rows, cols = np.nonzero(np.asarray(mask) > 0)
    height, width = mask.shape
    if rows.size == 0:
        return [width, height, 0, 0]
    low, high = (int(cols.min()) - 1, int(rows.min()) - 1), (int(cols.max()) + 1, int(rows.max()) + 1)
    return [max(0, low[0]), max(0, low[1]), min(width, high[0]), min(height, high[1])]
