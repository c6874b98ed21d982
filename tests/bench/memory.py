"""Peak memory beyond the model while a large scan is segmented, in bytes of the image. Linux only.

Usage: python tests/bench/memory.py [CASE ...]   (each case in a process of its own)

"Beyond the model" is the peak of the resident memory less what was resident when the model was loaded and had
answered once about a small scan; the image itself and the answer at its size are therefore part of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SIDE = 8192
GREY_16, COLOUR_8 = ("16-bit grey", np.uint16, 2**16, ()), ("8-bit colour", np.uint8, 2**8, (3,))


def resident(field: str) -> int:
    """A line of /proc/self/status, in bytes: VmRSS now, VmHWM the peak."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def measure(name: str) -> None:
    """Run one case in this process and print its line."""
    import torch

    from napari_medvlsm.core.inference import Segmenter

    torch.set_num_threads(2)
    model, (kind, dtype, values, channels), work = CASES[name]
    segmenter = model()
    rng = np.random.default_rng(0)
    segmenter.set_image(rng.integers(0, 256, (512, 512), dtype=np.uint8))
    segmenter.segment("skin melanoma")
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    image = rng.integers(0, values, (SIDE, SIDE, *channels), dtype=dtype)
    start = time.perf_counter()
    work(segmenter, image)
    seconds = time.perf_counter() - start
    beyond = resident("VmHWM") - before
    assert isinstance(segmenter, Segmenter)
    print(
        f"{name:<28} {kind:<13} {image.nbytes / 2**20:5.0f} MiB image, peak {beyond / 2**20:5.0f} MiB beyond the "
        f"model: {beyond / image.nbytes:.2f} times the image, {seconds:.1f} s",
        flush=True,
    )


def starter():
    """The shipped model."""
    from napari_medvlsm.core.kept_base import load_segmenter

    return load_segmenter(device="cpu")


def true_size(family: str):
    """A family at true size with random weights."""
    from models import build

    from napari_medvlsm.core.inference import Segmenter
    from napari_medvlsm.core.models.store.card import ModelCard

    return Segmenter(build(family), ModelCard("x", "x", family), device="cpu")


def whole(segmenter, image):
    """The whole image at the model's resolution, and the mask."""
    segmenter.set_image(image)
    (prediction,) = segmenter.segment("skin melanoma")
    prediction.mask()


def rectangle(segmenter, image):
    """A quarter of the image."""
    segmenter.set_image(image, encode=False)
    segmenter.segment("skin melanoma", region=(2048, 2048, 6144, 6144))


def tiles(segmenter, image):
    """Tiles of 1024 pixels with an overlap of a quarter: 121 of them."""
    segmenter.set_image(image, encode=False)
    segmenter.segment_tiled("skin melanoma", tile=1024)


def native_tiles(segmenter, image):
    """Tiles at native resolution in the upper eighth of the image."""
    segmenter.set_image(image, encode=False)
    segmenter.segment_tiled("skin melanoma", region=(0, 0, 1024, SIDE))


CASES: dict[str, tuple[Callable, tuple, Callable]] = {
    "starter, whole": (starter, GREY_16, whole),
    "starter, rectangle": (starter, GREY_16, rectangle),
    "starter, tiles of 1024": (starter, GREY_16, tiles),
    "starter, native tiles": (starter, GREY_16, native_tiles),
    "starter, whole, colour": (starter, COLOUR_8, whole),
    "clipseg, whole": (lambda: true_size("clipseg"), GREY_16, whole),
    "cris, whole": (lambda: true_size("cris"), GREY_16, whole),
    "biomedclipseg, whole": (lambda: true_size("biomedclipseg"), GREY_16, whole),
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        measure(sys.argv[2])
    else:
        for case in sys.argv[1:] or CASES:
            command = [sys.executable, __file__, "--here", case]
            subprocess.run(command, check=True, env=os.environ | {"TOKENIZERS_PARALLELISM": "false"})
