"""CRIS (Wang et al., CVPR 2022): CLIP's RN50 from `open_clip`, a text-led pyramid, a decoder that reads words.

Parts and attributes bear the names of the reference's state dict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from open_clip import CLIP
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTokenizer, ViTImageProcessor

from napari_medvlsm.core.models.architectures.base import VLSM, Activations, Attention, Conditions, projections
from napari_medvlsm.core.models.architectures.smp_encoder import LibraryEncoder
from napari_medvlsm.core.models.architectures.weights import (
    loading,
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from napari_medvlsm.core.models.store.card import read_card

# The id that pads a text: OpenAI's tokenizer fills with zeros.
PADDING_ID = 0
# Side of the kernel that the projector makes of a sentence.
_KERNEL = 3
# Width of a head in the attention pool (CLIP).
_POOL_HEAD = 64
# Levels of the library's encoders that are finer than the pyramid's plane.
_SKIPS = 3
# Width of the residual network that CLIP is made with where another encoder takes its place.
_REPLACED = 8


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
        Longest text, in tokens: 77 in the release, 17 in the public RefCOCO checkpoint.
    embed_dim : int
        Width of the space that text and image are projected to.
    neck_widths : tuple of int
        Channels of the pyramid's three levels, from fine to coarse; the second is `text_width`.
    skip_widths : tuple of int
        With an encoder of the library: channels in which its levels of sides S / 8, S / 4 and S / 2 reach the
        projector, which joins them to its planes as a UNet does. The reference's projector sees the pyramid alone, and
        outlines small things from a sixteenth of their size.
    decoder_layers, decoder_heads, decoder_mlp : int
        The decoder.
    dropout : float
        In the decoder: 0.2 in the release, 0.1 upstream.
    sentence_norm : str
        How the neck normalises sentences: over the batch, as the reference, or each for itself ("layer"). Where all
        prompts of a training are equal, the first sees no variance and answers at random afterwards.
    attend_padding : bool
        False: the decoder reads a prompt's own tokens, as upstream. True: texts are filled up to `word_length` with
        the end-of-text token and all of it is read, as in the release, whose tokenizer pads with that token
        while its mask looks for zeros. For the release's own checkpoints.
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


class CRIS(VLSM):
    """CLIP's residual network and text transformer; a pyramid led by the sentence; a decoder that attends to words.

    The logits are as large as the input, whose side is a multiple of 32.

    Parameters
    ----------
    config : CRISConfig
    tokenizer : CLIPTokenizer
    preprocessing : ViTImageProcessor

    Raises
    ------
    ValueError
        If the side of the images is not, or the library has no such encoder.
    """

    ENCODERS = "backbone"
    # Pixels to one of the coarsest level, of CLIP's encoder as of the library's.
    STRIDE = 32

    # A prompt at true size takes some 50 MiB in this decoder, five times as much as in CLIPSeg's.
    PROMPT_BATCH = 4

    def __init__(self, config: CRISConfig, tokenizer: CLIPTokenizer, preprocessing: ViTImageProcessor) -> None:
        super().__init__(tokenizer, preprocessing)
        if self.image_size % self.STRIDE:
            raise ValueError(f"The side of the images must be a multiple of {self.STRIDE}, but is {self.image_size}.")
        self.config = config
        width = config.neck_widths[1]
        self.backbone = _backbone(config)
        if config.vision == "resnet":
            channels = (8 * config.vision_width, 16 * config.vision_width, config.embed_dim)
        else:
            channels = self.backbone.visual.channels
        finer: list[int]
        *finer, fine, middle, coarse = channels
        self.neck = Neck((fine, middle, coarse), config.neck_widths, config.sentence_norm)
        self.decoder = Decoder(config.decoder_layers, width, config.decoder_heads, config.decoder_mlp, config.dropout)
        self.skips = nn.ModuleList(
            _conv(level, out, 1) for level, out in zip(_skipped(finer, fine), config.skip_widths, strict=True)
        )
        self.proj = Projector(config.embed_dim, width, config.skip_widths)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder written by `save`."""
        read_card(folder)
        with loading(folder):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            preprocessing = ViTImageProcessor.from_pretrained(folder, local_files_only=True)
            model = cls(read_config(CRISConfig, folder), tokenizer, preprocessing)
            read_weights(model, folder)
        return model.eval()

    @classmethod
    def from_config(cls, config: CRISConfig, tokenizer: CLIPTokenizer, image_size: int = 416) -> Self:
        """A model with random weights."""
        return cls(config, tokenizer, cls.default_preprocessing(image_size))

    def save(self, folder: Path) -> None:
        """Write configuration, weights, tokenizer and preprocessing into `folder`."""
        write_config(self.config, folder, "cris")
        write_weights(self, folder)
        self.tokenizer.save_pretrained(folder)
        self.preprocessing.save_pretrained(folder)

    @property
    def attention(self) -> Attention:
        """Names of the projections: of vision those of the attention pool, of text one for query, key and value.

        An encoder of the library has none.
        """
        pools = ["backbone.visual.attnpool"] if self.config.vision == "resnet" else []
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
        """The encoder's levels from fine to coarse: three of the residual network, or all of another."""
        visual = self.backbone.visual
        if self.config.vision != "resnet":
            levels: Activations = visual(pixels)
            return levels
        fine = visual.layer2(visual.layer1(visual.stem(pixels)))
        middle = visual.layer3(fine)
        return fine, middle, visual.attnpool(visual.layer4(middle))

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


def _backbone(config: CRISConfig) -> CLIP:
    """CLIP with OpenAI's activation, text attention made of layers, and an encoder of images that keeps the plane."""
    own = config.vision == "resnet"
    backbone = CLIP(
        embed_dim=config.embed_dim,
        vision_cfg={
            "layers": config.vision_layers if own else (1, 1, 1, 1),
            "width": config.vision_width if own else _REPLACED,
            "image_size": config.vision_size,
            "head_width": _POOL_HEAD,
        },
        text_cfg={
            "width": config.text_width,
            "layers": config.text_layers,
            "heads": config.text_heads,
            "vocab_size": config.vocab_size,
            "context_length": config.context_length,
        },
        quick_gelu=True,
    )
    if own:
        channels = 32 * config.vision_width
        backbone.visual.attnpool = AttentionPool(
            config.vision_size // CRIS.STRIDE, channels, channels // _POOL_HEAD, config.embed_dim
        )
    else:
        backbone.visual = LibraryEncoder(config.vision, config.embed_dim)
    for block in backbone.transformer.resblocks:
        block.attn = TextAttention(block.attn)
    return backbone


class AttentionPool(AttentionPool2d):
    """CLIP's attention pool without the pooling: every position attends to all, beside a plain projection."""

    def __init__(self, side: int, width: int, heads: int, out: int) -> None:
        super().__init__(side, width, heads, out)
        self.side = side
        self.connect = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, rows, cols) to (B, E, rows, cols)."""
        rows, cols = x.shape[-2:]
        states = (x + self._positions(rows, cols)).flatten(2).transpose(1, 2)
        query, key, value = (
            layer(states).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        plane = self.c_proj(attended).transpose(1, 2).unflatten(-1, (rows, cols))
        return functional.relu(plane + self.connect(x))

    def _positions(self, rows: int, cols: int) -> Tensor:
        """CLIP's positions (1, C, rows, cols); the first of the table is that of the mean, which is not made here."""
        table = self.positional_embedding[1:].T.unflatten(1, (self.side, self.side))
        return functional.interpolate(table[None], size=(rows, cols), mode="bicubic", align_corners=False)


class TextAttention(nn.Module):
    """CLIP's self-attention with the weights and the state dict of an `nn.MultiheadAttention`.

    That class multiplies with its parameters itself; here they are two layers, which adapters can be put on. (peft
    adapts that class too, by adding to its frozen weights and subtracting again at every step, which leaves
    rounding errors in them.)
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width = attention.embed_dim
        self.heads = attention.num_heads
        self.in_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.in_proj.weight, self.in_proj.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj.weight, self.out_proj.bias = attention.out_proj.weight, attention.out_proj.bias
        self.register_state_dict_post_hook(_rename("in_proj.", "in_proj_"))
        self.register_load_state_dict_pre_hook(_rename("in_proj_", "in_proj."))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool, attn_mask: Tensor
    ) -> tuple[Tensor, None]:
        """Self-attention (query, key and value are the same) of (P, T, D), with a mask (T, T) that is added."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in self.in_proj(query).chunk(3, dim=-1))
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask.to(q.dtype))
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None


def _rename(old: str, new: str) -> Callable[..., None]:
    """A hook that renames the weight and bias of a layer in a state dict."""

    def hook(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        for part in ("weight", "bias"):
            if prefix + old + part in state:
                state[prefix + new + part] = state.pop(prefix + old + part)

    return hook


class Neck(nn.Module):
    """A pyramid of three levels in which the sentence gates the coarsest.

    Parameters
    ----------
    widths : tuple of int
        Channels of the levels that come in, from fine to coarse; the last is that of the sentence too.
    out : tuple of int
        Channels of the levels within.
    norm : str
        See `CRISConfig.sentence_norm`.
    """

    def __init__(self, widths: tuple[int, int, int], out: tuple[int, ...], norm: str = "batch") -> None:
        super().__init__()
        fine, middle, coarse = out
        normalised = nn.BatchNorm1d(coarse) if norm == "batch" else nn.LayerNorm(coarse)
        self.txt_proj = nn.Sequential(nn.Linear(widths[2], coarse, bias=False), normalised, nn.ReLU(inplace=True))
        self.f1_v_proj = _conv(widths[2], coarse, 1)
        self.norm_layer = nn.Sequential(nn.BatchNorm2d(coarse), nn.ReLU(inplace=True))
        self.f2_v_proj = _conv(widths[1], middle, 3)
        self.f2_cat = _conv(coarse + middle, middle, 1)
        self.f3_v_proj = _conv(widths[0], fine, 3)
        self.f3_cat = _conv(fine + middle, middle, 1)
        self.f4_proj5 = _conv(coarse, middle, 3)
        self.f4_proj4 = _conv(middle, middle, 3)
        self.f4_proj3 = _conv(middle, middle, 3)
        self.aggr = _conv(3 * middle, middle, 1)
        self.coordconv = nn.Sequential(_CoordinateConv(middle, middle), _conv(middle, middle, 3))

    def project(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part that needs no text, once an image; the fine level comes out at the size of the middle one."""
        return functional.avg_pool2d(self.f3_v_proj(fine), 2), self.f2_v_proj(middle), self.f1_v_proj(coarse)

    def forward(self, projected: Activations, sentence: Tensor) -> Tensor:
        """Levels from `project` and sentences (P, E) to planes (P, D, rows, cols), as large as the middle level."""
        fine, middle, coarse = projected
        gate = self.txt_proj(sentence)[:, :, None, None]
        f5 = self.norm_layer(coarse * gate)
        f4 = self.f2_cat(torch.cat([middle, _double(f5)], dim=1))
        f3 = self.f3_cat(torch.cat([fine, f4], dim=1))
        levels = [self.f4_proj3(f3), self.f4_proj4(f4), _double(self.f4_proj5(f5))]
        plane: Tensor = self.coordconv(self.aggr(torch.cat(levels, dim=1)))
        return plane


class Decoder(nn.Module):
    """A transformer in which every pixel attends to all pixels and to the words of the prompt."""

    def __init__(self, layers: int, width: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_DecoderLayer(width, heads, mlp, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, plane: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        """Planes (P, D, rows, cols), words (P, T, D) and padding (P, T) to planes (P, D, rows, cols)."""
        rows, cols = plane.shape[-2:]
        pixels = plane.flatten(2).transpose(1, 2)
        where = plane_positions(rows, cols, plane.shape[1]).to(plane)
        order = line_positions(words.shape[1], words.shape[2]).to(words)
        for layer in self.layers:
            pixels = layer(pixels, words, where, order, padding)
        states: Tensor = self.norm(pixels)
        return states.transpose(1, 2).unflatten(-1, (rows, cols))


class _DecoderLayer(nn.Module):
    """Self-attention, attention to words, and an MLP, each normalised before; both attentions after as well."""

    def __init__(self, width: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.self_attn_norm = nn.LayerNorm(width)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_attn_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, mlp),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.LayerNorm(mlp),
            nn.Linear(mlp, width),
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, pixels: Tensor, words: Tensor, where: Tensor, order: Tensor, padding: Tensor) -> Tensor:
        x = self.norm1(pixels)
        attended, _ = self.self_attn(x + where, x + where, x, need_weights=False)
        pixels = pixels + self.drop(self.self_attn_norm(attended))
        x = self.norm2(pixels)
        attended, _ = self.multihead_attn(x + where, words + order, words, key_padding_mask=padding, need_weights=False)
        pixels = pixels + self.drop(self.cross_attn_norm(attended))
        changed: Tensor = self.drop(self.ffn(self.norm3(pixels)))
        return pixels + changed


class Projector(nn.Module):
    """Makes a kernel of each sentence and convolves the sentence's own plane with it.

    `skips` are the channels of planes that are joined to it, each twice as large as the one before; without them it is
    enlarged twice.
    """

    def __init__(self, sentence: int, width: int, skips: Sequence[int] = ()) -> None:
        super().__init__()
        half = width // 2
        stages: list[nn.Module] = []
        before = width
        for i, skip in enumerate(skips or (0, 0)):
            out = half if i else width
            stages += [nn.Upsample(scale_factor=2, mode="bilinear"), _conv(before + skip, out, 3)]
            before = out
        self.vis = nn.Sequential(*stages, nn.Conv2d(half, half, 1))
        self.txt = nn.Linear(sentence, half * _KERNEL**2 + 1)

    def forward(self, plane: Tensor, sentence: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """Planes (P, D, rows, cols) and sentences (P, E) to logits (P, 1, 4 rows, 4 cols), 8 times with three skips."""
        finer = iter(skips)
        for layer in self.vis:
            plane = layer(plane)
            if skips and isinstance(layer, nn.Upsample):
                plane = torch.cat([plane, next(finer)], dim=1)
        prompts, channels = plane.shape[:2]
        kernels, bias = self.txt(sentence).split([channels * _KERNEL**2, 1], dim=1)
        # One group a prompt, so that each plane meets its own kernel only.
        logits = functional.conv2d(
            plane.flatten(0, 1)[None],
            kernels.reshape(prompts, channels, _KERNEL, _KERNEL),
            bias[:, 0],
            padding=_KERNEL // 2,
            groups=prompts,
        )
        return logits.transpose(0, 1)


class _CoordinateConv(nn.Module):
    """A convolution that sees where it is: x and y in [-1, 1] are two more channels."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1 = _conv(width + 2, out, 3)

    def forward(self, plane: Tensor) -> Tensor:
        count, _, rows, cols = plane.shape
        x = torch.linspace(-1, 1, cols).to(plane).expand(count, 1, rows, cols)
        y = torch.linspace(-1, 1, rows).to(plane)[:, None].expand(count, 1, rows, cols)
        changed: Tensor = self.conv1(torch.cat([plane, x, y], dim=1))
        return changed


def line_positions(length: int, width: int) -> Tensor:
    """Sines and cosines of positions, in turn: (length, width)."""
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000) / width))
    angle = torch.arange(length)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def plane_positions(rows: int, cols: int, width: int) -> Tensor:
    """Positions of the pixels of a plane, row by row: the first half of the channels tells x, the second y."""
    x = line_positions(cols, width // 2)[None].expand(rows, cols, -1)
    y = line_positions(rows, width // 2)[:, None].expand(rows, cols, -1)
    return torch.cat([x, y], dim=2).flatten(0, 1)


def _conv(width: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _double(plane: Tensor) -> Tensor:
    return functional.interpolate(plane, scale_factor=2, mode="bilinear")
