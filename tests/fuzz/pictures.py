"""Pictures and masks: files of every kind that the program opens, and some that it does not, slightly wrong."""

import io
import random
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.fuzz.mutate import damaged, png_with, tiff_with

SUFFIXES = (".png", ".jpg", ".tif", ".bmp")


def make(folder: Path, rng: random.Random, mask: bool) -> Path:
    """Write one file and return its path."""
    bases = _bases(mask)
    name = rng.choice(sorted(bases))
    data = bases[name]
    what = rng.random()
    if what < 0.1:
        pass
    elif what < 0.3 and name.startswith("png"):
        data = png_with(data, rng)
    elif what < 0.45 and name.startswith("tif"):
        data = tiff_with(data, rng)
    elif what < 0.5:
        other = bases[rng.choice(sorted(bases))]
        data = data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    else:
        data = damaged(rng, data)
    suffix = rng.choice(SUFFIXES) if rng.random() < 0.1 else f".{name[:3]}"
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    return path


@cache
def _bases(mask: bool) -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:61, :83]
    grey = (rng.integers(0, 90, (61, 83)) + 120 * ((y - 30) ** 2 + (x - 40) ** 2 < 400)).astype(np.uint8)
    if mask:
        grey = ((grey > 120) * 255).astype(np.uint8)
    colour = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    wide = grey.astype(np.uint16) * 200
    made = {}
    pillow = {
        "png grey": ("PNG", grey, "L", {}),
        "png colour": ("PNG", colour, "RGB", {}),
        "png palette": ("PNG", grey, "P", {}),
        "png two": ("PNG", grey > 120, "1", {}),
        "png alpha": ("PNG", np.dstack([colour, grey]), "RGBA", {}),
        "png wide": ("PNG", wide, "I;16", {}),
        "png interlaced text": ("PNG", grey, "L", {"dpi": (72, 72)}),
        "jpg grey": ("JPEG", grey, "L", {}),
        "jpg colour": ("JPEG", colour, "RGB", {"quality": 70}),
        "jpg turned": ("JPEG", colour, "RGB", {"exif": _turned()}),
        "jpg progressive": ("JPEG", colour, "RGB", {"progressive": True}),
        "jpg ink": ("JPEG", np.dstack([colour, grey]), "CMYK", {}),
        "bmp grey": ("BMP", grey, "L", {}),
        "bmp colour": ("BMP", colour, "RGB", {}),
        "tif ink": ("TIFF", np.dstack([colour, grey]), "CMYK", {}),
        "tif two": ("TIFF", grey > 120, "1", {}),
        "tif palette": ("TIFF", grey, "P", {}),
    }
    for name, (form, pixels, mode, more) in pillow.items():
        out = io.BytesIO()
        size = pixels.shape[1::-1]
        if mode == "1":
            image = Image.fromarray(pixels.astype(np.uint8) * 255).convert("1")
        elif mode == "P":
            image = Image.fromarray(pixels).convert("P")
        elif mode == "I;16":
            image = Image.frombytes("I;16", size, pixels.astype("<u2").tobytes())
        else:
            image = Image.frombytes(mode, size, np.ascontiguousarray(pixels).tobytes())
        image.save(out, form, **more)
        made[name] = out.getvalue()
    tiffs = {
        "tif grey": (grey, {}),
        "tif wide": (wide, {}),
        "tif float": (grey.astype(np.float32) / 255, {}),
        "tif colour": (colour, {"photometric": "rgb"}),
        "tif planes": (colour.transpose(2, 0, 1).copy(), {"photometric": "rgb", "planarconfig": "separate"}),
        "tif deflate": (grey, {"compression": "zlib"}),
        "tif predicted": (wide, {"compression": "zlib", "predictor": True}),
        "tif tiles": (grey, {"tile": (32, 32)}),
        "tif pages": (np.stack([grey, grey]), {}),
        "tif ome": (grey, {"ome": True}),
        "tif big": (grey, {"bigtiff": True}),
        "tif motorola": (wide, {"byteorder": ">"}),
    }
    for name, (pixels, more) in tiffs.items():
        out = io.BytesIO()
        writer = {key: more.pop(key) for key in ("ome", "bigtiff", "byteorder") if key in more}
        with tifffile.TiffWriter(out, **writer) as tiff:
            tiff.write(pixels, **({} if "photometric" in more else {"photometric": "minisblack"}), **more)
        made[name] = out.getvalue()
    return made


def _turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return exif.tobytes()
