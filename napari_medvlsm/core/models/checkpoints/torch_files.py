"""Tensors out of the files of `torch.save`, without running the pickle inside them.

`torch.load(weights_only=True)` refuses the checkpoints of the reference: they hold a `functools.partial` and a loss.
Here no name of a pickle is ever imported. The few that make tensors become records that are read later, with every
number checked against the file; all others become `Inert`, which takes anything and does nothing. So there is nothing
that a pickle could call, and nothing outside of it that it could change.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import torch
from torch import Tensor

# The first pickle of a file in the form before torch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# A pickle holds names and numbers, the tensors lie beside it: that of a large model has some hundred kB and some
# hundred thousand opcodes. More would only fill the memory.
_LONGEST_PICKLE, _MOST_OPCODES = 16 * 2**20, 2_000_000
# Opcodes that look a name up without asking `find_class` (the registry of `copyreg`).
_REGISTRY = ("EXT1", "EXT2", "EXT4")

_STORAGES = {
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


class Inert:
    """Stands for every class and function of a pickle, and for the objects made of them."""

    __slots__ = ()

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Take any arguments."""
        return object.__new__(cls)

    def __call__(self, *args: Any, **options: Any) -> Inert:
        """Do nothing."""
        return Inert()

    def __setstate__(self, state: Any) -> None:
        """Keep nothing; without this method a pickle could set attributes."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep nothing."""

    def append(self, value: Any) -> None:
        """Keep nothing."""

    extend = add = append


class Storage(Inert):
    """A run of numbers in the file."""

    __slots__ = ("dtype", "first", "key", "numel")

    key: str
    dtype: torch.dtype
    numel: int
    first: int

    def __new__(cls, key: Any = "", dtype: Any = None, numel: Any = 0, first: Any = 0, *_: Any) -> Storage:
        """Whatever the pickle says; checked when it is read."""
        made: Storage = object.__new__(cls)
        made.key, made.dtype, made.numel, made.first = key, dtype, numel, first
        return made


class StoredTensor(Inert):
    """A tensor in the file: where its numbers lie, and how."""

    __slots__ = ("first", "shape", "storage", "strides")

    storage: Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __new__(cls, storage: Any = None, first: Any = 0, shape: Any = (), strides: Any = (), *_: Any) -> StoredTensor:
        """Whatever the pickle says; checked when it is read."""
        made: StoredTensor = object.__new__(cls)
        made.storage, made.first, made.shape, made.strides = storage, first, shape, strides
        return made


class _Parameter(Inert):
    __slots__ = ()

    def __new__(cls, data: Any = None, *_: Any) -> Any:
        return data


class _Dictionary(dict[Any, Any]):
    """An ordered dictionary, whose attributes (`_metadata`) are not kept."""

    def __setstate__(self, state: Any) -> None:
        """Keep nothing."""


_KNOWN: Mapping[str, type] = {
    "collections.OrderedDict": _Dictionary,
    "torch._utils._rebuild_tensor": StoredTensor,
    "torch._utils._rebuild_tensor_v2": StoredTensor,
    "torch._utils._rebuild_parameter": _Parameter,
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
        self._read: dict[tuple[str, torch.dtype], Tensor] = {}
        try:
            with path.open("rb") as file:
                archive = file.read(4) == b"PK\3\4"
            self._source: _Source = _Archive(path) if archive else _Legacy(path)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        self.content = self._source.content
        self.unknown = tuple(sorted(self._source.unknown))

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
            storage = stored.storage
            _check_layout(stored)
            place = storage.key, storage.dtype
            if place not in self._read:
                self._read[place] = self._source.numbers(storage)
            numbers = self._read[place]
            if _last(stored) >= len(numbers):
                raise ValueError("a tensor reaches beyond the numbers that are there")
            # Steps of zero show a number any number of times; what copies such a tensor would fill the memory.
            if math.prod(stored.shape) > len(numbers):
                raise ValueError("a tensor claims more numbers than are stored for it")
            try:
                return torch.as_strided(numbers, stored.shape, stored.strides, storage.first + stored.first)
            except (RuntimeError, TypeError, OverflowError) as error:  # sizes that torch cannot count
                raise ValueError("a tensor has no valid shape") from error
        except ValueError as error:
            raise ValueError(f"{self._path} cannot be read: {error}; copy it again.") from error


class _Source(Protocol):
    content: object
    unknown: set[str]

    def numbers(self, storage: Storage) -> Tensor:
        """All numbers of a storage."""

    def close(self) -> None:
        """Let go of the file."""


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
        self.content, self.unknown = _unpickle(io.BytesIO(self._entry("data.pkl", _LONGEST_PICKLE)))

    def close(self) -> None:
        self._zip.close()

    def numbers(self, storage: Storage) -> Tensor:
        raw = self._entry(f"data/{storage.key}", storage.numel * storage.dtype.itemsize, exact=True)
        return torch.frombuffer(bytearray(raw), dtype=storage.dtype) if raw else torch.empty(0, dtype=storage.dtype)

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
            magic, _ = _unpickle(file, "it is no file of torch.save and no .safetensors file.")
            if magic != _LEGACY_MAGIC or _unpickle(file)[0] != _LEGACY_PROTOCOL:
                raise ValueError("it is a pickle, but not one of torch.save.")
            system, _ = _unpickle(file)
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise ValueError("its numbers are stored with the high byte first, which is not supported.")
            self.content, self.unknown, storages = _unpickle_with_storages(file)
            keys, _ = _unpickle(file)
            self._places: dict[str, tuple[int, int]] = {}
            for key in keys if isinstance(keys, list) else []:
                storage = storages.get(str(key))
                head = file.read(8)
                if storage is None or len(head) < 8:
                    raise ValueError("it ends too early; copy it again.")
                (count,) = struct.unpack("<q", head)
                place = file.tell()
                if count < 0 or place + count * storage.dtype.itemsize > size:
                    raise ValueError("it ends too early; copy it again.")
                self._places[str(key)] = place, count
                file.seek(count * storage.dtype.itemsize, io.SEEK_CUR)

    def close(self) -> None:
        pass  # opened for each read

    def numbers(self, storage: Storage) -> Tensor:
        place, count = self._places.get(storage.key, (0, 0))
        if count != storage.numel:
            raise ValueError(f"{storage.numel} numbers are announced where {count} are stored")
        with self._path.open("rb") as file:
            file.seek(place)
            raw = file.read(count * storage.dtype.itemsize)
        return torch.frombuffer(bytearray(raw), dtype=storage.dtype) if raw else torch.empty(0, dtype=storage.dtype)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.unknown: set[str] = set()
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Import nothing, whatever the name."""
        full = f"{module}.{name}"
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if full not in _KNOWN:
            self.unknown.add(full)
        return _KNOWN.get(full, Inert)

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", type, key, device, length[, view]); anything else is inert."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            return Inert()
        _, dtype, key, _, numel, *view = pid
        if not isinstance(dtype, torch.dtype) or type(numel) is not int or numel < 0:
            raise pickle.UnpicklingError("a storage of no known type")
        # A view (torch before 0.4) is a part of another storage: (its own key, first number, length).
        first = view[0][1] if view and view[0] is not None else 0
        made = Storage(str(key), dtype, numel, first)
        self.storages.setdefault(made.key, made)
        return made


def _unpickle(file: BinaryIO, otherwise: str = "it is damaged or no file of torch.save.") -> tuple[Any, set[str]]:
    content, unknown, _ = _unpickle_with_storages(file, otherwise)
    return content, unknown


def _unpickle_with_storages(
    file: BinaryIO, otherwise: str = "it is damaged or no file of torch.save."
) -> tuple[Any, set[str], dict[str, Storage]]:
    """One pickle from where the file stands to its end."""
    start = file.tell()
    try:
        _check_opcodes(file)
        end = file.tell()
        file.seek(start)
        unpickler = _Unpickler(io.BytesIO(file.read(end - start)))
        return unpickler.load(), unpickler.unknown, unpickler.storages
    except Exception as error:  # whatever a foreign file may bring about
        raise ValueError(otherwise) from error


def _check_opcodes(file: BinaryIO) -> None:
    """Read to the end of a pickle, refusing what would take memory or look names up before anything is made of it."""
    start = file.tell()
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count > _MOST_OPCODES or file.tell() - start > _LONGEST_PICKLE:
            raise ValueError("too long")
        if opcode.name in _REGISTRY:
            raise ValueError("a name from the registry")
        # The table of remembered objects grows to the largest number in use.
        if opcode.name.endswith("PUT") and int(argument) > count:
            raise ValueError("a remembered object out of turn")


def _check_layout(stored: StoredTensor) -> None:
    storage = stored.storage
    numbers = stored.shape, stored.strides
    if not (
        isinstance(storage, Storage)
        and all(isinstance(sizes, tuple) and all(type(n) is int and n >= 0 for n in sizes) for sizes in numbers)
        and len(stored.shape) == len(stored.strides)
        and all(type(n) is int and n >= 0 for n in (stored.first, storage.first))
    ):
        raise ValueError("a tensor has no valid shape")


def _last(stored: StoredTensor) -> int:
    """Index of the last number that a tensor reads; -1 if it is empty."""
    if math.prod(stored.shape) == 0:
        return -1
    reach = sum((size - 1) * stride for size, stride in zip(stored.shape, stored.strides, strict=True))
    return stored.storage.first + stored.first + reach
