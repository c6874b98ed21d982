"""The model that a recipe starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import nn
from transformers import CLIPSegConfig, CLIPTokenizer

from medvlsm_training.config import IMAGE_ONLY, Recipe
from medvlsm_training.init import init_cris, init_from_scratch, init_wordunet
from medvlsm_training.prompting import every_text, trained_targets
from medvlsm_training.tokenizer import cut_tokenizer
from napari_medvlsm.core.datasets.items import Item
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.architectures.image_only import ImageOnly, ImageOnlyConfig, plane_names
from napari_medvlsm.core.models.architectures.lora import add_lora, merge_lora
from napari_medvlsm.core.models.architectures.wordunet import WordUNet, WordUNetConfig
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.plain_files import shown
from napari_medvlsm.core.prompts import Vocabulary
from napari_medvlsm.core.validation_errors import first_problem

# Of any number of sizes.
_LARGEST = 2**16


@dataclass(frozen=True)
class ClipSegSizes:
    """Sizes of a CLIPSeg trained from scratch; names as in `transformers.CLIPSegConfig`."""

    patch_size: int = 8
    hidden_size: int = 192
    layers: int = 6
    heads: int = 3
    text_size: int = 128
    text_layers: int = 2
    text_heads: int = 4
    reduce_dim: int = 64
    decoder_mlp: int = 256


def starting_model(recipe: Recipe, items: Sequence[Item], vocabulary: Vocabulary) -> VLSM:
    """The recipe's base, or a model with fresh weights, in which exactly what trains requires gradients.

    Parameters
    ----------
    recipe : Recipe
    items : sequence of Item
        Of training and validation: a fresh model's tokenizer knows their texts, an image-only one has their targets.
    vocabulary : Vocabulary

    Raises
    ------
    ValueError
        If the base is of another family than the recipe says or already an adapter where adapters are to be trained,
        or a size is unknown.
    """
    wanted = recipe.model
    if not wanted.base:
        try:
            return _fresh(recipe, items, vocabulary)
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # sizes that do not fit one another make the libraries raise nearly anything
            said = " ".join(str(error).split())
            raise ValueError(f"The model.sizes make no {wanted.family} ({shown(said, 200)}).") from error
    entry = find_model(wanted.base)
    if entry.card.family != wanted.family:
        raise ValueError(
            f"The base {wanted.base} is a {entry.card.family}, but the recipe's family is {wanted.family}."
        )
    model = (load_model if wanted.trained == "lora" else load_plain)(entry.folder).train()
    if wanted.image_size % model.STRIDE:
        raise ValueError(
            f"model.image_size must be a multiple of {model.STRIDE} for this base, but is {wanted.image_size}."
        )
    if wanted.image_size and wanted.image_size != model.image_size:
        if model.FIXED_SIZE:  # the folder of another could be written, but not loaded again
            raise ValueError(
                f"The base {wanted.base} takes images of {model.image_size} x {model.image_size} pixels only, but "
                f"model.image_size is {wanted.image_size}; leave it out."
            )
        model.preprocessing = replace(model.preprocessing, side=wanted.image_size)
    if wanted.sizes:
        _read_as(model, recipe)
    if wanted.trained == "lora":
        add_lora(model, LoraSettings(**asdict(wanted.lora)))
    if wanted.trained != "all":
        for name, parameter in model.named_parameters():
            if not name.startswith(f"{model.ENCODERS}."):
                parameter.requires_grad_(True)
            elif wanted.trained == "decoder":
                parameter.requires_grad_(False)
    return model


def load_plain(folder: Path) -> VLSM:
    """The model of a folder, its adapters, if it has any, merged with what they adapt."""
    model = load_model(folder)
    return model if model.adapter is None else merge_lora(model)


def image_encoder(model: VLSM) -> tuple[nn.Module, str]:
    """The image encoder of `segmentation_models_pytorch` inside a model, and its name there.

    Raises
    ------
    ValueError
        If the model has none.
    """
    encoder: Any
    if isinstance(model, WordUNet):
        encoder = model.encoders["image"]
        return encoder, model.config.vision
    if isinstance(model, ImageOnly):
        encoder = model.net.encoder
        return encoder, model.config.encoder
    if isinstance(model, CRIS) and model.config.vision != "resnet":
        encoder = model.backbone.visual.net
        return encoder, model.config.vision
    raise ValueError(
        "Only an image encoder of segmentation_models_pytorch starts from ImageNet weights, which this model has not: "
        "leave out model.encoder_weights."
    )


def _read_as(model: VLSM, recipe: Recipe) -> None:
    """Change how a base tokenizes its texts; no weight depends on that."""
    sizes = recipe.model.sizes
    if not isinstance(model, CRIS) or not set(sizes) <= {"word_length", "attend_padding"}:
        raise ValueError(
            f"model.sizes ({', '.join(sizes)}) are those of the base, {recipe.model.base}; only word_length and "
            "attend_padding of a CRIS can be changed. Leave them out, or the base."
        )
    if recipe.model.trained == "lora":
        raise ValueError("An adapter reads as its base does: leave out model.sizes, or train all.")
    longest = min(sizes.get("word_length", model.config.word_length), model.config.context_length)
    model.config = replace(model.config, **sizes | {"word_length": longest})


def _fresh(recipe: Recipe, items: Sequence[Item], vocabulary: Vocabulary) -> VLSM:
    sizes, side = recipe.model.sizes, recipe.model.image_size
    if recipe.model.family == IMAGE_ONLY:
        targets = sizes.get("targets") or sorted(trained_targets(items))
        config = _sized(ImageOnlyConfig, {"names": plane_names(targets, vocabulary)} | sizes | {"targets": targets})
        return ImageOnly.from_config(config, side)
    _, texts = every_text(recipe.prompts, items, vocabulary)
    tokenizer = cut_tokenizer(texts | set(vocabulary.targets))
    if recipe.model.family == "cris":
        cris = CRIS.from_config(_sized(CRISConfig, {"vocab_size": len(tokenizer)} | sizes), tokenizer, side)
        init_cris(cris)
        return cris
    if recipe.model.family == "wordunet":
        made = WordUNet.from_config(_sized(WordUNetConfig, {"vocab_size": len(tokenizer)} | sizes), tokenizer, side)
        init_wordunet(made)
        return made
    clipseg = CLIPSeg.from_config(clipseg_config(_sized(ClipSegSizes, sizes), tokenizer, side), tokenizer, side)
    init_from_scratch(clipseg)
    return clipseg


def _sized(kind: Any, values: dict[str, Any]) -> Any:
    known = [f.name for f in fields(kind)]
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"model.sizes has no {unknown[0]!r}; for this family there are {', '.join(known)}.")
    try:
        sizes = TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise ValueError(f"model.sizes: {first_problem(error)}") from error
    for name, value in vars(sizes).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not 0 <= number <= _LARGEST:
                raise ValueError(f"model.sizes.{name} must be from 0 to {_LARGEST}, but is {number}.")
            if number == 0 and isinstance(number, int) and not (isinstance(number, bool) or name.endswith("layers")):
                raise ValueError(f"model.sizes.{name} must be at least 1, but is 0.")
    return sizes


def clipseg_config(sizes: ClipSegSizes, tokenizer: CLIPTokenizer, image_size: int) -> CLIPSegConfig:
    """The `transformers` configuration for the recipe's sizes; three taps, evenly spread."""
    if image_size % sizes.patch_size:
        raise ValueError(f"image_size {image_size} is not a multiple of patch_size {sizes.patch_size}.")
    if sizes.layers < 3:
        raise ValueError(
            f"model.sizes.layers must be at least 3, as the decoder looks at three, but is {sizes.layers}."
        )
    third = sizes.layers // 3
    return CLIPSegConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.text_size,
            "intermediate_size": 4 * sizes.text_size,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": sizes.hidden_size,
            "intermediate_size": 4 * sizes.hidden_size,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "image_size": image_size,
            "patch_size": sizes.patch_size,
        },
        projection_dim=sizes.text_size,
        extract_layers=[third - 1, 2 * third - 1, sizes.layers - 1],
        reduce_dim=sizes.reduce_dim,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=sizes.decoder_mlp,
        use_complex_transposed_convolution=True,
    )
