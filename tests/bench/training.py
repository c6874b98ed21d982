"""Training at true size: images per second of the reference's loop and of ours, as ratios within one run.

Usage: python tests/bench/training.py [--images 16] [--check]

CLIPSeg rd64 with random weights on made scans of 352 x 352 pixels; only the decoder trains. Validation and checkpoints
are left out on both sides. `--check` trains a tiny model instead, with the cache, and without it on the same views, and
compares the Dice of the validation (and with that of another seed).
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lightning.pytorch import Callback
from monai.losses import DiceLoss
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPSegForImageSegmentation

from medvlsm_training import train as training
from medvlsm_training.config import (
    AugmentationConfig,
    CacheConfig,
    ModelConfig,
    OptimizerConfig,
    PromptConfig,
    Recipe,
    SourceConfig,
    TrainerConfig,
)
from medvlsm_training.init import init_from_scratch
from medvlsm_training.models import ClipSegSizes, clipseg_config
from medvlsm_training.tokenizer import build_tokenizer, clip_merges
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg, published_config
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.runs.events import Epoch, Event

SIDE, BATCH = 352, 4
EPOCHS = 4
TURNED = AugmentationConfig(degrees=15, shift=0.08, zoom=(0.8, 1.3), flip=True, brightness=0.25, contrast=0.25)


def made_scans(root: Path, count: int, side: int) -> None:
    """Bright disks on noise as JPEG, their masks as PNG; `count` for training, half as many for validation."""
    rng = np.random.default_rng(0)
    folder = root / "polyps"
    for part in ("images", "masks", "splits"):
        (folder / part).mkdir(parents=True)
    y, x = np.mgrid[:side, :side]
    start = 0
    for split, number in (("train", count), ("val", count // 2), ("test", 1)):
        names = [f"{i}.jpg" for i in range(start, start + number)]
        start += number
        (folder / "splits" / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            row, col = rng.integers(side // 4, 3 * side // 4, 2)
            mask = (y - row) ** 2 + (x - col) ** 2 < (side // 6) ** 2
            noise = rng.integers(0, 80, (side, side, 3)) + 150 * mask[..., None]
            Image.fromarray(noise.astype(np.uint8)).save(folder / "images" / name)
            Image.fromarray(mask.astype(np.uint8) * 255).save((folder / "masks" / name).with_suffix(".png"))


class PlainImages(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pixels (3, S, S) and mask (1, S, S), read by PIL at every access as in the reference."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = (folder / "splits" / "train.txt").read_text().split()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        name = self.names[index]
        image = Image.open(self.folder / "images" / name).convert("RGB").resize((SIDE, SIDE))
        mask = Image.open((self.folder / "masks" / name).with_suffix(".png")).convert("L").resize((SIDE, SIDE))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        return (pixels - 0.5) / 0.25, torch.from_numpy(np.array(mask))[None] / 255


def reference(model: CLIPSeg, folder: Path) -> float:
    """Images per second of the loop as the reference has it, from public parts."""
    net = CLIPSegForImageSegmentation(model.net.config)
    net.load_state_dict(model.net.state_dict())
    net.clip.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    dice, cross = DiceLoss(sigmoid=True), torch.nn.BCEWithLogitsLoss()
    data = PlainImages(folder)
    start = time.perf_counter()
    for pixels, masks in DataLoader(data, BATCH, shuffle=True):
        words = model.tokenizer(["polyp"] * len(pixels), padding=True, return_tensors="pt")
        logits = net(pixel_values=pixels, **words).logits[:, None]
        loss = dice(logits, masks) + cross(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(data) / (time.perf_counter() - start)


class Clock(Callback):
    """Images per second of each epoch's training, without its validation."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._images = 0
        self._start = self._end = 0.0

    def on_train_epoch_start(self, *args: Any) -> None:
        self._images, self._start = 0, time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self._images += len(batch)
        self._end = time.perf_counter()

    def on_train_epoch_end(self, *args: Any) -> None:
        self.rates.append(self._images / (self._end - self._start))


def ours(base: Path, data: Path, run: Path, views: int, epochs: int) -> list[float]:
    """Images per second of each epoch of a run."""
    clock = Clock()
    training.train(recipe(base, SIDE, views, epochs), data, run, callbacks=(clock,))
    return clock.rates


def recipe(base: Path, side: int, views: int, epochs: int) -> Recipe:
    """Half of the prompts are the class name, half have attributes that are read from the mask."""
    source = SourceConfig("polyps", "lists", "endoscopy", "made", "CC0", "none", target="polyp")
    return Recipe(
        name="bench",
        title="Bench",
        summary="",
        licence="CC0",
        sources=(source,),
        model=ModelConfig(base=str(base), trained="decoder", image_size=side),
        prompts=PromptConfig(mix={"p1": 1, "attributes": 1}, validation="p1"),
        augmentation=TURNED,
        optimizer=OptimizerConfig(ema=0.9),
        trainer=TrainerConfig(batch_size=BATCH, max_epochs=epochs),
        cache=CacheConfig(views=views),
    )


def speed(root: Path, images: int) -> None:
    """Print the table."""
    made_scans(root / "data", images, SIDE)
    model = CLIPSeg.from_config(published_config(), build_tokenizer(clip_merges()), SIDE)
    model.save(root / "base")
    write_card(ModelCard(name="base", title="Base", family="clipseg"), root / "base")
    plain = reference(model, root / "data" / "polyps")
    del model
    uncached = ours(root / "base", root / "data", root / "uncached", 0, 1)[0]
    first, *later = ours(root / "base", root / "data", root / "cached", 1, EPOCHS)
    rows = {
        "reference loop": plain,
        "ours, no cache": uncached,
        "ours, cache, epoch 1": first,
        "ours, cache, from epoch 2": statistics.median(later),
    }
    print(f"{images} images, batches of {BATCH}, {torch.get_num_threads()} thread(s)")
    for name, rate in rows.items():
        print(f"{name:28} {rate:7.2f} images/s {1 / rate:7.3f} s/image {rate / plain:7.2f} x")


def check(root: Path) -> None:
    """Print the validation Dice of each epoch with the cache, and with the same views encoded every time."""
    made_scans(root / "data", 32, 64)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(clip_merges())
    sizes = ClipSegSizes(hidden_size=96, layers=6, text_layers=1)
    model = CLIPSeg.from_config(clipseg_config(sizes, tokenizer, 64), tokenizer, 64)
    init_from_scratch(model)
    model.save(root / "base")
    write_card(ModelCard(name="base", title="Base", family="clipseg"), root / "base")
    wanted = recipe(root / "base", 64, 3, 10)
    wanted = replace(wanted, optimizer=replace(wanted.optimizer, learning_rate=3e-3))
    print("with cache               ", _dice(wanted, root / "data", root / "with"))
    with patch.object(training, "ActivationCache", lambda *args: None):
        print("without cache            ", _dice(wanted, root / "data", root / "without"))
        print("without cache, other seed", _dice(replace(wanted, seed=2), root / "data", root / "other"))


def _dice(wanted: Recipe, data: Path, run: Path) -> list[float | None]:
    told: list[Event] = []
    training.train(wanted, data, run, report=told.append)
    return [event.val_dice for event in told if isinstance(event, Epoch)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDVLSM_CACHE"] = str(Path(folder) / "activations")
        check(Path(folder)) if options.check else speed(Path(folder), options.images)
