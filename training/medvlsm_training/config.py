"""What a recipe may say. A recipe is a YAML file whose keys are the fields below."""

from __future__ import annotations

import difflib
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a recipe.

    Attributes
    ----------
    folder : str
        Its folder inside the data folder.
    layout : str
        "reference" (`anns/*.json`) or "lists" (`splits/*.txt`, with `targets.csv` where an image has several masks).
    target : str
        Phrase of the target for layout "lists"; "" to take it from `targets.csv`.
    modality : str
        Key of the vocabulary's modalities.
    repeat : int
        How often each training image is seen in an epoch.
    split_lungs : bool
        Whether a mask of both lungs also gives the left and the right one.
    only : tuple of str
        With `targets.csv`: the targets to take.
    licences : tuple of str
        With `licences.csv`: the licences to take.
    group_column : str
        Column of any of the folder's tables that names the patient or case; a case that is also in the
        validation or test split is left out of training.
    leave_out : tuple of str
        Names of images to leave out, such as copies of tested ones.
    as_listed : bool
        Keep images and cases that are in two splits in both, as the paper's code does; the check of the data then
        refuses them unless the recipe accepts that.
    name, licence, citation : str
        For the model card.
    """

    folder: str
    layout: str
    modality: str
    name: str
    licence: str
    citation: str
    target: str = ""
    repeat: int = 1
    split_lungs: bool = False
    only: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    group_column: str = ""
    leave_out: tuple[str, ...] = ()
    as_listed: bool = False

    def __post_init__(self) -> None:
        if self.layout not in ("reference", "lists"):
            raise ValueError(f"{self.folder}: layout must be 'reference' or 'lists', but is {self.layout!r}.")
        if self.repeat < 1:
            raise ValueError(f"{self.folder}: repeat must be at least 1, but is {self.repeat}.")


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a CLIPSeg trained from scratch; names as in `transformers.CLIPSegConfig`."""

    image_size: int = 192
    patch_size: int = 8
    hidden_size: int = 192
    layers: int = 6
    heads: int = 3
    text_size: int = 128
    text_layers: int = 2
    text_heads: int = 4
    reduce_dim: int = 64
    decoder_mlp: int = 256

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}.")


@dataclass(frozen=True)
class LoraConfig:
    """Adapters that train instead of the weights of the encoders; fields as in `core.models.lora.LoraSettings`.

    `decoder` trains the decoder too.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    encoders: tuple[str, ...] = ("vision", "text")
    projections: tuple[str, ...] = ("query", "value")
    decoder: bool = True


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes
    ----------
    name, title, summary, licence : str
        For the model card.
    sources : tuple of SourceConfig
    base : str
        Name or folder of the model to start from; "" for random weights in the sizes of `model`.
    lora : LoraConfig, optional
        With a `base`: train adapters on its encoders.
    model : ModelConfig
    epochs : int
    early_size, early_epochs : int
        The first `early_epochs` epochs see images of side `early_size`, the others of the model's own.
    prompts_per_image : int
        Prompts decoded for each encoded image; the last is an absent target.
    batch_size : int
        Images.
    learning_rate, weight_decay, warmup : float
        AdamW; `warmup` is the fraction of all steps before the cosine decay.
    ema_decay : float
        Decay of the moving average of the weights, which is what is evaluated and kept.
    seed : int
    accept : tuple of str
        Kinds of findings of the data check (`medvlsm_training.check.KINDS`) with which to train knowingly; with
        "missing-file", what is missing is passed over.
    """

    name: str
    title: str
    summary: str
    licence: str
    sources: tuple[SourceConfig, ...]
    base: str = ""
    lora: LoraConfig | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = 10
    early_size: int = 0
    early_epochs: int = 0
    prompts_per_image: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    ema_decay: float = 0.999
    seed: int = 1
    accept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("A recipe needs at least one source.")
        if self.lora is not None and not self.base:
            raise ValueError("lora adapts a trained model: name it as base.")
        if self.early_epochs and self.early_size % self.model.patch_size:
            raise ValueError(f"early_size {self.early_size} is not a multiple of patch_size {self.model.patch_size}.")
        if self.early_epochs and self.early_size <= 0:
            raise ValueError("early_epochs needs an early_size above 0.")
        if self.prompts_per_image < 2:
            raise ValueError(f"prompts_per_image must be at least 2, but is {self.prompts_per_image}.")


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a YAML recipe; `overrides` replace top-level keys.

    Raises
    ------
    ValueError
        For an unknown key, with the nearest known one, or a value out of range.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path} holds no recipe: keys and values were expected.")
    raw |= overrides or {}
    raw["sources"] = tuple(_make(SourceConfig, entry) for entry in raw.get("sources", ()))
    raw["model"] = _make(ModelConfig, raw.get("model", {}))
    raw["lora"] = None if raw.get("lora") is None else _make(LoraConfig, raw["lora"])
    recipe: Recipe = _make(Recipe, raw)
    return recipe


def shipped_recipe(name: str) -> Path:
    """The path of a recipe that ships with the package, or of a file."""
    shipped = Path(__file__).parent / "recipes" / f"{name}.yaml"
    return shipped if shipped.is_file() else Path(name)


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for the card and the checkpoint."""
    return asdict(recipe)


def _make(kind: Any, values: dict[str, Any]) -> Any:
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known keys: {', '.join(known)}."
            raise ValueError(f"Unknown key {key!r} in the recipe.{hint}")
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"The recipe lacks {', '.join(missing)}.")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
