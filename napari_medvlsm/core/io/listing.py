"""What was handed over to be opened: files and folders sorted into scans, saved outlines, and what cannot be opened."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medvlsm.core.io.images import SUFFIXES
from napari_medvlsm.core.io.labels import is_own_mask

# What operating systems and office programs leave beside files; files with a leading dot are passed over too.
_SYSTEM_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
# Value representations (PS3.5, table 6.2-1) that can stand in the first elements of a DICOM file without preamble.
_FIRST_VRS = frozenset({b"UL", b"OB", b"UI", b"SH", b"AE", b"LO", b"CS", b"DA", b"TM", b"UN"})
# The first four bytes of PNG, JPEG (three), TIFF, BigTIFF and BMP (two) files.
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_NAMED = 3


@dataclass(frozen=True)
class Listing:
    """Files by what can be done with them, in the order in which they were given; folders in natural order.

    Attributes
    ----------
    scans : tuple of Path
        Pictures; whether they can really be read shows when they are.
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
    """

    scans: tuple[Path, ...] = ()
    outlines: tuple[Path, ...] = ()
    dicom: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    empty_folders: tuple[Path, ...] = ()

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
            for path in sorted(given.iterdir(), key=natural_key):
                if path.is_file() and not is_hidden(path) and (kind := _kind(path)) != "others":
                    put(kind, path)
            if sum(map(len, found.values())) == before:
                put("empty_folders", given)
        elif not given.exists():
            put("missing", given)
        elif not is_hidden(given):
            put(_kind(given), given)
    return Listing(**{kind: tuple(files) for kind, files in found.items()})


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its content, with or without the preamble of part 10, or by its suffix."""
    if path.suffix.lower() in _DICOM_SUFFIXES or path.name.upper() == "DICOMDIR":
        return True
    start = _start(path, 132)
    if start[128:132] == b"DICM":
        return True
    group, element = start[:2], start[2:4]
    if group not in (b"\x02\0", b"\x08\0") or len(start) < 8:
        return False
    # Explicit: a value representation; implicit: a length of four bytes, short in the first elements.
    implicit = int.from_bytes(start[4:8], "little")
    return start[4:6] in _FIRST_VRS or (element in (b"\0\0", b"\1\0", b"\5\0", b"\x08\0") and implicit <= 64)


def dicom_refused(paths: Sequence[Path]) -> str:
    """Why DICOM files are not opened, and what to do, without a full stop."""
    what = f"{named(paths)} is a DICOM file" if len(paths) == 1 else f"{named(paths)} are DICOM files"
    return f"{what}, which cannot be opened yet: save the image as PNG or TIFF in the program that shows it"


def is_hidden(path: Path) -> bool:
    """Whether a file is one of those that people do not see: of the operating system, or hidden."""
    name = path.name.lower()
    if name.startswith((".", "~$")) or name in _SYSTEM_NAMES:
        return True
    try:
        attributes = getattr(path.stat(), "st_file_attributes", 0)  # on Windows
    except OSError:
        return False
    return bool(attributes & stat.FILE_ATTRIBUTE_HIDDEN)


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
    if is_dicom(path):
        return "dicom"
    if path.suffix.lower() in SUFFIXES:
        return "outlines" if is_own_mask(path) else "scans"
    return "scans" if _start(path, 4).startswith(_PICTURES) and not path.suffix else "others"


def _start(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb", buffering=0, opener=_not_blocking) as file:
            return file.read(count)
    except OSError:
        return b""


def _not_blocking(path: str, flags: int) -> int:
    # A named pipe would wait for somebody who writes.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
