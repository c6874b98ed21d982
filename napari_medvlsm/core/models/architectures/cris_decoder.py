"""The parts of CRIS beside its encoders: a pyramid led by the sentence, a decoder that reads words, a projector.

Parts and attributes bear the names of upstream's state dict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_medvlsm.core.models.architectures.base import Activations

# Side of the kernel that the projector makes of a sentence.
_KERNEL = 3


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
        self.f1_v_proj = conv_norm(widths[2], coarse, 1)
        self.norm_layer = nn.Sequential(nn.BatchNorm2d(coarse), nn.ReLU(inplace=True))
        self.f2_v_proj = conv_norm(widths[1], middle, 3)
        self.f2_cat = conv_norm(coarse + middle, middle, 1)
        self.f3_v_proj = conv_norm(widths[0], fine, 3)
        self.f3_cat = conv_norm(fine + middle, middle, 1)
        self.f4_proj5 = conv_norm(coarse, middle, 3)
        self.f4_proj4 = conv_norm(middle, middle, 3)
        self.f4_proj3 = conv_norm(middle, middle, 3)
        self.aggr = conv_norm(3 * middle, middle, 1)
        self.coordconv = nn.Sequential(_CoordinateConv(middle, middle), conv_norm(middle, middle, 3))

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
            stages += [nn.Upsample(scale_factor=2, mode="bilinear"), conv_norm(before + skip, out, 3)]
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
        self.conv1 = conv_norm(width + 2, out, 3)

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


def conv_norm(width: int, out: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the size, batch normalisation, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _double(plane: Tensor) -> Tensor:
    return functional.interpolate(plane, scale_factor=2, mode="bilinear")
