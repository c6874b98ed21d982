"""Augmentation of an image together with its masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from medvlsm_training.config import AugmentationConfig


def augmented(
    planes: tv_tensors.Image | tv_tensors.Mask, config: AugmentationConfig, lateralised: bool, rng: np.random.Generator
) -> Tensor:
    """Change an image (3, S, S) or masks (C, S, S), in [0, 1]; generators of one seed change both in the same way.

    A lateralised image is never mirrored: left would become right. Chance comes from `rng` alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        changed: Tensor = _transform(config, lateralised)(planes)
    return changed.as_subclass(Tensor)


def _transform(config: AugmentationConfig, lateralised: bool) -> v2.Transform:
    affine = v2.RandomAffine(
        degrees=config.degrees,
        translate=(config.shift, config.shift),
        scale=config.zoom,
        shear=config.shear,
        interpolation=InterpolationMode.BILINEAR,
    )
    flips = [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)] if config.flip and not lateralised else []
    color = v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    return v2.Compose([affine, *flips, color])
