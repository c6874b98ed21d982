"""Items to training samples: augmentation that keeps the words true, and prompts drawn by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from medvlsm_training.sources import Item
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.images import resize, to_unit_square
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build

# How often a positive prompt is the class name alone (P1), a synonym, or carries attributes.
_CLASS_ONLY, _SYNONYM = 0.5, 0.2
# How often each attribute is kept in an attribute prompt.
_KEEP_ATTRIBUTE = 0.5
# How often an absent target is one that this modality cannot show, rather than another modality's target.
_ABSENT_SAME_MODALITY = 0.5


@dataclass(frozen=True)
class Sample:
    """One image with its prompts.

    `pixels` float32 (3, S, S), standardised; `texts` P prompts; `masks` float32 (P, S, S), 0 or 1.
    """

    pixels: Tensor
    texts: tuple[str, ...]
    masks: Tensor


class PromptedImages(Dataset[Sample]):
    """Samples, fully determined by (seed, epoch, index).

    Parameters
    ----------
    items : sequence of Item
    vocabulary : Vocabulary
    side : int
        Rows and columns of the model's input.
    mean, std : three floats each
    prompts : int
        Prompts an image, the last one an absent target.
    seed : int
    augment : bool
        For training: augmented pixels and prompts of every form. Otherwise the scan as it is, and class names alone.
    """

    def __init__(
        self,
        items: Sequence[Item],
        vocabulary: Vocabulary,
        side: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        prompts: int,
        seed: int,
        augment: bool = True,
    ) -> None:
        self.items = items
        self.vocabulary = vocabulary
        self.side = side
        self.prompts = prompts
        self.seed = seed
        self.augment = augment
        self.epoch = 0
        self._targets = [vocabulary.target(name) for name in sorted(trained_targets(items))]
        self._standardise = v2.Normalize(list(mean), list(std))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        item = self.items[index]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        unit = to_unit_square(item.load_image(), self.side).transpose(2, 0, 1)
        masks = {t: resize(m.astype(np.float32), (self.side, self.side)) for t, m in item.load_masks().items()}
        names = sorted(masks)
        lateralised = any(self.vocabulary.target(name).lateralised for name in names)
        image = tv_tensors.Image(torch.from_numpy(unit.copy()))
        stack = tv_tensors.Mask(torch.from_numpy(np.stack([masks[name] for name in names])))
        if self.augment:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**62)))
                image, stack = augmentation(lateralised)(image, stack)
        stack = (stack > 0.5).float()
        positives = self._positives(item, dict(zip(names, stack, strict=True)), rng)
        texts, drawn = zip(*positives, strict=True)
        absent = self._absent(item, rng)
        return Sample(
            pixels=self._standardise(image.as_subclass(Tensor)),
            texts=(*texts, absent),
            masks=torch.stack([*drawn, torch.zeros(self.side, self.side)]).as_subclass(Tensor),
        )

    def _positives(self, item: Item, masks: dict[str, Tensor], rng: np.random.Generator) -> list[tuple[str, Tensor]]:
        count = self.prompts - 1
        names = list(rng.permutation(sorted(masks)))
        chosen = [str(names[i % len(names)]) for i in range(count)]
        return [(self._text(item, name, masks[name], rng), masks[name]) for name in chosen]

    def _text(self, item: Item, name: str, mask: Tensor, rng: np.random.Generator) -> str:
        target = self.vocabulary.target(name)
        draw = rng.random()
        if draw < _CLASS_ONLY or not self.augment:
            return target.phrase
        if draw < _CLASS_ONLY + _SYNONYM and target.synonyms:
            return str(rng.choice(target.synonyms))
        seen = describe(mask.numpy())
        number = "" if seen.number == "zero" else seen.number
        words = {"number": number, "size": seen.size, "location": seen.location, **item.words}
        kept = {k: w for k, w in words.items() if w and rng.random() < _KEEP_ATTRIBUTE}
        return build(Attributes(target=target.phrase, **kept), self.vocabulary).text

    def _absent(self, item: Item, rng: np.random.Generator) -> str:
        others = [t for t in self._targets if t.modality != item.modality]
        if rng.random() < _ABSENT_SAME_MODALITY or not others:
            return str(rng.choice(self.vocabulary.modalities[item.modality].absent))
        target = others[int(rng.integers(len(others)))]
        return str(rng.choice([target.phrase, *target.synonyms]))


def augmentation(lateralised: bool) -> v2.Transform:
    """Mild geometry and colour; an image with a left and a right is never flipped and hardly turned."""
    turn = 8 if lateralised else 25
    affine = v2.RandomAffine(
        degrees=turn, translate=(0.08, 0.08), scale=(0.8, 1.3), shear=5, interpolation=InterpolationMode.BILINEAR
    )
    flips = [] if lateralised else [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)]
    colour = v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.02)
    return v2.Compose([affine, *flips, colour])


def collate(samples: Sequence[Sample]) -> tuple[Tensor, list[str], Tensor]:
    """B samples to (pixels (B, 3, S, S), B * P texts image by image, masks (B * P, S, S))."""
    texts = [text for sample in samples for text in sample.texts]
    return torch.stack([s.pixels for s in samples]), texts, torch.cat([s.masks for s in samples])


def trained_targets(items: Sequence[Item]) -> set[str]:
    """Names of the targets that occur in the items."""
    both = {"left lung", "right lung"} if any(item.split_lungs for item in items) else set()
    return both | {name for item in items for name in item.masks}


def training_texts(items: Sequence[Item], vocabulary: Vocabulary) -> tuple[set[str], set[str]]:
    """(names of the targets that occur, all texts a run can draw): for the card and the tokenizer."""
    targets = trained_targets(items)
    names = {n for t in targets for n in (t, *vocabulary.target(t).synonyms)}
    plurals = {vocabulary.target(t).plural for t in targets}
    texts = names | {a for m in {i.modality for i in items} for a in vocabulary.modalities[m].absent}
    texts |= {word for item in items for word in item.words.values()}
    for attribute in ("number", "size", "location"):
        texts |= set(vocabulary.attributes[attribute])
    return names, texts | plurals | {"seven eight nine ten many", ", located in the and of the image"}
