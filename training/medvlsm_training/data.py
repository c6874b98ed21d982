"""Items to samples: an image as it is shown, and the prompts that it is shown with."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from medvlsm_training.augmentation import augmented
from medvlsm_training.config import AugmentationConfig
from medvlsm_training.prompting import Drawn, Prompter
from medvlsm_training.sources import Item
from napari_medvlsm.core.images import resize, to_unit_square
from napari_medvlsm.core.models.base import VLSM

# Kinds of draws, so that the same numbers never serve two purposes.
_VIEW, _PROMPTS, _VALIDATION = 1, 2, 3


@dataclass(frozen=True)
class Sample:
    """One image with its P prompts.

    `pixels` float32 (3, S, S), standardised; `masks` float32 (P, S, S), 0 or 1.
    """

    pixels: Tensor
    texts: tuple[str, ...]
    masks: Tensor


@dataclass(frozen=True)
class Batch:
    """B images with their prompts; `owner` (P) tells the image of each of the P prompts of `masks` (P, S, S)."""

    pixels: Tensor
    texts: list[str]
    masks: Tensor
    owner: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The batch on a device; the Trainer calls this."""
        moved = (t.to(device, non_blocking=non_blocking) for t in (self.pixels, self.masks, self.owner))
        pixels, masks, owner = moved
        return Batch(pixels, self.texts, masks, owner)


class PromptedImages(Dataset[Sample]):
    """Samples, fully determined by (seed, epoch, index).

    Parameters
    ----------
    items : sequence of Item
    prompter : Prompter
    model : VLSM
        For the size and normalisation of its input.
    seed : int
    augmentation : AugmentationConfig, optional
        For training. Without: the scan as it is, and the prompts of the validation.
    """

    def __init__(
        self,
        items: Sequence[Item],
        prompter: Prompter,
        model: VLSM,
        seed: int,
        augmentation: AugmentationConfig | None = None,
    ) -> None:
        self.items = items
        self.prompter = prompter
        self.side = model.image_size
        self.seed = seed
        self.augmentation = augmentation
        self.epoch = 0
        self._standardise = v2.Normalize(list(model.mean), list(model.std))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        item = self.items[index]
        pixels, masks = self.view(item, (self.seed, _VIEW, self.epoch, index))
        drawn = self._draw(item, masks, index)
        nothing = torch.zeros(self.side, self.side)
        planes = [nothing if d.target is None else torch.from_numpy(masks[d.target]).float() for d in drawn]
        return Sample(pixels, tuple(d.text for d in drawn), torch.stack(planes))

    def view(self, item: Item, seeds: tuple[int, ...]) -> tuple[Tensor, dict[str, np.ndarray]]:
        """The image standardised (3, S, S), and its masks (S, S) by target, as these seeds show them."""
        unit = torch.from_numpy(to_unit_square(item.load_image(), self.side).transpose(2, 0, 1).copy())
        names, stack = self._masks(item)
        if self.augmentation is not None:
            lateralised = any(self.prompter.vocabulary.target(name).lateralised for name in names)
            unit, stack = augmented(unit, stack, self.augmentation, lateralised, np.random.default_rng(seeds))
        masks = dict(zip(names, (stack > 0.5).numpy(), strict=True))
        return self._standardise(unit), masks

    def _masks(self, item: Item) -> tuple[list[str], Tensor]:
        found = item.load_masks()
        names = sorted(found)
        planes = [resize(found[name].astype(np.float32), (self.side, self.side)) for name in names]
        return names, torch.from_numpy(np.stack(planes))

    def _draw(self, item: Item, masks: dict[str, np.ndarray], index: int) -> list[Drawn]:
        if self.augmentation is not None:
            return self.prompter.draw(item, masks, np.random.default_rng((self.seed, _PROMPTS, self.epoch, index)))
        # By name, so that an image gets the same prompt whatever else is validated.
        name = zlib.crc32(f"{item.source}/{item.image.name}".encode())
        return self.prompter.for_validation(item, masks, np.random.default_rng((self.seed, _VALIDATION, name)))


def per_mask(items: Sequence[Item]) -> list[Item]:
    """One item for each mask, as the reference trains."""
    return [replace(item, masks={name: path}) for item in items for name, path in item.masks.items()]


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples to a batch, their prompts image by image."""
    counts = torch.tensor([len(sample.texts) for sample in samples])
    return Batch(
        torch.stack([s.pixels for s in samples]),
        [text for sample in samples for text in sample.texts],
        torch.cat([s.masks for s in samples]),
        torch.repeat_interleave(torch.arange(len(samples)), counts),
    )
