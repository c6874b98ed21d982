"""How large a picture may be. All axes, samples and types are counted before anything is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_medvlsm.core.images import MAX_BYTES, MAX_PIXELS, MAX_SIDE, check_extent

__all__ = ["CHILD_MEMORY", "MAX_BYTES", "MAX_DIRECTORIES", "MAX_PIXELS", "MAX_SECONDS", "MAX_SIDE", "check_extent"]

# A file that takes longer is given up.
MAX_SECONDS = 20.0
# Address space of the process that decodes: the pixels twice, and the libraries. Windows has no such limit; there the
# counts above hold, and a decoder that takes more than they say is bounded by `MAX_SECONDS` alone.
CHILD_MEMORY = 3 * MAX_BYTES
# Pages of a TIFF file; a chain that is longer is taken for a damaged one.
MAX_DIRECTORIES = 2**14


def check_stack(planes: int, rows: int, cols: int, samples: int, bits: Sequence[int] | int) -> None:
    """Raise ValueError with a sentence, unless a stack of planes may be decoded.

    Parameters
    ----------
    planes, rows, cols, samples : int
    bits : int or sequence of int
        Of a sample.
    """
    widest = bits if isinstance(bits, int) else max(bits, default=8)
    itemsize = max(1, 2 ** math.ceil(math.log2(max(widest, 1) / 8))) if widest > 8 else 1
    check_extent((planes, rows, cols, samples), itemsize)
