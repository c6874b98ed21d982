"""CRIS (Wang et al., CVPR 2022): CLIP's RN50 from `open_clip`, a text-led pyramid, a decoder that reads words.

Parts and attributes bear the names of upstream's state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTokenizer

from napari_medvlsm.core.models.architectures.base import Activations, Attention, Conditions, projections
from napari_medvlsm.core.models.architectures.cris_backbone import STRIDE, Backbone, ResNetEncoder
from napari_medvlsm.core.models.architectures.cris_decoder import Decoder, Neck, Projector, conv_norm
from napari_medvlsm.core.models.architectures.own_folder import OwnFolderVLSM
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.smp_encoder import SMPEncoder

# The id that pads a text: OpenAI's tokenizer fills with zeros.
PADDING_ID = 0
# Levels of the library's encoders that are finer than the pyramid's plane.
_SKIPS = 3


@dataclass(frozen=True)
class CRISConfig:
    """Sizes; the defaults are those of the paper on CLIP RN50.

    Attributes
    ----------
    vision : str
        CLIP's residual network ("resnet"), or the name of an encoder of `segmentation_models_pytorch`, for small models
        that are trained from scratch.
    vision_layers, vision_width : tuple of int, int
        Of the residual network: blocks in each of the four stages, and channels after the stem.
    vision_size : int
        Of it too: side of CLIP's own input, which fixes the number of stored positions; others are interpolated.
    text_width, text_layers, text_heads, vocab_size, context_length : int
        CLIP's text transformer; `context_length` is the number of stored positions.
    word_length : int
        Longest text, in tokens: 77 upstream, 17 in the public RefCOCO checkpoint.
    embed_dim : int
        Width of the space that text and image are projected to.
    neck_widths : tuple of int
        Channels of the pyramid's three levels, from fine to coarse; the second is `text_width`.
    skip_widths : tuple of int
        With an encoder of the library: channels in which its levels of sides S / 8, S / 4 and S / 2 reach the
        projector, which joins them to its planes as a UNet does. Upstream's projector sees the pyramid alone, and
        outlines small things from a sixteenth of their size.
    decoder_layers, decoder_heads, decoder_mlp : int
        The decoder.
    dropout : float
        In the decoder: 0.2 in medvlsm, 0.1 in CRIS's own repository.
    sentence_norm : str
        How the neck normalises sentences: over the batch, as upstream medvlsm, or each for itself ("layer"). Where all
        prompts of a training are equal, the first sees no variance and answers at random afterwards.
    attend_padding : bool
        False: the decoder reads a prompt's own tokens, as upstream. True: texts are filled up to `word_length` with
        the end-of-text token and all of it is read, as upstream, whose tokenizer pads with that token
        while its mask looks for zeros. For upstream's own checkpoints.
    """

    vision: str = "resnet"
    vision_layers: tuple[int, ...] = (3, 4, 6, 3)
    vision_width: int = 64
    vision_size: int = 224
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    vocab_size: int = 49408
    context_length: int = 77
    word_length: int = 77
    embed_dim: int = 1024
    neck_widths: tuple[int, ...] = (256, 512, 1024)
    skip_widths: tuple[int, ...] = ()
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    dropout: float = 0.2
    sentence_norm: str = "batch"
    attend_padding: bool = False

    def __post_init__(self) -> None:
        if self.neck_widths[1] != self.text_width:
            raise ValueError(
                f"The decoder joins words of width {self.text_width} with a pyramid of width {self.neck_widths[1]}; "
                "the second of neck_widths must be text_width."
            )
        if self.sentence_norm not in ("batch", "layer"):
            raise ValueError(f'sentence_norm must be "batch" or "layer", but is {self.sentence_norm!r}.')
        if len(self.skip_widths) != (0 if self.vision == "resnet" else _SKIPS):
            raise ValueError(
                f"skip_widths are {_SKIPS} numbers with an encoder of segmentation_models_pytorch and none with "
                f"resnet, but {list(self.skip_widths)} with {self.vision}."
            )
        if self.word_length > self.context_length:
            raise ValueError(f"word_length {self.word_length} is above context_length {self.context_length}.")


class CRIS(OwnFolderVLSM):
    """CLIP's residual network and text transformer; a pyramid led by the sentence; a decoder that attends to words.

    The logits are as large as the input, whose side is a multiple of 32.

    Parameters
    ----------
    config : CRISConfig
    tokenizer : CLIPTokenizer
    preprocessing : Preprocessing

    Raises
    ------
    ValueError
        If the side of the images is not, or the library has no such encoder.
    """

    FAMILY, CONFIG, TOKENIZER, IMAGE_SIZE = "cris", CRISConfig, CLIPTokenizer, 416
    ENCODERS = "backbone"
    config: CRISConfig
    STRIDE = STRIDE

    # A prompt at true size takes some 50 MiB in this decoder, five times as much as in CLIPSeg's.
    PROMPT_BATCH = 4

    def __init__(self, config: CRISConfig, tokenizer: CLIPTokenizer, preprocessing: Preprocessing) -> None:
        super().__init__(config, tokenizer, preprocessing)
        width = config.neck_widths[1]
        self.backbone = Backbone(
            _image_encoder(config),
            config.embed_dim,
            width=config.text_width,
            layers=config.text_layers,
            heads=config.text_heads,
            vocab_size=config.vocab_size,
            context_length=config.context_length,
        )
        *finer, fine, middle, coarse = self.backbone.visual.channels
        self.neck = Neck((fine, middle, coarse), config.neck_widths, config.sentence_norm)
        self.decoder = Decoder(config.decoder_layers, width, config.decoder_heads, config.decoder_mlp, config.dropout)
        self.skips = nn.ModuleList(
            conv_norm(level, out, 1) for level, out in zip(_skipped(finer, fine), config.skip_widths, strict=True)
        )
        self.proj = Projector(config.embed_dim, width, config.skip_widths)

    @property
    def attention(self) -> Attention:
        """Names of the projections: of vision those of the attention pool, of text one for query, key and value.

        An encoder of the library has none.
        """
        pools = [f"backbone.visual.{name}" for name in self.backbone.visual.attention]
        blocks = [f"backbone.transformer.resblocks.{i}.attn" for i in range(self.config.text_layers)]
        return {
            "vision": projections(pools, query="q_proj", key="k_proj", value="v_proj", output="c_proj"),
            "text": projections(blocks, query="in_proj", key="in_proj", value="in_proj", output="out_proj"),
        }

    def encode_image(self, pixels: Tensor) -> Activations:
        """The image's pyramid, as far as it does not depend on the text.

        Parameters
        ----------
        pixels : (B, 3, S, S)

        Returns
        -------
        Tensors (B, C, side, side) of sides S / 16, S / 16 and S / 32; with `skip_widths` also S / 8, S / 4 and S / 2.
        """
        return self.complete(self.encode_frozen(pixels))

    def encode_frozen(self, pixels: Tensor) -> Activations:
        """The encoder's levels from fine to coarse."""
        levels: Activations = self.backbone.visual(pixels)
        return levels

    def complete(self, encoded: Activations) -> Activations:
        """The first layers of the pyramid, which need no text but train with it."""
        *finer, fine, middle, coarse = encoded
        skips = [skip(level) for skip, level in zip(self.skips, _skipped(finer, fine), strict=True)]
        return (*self.neck.project(fine, middle, coarse), *skips)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (P, T), padded with `PADDING_ID`, or as `attend_padding` says."""
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.config.word_length)["input_ids"]
        ids = [torch.tensor(row) for row in tokens]
        if not self.config.attend_padding:
            return pad_sequence(ids, batch_first=True, padding_value=PADDING_ID)
        end = self.tokenizer.eos_token_id
        return torch.stack([functional.pad(row, (0, self.config.word_length - len(row)), value=end) for row in ids])

    def encode_tokens(self, ids: Tensor) -> Conditions:
        """Sentence (P, E), words (P, T, D) and padding (P, T).

        The sentence is the state of the largest id, the first end-of-text token. Attention is causal: what pads
        after that token cannot reach it or the words before it.
        """
        text, length = self.backbone, ids.shape[1]
        states = text.token_embedding(ids) + text.positional_embedding[:length]
        words = text.ln_final(text.transformer(states, attn_mask=text.attn_mask[:length, :length]))
        ends = words[torch.arange(len(ids), device=ids.device), ids.argmax(dim=1)]
        return Conditions(ends @ text.text_projection, words, ids == PADDING_ID)

    def decode(self, activations: Activations, conditions: Conditions) -> Tensor:
        """Logits (P, S, S)."""
        assert conditions.words is not None and conditions.padding is not None
        fused = self.neck(activations[:3], conditions.sentence)
        states = self.decoder(fused, conditions.words, conditions.padding)
        logits = self.proj(states, conditions.sentence, activations[3:])
        side = self.STRIDE // 2 * states.shape[-1]
        return functional.interpolate(logits, size=(side, side), mode="bicubic", align_corners=True)[:, 0]


def _skipped(finer: Sequence[Any], fine: Any) -> Sequence[Any]:
    """What reaches the projector, from coarse to fine: the pyramid's finest level too, where there are finer ones."""
    return [fine, *reversed(finer)] if finer else []


def _image_encoder(config: CRISConfig) -> nn.Module:
    if config.vision == "resnet":
        return ResNetEncoder(config.vision_layers, config.vision_width, config.vision_size, config.embed_dim)
    return SMPEncoder(config.vision, config.embed_dim)
