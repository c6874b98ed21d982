"""The sets of `loop.py`: cases that the starter has not seen, a frozen hold-out of them, and folders of corrections."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.datasets.export import DatasetWriter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.mask_files import read_foreground
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Vocabulary, load_vocabulary

# Of the groups of ClinicDB so many are held out, with so many frames of each at most: frames of a video look alike.
_HELD_GROUPS, _FRAMES = 10, 6
# Test scans of FUSeg that are held out.
_HELD_ULCERS = 60
# Of so many groups (patients, sequences) of corrected cases one validates, as in a project.
_ONE_IN = 5
_FUNDUS = "fundus photograph"
# The choice of the hold-out; never that of a run.
_SEED = 0


@dataclass(frozen=True)
class Case:
    """A scan, its true mask, and the patient or sequence that it is of."""

    image: Path
    mask: Path
    group: str

    def load_mask(self) -> Mask:
        return read_foreground(self.mask, "").mask


@dataclass(frozen=True)
class Task:
    """What a clinician corrects, `sizes` cases in all after each round, and the frozen hold-out.

    `left_out` is the data set that the base was not trained on; "" where the base is the shipped starter.
    """

    name: str
    title: str
    target: str
    modality: str
    sizes: tuple[int, ...]
    pool: tuple[Case, ...]
    held_out: tuple[Case, ...]
    left_out: str = ""


def clinicdb(data: Path) -> Task:
    """Polyps of CVC-ClinicDB by sequence: a target that the starter knows, of a hospital that it has not seen."""
    folder = data / "clinicdb_polyp"
    groups: dict[str, list[Case]] = defaultdict(list)
    with (folder / "sequences.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            image = folder / "images" / row["image"]
            if image.is_file():
                mask = folder / "masks" / f"{image.stem}.png"
                groups[row["sequence"]].append(Case(image, mask, f"sequence {row['sequence']}"))
    order = np.random.default_rng(_SEED).permutation(sorted(groups))
    held = [case for name in order[:_HELD_GROUPS] for case in _evenly(groups[name], _FRAMES)]
    pool = [case for name in sorted(order[_HELD_GROUPS:], key=int) for case in groups[name]]
    return Task("clinicdb", "ClinicDB: polyp", "polyp", "endoscopy", (10, 20, 40, 80), tuple(pool), tuple(held))


def drive(data: Path) -> Task:
    """Vessels of DRIVE: a target and a kind of scan that the starter does not know; the test list is held out."""
    folder = data / "drive_retina_vessels"
    cases = {split: _listed(folder, split) for split in ("train", "val", "test")}
    pool = (*cases["train"], *cases["val"])
    return Task("drive", "DRIVE: blood vessels", "blood vessels", _FUNDUS, (5, 10), pool, tuple(cases["test"]))


def ulcers(data: Path) -> Task:
    """Foot ulcers of FUSeg by image (patients are unknown), for a base that was trained on the starter's other sets."""
    folder = data / "fuseg_foot_ulcer"
    pool, test = (tuple(c for c in _listed(folder, split) if c.load_mask().any()) for split in ("train", "test"))
    places = np.random.default_rng(_SEED).permutation(len(test))[:_HELD_ULCERS]
    held = tuple(test[place] for place in sorted(places))
    kind = load_vocabulary().target("foot ulcer").modality
    title = "FUSeg: foot ulcer, left out of the base"
    return Task("ulcers", title, "foot ulcer", kind, (10, 20, 40, 80), pool, held, folder.name)


TASKS = {"clinicdb": clinicdb, "drive": drive, "ulcers": ulcers}


def words() -> Vocabulary:
    """The shipped words, and those that a clinician would add for a new target and a new kind of scan."""
    shipped = load_vocabulary()
    raw = shipped.as_dict()
    fundus = {"label": "Fundus photograph", "absent": ["finger nail", "kidney", "teeth"]}
    vessels = {"plural": "blood vessels", "modality": _FUNDUS, "synonyms": ["vessels", "retinal vessels"]}
    raw["modalities"] = {**raw["modalities"], _FUNDUS: fundus}
    raw["targets"] = {**raw["targets"], "blood vessels": vessels}
    return Vocabulary.from_dict(raw, f"{shipped.version}+loop", ["blood vessels"])


def export(task: Task, cases: Sequence[Case], folder: Path, vocabulary: Vocabulary) -> None:
    """Write corrected cases (their true masks) as the panel does; of every five groups the last one validates."""
    writer = DatasetWriter(folder, vocabulary)
    groups = list(dict.fromkeys(case.group for case in cases))
    validating = set(groups[_ONE_IN - 1 :: _ONE_IN]) or {groups[-1]}
    for case in cases:
        split = "val" if case.group in validating else "train"
        annotation = Annotation(task.target, case.load_mask(), corrected=True)
        writer.add(read_scan(case.image), annotation, modality=task.modality, group=case.group, split=split)
    writer.write_lists()


def export_held_out(task: Task, folder: Path, vocabulary: Vocabulary) -> None:
    """Write the hold-out as a data set with a test split alone."""
    writer = DatasetWriter(folder, vocabulary)
    for case in task.held_out:
        annotation = Annotation(task.target, case.load_mask(), corrected=True)
        writer.add(read_scan(case.image), annotation, modality=task.modality, group=case.group, split="test")
    writer.write_lists()


def _listed(folder: Path, split: str) -> list[Case]:
    names = (folder / "splits" / f"{split}.txt").read_text("utf-8").split()
    return [Case(folder / "images" / n, folder / "masks" / f"{Path(n).stem}.png", f"image {n}") for n in names]


def _evenly(cases: Sequence[Case], count: int) -> list[Case]:
    cases = sorted(cases, key=lambda case: int(case.image.stem))
    places = np.unique(np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int))
    return [cases[place] for place in places]
