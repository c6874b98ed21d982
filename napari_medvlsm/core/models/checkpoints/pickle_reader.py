"""What a pickle describes, without making any of it: nothing is imported, called, or given attributes. No torch.

`pickletools` of the standard library reads the opcodes; here they fill plain containers. The few names that stand for
tensors become records, all others `Inert`. Dictionaries keep keys that are texts or integers, since hashing a tuple of
tuples can take for ever or overflow the stack; and no opcode costs more than the values that other opcodes pushed for
it, so that the time is bounded by the file's length.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

# A pickle holds names and numbers, the tensors lie beside it: that of a large model has some hundred kB and some
# hundred thousand opcodes. More would only fill the memory.
LONGEST, _MOST_OPCODES = 16 * 2**20, 2_000_000
# Letters of the name of a class, arguments of a call, and pairs from which dictionaries are made: a memoised value can
# be used again and again, each time by an opcode of two bytes.
_LONGEST_NAME, _MOST_ARGUMENTS, _MOST_PAIRS = 1000, 16, 1_000_000

_MARK = object()
_KEYS = (str, int)


@dataclass(frozen=True, eq=False)
class Inert:
    """Stands for a class or function of a pickle, and for whatever is made by it."""


@dataclass(frozen=True, eq=False)
class _Name(Inert):
    """A class or function, as its module and name."""

    full: str


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of numbers in the file, as the pickle describes it: `type` such as "FloatStorage", and its length."""

    type: str
    key: str
    numel: int
    first: Any = 0


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in the file: where its numbers lie, and how. Whatever the pickle says; to be checked before use."""

    storage: Any
    first: Any
    shape: Any
    strides: Any


@dataclass(frozen=True, eq=False)
class Pickle:
    """A pickle's content.

    Attributes
    ----------
    content : object
        Plain containers and values, with `StoredTensor` for tensors and `Inert` for everything else. Sets are lists.
    unknown : tuple of str
        Names of the classes and functions that became `Inert`.
    storages : mapping of str to Storage
        By key.
    """

    content: Any
    unknown: tuple[str, ...]
    storages: Mapping[str, Storage]


def read_pickle(file: BinaryIO) -> Pickle:
    """Read one pickle from where the file stands; afterwards the file stands behind it.

    Raises
    ------
    ValueError
        If it is damaged, too long, or holds what pickles of `torch.save` do not.
    """
    start = file.tell()
    # Bounded, since an opcode may claim any length.
    data = io.BytesIO(file.read(LONGEST))
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > _MOST_OPCODES:
                raise ValueError("too many opcodes")
            machine.step(opcode.name, argument)
        (content,) = machine.stack
    except Exception as error:  # whatever a foreign file may bring about
        raise ValueError(f"not a readable pickle ({error})") from error
    file.seek(start + data.tell())
    return Pickle(content, tuple(sorted(machine.unknown)), machine.storages)


@dataclass
class _Machine:
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)
    pairs: int = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one opcode."""
        stack = self.stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PROTO", "FRAME", "STOP"):
            pass
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._to_mark()
        elif name in ("GLOBAL", "INST"):
            # The arguments of INST, which makes an object at once, are left aside.
            inert = self._global(*argument.split(" ", 1))
            if name == "INST":
                self._to_mark()
            stack.append(inert if name == "GLOBAL" else Inert())
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._global(module, attribute))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(_values(stack[-count:], count))]
        elif name in _COLLECTED:
            stack.append(_COLLECTED[name](self._to_mark()))
        elif name == "APPEND":
            value = stack.pop()
            _extend(stack[-1], [value])
        elif name in ("APPENDS", "ADDITEMS"):
            values = self._to_mark()
            _extend(stack[-1], values)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _update(stack[-1], [key, value])
        elif name == "SETITEMS":
            values = self._to_mark()
            _update(stack[-1], values)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, maker = stack.pop(), stack.pop()
            stack.append(self._made(maker, arguments))
        elif name == "NEWOBJ_EX":
            _, arguments, maker = stack.pop(), stack.pop(), stack.pop()
            stack.append(self._made(maker, arguments))
        elif name == "BUILD":
            # The state of an object: nothing is kept of it.
            stack.pop()
            if not isinstance(stack[-1], Inert | StoredTensor | dict):
                raise ValueError("a state for something that has none")
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        else:
            # PERSID and the registry of `copyreg` (EXT1, ...) among them.
            raise ValueError(f"the opcode {name} is not expected")

    def _to_mark(self) -> list[Any]:
        """What was pushed since the last mark, which goes too."""
        for start in reversed(range(len(self.stack))):
            if self.stack[start] is _MARK:
                values = self.stack[start + 1 :]
                del self.stack[start:]
                return values
        raise ValueError("a mark is missing")

    def _global(self, module: Any, name: Any) -> Inert:
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > _LONGEST_NAME:
            raise ValueError("a name that is no text, or too long")
        found = _Name(f"{module}.{name}")
        if found.full not in _KNOWN and not _is_storage(found.full):
            self.unknown.add(found.full)
        return found

    def _storage(self, pid: Any) -> Storage | Inert:
        """A storage: ("storage", type, key, device, length[, view]); anything else is inert."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            return Inert()
        _, kind, key, _, numel, *view = pid
        known = isinstance(kind, _Name) and _is_storage(kind.full)
        if not known or not isinstance(key, str | int) or type(numel) is not int or numel < 0:
            raise ValueError("a storage of no known type")
        # A view (torch before 0.4) is a part of another storage: (its own key, first number, length).
        first = view[0][1] if view and view[0] is not None else 0
        storage = Storage(kind.full.rpartition(".")[2], str(key), numel, first)
        self.storages.setdefault(storage.key, storage)
        return storage

    def _made(self, maker: Any, arguments: Any) -> Any:
        if not isinstance(maker, Inert) or not isinstance(arguments, tuple):
            raise ValueError("a call of what cannot be called")
        make = _KNOWN.get(maker.full) if isinstance(maker, _Name) else None
        if make is None:
            return Inert()
        if len(arguments) > _MOST_ARGUMENTS:
            raise ValueError("a call with too many arguments")
        self.pairs += len(arguments[0]) if arguments and isinstance(arguments[0], list | tuple) else 0
        if self.pairs > _MOST_PAIRS:
            raise ValueError("too many entries")
        return make(*arguments)


def _is_storage(full: str) -> bool:
    module, _, name = full.rpartition(".")
    return module in ("torch", "torch.storage") and name.endswith("Storage")


def _values(found: list[Any], count: int) -> list[Any]:
    if len(found) != count or any(value is _MARK for value in found):
        raise ValueError("values are missing")
    return found


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(values)
    elif not isinstance(target, Inert):
        raise ValueError("an entry for what has none")


def _update(target: Any, pairs: list[Any]) -> None:
    if isinstance(target, dict):
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(key, _KEYS):
                target[key] = value
    elif not isinstance(target, Inert):
        raise ValueError("an entry for what has none")


def _dict_of(values: list[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    _update(made, values)
    return made


def _ordered(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    """An ordered dictionary; from pairs in Python 2."""
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("entries that are no pairs")
    return _dict_of([part for pair in pairs for part in pair])


def _tensor(storage: Any, first: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    return StoredTensor(storage, first, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_KNOWN: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
# Opcodes whose argument is the value.
_PUSHES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8".split()
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
    "MARK": lambda: _MARK,
}
# Opcodes that take all values since the last mark. OBJ makes an object of a class and arguments.
_COLLECTED: Mapping[str, Callable[[list[Any]], Any]] = {
    "TUPLE": tuple,
    "LIST": list,
    "FROZENSET": list,
    "DICT": _dict_of,
    "OBJ": lambda _: Inert(),
}
