"""Fixtures of training: a tiny data set of disks, and a recipe for it that takes a second."""

import json

import numpy as np
import pytest
from PIL import Image

RECIPE = """
name: disks
title: Disks
summary: For tests.
licence: CC0
sources: [{folder: disks, layout: upstream, modality: endoscopy, target: polyp, repeat: 4, name: disks, licence: CC0,
  citation: none}]
model: {image_size: 32, sizes: {patch_size: 8, hidden_size: 48, layers: 3, text_size: 32, text_layers: 1}}
prompts: {mix: {p1: 1, attributes: 1}, per_image: 2, attribute_dropout: 0.5, absent: 0.2}
augmentation: {degrees: 15, shift: 0.1, flip: true, brightness: 0.2}
optimizer: {learning_rate: 0.003, ema: 0.5}
trainer: {batch_size: 4, max_epochs: 2}
"""


@pytest.fixture
def disks(tmp_path):
    """A data folder with one set: 8 training, 3 validation and 2 test images of a disk on noise."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "data" / "disks"
    for part in ("images", "masks", "anns"):
        (folder / part).mkdir(parents=True)
    y, x = np.mgrid[:40, :40]
    for split, numbers in {"train": range(8), "val": range(8, 11), "test": range(11, 13)}.items():
        for i in numbers:
            row, col = rng.integers(10, 30, 2)
            mask = (y - row) ** 2 + (x - col) ** 2 < 60
            image = rng.integers(0, 80, (40, 40, 3)) + 150 * mask[..., None]
            Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{i}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{i}.png")
        entries = [{"img_name": f"{i}.png", "mask_name": f"{i}.png", "prompts": {"p1": "polyp"}} for i in numbers]
        (folder / "anns" / f"{split}.json").write_text(json.dumps(entries))
    return folder.parent


@pytest.fixture
def disks_recipe(tmp_path):
    """The recipe as a file."""
    path = tmp_path / "disks.yaml"
    path.write_text(RECIPE)
    return path
