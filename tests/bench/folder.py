"""Folders of scans, as ratios within one run: one by one, in batches, and again when all is done.

The ways take turns, and the median of the ratios within a turn is told with their range: what else the computer does
at the time changes them all.

Usage: python tests/bench/folder.py [starter|clipseg ...]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

SCANS = {"starter": 32, "clipseg": 8}
SIZES = (1, 4, 8)
TURNS = 5


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def scans(folder: Path, count: int) -> list[Path]:
    """Smooth colour images of 768 x 576 pixels, as JPEG."""
    rng = np.random.default_rng(0)
    paths = [folder / f"scan{i:03}.jpg" for i in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((768, 576), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def clipseg(folder: Path) -> str:
    """A model folder of CLIPSeg rd64 at true size with random weights."""
    import torch
    from transformers import CLIPSegForImageSegmentation

    from medvlsm_training.tokenizer import build_tokenizer, clip_merges
    from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg, published_config
    from napari_medvlsm.core.models.store.card import ModelCard, write_card

    torch.manual_seed(0)
    tokenizer = build_tokenizer(clip_merges())
    model = CLIPSeg(CLIPSegForImageSegmentation(published_config()), tokenizer, CLIPSeg.default_preprocessing(352))
    model.save(folder)
    write_card(ModelCard("clipseg", "CLIPSeg", "clipseg"), folder)
    return str(folder)


def measure(name: str, folder: Path) -> None:
    """Outline a folder in every way."""
    from napari_medvlsm.core.annotation import Annotation
    from napari_medvlsm.core.bulk.run import PredictionRequest, Sharing, segment_folder
    from napari_medvlsm.core.devices import device_name, pick_device
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.io.labels import save_mask
    from napari_medvlsm.core.kept_base import load_segmenter
    from napari_medvlsm.core.models.store.registry import find_model
    from napari_medvlsm.core.prompts import free_text, load_vocabulary

    model = clipseg(folder / "clipseg") if name == "clipseg" else name
    question = PredictionRequest(find_model(model), (free_text("polyp", load_vocabulary()),))
    paths = scans(folder, SCANS[name])
    names = {path: (f"{path.stem}.tif",) for path in paths}

    def plainly() -> None:
        segmenter = load_segmenter(model)
        (folder / "plain").mkdir(exist_ok=True)
        for path in paths:
            scan = read_scan(path)
            segmenter.set_image(scan)
            (prediction,) = segmenter.segment("polyp")
            save_mask(folder / "plain" / names[path][0], Annotation("polyp", prediction.mask()))

    def outline(size: int, again: bool = True) -> None:
        segment_folder(names, folder / "out", question, Sharing(size), again=again)

    ways = {"a plain loop": plainly}
    ways |= {f"batches of {size}": partial(outline, size) for size in SIZES}
    ways["again, all done"] = partial(outline, 1, again=False)
    plainly()  # what is imported and compiled once
    outline(1)
    turns = [{way: seconds(work) for way, work in ways.items()} for _ in range(TURNS)]
    plain = [turn["a plain loop"] for turn in turns]
    print(f"{name}, {len(paths)} scans of 768 x 576, {device_name(pick_device())}: a plain loop {median(plain):.2f} s")
    for way in ways:
        ratios = [turn[way] / turn["a plain loop"] for turn in turns]
        print(f"  {way}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of the plain loop", flush=True)


if __name__ == "__main__":
    for model in sys.argv[1:] or SCANS:
        with tempfile.TemporaryDirectory() as place:
            measure(model, Path(place))
