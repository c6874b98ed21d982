"""What was handed over to be opened: files and folders sorted into scans, saved outlines, and what cannot be opened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.io.labels import is_own_mask
from napari_medvlsm.core.io.pictures.formats import DICOM, kind_of
from napari_medvlsm.core.plain_files import is_system_file

_NAMED = 3


@dataclass(frozen=True)
class Listing:
    """Files by what can be done with them, in the order in which they were given; folders in natural order.

    Attributes
    ----------
    scans : tuple of Path
        Pictures by their content, and files with a picture's name; whether they can really be read shows when they are.
    outlines : tuple of Path
        Masks that this program saved.
    dicom : tuple of Path
        By their content, whatever their name, or by their suffix.
    others : tuple of Path
        Anything else that was named one by one; of a folder, what is no picture is passed over.
    missing : tuple of Path
        What is not there.
    empty_folders : tuple of Path
        Folders in which there is nothing to open.
    closed_folders : tuple of Path
        Folders that may not be looked into.
    """

    scans: tuple[Path, ...] = ()
    outlines: tuple[Path, ...] = ()
    dicom: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    empty_folders: tuple[Path, ...] = ()
    closed_folders: tuple[Path, ...] = ()

    @property
    def refused(self) -> str:
        """One sentence that names what is not opened and says what to do; "" if all is."""
        parts = []
        if self.dicom:
            parts.append(dicom_refused(self.dicom))
        if self.missing:
            parts.append(f"{named(self.missing)} {'is' if len(self.missing) == 1 else 'are'} not there any more")
        if self.empty_folders:
            parts.append(f"there are no scans in {named(self.empty_folders)}")
        if self.closed_folders:
            parts.append(f"{named(self.closed_folders)} cannot be looked into: ask for the right to read it")
        text = "; ".join(parts)
        return f"{text.replace('there are', 'There are', 1) if text.startswith('there are') else text}." if text else ""


def list_scans(paths: Iterable[Path]) -> Listing:
    """Sort what was handed over; of folders their files, not those of folders within them.

    Hidden files and those of the operating system are passed over. A file that is reached twice counts once.
    """
    found: dict[str, dict[Path, None]] = {}

    def put(kind: str, path: Path) -> None:
        found.setdefault(kind, {})[path] = None

    for given in paths:
        if given.is_dir():
            before = sum(map(len, found.values()))
            try:
                files = sorted(given.iterdir(), key=natural_key)
            except OSError:
                put("closed_folders", given)
                continue
            for path in files:
                if path.is_file() and not is_system_file(path) and (kind := _kind(path)) != "others":
                    put(kind, path)
            if sum(map(len, found.values())) == before:
                put("empty_folders", given)
        elif not given.exists():
            put("missing", given)
        elif not is_system_file(given):
            put(_kind(given), given)
    return Listing(**{kind: tuple(files) for kind, files in found.items()})


def dicom_refused(paths: Sequence[Path]) -> str:
    """Why DICOM files are not opened, and what to do, without a full stop."""
    what = f"{named(paths)} is a DICOM file" if len(paths) == 1 else f"{named(paths)} are DICOM files"
    return f"{what}, which cannot be opened yet: save the image as PNG or TIFF in the program that shows it"


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts "scan 2" before "scan 10", whatever the case of the letters."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p) for p in parts if p], path.name


def named(paths: Sequence[Path]) -> str:
    """Some names for a sentence: "a.png, b.png and 5 more"."""
    names = [path.name or str(path) for path in paths[:_NAMED]]
    rest = len(paths) - len(names)
    if rest:
        return f"{', '.join(names)} and {rest} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _kind(path: Path) -> str:
    found = kind_of(path)
    if found == DICOM:
        return "dicom"
    if not found:
        return "others"
    return "outlines" if is_own_mask(path) else "scans"
