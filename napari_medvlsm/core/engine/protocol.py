"""The protocol of the pipe: a length, a JSON header, and arrays as plain bytes.

Frame: 4 bytes (big-endian length of the header), the header (UTF-8 JSON object, whose key "arrays"
lists type and shape of what follows), then the bytes of each array in C order. Nothing is pickled.

Requests, each with a number "id":

- ``{"op": "prepare", "model": folder, "image": key}`` loads and encodes ahead of time
- ``{"op": "segment", ..., "prompts": [text, ...], "size": [rows, cols] or null}`` the same, then answers, at the
  scan's own size or the one given; with ``"region": [row0, col0, row1, col1]`` looks inside that rectangle alone, and
  with ``"tiles": {"side": pixels or null, "overlap": fraction}`` at overlapping tiles (then without a size)
- ``{"op": "cancel", "id": number}``

Both may carry "device" and "precision", by default "auto", and a "choice", which counts how often a person chose them:
others than those of the request before move the model.
A request carries the pixels as its array when the engine does not hold that image yet.

Answers, with the request's "id": "progress" (a "text", and for tiles the "fraction" that is done), "done" (one uint8
probability array for each prompt), "failed" (a "message" for the user), "cancelled", "missing" (to be sent again with
the pixels). Without an id: once "ready" ("devices", a list of the fields of `core.options.Device`, the one chosen by
"auto" first; its title as "device" and its best "precision"), then "running" (the "device" in words and the "precision"
that the model now computes on and in, and its "weights_hash") whenever these change, once more after the first answer
in a lower precision with the "difference" (the largest of a probability from that in float32), and "notice" (a "text"
for the user).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Message = dict[str, Any]
_HEADER_LIMIT = 2**24


def write_frame(stream: IO[bytes], message: Message, arrays: Sequence[Array] = ()) -> None:
    """Write one frame and flush."""
    contiguous = [np.ascontiguousarray(a) for a in arrays]
    listed = [{"dtype": a.dtype.str, "shape": list(a.shape)} for a in contiguous]
    header = json.dumps(message | {"arrays": listed}).encode()
    stream.write(struct.pack(">I", len(header)) + header)
    for array in contiguous:
        stream.write(array.data.cast("B") if array.size else b"")
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[Message, list[Array]]:
    """Read one frame.

    Raises
    ------
    EOFError
        If the stream ends, also in the middle of a frame.
    ValueError
        If the bytes are not a frame.
    """
    (length,) = struct.unpack(">I", _read(stream, 4))
    if length > _HEADER_LIMIT:
        raise ValueError(f"A header of {length} bytes is no frame of this protocol.")
    message = json.loads(_read(stream, length))
    arrays = []
    for entry in message.pop("arrays"):
        dtype = np.dtype(entry["dtype"])
        if dtype.hasobject:
            raise ValueError("Arrays of Python objects are not allowed.")
        raw = _read(stream, dtype.itemsize * math.prod(entry["shape"]))
        arrays.append(np.frombuffer(raw, dtype).reshape(entry["shape"]))
    return message, arrays


def _read(stream: IO[bytes], length: int) -> bytearray:
    buffer = bytearray(length)
    view = memoryview(buffer)
    done = 0
    while done < length:
        # `readinto` exists on every binary stream that is used here; typing calls it only on the raw ones.
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("The other end of the pipe is closed.")
        done += count
    return buffer
