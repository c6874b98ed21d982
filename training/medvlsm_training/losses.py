"""Loss of each prompt, and of a batch."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

from medvlsm_training.config import LossConfig
from napari_medvlsm.core.presence import HIGHEST_FRACTION


def prompt_loss(logits: Tensor, truth: Tensor, config: LossConfig) -> Tensor:
    """Soft Dice and binary cross-entropy of P prompts, both (P, S, S): shape (P,)."""
    dice = DiceLoss(sigmoid=True, smooth_nr=config.smooth, smooth_dr=config.smooth, reduction="none")
    # In float32: sums over a plane outgrow half precision.
    planes, wanted = logits.float()[:, None], truth.float()[:, None]
    loss: Tensor = config.dice * dice(planes, wanted).flatten(1).mean(dim=1)
    if config.bce:
        cross = functional.binary_cross_entropy_with_logits(planes, wanted, reduction="none")
        loss = loss + config.bce * cross.flatten(1).mean(dim=1)
    if config.presence:
        loss = loss + config.presence * presence_loss(planes[:, 0], wanted[:, 0])
    return loss


def presence_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of "it is there" over the highest logits of a plane, those that `presence_score` looks at.

    A target that is missed, or an absent one that is outlined in a small spot, hardly counts in a mean over all pixels.

    Parameters
    ----------
    logits, truth : (P, S, S)

    Returns
    -------
    Tensor of shape (P,)
    """
    count = max(1, round(HIGHEST_FRACTION * logits[0].numel()))
    highest = logits.flatten(1).topk(count, dim=1).values
    present = truth.flatten(1).any(dim=1).to(logits)[:, None].expand_as(highest)
    return functional.binary_cross_entropy_with_logits(highest, present, reduction="none").mean(dim=1)


def mean_over_images(losses: Tensor, owner: Tensor) -> Tensor:
    """Mean over the prompts of each image, then over images: one of many masks counts no more than one of a single.

    Parameters
    ----------
    losses : (P,)
    owner : int (P,)
        The image of each prompt, from 0; every image has one at least.
    """
    prompts = torch.bincount(owner)
    return (losses / prompts[owner]).sum() / len(prompts)
