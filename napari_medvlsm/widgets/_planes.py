"""Which pixels of an image layer are worked on, seen by shape and type; lazy ones are read beside the window.

Of a pyramid it is the finest level that may be opened; answers and corrections then lie at that level's size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image

from napari_medvlsm.core.images import AnyArray, check_extent, content_hash

# Pixels of one plane, and their `content_hash` where it was found beside the window, else "".
Plane = tuple[AnyArray, str]
Read = Callable[[Image, Any, tuple[int, ...]], Plane]


def working_data(layer: Image) -> Any:
    """The array that is worked on: the layer's own, or the finest level of a pyramid that is within the limits."""
    if not layer.multiscale:
        return layer.data
    return next((level for level in layer.data if not _too_large(layer, level)), layer.data[0])


def check_size(layer: Image, data: Any) -> None:
    """Raise ValueError with a sentence if a plane of `data` is larger than may be opened. Reads no pixel."""
    if words := _too_large(layer, data):
        raise ValueError(f"“{layer.name}” {words}.")


def _too_large(layer: Image, data: Any) -> str:
    shape = data.shape[-3:] if layer.rgb else (*data.shape[-2:], 1)
    try:
        check_extent((1, int(shape[0]), int(shape[1]), int(shape[2])), np.dtype(data.dtype).itemsize)
    except ValueError as error:
        return str(error)
    return ""


def factors(layer: Image) -> tuple[float, ...]:
    """How many pixels of the layer's finest level one of the worked-on level is long, by axis (without colours)."""
    full = layer.data[0] if layer.multiscale else layer.data
    return tuple(float(n) / float(m) for n, m in zip(full.shape, working_data(layer).shape, strict=True))[: layer.ndim]


def is_lazy(data: Any) -> bool:
    """Whether reading pixels may take long: dask, zarr and arrays on the disk."""
    return not isinstance(data, np.ndarray) or isinstance(data, np.memmap)


def read_now(layer: Image, data: Any, index: tuple[int, ...]) -> Plane:
    """One plane, read at once."""
    return np.asarray(data[index]), ""


class PlaneReader:
    """Reads and hashes planes of lazy arrays in the background; meanwhile asking for them raises a sentence.

    Parameters
    ----------
    run : callable
        Takes a function, and two more for its result and its error; see `_workers.Background.run`.
    ready : callable
        Called when a plane has come and can be asked for again.
    """

    def __init__(self, run: Callable[..., None], ready: Callable[[], None]) -> None:
        self._run, self._ready = run, ready
        self._wanted: tuple[object, ...] | None = None
        self._found: Plane | Exception | None = None

    def __call__(self, layer: Image, data: Any, index: tuple[int, ...]) -> Plane:
        """One plane.

        Raises
        ------
        ValueError
            With a sentence, while it is being read, or if it cannot be.
        """
        if not is_lazy(data):
            return read_now(layer, data, index)
        key = (layer.unique_id, id(data), index)
        if key != self._wanted:
            self._wanted, self._found = key, None
            layer.events.data.connect(self._forget)
            self._run(partial(_read, data, index), partial(self._take, key), partial(self._take, key))
        if self._found is None:
            raise ValueError(f"Reading “{layer.name}”…")
        if isinstance(self._found, Exception):
            raise ValueError(f"“{layer.name}” cannot be read ({self._found}).") from self._found
        return self._found

    def _take(self, key: tuple[object, ...], found: Plane | Exception) -> None:
        if key == self._wanted:  # else another plane is in view by now
            self._found = found
            self._ready()

    def _forget(self, event: Any = None) -> None:
        self._wanted = self._found = None


def _read(data: Any, index: tuple[int, ...]) -> Plane:
    pixels = np.asarray(data[index])
    return pixels, content_hash(pixels)
