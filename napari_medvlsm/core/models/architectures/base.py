"""What every vision-language segmentation model offers: image, text and decoder as three calls.

An image is encoded once for many prompts, a text once for many images, and each call is
differentiable, so that what trains is decided by the recipe alone.

Tensor shapes, here and in the families: B images, P prompts, S side of the input, L side of the
logits, T tokens of a text, N tokens of an image, C, D and E widths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.weights import load_strict
from napari_medvlsm.core.models.store.adapter import LoraSettings

Activations = tuple[Tensor, ...]
# Channel means and deviations, in units of [0, 1]: ImageNet's, and CLIP's (open_clip, `constants.py`).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Names of modules by encoder and projection (see `store.adapter`).
Attention = Mapping[str, Mapping[str, Sequence[str]]]
# What wraps a module under a name of its own, wherever that is: DistributedDataParallel, torch.compile, FSDP, and
# checkpoints of activations.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# What trainers call the network that they hold: Lightning's and others' modules, and upstream's CLIPSeg in its own.
_HOLDERS = ("net", "model", "network", "clipseg", "ema_model", "model_ema", "ema")


@dataclass(frozen=True, eq=False)
class Conditions:
    """The encoding of P prompts, for the decoder.

    Attributes
    ----------
    sentence : (P, E)
        One vector a prompt.
    words : (P, T, D), optional
        One vector a token, for decoders that attend to words.
    padding : bool (P, T), optional
        True at the tokens that nothing may attend to; goes with `words`.
    """

    sentence: Tensor
    words: Tensor | None = None
    padding: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, index: slice | list[int]) -> Conditions:
        """The conditions of some prompts, in the order asked for."""
        return Conditions(
            self.sentence[index],
            None if self.words is None else self.words[index],
            None if self.padding is None else self.padding[index],
        )

    def split(self) -> list[Conditions]:
        """One for each prompt, so that they can be kept apart."""
        return [self[i : i + 1] for i in range(len(self))]

    @staticmethod
    def join(parts: Sequence[Conditions]) -> Conditions:
        """The prompts of all parts as one batch; shorter ones are padded to the longest."""
        words = [part.words for part in parts if part.words is not None]
        padding = [part.padding for part in parts if part.padding is not None]
        return Conditions(
            torch.cat([part.sentence for part in parts]),
            pad_sequence([row for w in words for row in w], batch_first=True) if words else None,
            pad_sequence([row for p in padding for row in p], batch_first=True, padding_value=True)
            if padding
            else None,
        )


class VLSM(nn.Module, ABC):
    """A vision-language segmentation model, with its tokenizer and the preprocessing of its images.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase, optional
        None for a model that reads no text.
    preprocessing : Preprocessing
    """

    #: Channel means and deviations that the family was pretrained with.
    MEAN: ClassVar[tuple[float, float, float]] = CLIP_MEAN
    STD: ClassVar[tuple[float, float, float]] = CLIP_STD
    #: Rows and columns of the input where nothing else is said; those that a published family was published with.
    IMAGE_SIZE: ClassVar[int]
    #: The submodule that holds both encoders; all else is decoder.
    ENCODERS: ClassVar[str]
    #: The side of an input is a multiple of this.
    STRIDE: ClassVar[int] = 1
    #: Whether its weights fix the side of an input.
    FIXED_SIZE: ClassVar[bool] = False
    #: Prompts that inference decodes at once: bounds the memory of the decoder.
    PROMPT_BATCH: ClassVar[int] = 16

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, preprocessing: Preprocessing) -> None:
        super().__init__()
        # None in a model that ignores text.
        self.tokenizer: Any = tokenizer
        self.preprocessing = preprocessing
        #: How the model is adapted, where it is; see `lora.add_lora`.
        self.adapter: LoraSettings | None = None

    def parameter_count(self) -> int:
        """All parameters, the encoders' included."""
        return sum(parameter.numel() for parameter in self.parameters())

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Load a model folder, from the disk alone and without any pickle.

        Raises
        ------
        ValueError
            If the folder is incomplete or its weights do not fit the configuration.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write configuration, weights, tokenizer and preprocessing into `folder` (the card is the caller's).

        Raises
        ------
        ValueError
            If the model holds adapters, which are saved or merged by `lora`.
        """

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> Activations:
        """What the decoder needs of images (B, 3, S, S): tensors whose first axis is B."""

    @property
    def sizes(self) -> Any:
        """The configuration that the modules were made from."""
        return self.config

    def encode_frozen(self, pixels: Tensor) -> Activations:
        """The part of `encode_image` that depends on the encoders (`ENCODERS`) alone: what can be kept of an image."""
        return self.encode_image(pixels)

    def complete(self, encoded: Activations) -> Activations:
        """The rest of `encode_image`, from what `encode_frozen` gives."""
        return encoded

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (P, T); the batch is only as long as its longest text."""

    @abstractmethod
    def encode_tokens(self, ids: Tensor) -> Conditions:
        """The conditions of token ids (P, T); padding does not change them."""

    @property
    @abstractmethod
    def attention(self) -> Attention:
        """Names of the modules that project for attention, for each of `ENCODERS` and `PROJECTIONS`.

        Only modules that an answer depends on; one that computes several projections stands under each.
        """

    @abstractmethod
    def decode(self, activations: Activations, conditions: Conditions) -> Tensor:
        """Logits (P, L, L), for activations and conditions of the same batch size P."""

    def encode_text(self, texts: Sequence[str]) -> Conditions:
        """The conditions of P texts."""
        return self.encode_tokens(self.tokenize(texts).to(self.device))

    def forward(self, pixels: Tensor, texts: Sequence[str]) -> Tensor:
        """One prompt an image: (B, 3, S, S) and B texts to logits (B, L, L)."""
        return self.decode(self.encode_image(pixels), self.encode_text(texts))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def image_size(self) -> int:
        """Rows and columns of the input."""
        return self.preprocessing.side

    @property
    def mean(self) -> tuple[float, float, float]:
        """Channel means, in units of [0, 1]."""
        r, g, b = self.preprocessing.mean
        return r, g, b

    @property
    def std(self) -> tuple[float, float, float]:
        """Channel standard deviations, in units of [0, 1]."""
        r, g, b = self.preprocessing.std
        return r, g, b

    @classmethod
    def default_preprocessing(cls, image_size: int) -> Preprocessing:
        """The family's own normalisation, for squares of a size."""
        return Preprocessing(image_size, cls.MEAN, cls.STD)

    @property
    def upstream(self) -> nn.Module:
        """The module whose entries bear the names of upstream's state dict."""
        return self

    def from_upstream_state_dict(self, state: Mapping[str, Tensor]) -> Self:
        """Take over the weights of a checkpoint of the upstream implementation.

        The names are the same on both sides, but for what a trainer puts before each of them (`net.`,
        `module.` ...) and for `position_ids`, which older versions of `transformers` stored.

        Raises
        ------
        ValueError
            If entries are missing, unexpected or misshapen; the sentence names the first few of each.
        """
        named = {without_prefix(name): value for name, value in state.items()}
        load_strict(self.upstream, {name: value for name, value in named.items() if not name.endswith("position_ids")})
        return self


def projections(blocks: Sequence[str], *, query: str, key: str, value: str, output: str) -> Mapping[str, Sequence[str]]:
    """The names of the projections in each of some blocks."""
    parts = {"query": query, "key": key, "value": value, "output": output}
    return {projection: [f"{block}.{part}" for block in blocks] for projection, part in parts.items()}


def repeat_for_prompts(activations: Activations, prompts: int) -> Activations:
    """Repeat each image's activations for its prompts: (B, ...) to (B * prompts, ...), image by image."""
    return tuple(torch.repeat_interleave(a, prompts, dim=0) for a in activations)


def without_prefix(name: str) -> str:
    """A name of upstream's state dict, without what a trainer, a compiler or a parallel run puts before it."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] in _HOLDERS:
        del parts[0]
    return ".".join(parts)
