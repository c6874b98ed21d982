"""The structure of a TIFF file: its pages and their tags, read with bounds of our own and without decoding.

A decoder that follows a damaged chain of directories can do so for ever; here no directory is read twice, and what lies
outside of the file is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from napari_medvlsm.core.io.pictures.limits import MAX_DIRECTORIES

# Tag numbers of TIFF 6.0, its supplements, and GDAL.
NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
DESCRIPTION, SOFTWARE, ORIENTATION, SAMPLES_PER_PIXEL, PLANAR_CONFIGURATION = 270, 305, 274, 277, 284
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
STRIP_OFFSETS, STRIP_BYTE_COUNTS, ROWS_PER_STRIP = 273, 279, 278
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS = 322, 323, 324, 325
COLOR_MAP, SUB_IFDS, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, YCBCR_SUBSAMPLING = 320, 330, 332, 338, 339, 530
IMAGE_DEPTH, GDAL_NODATA = 32997, 42113

_NEEDED = frozenset(
    {
        *(NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, DESCRIPTION),
        *(SOFTWARE, ORIENTATION, SAMPLES_PER_PIXEL, PLANAR_CONFIGURATION, X_RESOLUTION, Y_RESOLUTION),
        *(RESOLUTION_UNIT, STRIP_OFFSETS, STRIP_BYTE_COUNTS, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS),
        *(TILE_BYTE_COUNTS, COLOR_MAP, SUB_IFDS, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, YCBCR_SUBSAMPLING),
        *(IMAGE_DEPTH, GDAL_NODATA),
    }
)
# Without these the picture can be read all the same.
_SPARE = frozenset({DESCRIPTION, SOFTWARE, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, GDAL_NODATA, SUB_IFDS})
# Bytes and struct code by TIFF type; rationals are two integers.
_TYPES = {
    **{1: (1, "B"), 2: (1, "s"), 3: (2, "H"), 4: (4, "I"), 5: (8, "II"), 6: (1, "b"), 7: (1, "B"), 8: (2, "h")},
    **{9: (4, "i"), 10: (8, "ii"), 11: (4, "f"), 12: (8, "d"), 13: (4, "I"), 16: (8, "Q"), 17: (8, "q"), 18: (8, "Q")},
}
_MAX_TAGS = 512
# Of all pages together: each is looked at in Python.
_MAX_ALL_TAGS = 2**20
# Bytes of one value: offsets of a very large slide's tiles, or a long description.
_MAX_VALUE = 2**26
# All values of all directories together, so that many of them cannot name the same bytes again and again.
_MAX_VALUES = 2**27

Value = tuple[int, ...] | tuple[float, ...] | str


class DamagedTiff(ValueError):
    """The structure of a TIFF file contradicts itself."""


@dataclass(frozen=True, eq=False)
class Directory:
    """One page of a TIFF file.

    Attributes
    ----------
    offset : int
        Of the directory in the file, in bytes.
    tags : mapping of tag number to its values, or to text
        Those of this module alone.
    """

    offset: int
    tags: Mapping[int, Value]

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        value = self.tags.get(tag, ())
        return int(value[0]) if value and not isinstance(value, str) else default

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All values of a tag."""
        value = self.tags.get(tag, ())
        return () if isinstance(value, str) else tuple(int(v) for v in value)

    def text(self, tag: int) -> str:
        """The text of a tag; "" without it."""
        value = self.tags.get(tag, "")
        return value if isinstance(value, str) else ""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) as stored."""
        return self.number(LENGTH), self.number(WIDTH)

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.number(SAMPLES_PER_PIXEL, 1)

    @property
    def bits(self) -> tuple[int, ...]:
        """Of each sample."""
        return self.numbers(BITS_PER_SAMPLE) or (1,)

    @property
    def reduced(self) -> bool:
        """Whether the page is tagged as a smaller copy of another, or as a mask of transparency."""
        return bool(self.number(NEW_SUBFILE_TYPE) & 0b101) or self.number(SUBFILE_TYPE) == 2

    @property
    def kind(self) -> tuple[object, ...]:
        """What pages of one stack have in common."""
        fields = (BITS_PER_SAMPLE, SAMPLE_FORMAT, PHOTOMETRIC)
        return (self.shape, self.samples, *(self.numbers(f) for f in fields), self.number(ORIENTATION, 1))


def read_directories(file: BinaryIO, size: int) -> list[Directory]:
    """The pages of a TIFF file, in order.

    Parameters
    ----------
    file : binary file
    size : int
        Of the file, in bytes.

    Raises
    ------
    DamagedTiff
        With words that follow the file's name, if the chain of pages is too long, returns to itself or leaves the
        file.
    """
    reader = _Reader(file, size)
    offset = reader.first()
    found: list[Directory] = []
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise DamagedTiff("is damaged: its list of pages returns to itself")
        if len(found) == MAX_DIRECTORIES:
            raise DamagedTiff(f"is damaged, or has more than the {MAX_DIRECTORIES} pages that can be opened")
        seen.add(offset)
        directory, offset = reader.directory(offset)
        found.append(directory)
    if not found:
        raise DamagedTiff("is damaged: it holds no page")
    return found


def first_directory(file: BinaryIO, size: int, every_tag: bool = False) -> Directory:
    """The first page alone, with `every_tag` also those of its tags that say nothing of the pixels.

    Other parameters and errors are those of `read_directories`.
    """
    reader = _Reader(file, size, every_tag)
    return reader.directory(reader.first())[0]


def sub_directories(file: BinaryIO, size: int, of: Directory) -> list[Directory]:
    """The pages that hang on another one, such as smaller copies of it; those that are damaged are left out."""
    reader = _Reader(file, size)
    reader.first()
    found = []
    for offset in of.numbers(SUB_IFDS)[:64]:
        try:
            found.append(reader.directory(offset)[0])
        except DamagedTiff:
            continue
    return found


class _Reader:
    def __init__(self, file: BinaryIO, size: int, every_tag: bool = False) -> None:
        self._file, self._size, self._every_tag = file, size, every_tag
        self._order = "<"
        self._big = False
        self._values = self._tags = 0

    def first(self) -> int:
        """Read the header; the offset of the first directory."""
        head = self._at(0, 8)
        self._order = "<" if head[:2] == b"II" else ">"
        (version,) = struct.unpack(f"{self._order}H", head[2:4])
        self._big = version == 43
        if not self._big:
            return int(struct.unpack(f"{self._order}I", head[4:8])[0])
        return int(struct.unpack(f"{self._order}Q", self._at(8, 8))[0])

    def directory(self, offset: int) -> tuple[Directory, int]:
        """(the directory at an offset, the offset of the next or 0)."""
        width, code, entry = (8, "Q", 20) if self._big else (2, "H", 12)
        (count,) = struct.unpack(self._order + code, self._at(offset, width))
        if count > _MAX_TAGS:
            raise DamagedTiff(f"is damaged: one of its pages claims {count} tags")
        self._tags += count
        if self._tags > _MAX_ALL_TAGS:
            raise DamagedTiff(f"is damaged: its pages claim more than {_MAX_ALL_TAGS} tags")
        raw = self._at(offset + width, count * entry)
        tags: dict[int, Value] = {}
        for i in range(count):
            tag, value = self._tag(raw[i * entry : (i + 1) * entry])
            if value is not None:
                tags.setdefault(tag, value)
        after, link = offset + width + count * entry, "Q" if self._big else "I"
        try:
            (following,) = struct.unpack(self._order + link, self._at(after, struct.calcsize(link)))
        except DamagedTiff:  # some writers leave the last link out
            following = 0
        return Directory(offset, tags), int(following)

    def _tag(self, raw: bytes) -> tuple[int, Value | None]:
        tag, kind, count = struct.unpack(f"{self._order}HH{'Q' if self._big else 'I'}", raw[: 12 if self._big else 8])
        inline = raw[12 if self._big else 8 :]
        if kind not in _TYPES:
            if tag in _NEEDED - _SPARE:
                raise DamagedTiff(f"is damaged: its tag {tag} has the unknown type {kind}")
            return tag, None
        size, code = _TYPES[kind]
        length = size * count
        if length > len(inline):
            (at,) = struct.unpack(self._order + ("Q" if self._big else "I"), inline)
            if at + length > self._size:
                if tag in _NEEDED - _SPARE:
                    raise DamagedTiff("is cut off, or damaged: a part of its tables is missing")
                return tag, None
            # Foreign tags are counted too: the decoder reads them.
            self._values += length
            if length > _MAX_VALUE or self._values > _MAX_VALUES:
                raise DamagedTiff(f"is damaged: its tag {tag} claims {count} values")
            if tag not in _NEEDED and not self._every_tag:
                return tag, None
            inline = self._at(at, length)
        if tag not in _NEEDED and not self._every_tag:
            return tag, None
        if code == "s":
            return tag, inline[:length].split(b"\0", 1)[0].decode("utf-8", "replace")
        values = struct.unpack(f"{self._order}{count * len(code)}{code[0]}", inline[:length])
        return tag, values

    def _at(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise DamagedTiff("is cut off, or damaged: it refers to places behind its end")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise DamagedTiff("is cut off, or damaged: it ends too early")
        return data
