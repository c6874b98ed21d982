"""Fixtures of training: a tiny data set of disks, and a recipe for it that takes a second."""

import json

import numpy as np
import pytest

from tests.training.builders import TINY, disk, write_set

RECIPE = """
name: disks
title: Disks
summary: For tests.
licence: CC0
sources: [{folder: disks, layout: upstream, modality: endoscopy, target: polyp, repeat: 2, name: disks, licence: CC0,
  citation: none}]
model: {image_size: 32, sizes: TINY}
prompts: {mix: {p1: 1, attributes: 1}, per_image: 2, attribute_dropout: 0.5, absent: 0.2}
augmentation: {degrees: 15, shift: 0.1, flip: true, brightness: 0.2}
optimizer: {learning_rate: 0.003, ema: 0.5}
trainer: {batch_size: 4, max_epochs: 2}
""".replace("TINY", json.dumps(TINY))


@pytest.fixture
def disks(tmp_path):
    """A data folder with one set: 8 training, 3 validation and 2 test images of a disk on noise."""
    rng = np.random.default_rng(3)
    splits = {"train": range(8), "val": range(8, 11), "test": range(11, 13)}
    folder = tmp_path / "data" / "disks"
    return write_set(folder, splits, lambda _: disk(rng, 40, 7.75, 10), {"p1": "polyp"}).parent


@pytest.fixture
def disks_recipe(tmp_path):
    """The recipe as a file."""
    path = tmp_path / "disks.yaml"
    path.write_text(RECIPE)
    return path
