"""What the files of a model folder may cost: looked at before a library reads them."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from napari_medvlsm.core.plain_files import MOST_BYTES, is_system_file, read_json

# Bytes of each file that is no weights; tokenizers have some MB.
_MOST_BYTES = MOST_BYTES
_WEIGHTS = (".safetensors", ".bin", ".pt", ".ckpt")
# A model is made with random weights, and then gets those of its file: in float32 what may be stored in 16 bits, once
# more while it is read, and buffers beside them. A configuration that asks for much more does not belong to the file.
_TIMES, _BESIDE = 8, 128 * 2**20
# Bytes that count for each tensor, however small: bounds the number of modules, too.
_LEAST = 4096


def check_files(folder: Path) -> None:
    """Refuse a folder whose files would be waited for, or would fill the memory or the stack of what reads them.

    Raises
    ------
    ValueError
        If a file is no regular one, is too large, or is JSON that is damaged or nested too deeply.
    """
    for path in sorted(folder.iterdir()):
        if is_system_file(path) or path.suffix in _WEIGHTS:
            continue
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            continue
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path.name} is no file.")
        if found.st_size > _MOST_BYTES:
            raise ValueError(f"{path.name} holds more than {_MOST_BYTES // 2**20} MB.")
        if path.suffix == ".json" and not isinstance(read_json(path), dict | list):
            raise ValueError(f"{path.name} holds no keys and values.")


@contextmanager
def within_weights(size: int, least: int = 0) -> Iterator[None]:
    """Refuse to make a model that is much larger than its weights, of which there are `size` bytes.

    Parameters
    ----------
    size : int
    least : int
        Bytes that the model may take in any case.

    Raises
    ------
    ValueError
        When tensors are about to be made that together are too large.
    """
    with _Budget(max(_TIMES * size + _BESIDE, least)):
        yield


class _Budget(TorchDispatchMode):
    """Counts what the functions that make tensors are about to make."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._left = most, most

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if count := _COUNTS.get(name):
            dtype = kwargs.get("dtype")
            self._left -= max(_LEAST, count(args) * (dtype.itemsize if dtype else 4))
            if self._left < 0:
                raise ValueError(
                    f"its configuration asks for more than {self._most // 2**20} MB, which do not belong to its weights"
                )
        return func(*args, **kwargs)


def _of_size(args: tuple[Any, ...]) -> int:
    return math.prod(args[0]) if args and isinstance(args[0], Sequence) else 1


def _of_range(args: tuple[Any, ...]) -> int:
    start, end, step = {1: (0, *args, 1), 2: (*args, 1), 3: args}.get(len(args), (0, 1, 1))
    return int(abs((end - start) / (step or 1))) + 1


_COUNTS: Mapping[str, Callable[[tuple[Any, ...]], int]] = {
    **dict.fromkeys(("empty", "zeros", "ones", "full", "rand", "randn", "randint", "empty_strided"), _of_size),
    **dict.fromkeys(("arange", "linspace"), _of_range),
}
