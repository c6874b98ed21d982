"""Items to samples: an augmented image with its prompts."""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from medvlsm_training.augmentation import augmented
from medvlsm_training.cache import ActivationCache, file_digest
from medvlsm_training.config import AugmentationConfig
from medvlsm_training.memory import ResizedScans
from medvlsm_training.mosaics import paste, place_in_frame, sample_frame
from medvlsm_training.prompting import Prompter, SampledPrompt
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.models.architectures.base import VLSM, Activations

# Each use of random numbers has a stream of its own.
_VIEW, _PROMPTS, _VALIDATION, _MOSAIC, _REPLAY = 1, 2, 3, 4, 5
# The masks of a mosaic's two images, beside that of their target.
_FIRST, _SECOND = "first", "second"


@dataclass(frozen=True)
class Sample:
    """One image with its P prompts.

    Attributes
    ----------
    pixels : float32 (3, S, S), standardised
        None where `kept` holds the image's activations.
    texts : P texts
    masks : float32 (P, S, S), 0 or 1
    kept : float16 tensors without a batch axis, or None
    name : str
        Under which activations are kept; empty without a cache.
    against : P ints, or none
        See `prompting.SampledPrompt`; none stands for -1 everywhere.
    """

    pixels: Tensor | None
    texts: tuple[str, ...]
    masks: Tensor
    kept: Activations | None = None
    name: str = ""
    against: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """B images with their prompts.

    Attributes
    ----------
    pixels : float32 (F, 3, S, S)
        Of the F images that are to be encoded; all of them without a cache.
    texts : P texts
    masks : float32 (P, S, S)
    owner : (P,)
        The image of each prompt: its place among those to be encoded, followed by those kept.
    kept : float16 tensors (B - F, ...)
        Activations of the other images; empty if there are none.
    names : F names
        Under which the activations of `pixels` are kept.
    against : int (P,)
        Of a wrong sentence: the place of the right one in the batch; -1 for other prompts.
    """

    pixels: Tensor
    texts: list[str]
    masks: Tensor
    owner: Tensor
    against: Tensor
    kept: Activations = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels) + (len(self.kept[0]) if self.kept else 0)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The batch on a device; the Trainer calls this."""
        here = (self.pixels, self.masks, self.owner, self.against, *self.kept)
        pixels, masks, owner, against, *kept = (t.to(device, non_blocking=non_blocking) for t in here)
        return Batch(pixels, self.texts, masks, owner, against, tuple(kept), self.names)


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
    views : int
        0: every epoch changes an image anew. Else there are this many ways, which follow from the seed and the image's
        content, in turn.
    cache : ActivationCache, optional
        With `views`: activations found there are shown in place of pixels, and the image is not read at all.
    keep_scans : bool
        Keep the scans in memory.
    replayed : sequence of Item
        Earlier scans, of which each epoch shows some after `items`: the next ones of a shuffled order.
    share : float
        Of these in an epoch: 0 to less than 1.
    """

    def __init__(
        self,
        items: Sequence[Item],
        prompter: Prompter,
        model: VLSM,
        seed: int,
        augmentation: AugmentationConfig | None = None,
        views: int = 0,
        cache: ActivationCache | None = None,
        keep_scans: bool = False,
        replayed: Sequence[Item] = (),
        share: float = 0.0,
    ) -> None:
        self.items = [*items, *replayed]
        self._own = len(items)
        self._replay_order = np.random.default_rng((seed, _REPLAY)).permutation(len(replayed))
        # At least one of them where a share is wanted.
        self._slots = max(1, round(share / (1 - share) * len(items))) if share and replayed else 0
        self.scans = ResizedScans(model.image_size, keep_scans)
        self.prompter = prompter
        self.side = model.image_size
        self.seed = seed
        self.augmentation = augmentation
        self.views = views
        self.cache = cache
        self.epoch = 0
        # Places of the images of each target that may share a frame: those with one mask.
        self._alike: dict[str, list[int]] = defaultdict(list)
        for i, item in enumerate(self.items):
            if len(item.masks) == 1:
                self._alike[next(iter(item.masks))].append(i)
        self._standardise = v2.Normalize(list(model.mean), list(model.std))
        self._digests = {path: file_digest(path) for path in {item.image for item in self.items}} if views else {}

    def __len__(self) -> int:
        return self._own + self._slots

    def __getitem__(self, index: int) -> Sample:
        index = self._place(index, self.epoch)
        item = self.items[index]
        if mosaic := self._mosaic(index):
            return mosaic
        masks = self._masks(item, index)
        prompts = self._sample_prompts(item, masks, index)
        name = self._name(index, self.epoch)
        kept = self.cache.read(name) if self.cache else None
        pixels = self._pixels(item, index) if kept is None else None
        return self._sample(pixels, masks, prompts, kept, name)

    def _place(self, index: int, epoch: int) -> int:
        """Which of `items` an epoch shows at an index: its own, and then the next of those replayed."""
        if index < self._own:
            return index
        turn = epoch * self._slots + index - self._own
        return self._own + int(self._replay_order[turn % len(self._replay_order)])

    def _sample(
        self,
        pixels: Tensor | None,
        masks: dict[str, np.ndarray],
        prompts: Sequence[SampledPrompt],
        kept: Activations | None = None,
        name: str = "",
    ) -> Sample:
        nothing = torch.zeros(self.side, self.side)
        planes = [nothing if p.target is None else torch.from_numpy(masks[p.target]).float() for p in prompts]
        texts, against = tuple(p.text for p in prompts), tuple(p.against for p in prompts)
        return Sample(pixels, texts, torch.stack(planes), kept, name, against)

    def _mosaic(self, index: int) -> Sample | None:
        """The image in one frame with another of the same target, as often as the recipe says and words allow.

        With `views` it is one of these: which of them are mosaics, and with what, is the same in every epoch, so that
        its activations can be kept too.
        """
        if self.augmentation is None or not self.augmentation.mosaic:
            return None
        turn = self._view(index, self.epoch) if self.views else self.epoch
        rng = np.random.default_rng((self.seed, _MOSAIC, turn, index))
        if rng.random() >= self.augmentation.mosaic:
            return None
        item = self.items[index]
        name = next(iter(item.masks))
        alike = self._alike.get(name, ())
        if self._lateralised(item) or len(item.masks) > 1 or len(alike) < 2:
            return None
        other = alike[int(rng.integers(len(alike)))]
        own = [torch.from_numpy(self._masks(self.items[i], i)[name]) for i in (index, other)]
        pasting = bool(self.augmentation.paste) and rng.random() < self.augmentation.paste
        frame = None if pasting else sample_frame(rng)
        if frame is None:
            images = self._pixels(item, index), self._pixels(self.items[other], other)
            pasted = paste(images[0], own[0], images[1], own[1], rng)
            if pasted is None:
                return None
            pixels, first, second = pasted.image, own[0].numpy(), pasted.mask.numpy()
        else:
            placed = place_in_frame(own[0].float()[None], own[1].float()[None], frame)
            first, second = ((part > 0.5).numpy()[0] for part in placed)
            pixels = None
        masks = {name: first | second, _FIRST: first, _SECOND: second}
        if self.views:  # the words change from epoch to epoch, and the frame does not
            rng = np.random.default_rng((self.seed, _PROMPTS, self.epoch, index))
        prompts = self.prompter.sample_mosaic(item, name, masks, (_FIRST, _SECOND), rng, self.epoch)
        if not prompts:
            return None
        both = f"{self._name(index, self.epoch)}+{self._name(other, self.epoch)}+{frame}" if self.views else ""
        called = hashlib.blake2b(both.encode(), digest_size=16).hexdigest() if both and frame else ""
        kept = self.cache.read(called) if self.cache and called else None
        if kept is None and pixels is None:  # only now, as many mosaics have no words
            assert frame is not None
            left, right = place_in_frame(self._pixels(item, index), self._pixels(self.items[other], other), frame)
            pixels = left + right
        return self._sample(None if kept is not None else pixels, masks, prompts, kept, called)

    def name(self, index: int, epoch: int) -> str:
        """The view of an image in an epoch, in letters and digits; empty where every epoch has its own."""
        return self._name(self._place(index, epoch), epoch)

    def _name(self, index: int, epoch: int) -> str:
        if not self.views:
            return ""
        item = self.items[index]
        digest = self._digests[item.image]
        if self._change is None:
            return digest
        way = hashlib.blake2b(f"{self.seed}{self._change}{self._lateralised(item)}".encode(), digest_size=8)
        return f"{digest}-{way.hexdigest()}-{self._view(index, epoch)}"

    def names(self, epochs: int) -> set[str]:
        """All views that are shown in some epochs from the first, as if none was a mosaic."""
        own = {self._name(i, e) for i in range(self._own) for e in range(min(epochs, max(1, self.views)))}
        return own | {self.name(i, e) for i in range(self._own, len(self)) for e in range(epochs)}

    @property
    def _change(self) -> AugmentationConfig | None:
        """None where the augmentation changes nothing."""
        return None if self.augmentation == AugmentationConfig() else self.augmentation

    def _view(self, index: int, epoch: int) -> int:
        # An image that is repeated stands at neighbouring places, and is shown in as many ways.
        return (epoch + index) % self.views

    def _changed(self, planes: tv_tensors.Image | tv_tensors.Mask, item: Item, index: int) -> Tensor:
        """The image or the masks as the epoch shows them: both in the same way."""
        if self._change is None:
            return planes.as_subclass(Tensor)
        seeds = (self.seed, _VIEW, self.epoch, index)
        if self.views:
            seeds = (self.seed, _VIEW, self._view(index, self.epoch), int(self._digests[item.image], 16))
        return augmented(planes, self._change, self._lateralised(item), np.random.default_rng(seeds))

    def _lateralised(self, item: Item) -> bool:
        return item.split_lungs or any(self.prompter.vocabulary.target(name).lateralised for name in item.masks)

    def _pixels(self, item: Item, index: int) -> Tensor:
        """The image, standardised: (3, S, S)."""
        unit = torch.from_numpy(self.scans.image(item))
        standard: Tensor = self._standardise(self._changed(tv_tensors.Image(unit), item, index))
        return standard

    def _masks(self, item: Item, index: int) -> dict[str, np.ndarray]:
        """Masks (S, S) by target."""
        found = self.scans.masks(item)
        names = sorted(found)
        stack = self._changed(tv_tensors.Mask(torch.from_numpy(np.stack([found[n] for n in names]))), item, index)
        return dict(zip(names, (stack > 0.5).numpy(), strict=True))

    def _sample_prompts(self, item: Item, masks: dict[str, np.ndarray], index: int) -> list[SampledPrompt]:
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed, _PROMPTS, self.epoch, index))
            return self.prompter.sample(item, masks, rng, self.epoch)
        # By name, so that an image gets the same prompt whatever else is validated.
        name = zlib.crc32(f"{item.source}/{item.image.name}".encode())
        return self.prompter.for_validation(item, masks, np.random.default_rng((self.seed, _VALIDATION, name)))


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples to a batch, their prompts image by image."""
    fresh = [s for s in samples if s.pixels is not None]
    kept = [s.kept for s in samples if s.kept is not None]
    counts = torch.tensor([len(sample.texts) for sample in samples])
    # Stable: where all are of one kind, places are those in the batch.
    starts = (counts.cumsum(0) - counts).tolist()
    against = [a if a < 0 else a + start for s, start in zip(samples, starts, strict=True) for a in _against(s)]
    places = torch.tensor([s.pixels is None for s in samples]).int().argsort(stable=True).argsort()
    return Batch(
        torch.stack([s.pixels for s in fresh if s.pixels is not None]) if fresh else torch.zeros(0),
        [text for sample in samples for text in sample.texts],
        torch.cat([s.masks for s in samples]),
        torch.repeat_interleave(places, counts),
        torch.tensor(against),
        tuple(torch.stack(column) for column in zip(*kept, strict=True)),
        tuple(s.name for s in fresh),
    )


def _against(sample: Sample) -> tuple[int, ...]:
    return sample.against or (-1,) * len(sample.texts)
