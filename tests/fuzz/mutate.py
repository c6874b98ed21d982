"""Changes of bytes and of plain values, each fully determined by the generator that is given."""

import random
import struct
import zlib

# Where counters, sizes and signs break.
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000, 65, 1 << 20)
# Plain values that no reader expects.
VALUES = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf")),
    *(
        "",
        " ",
        "x",
        "\n",
        "a\nb",
        "\u2028",
        "\ud83d\ude00",
        "../x",
        "/",
        "\x00",
        "%s%n",
        "{0}",
        "[]",
        "=1+1",
        "nan",
        "1e999",
    ),
    *("x" * 300, "9" * 5000, "y" * 70_000),
    *([], {}, [[]], [None], {"": ""}, ["a", 1], {"a": {"b": {"c": 1}}}, [1] * 1000),
)


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes with one to three faults, most of them small and anywhere."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not raw:
            return b""
        at = rng.randrange(len(raw))
        what = rng.random()
        if what < 0.45:
            raw[at] = rng.randrange(256)
        elif what < 0.55:
            raw[rng.randrange(min(len(raw), 200))] = rng.randrange(256)
        elif what < 0.65:
            width = rng.choice("BHIQ")
            number = rng.choice(EXTREMES) & (2 ** (8 * struct.calcsize(width)) - 1)
            raw[at : at + struct.calcsize(width)] = struct.pack(rng.choice("<>") + width, number)
        elif what < 0.75:
            del raw[at:]
        elif what < 0.82:
            del raw[at : at + rng.randrange(1, 40)]
        elif what < 0.9:
            raw[at:at] = rng.randbytes(rng.randrange(1, 40))
        else:
            start = rng.randrange(len(raw))
            raw[at:at] = raw[start : start + rng.randrange(1, 200)]
    return bytes(raw)


def png_with(data: bytes, rng: random.Random) -> bytes:
    """A PNG with another number in its head, and a checksum that agrees."""
    head = bytearray(data[16:29])
    at = rng.choice((0, 4, 8, 9, 12))
    if at < 8:
        head[at : at + 4] = struct.pack(">I", rng.choice((0, 1, 7, 50_000, 2**20, 2**31 - 1, 2**31)))
    else:
        head[at] = rng.randrange(20)
    return data[:16] + bytes(head) + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[33:]


def tiff_with(data: bytes, rng: random.Random) -> bytes:
    """A classic TIFF with one field of one entry of its first directory changed, or the next directory's place."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return damaged(rng, data)
    order = "<" if data[:2] == b"II" else ">"
    raw = bytearray(data)
    (start,) = struct.unpack_from(f"{order}I", raw, 4)
    (count,) = struct.unpack_from(f"{order}H", raw, start)
    if rng.random() < 0.15:
        target = rng.choice((start, 8, 0, len(raw) - 1, 2**31, 4))
        struct.pack_into(f"{order}I", raw, start + 2 + 12 * count, target)
        return bytes(raw)
    entry = start + 2 + 12 * rng.randrange(max(1, count))
    place, width = rng.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "H")))
    number = rng.choice((*EXTREMES, *range(2, 20), start, len(raw)))
    struct.pack_into(f"{order}{width}", raw, entry + place, number & (2 ** (8 * struct.calcsize(width)) - 1))
    return bytes(raw)


def changed(rng: random.Random, value: object) -> object:
    """Plain values of JSON with one of them, at any depth, replaced, taken out, doubled, or nested."""
    places: list[tuple[object, object]] = []
    todo = [value]
    while todo and len(places) < 5000:
        part = todo.pop()
        if isinstance(part, dict | list):
            keys = list(part) if isinstance(part, dict) else range(len(part))
            places += [(part, key) for key in keys]
            todo += [part[key] for key in keys]
    if not places or rng.random() < 0.05:
        return rng.choice(VALUES)
    part, key = rng.choice(places)
    what = rng.random()
    if what < 0.6:
        part[key] = rng.choice(VALUES)
    elif what < 0.75:
        del part[key]
    elif what < 0.85 and isinstance(part, list):
        part.append(part[key])
    elif what < 0.92 and isinstance(part, dict):
        part[rng.choice(("x", "../a", "a" * 300, "\n", "_class_"))] = part.pop(key)
    else:
        deep = part[key]
        for _ in range(rng.choice((2, 70, 500))):
            deep = [deep]
        part[key] = deep
    return value
