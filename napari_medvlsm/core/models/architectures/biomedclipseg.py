"""BiomedCLIPSeg and BiomedCLIPSeg-D (Poudel et al., MIDL 2024): BiomedCLIP's encoders, CLIPSeg's decoder.

The two are one class and differ in how their decoder starts: BiomedCLIPSeg with random weights,
BiomedCLIPSeg-D with those of a trained CLIPSeg (`with_decoder_of`). The paper trains the decoder alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import timm
import torch
from open_clip.timm_model import TimmModel
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer, CLIPSegConfig
from transformers.models.clipseg.modeling_clipseg import CLIPSegDecoder

from napari_medvlsm.core.models.architectures.base import Activations, Attention, Conditions, projections
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.own_folder import OwnFolderVLSM
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing


@dataclass(frozen=True)
class BiomedCLIPSegConfig:
    """Sizes; the defaults are those of the published BiomedCLIP and of the CLIPSeg rd64 decoder.

    Attributes
    ----------
    vision : str
        A vision transformer of timm; its name fixes the image size, which cannot vary.
    embed_dim : int
        Width of the space that text and image are projected to.
    text_width, text_layers, text_heads, text_mlp, vocab_size, text_positions : int
        BERT.
    context_length : int
        Longest text, in tokens.
    extract_layers : tuple of int
        As in CLIPSeg's configuration; see `BiomedCLIPSeg.taps` for the blocks that they stand for.
    reduce_dim, decoder_heads, decoder_mlp : int
        The decoder.
    """

    vision: str = "vit_base_patch16_224"
    embed_dim: int = 512
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_mlp: int = 3072
    vocab_size: int = 30522
    text_positions: int = 512
    context_length: int = 256
    extract_layers: tuple[int, ...] = (3, 6, 9)
    reduce_dim: int = 64
    decoder_heads: int = 4
    decoder_mlp: int = 2048

    def __post_init__(self) -> None:
        # timm takes names with a prefix for places on a hub; a model folder must never make it look there.
        if not timm.is_model(self.vision):
            raise ValueError(f"{self.vision!r} is no vision transformer that timm knows.")


class BiomedCLIPSeg(OwnFolderVLSM):
    """BiomedCLIP's vision transformer and BERT; CLIPSeg's decoder on three of the vision blocks.

    The logits are as large as the input.

    Parameters
    ----------
    config : BiomedCLIPSegConfig
    tokenizer : BertTokenizer
    preprocessing : Preprocessing

    Raises
    ------
    ValueError
        If the images are not of the size that the vision transformer takes.
    """

    FAMILY, CONFIG, TOKENIZER, IMAGE_SIZE = "biomedclipseg", BiomedCLIPSegConfig, BertTokenizer, 224
    ENCODERS, FIXED_SIZE = "biomedclip", True
    config: BiomedCLIPSegConfig

    def __init__(self, config: BiomedCLIPSegConfig, tokenizer: BertTokenizer, preprocessing: Preprocessing) -> None:
        super().__init__(config, tokenizer, preprocessing)
        self.biomedclip = _BiomedCLIP(config)
        self.decoder = _random_decoder(config, self.biomedclip.visual.trunk)
        side, _ = self.biomedclip.visual.trunk.patch_embed.img_size
        if self.image_size != side:
            raise ValueError(f"{config.vision} takes images of {side} x {side} pixels, not {self.image_size}.")

    def with_decoder_of(self, clipseg: CLIPSeg) -> Self:
        """Take the decoder of a trained CLIPSeg, which makes this a BiomedCLIPSeg-D."""
        self.decoder.load_state_dict(clipseg.net.decoder.state_dict())
        return self

    @property
    def attention(self) -> Attention:
        """Names of the projections, in the vision transformer up to the last block that is decoded."""
        blocks = [f"biomedclip.visual.trunk.blocks.{i}.attn" for i in range(max(self.taps) + 1)]
        layers = [f"biomedclip.text.transformer.encoder.layer.{i}.attention" for i in range(self.config.text_layers)]
        return {
            "vision": projections(blocks, query="qkv", key="qkv", value="qkv", output="proj"),
            "text": projections(layers, query="self.query", key="self.key", value="self.value", output="output.dense"),
        }

    @property
    def taps(self) -> tuple[int, ...]:
        """The blocks, from 0, whose outputs are decoded.

        One block later than CLIPSeg's: upstream medvlsm adds one to each of `extract_layers` as CLIPSeg does, but
        counts in a list that lacks CLIPSeg's first entry, the embedding. Its checkpoints need it so.
        """
        return tuple(layer + 1 for layer in self.config.extract_layers)

    def encode_image(self, pixels: Tensor) -> Activations:
        """Activations that the decoder taps; the blocks after the last tap are not computed.

        Parameters
        ----------
        pixels : (B, 3, S, S)

        Returns
        -------
        One (B, N, D) tensor for each tap; the class token is first.
        """
        found = self.biomedclip.visual.trunk.forward_intermediates(
            pixels,
            indices=list(self.taps),
            return_prefix_tokens=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return tuple(torch.cat([prefix, tokens], dim=1) for tokens, prefix in found)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (P, T), padded with BERT's padding token."""
        ids: Tensor = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.config.context_length, return_tensors="pt"
        )["input_ids"]
        return ids

    def encode_tokens(self, ids: Tensor) -> Conditions:
        """Conditions of shape (P, E); nothing attends to padding."""
        return Conditions(self.biomedclip.text(ids))

    def decode(self, activations: Activations, conditions: Conditions) -> Tensor:
        """Logits (P, S, S)."""
        logits: Tensor = self.decoder(list(activations), conditions.sentence).logits
        # `transformers` drops the batch axis of a batch of one.
        return logits.reshape(len(conditions), *logits.shape[-2:])


class _BiomedCLIP(nn.Module):
    """The two encoders, with the names that `open_clip` gives them.

    Not built by `open_clip.create_model`, which fetches BERT's configuration from the hub.
    """

    def __init__(self, config: BiomedCLIPSegConfig) -> None:
        super().__init__()
        self.visual = TimmModel(config.vision, embed_dim=config.embed_dim, pool="", proj="linear")
        self.text = _BertText(config)
        # Not used here, as the projection of the image is not; kept so that checkpoints go in and out whole.
        self.logit_scale = nn.Parameter(torch.tensor(0.0))


class _BertText(nn.Module):
    """BERT, whose last state of the first token is projected: (P, T) token ids to (P, E)."""

    def __init__(self, config: BiomedCLIPSegConfig) -> None:
        super().__init__()
        self.transformer = BertModel(
            BertConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.text_width,
                num_hidden_layers=config.text_layers,
                num_attention_heads=config.text_heads,
                intermediate_size=config.text_mlp,
                max_position_embeddings=config.text_positions,
            ),
            add_pooling_layer=False,
        )
        hidden = (config.text_width + config.embed_dim) // 2
        self.proj = nn.Sequential(
            nn.Linear(config.text_width, hidden, bias=False),
            nn.GELU(),
            nn.Linear(hidden, config.embed_dim, bias=False),
        )

    def forward(self, ids: Tensor) -> Tensor:
        attended = (ids != self.transformer.config.pad_token_id).long()
        states = self.transformer(ids, attention_mask=attended).last_hidden_state
        projected: Tensor = self.proj(states[:, 0])
        return projected


def _random_decoder(config: BiomedCLIPSegConfig, vision: timm.models.VisionTransformer) -> CLIPSegDecoder:
    patch, _ = vision.patch_embed.patch_size
    decoder = CLIPSegDecoder(
        CLIPSegConfig(
            # One head, only because it divides every width: the encoder is not built from this.
            vision_config={"hidden_size": vision.embed_dim, "patch_size": patch, "num_attention_heads": 1},
            projection_dim=config.embed_dim,
            extract_layers=list(config.extract_layers),
            reduce_dim=config.reduce_dim,
            decoder_num_attention_heads=config.decoder_heads,
            decoder_intermediate_size=config.decoder_mlp,
            use_complex_transposed_convolution=True,
            # The library chooses it for whole models only.
            attn_implementation="sdpa",
        )
    )
    # The paper's `transformers` (4.35) left these to torch; version 5 gives them a deviation of 1, which drowns
    # every gradient.
    for layer in (decoder.film_mul, decoder.film_add, *decoder.reduces, *decoder.transposed_convolution):
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return decoder
