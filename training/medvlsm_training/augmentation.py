"""Changes of an image and its masks together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from medvlsm_training.config import AugmentationConfig


def augmented(
    image: Tensor, masks: Tensor, config: AugmentationConfig, lateralised: bool, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Change image (3, S, S) and masks (C, S, S), both in [0, 1], in the same way.

    A lateralised image is never mirrored: left would become right. Chance comes from `rng` alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        changed = _transform(config, lateralised)(tv_tensors.Image(image), tv_tensors.Mask(masks))
    return changed[0].as_subclass(Tensor), changed[1].as_subclass(Tensor)


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
