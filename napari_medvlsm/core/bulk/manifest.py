"""`manifest.csv`: what was asked and answered about each scan, a row for each mask. Imports no torch.

A row is appended, flushed and synced once its mask lies in the folder, so that a kill loses what was in progress and
nothing else; a last line that was torn does not count. Where several processes share the work, the first writes to
`manifest.csv` and the others to `manifest.1.csv` and so on, until `tidy` makes one file of them.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from napari_medvlsm.core.io.atomic import replacing

MANIFEST_FILE = "manifest.csv"
DONE, FAILED = "done", "failed"
_PART = re.compile(r"manifest\.(\d+)\.csv")

#: A row as it is read: texts by column, "" where nothing is known.
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One scan. What is not known, or was not reached, is None or empty.

    Attributes
    ----------
    output : str
        Name of the mask in the manifest's folder; there is one row for each.
    source : str
        Path of the scan, relative to the manifest's folder where they are on one drive.
    status : str
        "done" or "failed".
    message : str
        Why it failed, in a sentence; of a mask, that the scan probably does not show what was asked for.
    prompt : str
    model, weights : str
        Name, and SHA-256 of the weights (of an adapter, together with the identity of its base).
    threshold : float
        Certainty from 0 to 1.
    looked_at : str
        "the whole scan", or tiles and rectangle as JSON.
    anyway : bool
        Whether what the scan probably does not show was outlined all the same.
    scan_hash : str
        Of the pixels (type, shape and values); see `images.content_hash`.
    rows, columns : int
        Of the scan and its mask.
    row_mm, column_mm : float
        Spacing of the pixels, where the scan's file states it.
    area_px : int
        Pixels outlined.
    area_mm2 : float
        The same area, where the spacing is known.
    device, precision : str
        What it was computed on and in.
    seconds : float
        Of computing and writing; those of a batch are shared evenly.
    software, finished : str
        Version of this program, and when (ISO 8601, UTC).
    """

    output: str
    source: str
    status: str
    message: str
    prompt: str
    model: str
    weights: str
    threshold: float
    looked_at: str
    anyway: bool = False
    scan_hash: str = ""
    rows: int | None = None
    columns: int | None = None
    row_mm: float | None = None
    column_mm: float | None = None
    area_px: int | None = None
    area_mm2: float | None = None
    device: str = ""
    precision: str = ""
    seconds: float | None = None
    software: str = ""
    finished: str = ""

    def texts(self) -> dict[str, str]:
        """As written and read back; numbers to the last digit."""
        return {name: "" if value is None else str(value) for name, value in asdict(self).items()}


COLUMNS = tuple(field.name for field in fields(Row))
# What a mask depends on. Not the device, and the precision only where one is asked for: see `is_done`.
_ASKED = ("prompt", "weights", "threshold", "looked_at", "scan_hash", "row_mm", "column_mm")


def is_done(found: Texts | None, wanted: Row, precision: str | None) -> bool:
    """Whether a row that was found tells of the mask that is wanted.

    Parameters
    ----------
    found : mapping, optional
    wanted : Row
    precision : str, optional
        None where any will do.
    """
    if found is None or found["status"] != DONE or precision not in (None, found["precision"]):
        return False
    texts = wanted.texts()
    if found["message"] and found["anyway"] != texts["anyway"]:
        return False
    return all(found[name] == texts[name] for name in _ASKED)


class ManifestWriter:
    """Appends rows to one process's part of the manifest.

    Parameters
    ----------
    folder : Path
        Of the masks.
    process : int
        Number of the process, from 0.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        path = folder / (f"manifest.{process}.csv" if process else MANIFEST_FILE)
        # As file names are: bytes that are no UTF-8 survive.
        self._file = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        self._rows = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        if not self._file.tell():
            self._rows.writeheader()

    def add(self, row: Row) -> None:
        """Write a row to the disk."""
        self._rows.writerow(row.texts())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing can be added any more."""
        self._file.close()


def read_manifest(folder: Path) -> dict[str, Texts]:
    """The rows of a folder by output, those of several processes together; {} where there is no manifest.

    Raises
    ------
    ValueError
        If `manifest.csv` is of something else.
    """
    return {row["output"]: row for path in _files(folder) for row in _read(path)}


def tidy(folder: Path) -> dict[str, Texts]:
    """Make one file of the parts, without torn lines and rows that newer ones replace; returns its rows.

    No process may be writing to the manifest.

    Raises
    ------
    ValueError
        If `manifest.csv` is of something else, which is left as it is.
    OSError
        If the folder cannot be written.
    """
    files, rows = _files(folder), read_manifest(folder)
    if files:
        with (
            replacing(folder / MANIFEST_FILE) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[output] for output in sorted(rows))
        for path in files:
            if path.name != MANIFEST_FILE:
                path.unlink(missing_ok=True)
    return rows


def _files(folder: Path) -> list[Path]:
    """The manifest, and after it the parts of other processes, which are never older."""
    whole = folder / MANIFEST_FILE
    found = folder.iterdir() if folder.is_dir() else ()
    parts = [path for path in found if _PART.fullmatch(path.name)]
    return [*([whole] if whole.is_file() else []), *sorted(parts)]


def _read(path: Path) -> Iterator[Texts]:
    content = path.read_bytes()
    # Only a line with its end was written completely.
    lines = content[: content.rfind(b"\n") + 1].decode("utf-8", "surrogateescape")
    reader = csv.DictReader(io.StringIO(lines, newline=""))
    if lines and not {"output", "status", *_ASKED} <= set(reader.fieldnames or ()):
        raise ValueError(
            f"{path} is no manifest of masks (its first line names other columns); move it away, or choose another "
            "folder with --out."
        )
    for row in reader:
        # Rows of another length were torn in the middle of a file, by a full disk for instance.
        if None not in row and None not in row.values():
            yield {name: row.get(name, "") for name in COLUMNS}
