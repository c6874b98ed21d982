"""The encoders of CRIS: CLIP's RN50 without its pooling, and CLIP's text transformer, from `open_clip`.

Parts and attributes bear the names of upstream's state dict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn
from torch.nn import functional

# Pixels of the input to one of the coarsest level, in rows and in columns.
STRIDE = 32
# Width of a head in the attention pool (CLIP).
_POOL_HEAD = 64


class Backbone(nn.Module):
    """An image encoder beside CLIP's text transformer, under the names that CLIP gives to both.

    Parameters
    ----------
    visual : nn.Module
        `ResNetEncoder` or `smp_encoder.SMPEncoder`: gives its levels from fine to coarse, whose widths are `channels`;
        `attention` names those of its modules that project for attention.
    embed_dim : int
        Width of the space that texts are projected to.
    width, layers, heads, vocab_size, context_length : int
        The text transformer.
    """

    visual: Any
    attn_mask: Tensor

    def __init__(
        self,
        visual: nn.Module,
        embed_dim: int,
        *,
        width: int,
        layers: int,
        heads: int,
        vocab_size: int,
        context_length: int,
    ) -> None:
        super().__init__()
        text = TextTransformer(
            context_length, vocab_size, width, heads, layers, output_dim=embed_dim, act_layer=QuickGELU
        )
        for block in text.transformer.resblocks:
            block.attn = TextAttention(block.attn)
        self.visual = visual
        self.transformer = text.transformer
        self.token_embedding = text.token_embedding
        self.positional_embedding = text.positional_embedding
        self.ln_final = text.ln_final
        self.text_projection = text.text_projection
        self.register_buffer("attn_mask", text.attn_mask, persistent=False)
        # Not used here; kept so that checkpoints go in and out whole.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


class ResNetEncoder(ModifiedResNet):
    """CLIP's residual network, whose attention pool keeps the plane.

    Parameters
    ----------
    blocks : sequence of int
        In each of the four stages.
    width : int
        Channels after the stem.
    image_size : int
        Side of CLIP's own input, which fixes the number of stored positions.
    embed_dim : int
        Channels of the coarsest level.

    Attributes
    ----------
    channels : tuple of int
        Of the levels, from fine to coarse.
    attention : tuple of str
        Names of the modules that project for attention.
    """

    attention = ("attnpool",)

    def __init__(self, blocks: Sequence[int], width: int, image_size: int, embed_dim: int) -> None:
        pooled = 32 * width
        heads = pooled // _POOL_HEAD
        super().__init__(list(blocks), embed_dim, heads, image_size, width)
        self.attnpool = AttentionPool(image_size // STRIDE, pooled, heads, embed_dim)
        self.channels = (8 * width, 16 * width, embed_dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) to three levels (B, C, side, side), whose sides are S / 8, S / 16 and S / 32."""
        fine = self.layer2(self.layer1(self.stem(pixels)))
        middle = self.layer3(fine)
        return fine, middle, self.attnpool(self.layer4(middle))


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
