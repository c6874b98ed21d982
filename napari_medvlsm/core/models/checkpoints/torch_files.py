"""Tensors out of the files of `torch.save`, without running the pickle inside them.

Read by `pickle_reader`, which calls nothing; every number about a tensor is checked against the file before it is used.

Why not `torch.load(weights_only=True)` with inert stand-ins for `get_unsafe_globals_in_checkpoint` (tried with torch
2.14): it refuses files from before torch 1.6, pickle protocols above 2 and every name in `os` and `sys`, takes a tensor
of 16 TB out of 8 bytes (steps of zero), and a key of nested tuples hangs it or ends the process.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, Protocol, Self

import torch
from torch import Tensor

from napari_medvlsm.core.models.checkpoints.pickle_reader import LONGEST, Pickle, Storage, StoredTensor, read_pickle

# Axes that torch can give a tensor.
_MOST_AXES = 64
# Tensors may share numbers (tied weights do, two or three names for one); many that overlap would take for ever to look
# through. So many times the numbers of the file are handed out in all.
_MOST_SHARED = 16
# The first pickle of a file in the form before torch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class TorchFile:
    """What a file of `torch.save` holds.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    content : object
        Plain containers and values, with `StoredTensor` for tensors and `Inert` for everything else.
    unknown : tuple of str
        Names of the classes and functions that became `Inert`.

    Raises
    ------
    ValueError
        If it is no such file, or a damaged one; one sentence.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[tuple[str, str], Tensor] = {}
        try:
            self._size = path.stat().st_size
            # Entries of an archive may overlap, too: all storages together are no larger than the file.
            self._unread, self._unshared = self._size, _MOST_SHARED * self._size
            with path.open("rb") as file:
                archive = file.read(4) == b"PK\3\4"
            self._source: _Source = _Archive(path) if archive else _Legacy(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        self.content = self._source.pickle.content
        self.unknown = self._source.pickle.unknown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Read one tensor.

        Raises
        ------
        ValueError
            If its numbers are not all in the file.
        """
        try:
            storage = _check_layout(stored)
            key = storage.key, storage.type
            if key not in self._read:
                self._unread -= storage.numel * _dtype(storage).itemsize
                if self._unread < 0:
                    raise ValueError("its numbers are more than the file holds")
                self._read[key] = self._source.numbers(storage)
            numbers = self._read[key]
            first = storage.first + stored.first
            if _last(stored, first) >= len(numbers):
                raise ValueError("a tensor reaches beyond the numbers that are there")
            # Steps of zero show a number any number of times; what copies such a tensor would fill the memory.
            if math.prod(stored.shape) > len(numbers):
                raise ValueError("a tensor claims more numbers than are stored for it")
            self._unshared -= math.prod(stored.shape) * numbers.element_size()
            if self._unshared < 0:
                raise ValueError("too many tensors share the same numbers")
            try:
                return torch.as_strided(numbers, stored.shape, stored.strides, first)
            except (RuntimeError, TypeError, OverflowError) as error:  # sizes that torch cannot count
                raise ValueError("a tensor has no valid shape") from error
        except ValueError as error:
            raise ValueError(f"{self._path} cannot be read: {error}; copy it again.") from error


class _Source(Protocol):
    pickle: Pickle

    def numbers(self, storage: Storage) -> Tensor:
        """All numbers of a storage."""

    def close(self) -> None:
        """Close the file."""


class _Archive:
    """A zip archive with one pickle and one entry for each storage (torch 1.6 and later)."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # whatever a foreign file may bring about
            raise ValueError(f"it is no complete archive ({error}); copy it again.") from error
        try:
            self._open()
        except ValueError:
            self.close()
            raise

    def _open(self) -> None:
        names = self._zip.namelist()
        if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
            raise ValueError(
                "it is a TorchScript archive, which is a program; a state dict or a .safetensors file is needed."
            )
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("it is an archive, but not one of torch.save.")
        self._root = pickles[0].removesuffix("data.pkl")
        if f"{self._root}byteorder" in names and self._entry("byteorder", 16) != b"little":
            raise ValueError("its numbers are stored with the high byte first, which is not supported.")
        self.pickle = _unpickle(io.BytesIO(self._entry("data.pkl", LONGEST)))

    def close(self) -> None:
        self._zip.close()

    def numbers(self, storage: Storage) -> Tensor:
        raw = self._entry(f"data/{storage.key}", storage.numel * _dtype(storage).itemsize, exact=True)
        return _numbers(raw, storage)

    def _entry(self, name: str, size: int, exact: bool = False) -> bytes:
        """An entry of at most, or exactly, so many bytes; torch compresses none, so none can outgrow the file."""
        try:
            info = self._zip.getinfo(self._root + name)
            compressed = info.compress_type != zipfile.ZIP_STORED
            if not compressed and info.file_size <= size and (info.file_size == size or not exact):
                return self._zip.read(info)
        except Exception as error:  # whatever a foreign file may bring about
            raise ValueError(f"the entry {name} is missing or damaged") from error
        raise ValueError(f"the entry {name} has {info.file_size} bytes where {size} are announced, or is compressed")


class _Legacy:
    """Five pickles one after the other, then the storages, each with its length before it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty.")
        with path.open("rb") as file:
            magic = _unpickle(file, "it is no file of torch.save and no .safetensors file.").content
            if magic != _LEGACY_MAGIC or _unpickle(file).content != _LEGACY_PROTOCOL:
                raise ValueError("it is a pickle, but not one of torch.save.")
            system = _unpickle(file).content
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise ValueError("its numbers are stored with the high byte first, which is not supported.")
            self.pickle = _unpickle(file)
            keys = _unpickle(file).content
            self._places: dict[str, tuple[int, int]] = {}
            for key in keys if isinstance(keys, list) else []:
                storage = self.pickle.storages.get(str(key))
                head = file.read(8)
                if storage is None or len(head) < 8:
                    raise ValueError("it ends too early; copy it again.")
                (count,) = struct.unpack("<q", head)
                place, width = file.tell(), _dtype(storage).itemsize
                if count < 0 or place + count * width > size:
                    raise ValueError("it ends too early; copy it again.")
                self._places[str(key)] = place, count
                file.seek(count * width, io.SEEK_CUR)

    def close(self) -> None:
        pass  # opened for each read

    def numbers(self, storage: Storage) -> Tensor:
        place, count = self._places.get(storage.key, (0, 0))
        if count != storage.numel:
            raise ValueError(f"{storage.numel} numbers are announced where {count} are stored")
        with self._path.open("rb") as file:
            file.seek(place)
            raw = file.read(count * _dtype(storage).itemsize)
        return _numbers(raw, storage)


def _unpickle(file: BinaryIO, otherwise: str = "it is damaged or no file of torch.save.") -> Pickle:
    """One pickle from where the file stands to its end."""
    try:
        return read_pickle(file)
    except ValueError as error:
        raise ValueError(otherwise) from error


def _dtype(storage: Storage) -> torch.dtype:
    if storage.type not in _DTYPES:
        raise ValueError(f"numbers of the type {storage.type!r} are not known")
    return _DTYPES[storage.type]


def _numbers(raw: bytes, storage: Storage) -> Tensor:
    dtype = _dtype(storage)
    return torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)


def _check_layout(stored: StoredTensor) -> Storage:
    storage, sizes = stored.storage, (stored.shape, stored.strides)
    if not (
        isinstance(storage, Storage)
        and all(isinstance(numbers, tuple) and len(numbers) <= _MOST_AXES for numbers in sizes)
        and len(stored.shape) == len(stored.strides)
        and all(_is_count(n) for n in (*stored.shape, *stored.strides, stored.first, storage.first))
    ):
        raise ValueError(f"a tensor has no valid shape of at most {_MOST_AXES} axes")
    return storage


def _is_count(n: object) -> bool:
    return type(n) is int and 0 <= n < 2**63


def _last(stored: StoredTensor, first: int) -> int:
    """Index of the last number that a tensor reads; -1 if it is empty."""
    if math.prod(stored.shape) == 0:
        return -1
    return first + sum((size - 1) * stride for size, stride in zip(stored.shape, stored.strides, strict=True))
