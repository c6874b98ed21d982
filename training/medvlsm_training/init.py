"""Initialisation for vision transformers trained from scratch on a few thousand images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.cris import CRIS
from napari_medvlsm.core.models.architectures.wordunet import WordUNet

# Strength of noise and of identity for queries and keys, and for values and output
# (Trockman and Kolter, "Mimetic initialization of self-attention layers", ICML 2023, section 4).
_QUERY_KEY = (0.7, 0.7)
_VALUE_OUTPUT = (0.4, 0.4)


# Logit of a pixel before anything is learned: most pixels are background.
_BACKGROUND_LOGIT = -2.0


@torch.no_grad()
def init_from_scratch(model: CLIPSeg) -> None:
    """Prepare random weights for training without pretrained ones."""
    _init_vision(model)
    _init_decoder(model)


@torch.no_grad()
def init_cris(model: CRIS) -> None:
    """Let the projector's answer begin as background for every sentence."""
    nn.init.zeros_(model.proj.txt.bias[:-1])
    nn.init.constant_(model.proj.txt.bias[-1:], _BACKGROUND_LOGIT)


@torch.no_grad()
def init_wordunet(model: WordUNet) -> None:
    """Let every prompt's answer begin as background."""
    nn.init.zeros_(model.decoder.presence.weight)
    nn.init.constant_(model.decoder.presence.bias, _BACKGROUND_LOGIT)


def _init_decoder(model: CLIPSeg) -> None:
    """Layers of the decoder that `transformers` leaves at a deviation of 1, which drowns every gradient.

    The words begin with no say (multiply by one, add nothing to it) and learn theirs.
    """
    decoder = model.net.decoder
    for layer in (decoder.film_mul, decoder.film_add, *decoder.reduces, *decoder.transposed_convolution):
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    nn.init.ones_(decoder.film_mul.bias)
    nn.init.zeros_(decoder.film_add.bias)
    nn.init.constant_(decoder.transposed_convolution[-1].bias, _BACKGROUND_LOGIT)


def _init_vision(model: CLIPSeg) -> None:
    """Give the vision encoder the structure that pretrained ones share: local attention from the start.

    Positions become 2D sines and cosines; query-key products start near the identity and value-output
    products near minus the identity.
    """
    vision = model.net.clip.vision_model
    grid = vision.config.image_size // vision.config.patch_size
    table = vision.embeddings.position_embedding.weight
    table[1:] = sincos_positions(grid, table.shape[1]) * 0.5
    table[0] = 0
    nn.init.xavier_uniform_(vision.embeddings.patch_embedding.weight.flatten(1))
    for block in vision.encoder.layers:
        attention = block.self_attn
        width, head = attention.q_proj.in_features, attention.head_dim
        for start in range(0, width, head):
            rows = slice(start, start + head)
            left, right = _factor(_noisy_identity(width, *_QUERY_KEY), head)
            attention.q_proj.weight[rows] = left.T
            attention.k_proj.weight[rows] = right
        left, right = _factor(_noisy_identity(width, _VALUE_OUTPUT[0], -_VALUE_OUTPUT[1]), width)
        attention.v_proj.weight[:] = left.T
        attention.out_proj.weight[:] = right.T


def sincos_positions(grid: int, width: int) -> Tensor:
    """Fixed 2D positions of shape (grid * grid, width), row-major: half the channels from y, half from x."""
    frequency = 1.0 / 10000 ** (torch.arange(width // 4) / (width / 4))
    angle = torch.arange(grid)[:, None] * frequency
    one = torch.cat([angle.sin(), angle.cos()], dim=1)
    y = one[:, None, :].expand(grid, grid, -1)
    x = one[None, :, :].expand(grid, grid, -1)
    return torch.cat([y, x], dim=2).reshape(grid * grid, width)


def _noisy_identity(width: int, noise: float, identity: float) -> Tensor:
    return noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)


def _factor(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    u, s, v = torch.linalg.svd(matrix)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]
