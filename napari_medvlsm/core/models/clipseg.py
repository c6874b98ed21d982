"""The CLIPSeg family (Lüddecke and Ecker, CVPR 2022) on the parts of `transformers`.

`transformers`' own `forward` runs both encoders under `no_grad` and always together; here image, text
and decoder are three calls, each differentiable, so that an image is encoded once for many prompts
and what trains is decided by the recipe alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer, ViTImageProcessor
from transformers.utils import logging as transformers_logging

from napari_medvlsm.core.models.card import read_card

Activations = tuple[Tensor, ...]


class CLIPSeg(nn.Module):
    """CLIPSeg split into `encode_image`, `encode_text` and `decode`.

    Tensor shapes: B images, P prompts, N tokens of an image (class token first), D and E widths of the
    vision and the projected text states, S side of the input, L side of the logits (S for a patch of 16).

    Parameters
    ----------
    net : CLIPSegForImageSegmentation
    tokenizer : CLIPTokenizer
    preprocessing : ViTImageProcessor
        Only its size, mean and standard deviation are used; pixels go through `core.images`.
    """

    def __init__(
        self, net: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizer, preprocessing: ViTImageProcessor
    ) -> None:
        super().__init__()
        self.net = net
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing

    @classmethod
    def load(cls, folder: Path) -> CLIPSeg:
        """Load a model folder, from the disk alone and without any pickle.

        Raises
        ------
        ValueError
            If the folder is incomplete or its weights do not fit the configuration.
        """
        read_card(folder)
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            net, report = CLIPSegForImageSegmentation.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            preprocessing = ViTImageProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"The model in {folder} cannot be loaded: {error}") from error
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(
                f"The weights in {folder} miss {len(missing)} entries, among them {', '.join(missing[:3])}. "
                "Copy the complete model folder again."
            )
        return cls(net.eval(), tokenizer, preprocessing)

    @classmethod
    def from_config(cls, config: CLIPSegConfig, tokenizer: CLIPTokenizer, image_size: int) -> CLIPSeg:
        """A model with random weights, normalised as the paper's CLIPSeg (ImageNet mean and deviation)."""
        preprocessing = ViTImageProcessor(
            size={"height": image_size, "width": image_size},
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
        return cls(CLIPSegForImageSegmentation(config), tokenizer, preprocessing)

    def save(self, folder: Path) -> None:
        """Write configuration, weights, tokenizer and preprocessing into `folder` (the card is the caller's)."""
        folder.mkdir(parents=True, exist_ok=True)
        transformers_logging.disable_progress_bar()
        self.net.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.preprocessing.save_pretrained(folder)

    @property
    def image_size(self) -> int:
        """Rows and columns of the input."""
        return int(self.preprocessing.size["height"])

    @property
    def mean(self) -> tuple[float, float, float]:
        """Channel means, in units of [0, 1]."""
        r, g, b = self.preprocessing.image_mean
        return r, g, b

    @property
    def std(self) -> tuple[float, float, float]:
        """Channel standard deviations, in units of [0, 1]."""
        r, g, b = self.preprocessing.image_std
        return r, g, b

    def encode_image(self, pixels: Tensor) -> Activations:
        """Activations that the decoder taps; the blocks after the last tap are not computed.

        Parameters
        ----------
        pixels : (B, 3, S, S)

        Returns
        -------
        One (B, N, D) tensor for each of `config.extract_layers`, in their order.
        """
        vision = self.net.clip.vision_model
        states = vision.pre_layrnorm(vision.embeddings(pixels))
        taps: dict[int, Tensor] = {}
        for index, block in enumerate(vision.encoder.layers[: max(self.net.extract_layers) + 1]):
            states = block(states, attention_mask=None)
            taps[index] = states
        return tuple(taps[index] for index in self.net.extract_layers)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Conditions of shape (P, E); the batch is only as long as its longest text."""
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.net.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.net.device)
        features: Tensor = self.net.clip.get_text_features(
            tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return features

    def decode(self, activations: Activations, conditions: Tensor) -> Tensor:
        """Logits of shape (P, L, L), for activations and conditions of the same batch size P."""
        logits: Tensor = self.net.decoder(list(activations), conditions).logits
        return logits.reshape(conditions.shape[0], *logits.shape[-2:])

    def forward(self, pixels: Tensor, texts: Sequence[str]) -> Tensor:
        """One prompt an image: (B, 3, S, S) and B texts to logits (B, L, L)."""
        return self.decode(self.encode_image(pixels), self.encode_text(texts))

    def parameter_count(self) -> tuple[int, int]:
        """(all parameters, those of the token embeddings)."""
        embeddings = self.net.clip.text_model.embeddings.token_embedding.weight.numel()
        return sum(p.numel() for p in self.parameters()), embeddings


def repeat_for_prompts(activations: Activations, prompts: int) -> Activations:
    """Repeat each image's activations for its prompts: (B, N, D) to (B * prompts, N, D), image by image."""
    return tuple(torch.repeat_interleave(a, prompts, dim=0) for a in activations)
