"""Encoders of `segmentation_models_pytorch`, by the names that they have there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def known_encoder(encoder: str) -> Iterator[None]:
    """Refuse names that would reach a hub, and say in a sentence that the library has no such encoder.

    Raises
    ------
    ValueError
        If the library knows no such encoder.
    """
    if ":" in encoder or "/" in encoder:  # timm would ask a hub, or another folder, what it is
        raise ValueError(f"The encoder must be one that segmentation_models_pytorch knows, not {encoder!r}.")
    try:
        yield
    except (KeyError, RuntimeError) as error:  # the library's own names, and those it takes from timm
        raise ValueError(f"segmentation_models_pytorch has no encoder {encoder!r}; one is resnet50.") from error


def smp_encoder(name: str) -> Any:
    """An encoder with random weights that halves an image five times: (B, 3, S, S) to that and five levels.

    Raises
    ------
    ValueError
        If segmentation_models_pytorch has no such encoder, or it has not five levels.
    """
    # Here, since the library takes a second to import and only models with one of its encoders need it.
    from segmentation_models_pytorch.encoders import get_encoder

    with known_encoder(name):
        net = get_encoder(name, weights=None)
    if len(net.out_channels) != 6 or not all(net.out_channels[1:]):
        raise ValueError(f"The encoder {name} does not halve the image five times; one that does is mobilenet_v2.")
    return net


class SMPEncoder(nn.Module):
    """An encoder with random weights, and a projection of its coarsest level.

    Parameters
    ----------
    name : str
    width : int
        Channels of the coarsest level as it comes out.

    Attributes
    ----------
    channels : tuple of int
        Of the levels as they come out, from fine to coarse.
    attention : tuple of str
        None of its modules projects for attention.

    Raises
    ------
    ValueError
        If the library knows no such encoder, or it has not five levels.
    """

    attention: tuple[str, ...] = ()

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.net = smp_encoder(name)
        *finer, last = self.net.out_channels[1:]
        self.channels: tuple[int, ...] = (*finer, width)
        self.project = nn.Sequential(
            nn.Conv2d(last, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) to five levels (B, C, side, side), whose sides are S / 2 to S / 32."""
        *finer, last = self.net(pixels)[1:]
        return *finer, self.project(last)
