"""What kind of file it is, from its first bytes. The name of a file says nothing here."""

from __future__ import annotations

import stat
from pathlib import Path

PNG, JPEG, BMP, GIF, TIFF = "PNG", "JPEG", "BMP", "GIF", "TIFF"
READABLE = (PNG, JPEG, BMP, GIF, TIFF)
# What a name claims. A file that is something else is refused with a sentence where its turn comes, not passed over.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
# Enough for a DICOM file's preamble and its first elements.
HEAD_BYTES = 512

_READABLE_STARTS = {
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
}
# Kinds that people try, to be named in the refusal.
_OTHER_STARTS = {
    b"%!PS": "a PostScript file",
    b"\xc5\xd0\xd3\xc6": "a PostScript file",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"NRRD": "an NRRD volume",
    b"ObjectType": "a MetaImage volume",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"8BPS": "a Photoshop document",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
    b"version https://git-lfs": "a placeholder of git-lfs instead of the file itself",
}
DICOM = "a DICOM file"
NAMED_SO = "a file with a picture's name"
# The groups that a DICOM data set without preamble may begin with: file meta information and identification.
_FIRST_GROUPS = (2, 8)
_VALUE_KINDS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def read_head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises
    ------
    ValueError
        With one sentence, if there is no such file, or it is no regular one, empty, or cannot be opened.
    """
    name = display_name(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ValueError(f"There is no file {name}.") from None
    except OSError as error:  # a link to itself, a name too long, a forbidden folder
        raise ValueError(f"{name} cannot be opened ({error.strerror or error}).") from None
    except ValueError:  # a zero byte in the name
        raise ValueError(f"There is no file {name}.") from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"There is no file {name}; it is a folder or a device.")
    if found.st_size == 0:
        raise ValueError(f"{name} is empty (0 bytes); copy it again from where it came.")
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise ValueError(f"{name} cannot be opened ({error.strerror or error}).") from None


def display_name(path: Path) -> str:
    """A file's name for sentences: on one line, with nothing that a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path.name) or "?"


def format_of(head: bytes) -> str:
    """One of `READABLE`, or "" for another kind of file, also for DICOM with a picture's beginning in its preamble."""
    if head[128:132] == b"DICM":
        return ""
    for start, kind in _READABLE_STARTS.items():
        if head.startswith(start):
            return kind
    # "BM" alone begins many texts: the size of its header has to be a known one, too.
    if head.startswith(b"BM") and head[14:18] in {n.to_bytes(4, "little") for n in (12, 16, 40, 52, 56, 64, 108, 124)}:
        return BMP
    return ""


def other_kind(head: bytes) -> str:
    """What a file is that is none of `READABLE`, in words such as "a DICOM file"; "" if unknown."""
    if is_dicom(head):
        return DICOM
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") or head[344:348] in (b"n+1\0", b"ni1\0"):
        return "a NIfTI volume"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture"
    if head[4:8] == b"ftyp":
        return "a HEIC or AVIF picture" if head[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "a film"
    return next((words for start, words in _OTHER_STARTS.items() if head.lstrip().startswith(start)), "")


def is_dicom(head: bytes) -> bool:
    """Whether a file is DICOM: its preamble, or the first element of a data set without one.

    Without preamble the data set begins with an element of a low group, whose value has a known kind (explicit) or a
    short length (implicit), in either byte order.
    """
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))  # type: ignore[arg-type]
        if group not in _FIRST_GROUPS or element > 0x20:
            continue
        length = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
        if head[4:6] in _VALUE_KINDS or (length <= 64 and length % 2 == 0):
            return True
    return False


def refusal(path: Path, head: bytes) -> str:
    """Why a file of another kind is not opened, as one sentence."""
    kind = other_kind(head)
    said = f"is {kind}, which is not opened here" if kind else "is broken or is no image of a kind that is opened here"
    do = "export the picture as PNG or TIFF" if kind == DICOM else "save the scan as one of these and open that"
    return f"{display_name(path)} {said} (PNG, JPEG, BMP, GIF and TIFF are); {do}."


def kind_of(path: Path) -> str:
    """What a file is to somebody who looks for scans, from its first bytes.

    Returns
    -------
    str
        One of `READABLE`; `DICOM`, also where only the name says so; `NAMED_SO` for a file with a picture's name that
        is none, or cannot be read, so that its refusal tells why; "" for anything else.
    """
    try:
        head = read_head(path)
    except ValueError:
        head = b""
    if kind := format_of(head):
        return kind
    suffix = path.suffix.lower()
    if is_dicom(head) or suffix in DICOM_SUFFIXES or path.name.upper() == "DICOMDIR":
        return DICOM
    return NAMED_SO if suffix in SUFFIXES else ""
