"""Time and memory of opening large pictures, beside the libraries alone: each in a fresh process, all in one run.

    python tests/bench/opening.py [--folder FOLDER]

Files are made in the folder, by default a temporary one (3 GB), and kept where one is named.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FILES = {
    "40000 x 40000 pyramid, RGB, JPEG tiles": "pyramid.tif",
    "16384 x 16384 PNG, RGB": "large.png",
    "3000 x 4000 TIFF, 16 bit": "deep.tif",
}


def make(folder: Path) -> None:
    """Write the files that are not there yet."""
    import tifffile
    from PIL import Image

    rng = np.random.default_rng(0)
    if not (folder / "deep.tif").is_file():
        tifffile.imwrite(folder / "deep.tif", rng.integers(0, 2**12, (3000, 4000), dtype=np.uint16))
    if not (folder / "large.png").is_file():
        tile = (np.add.outer(np.arange(256), np.arange(256)) // 2).astype(np.uint8)
        Image.fromarray(np.dstack([np.tile(tile, (64, 64))] * 3)).save(folder / "large.png", compress_level=1)
    if not (folder / "pyramid.tif").is_file():
        tile = rng.integers(90, 160, (250, 250, 3), dtype=np.uint8)
        with tifffile.TiffWriter(folder / "pyramid.tif", bigtiff=True) as writer:
            for side in (40_000, 20_000, 10_000, 5_000):
                level = np.broadcast_to(tile[None, :, None], (side // 250, 250, side // 250, 250, 3))
                writer.write(
                    level.reshape(side, side, 3),
                    tile=(512, 512),
                    photometric="rgb",
                    compression="jpeg",
                    subfiletype=int(side < 40_000),
                    metadata=None,
                )


def open_one(path: Path, reader: str) -> None:
    """Open a file and print seconds, peak memory of this process and of its children in MB, and the size read."""
    sizes: tuple[int, ...]
    if reader == "ours":
        from napari_medvlsm.core.io.images import read_image
    else:
        import tifffile
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if reader == "ours":
        sizes = read_image(path).pixels.shape
    elif path.suffix == ".png":
        sizes = np.asarray(Image.open(path)).shape
    else:
        with tifffile.TiffFile(path) as tiff:
            # The same level as ours: of the whole of a pyramid neither can make an array here.
            page = next(p for p in tiff.pages if p.shape[0] * p.shape[1] <= 2**28)
            sizes = page.asarray(maxworkers=4).shape
    seconds = time.perf_counter() - start
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if reader == "ours":
        from napari_medvlsm.core.io.pictures import child

        child._decoder.end()
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"s": seconds, "mb": (here - before) / 1024, "child": others / 1024, "size": sizes}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", nargs=2)
    options = parser.parse_args()
    if options.one:
        open_one(Path(options.one[0]), options.one[1])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        print("| file | read | ours | library alone | ours: memory here + decoding process | library: memory |")
        print("|---|---|---:|---:|---:|---:|")
        for title, name in FILES.items():
            found = {}
            for reader in ("library", "ours"):
                runs = []
                for _ in range(3):
                    command = [sys.executable, __file__, "--one", str(folder / name), reader]
                    runs.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
                found[reader] = min(runs, key=lambda run: run["s"])
            ours, theirs = found["ours"], found["library"]
            print(
                f"| {title} | {ours['size'][1]} x {ours['size'][0]} | {ours['s']:.2f} s | {theirs['s']:.2f} s | "
                f"{ours['mb']:.0f} + {ours['child']:.0f} MB | {theirs['mb']:.0f} MB |"
            )


if __name__ == "__main__":
    main()
