"""What lies in the folder of a training run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from napari_medvlsm.core.models.store.card import CARD_FILE
from napari_medvlsm.core.plain_files import parse_rows, read_json, read_text, shown
from napari_medvlsm.core.renamed_keys import with_current_keys
from napari_medvlsm.core.runs.events import Epoch
from napari_medvlsm.core.runs.results import SUMMARY_FILE, Results, read_results

# Written by training: the whole recipe, hashes of the data, the machine and versions, the epochs, and the state to go
# on from.
RECIPE_FILE, DATA_FILE = "recipe.yaml", "data.json"
ENVIRONMENT_FILE, CURVES_FILE = "environment.json", "curves.csv"
# Every event that was reported, one JSON object a line (`log`).
EVENTS_FILE = "events.jsonl"
BEST_FILE, LAST_FILE = "best.ckpt", "last.ckpt"
# Written when the best model was measured: it, its results on the test split, and a report.
MODEL_FOLDER, TEST_FOLDER, REPORT_FILE, CURVES_PICTURE = "model", "test", "report.html", "curves.png"
# Held by the process that works in the folder.
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Run:
    """The folder of a run, at whatever stage; what is not there yet is None or empty."""

    folder: Path

    @property
    def recipe(self) -> Path | None:
        """The recipe with all its settings; None where nothing was trained here."""
        return _there(self.folder / RECIPE_FILE)

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint of the best validation Dice; None before the first epoch is complete."""
        return _there(self.folder / BEST_FILE)

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint that training goes on from; None before the first epoch is complete."""
        return _there(self.folder / LAST_FILE)

    @property
    def model(self) -> Path | None:
        """The model folder with its card; None before it was measured."""
        return self.folder / MODEL_FOLDER if (self.folder / MODEL_FOLDER / CARD_FILE).is_file() else None

    @property
    def report(self) -> Path | None:
        """The report, one HTML file."""
        return _there(self.folder / REPORT_FILE)

    def test_results(self) -> Results | None:
        """The results of the best model on the test split.

        Raises
        ------
        ValueError
            If they are damaged.
        """
        folder = self.folder / TEST_FOLDER
        return read_results(folder) if (folder / SUMMARY_FILE).is_file() else None

    def epochs(self) -> list[Epoch]:
        """The epochs so far, from the table of curves; their `eta` is 0.

        Raises
        ------
        ValueError
            If the table is damaged.
        """
        path = self.folder / CURVES_FILE
        if not path.is_file():
            return []
        try:
            return [_epoch(with_current_keys(row)) for row in parse_rows(read_text(path), path)]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as the epochs of a run ({shown(error)}).") from error

    def environment(self) -> dict[str, Any]:
        """Machine, versions and number of images; empty where the file is not there."""
        path = self.folder / ENVIRONMENT_FILE
        found = read_json(path) if path.is_file() else {}
        return found if isinstance(found, dict) else {}


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _epoch(row: dict[str, str]) -> Epoch:
    values: dict[str, Any] = {"eta": 0.0}
    for column in fields(Epoch):
        if column.name == "eta":
            continue
        text = row[column.name]
        if column.name == "best":
            values[column.name] = text == "True"
        elif column.name in ("epoch", "epochs"):
            values[column.name] = int(text)
        else:
            values[column.name] = float(text) if text else None
    return Epoch(**values)
