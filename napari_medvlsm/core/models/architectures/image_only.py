"""Image-only baselines (UNet, UNet++, DeepLabV3+ of `segmentation_models_pytorch`): one output plane a target.

They ignore all text but the name of the target, which selects the plane. So they are trained, run and evaluated like
the vision-language models, with the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from napari_medvlsm.core.models.architectures.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VLSM,
    Activations,
    Attention,
    Conditions,
)
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.smp_encoder import known_encoder
from napari_medvlsm.core.models.architectures.weights import (
    loading,
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.prompts import Vocabulary, load_vocabulary, normalise

# Architectures and their classes in `segmentation_models_pytorch`, which is imported where such a model is made.
ARCHITECTURES = {"unet": "Unet", "unet++": "UnetPlusPlus", "deeplabv3+": "DeepLabV3Plus"}
# Logit of every pixel for a name that has no plane: surely background.
_NOTHING = -20.0


@dataclass(frozen=True)
class ImageOnlyConfig:
    """Sizes; the defaults are those of the paper.

    Attributes
    ----------
    targets : tuple of str
        Names of the planes, in order.
    architecture : str
        Key of `ARCHITECTURES`.
    encoder : str
        As `segmentation_models_pytorch` calls it.
    decoder_channels : tuple of int
        Of UNet and UNet++, from coarse to fine; empty for the library's own.
    names : dict
        Every known name, normalised, to the number of its plane from 0, or to -1 for a name of a target that has no
        plane ("left lung" selects no plane of "lungs"). See `plane_names`. Empty in folders written before it was
        stored; the shipped vocabulary then gives the names.
    """

    targets: tuple[str, ...]
    architecture: str = "unet"
    encoder: str = "resnet50"
    decoder_channels: tuple[int, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"There is no image-only architecture {self.architecture!r}; there are {', '.join(ARCHITECTURES)}."
            )
        if not self.targets:
            raise ValueError("An image-only model needs the names of its planes.")
        planes = len(self.targets)
        if wrong := sorted({i for i in self.names.values() if not -1 <= i < planes}):
            raise ValueError(f"The names of an image-only model refer to planes {wrong}; there are {planes}.")


class ImageOnly(VLSM):
    """A convolutional network with one plane of logits for each target.

    Parameters
    ----------
    config : ImageOnlyConfig
    preprocessing : Preprocessing
        The side of its squares is a multiple of 32.

    Raises
    ------
    ValueError
        If the library knows no such encoder.
    """

    MEAN, STD = IMAGENET_MEAN, IMAGENET_STD
    ENCODERS, IMAGE_SIZE = "net.encoder", 256
    # The encoders halve the image five times.
    STRIDE = 32

    def __init__(self, config: ImageOnlyConfig, preprocessing: Preprocessing) -> None:
        super().__init__(None, preprocessing)
        if self.image_size % self.STRIDE:
            raise ValueError(f"The side of the images must be a multiple of {self.STRIDE}, but is {self.image_size}.")
        self.config = config
        self._names = dict(config.names) or plane_names(config.targets, load_vocabulary())
        self.net = _network(config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder written by `save`."""
        read_card(folder)
        with loading(folder):
            preprocessing = Preprocessing.read(folder)
            model = cls(read_config(ImageOnlyConfig, folder), preprocessing)
            read_weights(model, folder)
        return model.eval()

    @classmethod
    def from_config(cls, config: ImageOnlyConfig, image_size: int = IMAGE_SIZE) -> Self:
        """A model with random weights."""
        return cls(config, cls.default_preprocessing(image_size))

    def save(self, folder: Path) -> None:
        """Write configuration, weights and preprocessing into `folder`."""
        write_config(self.config, folder, "image-only")
        write_weights(self, folder)
        self.preprocessing.write(folder)

    @property
    def upstream(self) -> nn.Module:
        """The network itself, whose names are the library's, as upstream."""
        net: nn.Module = self.net
        return net

    @property
    def attention(self) -> Attention:
        """None to adapt."""
        raise ValueError("An image-only model has no attention to put adapters on; train all of it.")

    def encode_image(self, pixels: Tensor) -> Activations:
        """The logits of every plane, (B, C, S, S)."""
        return (self.net(pixels),)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """The number of the plane that each text names, from 1, shape (P, 1); 0 for a name that has none."""
        return torch.tensor([[self._plane(text) + 1] for text in texts])

    def encode_tokens(self, ids: Tensor) -> Conditions:
        """One plane a prompt, as a row of ones and zeros."""
        planes = torch.arange(1, len(self.config.targets) + 1, device=ids.device)
        return Conditions((ids == planes).float())

    def decode(self, activations: Activations, conditions: Conditions) -> Tensor:
        """Logits (P, S, S) of the plane that each prompt named."""
        planes = conditions.sentence[:, :, None, None]
        return (activations[0] * planes).sum(dim=1) + _NOTHING * (1 - planes.sum(dim=1))

    def _plane(self, text: str) -> int:
        """The plane of the first name of a target in the text; -1 where that is none of this model's.

        First, since prompts name what they ask for before what else is there ("edema ...; atelectasis is present").
        """
        padded = f" {normalise(text)} "
        found = [(start, -len(name), name) for name in self._names if (start := padded.find(f" {name} ")) >= 0]
        return self._names[min(found)[2]] if found else -1


def plane_names(targets: Sequence[str], vocabulary: Vocabulary) -> dict[str, int]:
    """The plane of every name of a target, normalised; -1 for the names of targets that have no plane.

    Targets without a plane count too: "left lung" must not select "lungs".
    """
    names = {normalise(name): -1 for target in vocabulary.targets.values() for name in target.names}
    own = ((name, i) for i, phrase in enumerate(targets) for name in (phrase, *vocabulary.target(phrase).names))
    return names | {normalise(name): i for name, i in own}


def _network(config: ImageOnlyConfig) -> nn.Module:
    import segmentation_models_pytorch as smp

    more: dict[str, Any] = {"decoder_channels": config.decoder_channels} if config.decoder_channels else {}
    make = getattr(smp, ARCHITECTURES[config.architecture])
    with known_encoder(config.encoder):
        net: nn.Module = make(config.encoder, encoder_weights=None, classes=len(config.targets), **more)
    return net
