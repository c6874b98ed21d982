"""Make `napari_medvlsm/data/replay`: the scans that ship with the starter, against forgetting.

    python tests/bench/make_replay.py DATA

Of the two sets of the starter's training that may be passed on (CC0): 24 scans each that it was trained on, and 12 each
of its validation, drawn by seed and evenly over the kinds of scans, with the longest side brought to 256 pixels.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from medvlsm_training.recipes import load_recipe
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.datasets.reader import read_source
from napari_medvlsm.core.prompts import load_vocabulary

OUT = Path(__file__).parents[2] / "napari_medvlsm" / "data" / "replay"
COUNTS = {"train": 24, "val": 12}
SIDE, QUALITY, SEED = 256, 85, 1


def kind_of(item: Item, folder: Path) -> str:
    """Benign, malignant or normal; or the kind of microscopy."""
    table = folder / "kinds.csv"
    if not table.is_file():
        return item.image.stem.rpartition("_")[2]
    with table.open(encoding="utf-8", newline="") as file:
        return {row["image"]: row["kind"] for row in csv.DictReader(file)}[item.image.name]


def drawn(items: list[Item], folder: Path, count: int) -> list[Item]:
    """Some of the items, in turn of every kind."""
    kinds: dict[str, list[Item]] = defaultdict(list)
    for place in np.random.default_rng(SEED).permutation(len(items)):
        kinds[kind_of(items[place], folder)].append(items[place])
    turns = [item for turn in range(len(items)) for kind in sorted(kinds) for item in kinds[kind][turn : turn + 1]]
    return turns[:count]


def small(pixels: np.ndarray, resample: Image.Resampling) -> Image.Image:
    picture = Image.fromarray(pixels)
    factor = min(1.0, SIDE / max(picture.size))
    size = tuple(max(1, round(factor * side)) for side in picture.size)
    return picture.resize(size, resample) if factor < 1 else picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the data sets busi and dsb2018_nuclei")
    options = parser.parse_args()
    vocabulary = load_vocabulary()
    for source in load_recipe("starter").sources:
        if source.licence != "CC0" or source.folder not in ("busi", "dsb2018_nuclei"):
            continue
        folder, out = options.data / source.folder, OUT / source.folder
        found = read_source(options.data, source, vocabulary)
        rows = []
        for part in ("images", "masks", "splits"):
            (out / part).mkdir(parents=True, exist_ok=True)
        for split, count in COUNTS.items():
            chosen = drawn(found[split], folder, count)
            for item in chosen:
                ((target, mask),) = item.masks.items()
                image, png = f"{item.image.stem}.jpg", f"{item.image.stem}.png"
                small(item.load_image(), Image.Resampling.LANCZOS).save(out / "images" / image, quality=QUALITY)
                plane = small(mask.load().astype(np.uint8) * 255, Image.Resampling.BOX)
                plane.point(lambda value: 255 * (value > 127)).convert("1").save(out / "masks" / png, optimize=True)
                rows.append((image, png, target))
            names = "".join(f"{item.image.stem}.jpg\n" for item in chosen)
            (out / "splits" / f"{split}.txt").write_text(names, "utf-8")
        with (out / "targets.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("image", "mask", "target"), *rows])
        info = {
            "title": f"{source.name}, a few scans",
            "licence": source.licence,
            "modality": source.modality,
            "citation": source.citation,
        }
        (out / "dataset.yaml").write_text(yaml.safe_dump(info, sort_keys=False, allow_unicode=True), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
