"""The CLIPSeg family (Lüddecke and Ecker, CVPR 2022) on the parts of `transformers`.

`transformers`' own `forward` runs both encoders under `no_grad` and always together; here image, text
and decoder are three calls, each differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor, nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from napari_medvlsm.core.models.architectures.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VLSM,
    Activations,
    Attention,
    Conditions,
    projections,
)
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.weights import loading, refuse_adapters
from napari_medvlsm.core.models.store.card import read_card


def published_config(**text_and_vision: dict[str, int]) -> CLIPSegConfig:
    """The configuration of the published CLIPSeg rd64 (refined); other sizes of its encoders on request."""
    config = CLIPSegConfig(use_complex_transposed_convolution=True, reduce_dim=64, **text_and_vision)
    config.vision_config.patch_size = 16
    # As published: the text is read at its largest id.
    config.text_config.eos_token_id = 2
    return config


class CLIPSeg(VLSM):
    """CLIP's vision transformer and text transformer; a small transformer decodes three of its blocks.

    The logits are as large as the input for a patch of 16 (half as large for one of 8).

    Parameters
    ----------
    net : CLIPSegForImageSegmentation
    tokenizer : CLIPTokenizer
    preprocessing : Preprocessing
    """

    ENCODERS, IMAGE_SIZE = "net.clip", 352

    # The release normalises with ImageNet's numbers, as the published preprocessing file does.
    MEAN, STD = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self, net: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizer, preprocessing: Preprocessing
    ) -> None:
        super().__init__(tokenizer, preprocessing)
        self.net = net

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder written by `save`, or by `transformers` with a card beside it."""
        read_card(folder)
        with loading(folder):
            net, report = CLIPSegForImageSegmentation.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            preprocessing = Preprocessing.read(folder)
            model = cls(net, tokenizer, preprocessing).eval()
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(
                f"The weights in {folder} miss {len(missing)} entries, among them {', '.join(missing[:3])}. "
                "Copy the complete model folder again."
            )
        return model

    @classmethod
    def from_config(cls, config: CLIPSegConfig, tokenizer: CLIPTokenizer, image_size: int) -> Self:
        """A model with random weights."""
        return cls(CLIPSegForImageSegmentation(config), tokenizer, cls.default_preprocessing(image_size))

    def save(self, folder: Path) -> None:
        """Write the folder in the form that `transformers` loads too."""
        refuse_adapters(self)
        folder.mkdir(parents=True, exist_ok=True)
        transformers_logging.disable_progress_bar()
        self.net.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.preprocessing.write(folder)

    @property
    def upstream(self) -> nn.Module:
        """The module of `transformers`, which upstream medvlsm uses as it is."""
        return self.net

    @property
    def attention(self) -> Attention:
        """Names of the projections, in the vision transformer up to the last block that is decoded."""
        names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
        clip = self.net.clip
        counts = {"vision": max(self.net.extract_layers) + 1, "text": len(clip.text_model.encoder.layers)}
        return {
            encoder: projections(
                [f"net.clip.{encoder}_model.encoder.layers.{i}.self_attn" for i in range(count)], **names
            )
            for encoder, count in counts.items()
        }

    @property
    def sizes(self) -> CLIPSegConfig:
        """The configuration of `net`. Not called `config`: adapters would take this for a model of `transformers`."""
        return self.net.config

    def encode_image(self, pixels: Tensor) -> Activations:
        """Activations that the decoder taps; the blocks after the last tap are not computed.

        Parameters
        ----------
        pixels : (B, 3, S, S)

        Returns
        -------
        One (B, N, D) tensor for each of `config.extract_layers`, in their order; the class token is first.
        """
        vision = self.net.clip.vision_model
        states = vision.pre_layrnorm(vision.embeddings(pixels))
        taps: dict[int, Tensor] = {}
        for index, block in enumerate(vision.encoder.layers[: max(self.net.extract_layers) + 1]):
            states = block(states, attention_mask=None)
            taps[index] = states
        return tuple(taps[index] for index in self.net.extract_layers)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (P, T), padded with the end-of-text token."""
        longest = self.net.config.text_config.max_position_embeddings
        ids: Tensor = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )["input_ids"]
        return ids

    def encode_tokens(self, ids: Tensor) -> Conditions:
        """Conditions of shape (P, E).

        The text is read up to its first end-of-text token, and attention is causal: what pads after
        that token cannot reach it, so no padding mask is needed.
        """
        return Conditions(self.net.clip.get_text_features(ids).pooler_output)

    def decode(self, activations: Activations, conditions: Conditions) -> Tensor:
        """Logits (P, L, L)."""
        logits: Tensor = self.net.decoder(list(activations), conditions.sentence).logits
        # `transformers` drops the batch axis of a batch of one.
        return logits.reshape(len(conditions), *logits.shape[-2:])
