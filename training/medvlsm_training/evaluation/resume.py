"""Measurements of an interrupted evaluation: one file for each finished set, beside the folder of results."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medvlsm_training.evaluation.data import DataSet
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from napari_medvlsm.core.calibration import Calibration
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import read_json
from napari_medvlsm.core.runs.results import About
from napari_medvlsm.core.runs.scores import Measurements, Score


class ResumeState:
    """Finished sets on disk. What was measured of other data, weights, prompts or words is another file, and never
    read.

    Parameters
    ----------
    folder : Path
        Made when the first set is saved.
    about : About
    prompts : EvaluationPrompts
    """

    def __init__(self, folder: Path, about: About, prompts: EvaluationPrompts) -> None:
        self.folder = folder
        self._depends = asdict(about) | {"prompts": repr(prompts)}

    def load(self, data: DataSet) -> Measurements | None:
        """The measurements of a set; None where there are none, or the file is damaged."""
        try:
            raw = read_json(self._path(data))
            measured = Measurements([Score(**row) for row in raw["scores"]])
            for row in raw["calibration"]:
                counted = Calibration(np.array(row["pixels"], np.int64), np.array(row["true"], np.int64))
                measured.calibration[tuple(row["key"])] = counted
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return measured

    def save(self, data: DataSet, measured: Measurements) -> None:
        """Write the measurements of a set, to the last digit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "scores": [asdict(score) for score in measured.scores],
            "calibration": [
                {"key": key, "pixels": counted.pixels.tolist(), "true": counted.true.tolist()}
                for key, counted in measured.calibration.items()
            ],
        }
        with replacing(self._path(data)) as temporary:
            temporary.write_text(json.dumps(content), "utf-8")

    def remove(self) -> None:
        """Delete it, when the results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, data: DataSet) -> Path:
        depends = self._depends | {"set": data.name, "split": data.split, "sha256": data.sha256}
        depends |= {"file_names": data.file_names, "words": _words(data)}
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{Path(data.name).name}-{digest[:16]}.json"


def _words(data: DataSet) -> str:
    """A hash of what is said of the cases, from which prompts and groups follow."""
    said = [
        (case.name, case.group, case.modality, dict(case.prompts), case.upstream, case.annotation.attributes)
        for case in data.cases
    ]
    return hashlib.sha256(repr((data.vocabulary.digest, said)).encode()).hexdigest()
