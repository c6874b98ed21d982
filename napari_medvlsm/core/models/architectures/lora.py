"""LoRA: small trainable matrices beside the attention projections of the encoders, through `peft`.

An adapted model is the same object of the same family, and image, text and decoder stay three calls. Its
folder holds `adapter.json` (settings, and which model it adapts) and `adapter.safetensors` (the small matrices, and
whatever else differs from that model, such as a decoder that was trained along); the base itself is found
by the hash of its weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.models.architectures.base import ENCODERS, PROJECTIONS, VLSM
from napari_medvlsm.core.models.architectures.weights import adopt, loading
from napari_medvlsm.core.models.families import load_model
from napari_medvlsm.core.models.store.card import (
    ADAPTER_FILE,
    ADAPTER_WEIGHTS_FILE,
    WEIGHTS_FILE,
    read_card,
    write_card,
)
from napari_medvlsm.core.models.store.fetched import sha256_of
from napari_medvlsm.core.models.store.naming import target_dir
from napari_medvlsm.core.models.store.registry import available_models, user_models_folder

# Part of the names of what LoRA adds to a state dict.
_ADDED = ".lora_"


@dataclass(frozen=True)
class LoraSettings:
    """What is adapted, and how strongly (Hu et al., ICLR 2022).

    Attributes
    ----------
    rank : int
        Of the matrices that are added.
    alpha : float
        What is added is scaled by `alpha / rank`.
    dropout : float
        On the input of the added matrices, in training.
    encoders : tuple of str
        Of "vision", "text".
    projections : tuple of str
        Of "query", "key", "value", "output". Where a model computes several by one matrix, any of them means all of
        that matrix.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    encoders: tuple[str, ...] = ENCODERS
    projections: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                "LoRA needs a rank of at least 1, an alpha above 0 and a dropout from 0 to below 1, but got "
                f"{self.rank}, {self.alpha} and {self.dropout}."
            )
        for given, known, what in (
            (self.encoders, ENCODERS, "encoders"),
            (self.projections, PROJECTIONS, "projections"),
        ):
            if not given or set(given) - set(known):
                raise ValueError(f"LoRA's {what} must be some of {', '.join(known)}, but are {', '.join(given)}.")


@dataclass(frozen=True)
class BaseIdentity:
    """The model that an adapter belongs to.

    Attributes
    ----------
    name, title, licence : str
        From its card, for people.
    size : int
        Bytes of its `model.safetensors`, so that most other models need not be read.
    sha256 : str
        Of that file, which decides.
    """

    name: str
    title: str
    licence: str
    size: int
    sha256: str


def add_lora(model: VLSM, settings: LoraSettings) -> VLSM:
    """Add adapters to a model, in place; its answers are the same until they are trained.

    Afterwards nothing but the adapters trains; a recipe that trains the decoder too unfreezes it then.

    Raises
    ------
    ValueError
        If the model has adapters already, or one of these encoders no attention.
    """
    if model.adapter is not None:
        raise ValueError("This model has adapters already. Merge them first to add others.")
    names = set()
    for encoder in settings.encoders:
        found = {name for projection in settings.projections for name in model.attention[encoder][projection]}
        if not found:
            raise ValueError(
                f"Adapters go on attention, of which this model's {encoder} encoder has none; leave {encoder} out of "
                "model.lora.encoders, or train all of the model."
            )
        names |= found
    training = model.training
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=sorted(names)
    )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_ADDED in name)
    model.adapter = settings
    return model.train(training)


def merge_lora(model: VLSM) -> VLSM:
    """Turn an adapted model, in place, into a plain one that answers the same up to rounding."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    if model.adapter is not None:
        del model.peft_config
        model.adapter = None
    return model.requires_grad_(True)


def save_lora(model: VLSM, folder: Path, base: Path) -> None:
    """Write an adapted model into `folder` (the card is the caller's); the base stays where it is.

    Parameters
    ----------
    model : VLSM
    folder : Path
    base : Path
        The folder that the model was loaded from before the adapters were added.

    Raises
    ------
    ValueError
        If the model has no adapters, or `base` is itself an adapter or of another shape.
    """
    if model.adapter is None:
        raise ValueError("This model has no adapters: save it as a whole.")
    if (base / ADAPTER_FILE).is_file():
        raise ValueError(f"The model in {base} is itself an adapter. Merge it to a plain folder first.")
    before = add_lora(load_model(base), model.adapter).state_dict()
    after = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    if {n: v.shape for n, v in before.items()} != {n: v.shape for n, v in after.items()}:
        raise ValueError(f"The model does not come from {base}: their weights differ in name or shape.")
    kept = {n: v.contiguous() for n, v in after.items() if _ADDED in n or not torch.equal(v, before[n])}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps({"settings": asdict(model.adapter), "base": asdict(identity_of(base))}, indent=1)
    (folder / ADAPTER_FILE).write_text(text + "\n", "utf-8")


def load_lora(folder: Path) -> VLSM:
    """Load an adapted model; its base is looked for among the available models and beside the folder.

    Raises
    ------
    ValueError
        If the folder is broken, or the base is missing: the sentence says which it is and where to put it.
    """
    with loading(folder):
        settings, base = _read_adapter(folder)
    found = find_base(base, folder.parent)
    if found is None:
        raise ValueError(
            f"The model in {folder} only adapts another one, {base.title!r} ({base.name}, {base.size / 1e6:.0f} MB, "
            f"SHA-256 of {WEIGHTS_FILE} {base.sha256[:16]}…), which is not here; fetch or copy that model's "
            f"folder into {user_models_folder()} and load this one again."
        )
    model = add_lora(load_model(found), settings)
    with loading(folder):
        plain = {name: value for name, value in model.state_dict().items() if _ADDED not in name}
        adopt(model, plain | load_file(folder / ADAPTER_WEIGHTS_FILE))
    return model.eval()


def merge_folder(folder: Path, out: Path) -> None:
    """Write the adapted model of a folder as a plain one into `out`, card included; it needs its base no more.

    Raises
    ------
    ValueError
        As `load_lora`; or if `out` holds an adapter.
    """
    if (out / ADAPTER_FILE).is_file():
        raise ValueError(f"{out} holds an adapter; choose another folder for the merged model.")
    card = read_card(folder)
    merge_lora(load_lora(folder)).save(out)
    write_card(card, out)


def merge_model(adapter: Path, name: str, models: Path | None = None, replace_existing: bool = False) -> Path:
    """Make a plain model folder of one that adapts another model, which must be here.

    Parameters
    ----------
    adapter : Path
        Folder with an adapter.
    name : str
        Of the new model.
    models : Path, optional
        Where the model folders lie; by default the user's.
    replace_existing : bool
        Whether a model of this name may be replaced.

    Raises
    ------
    ModelExists
        If there is a model of this name, and it is not to be replaced.
    ValueError
        If the folder holds no adapter, or the model that it adapts is not here.
    """
    if not (adapter / ADAPTER_FILE).is_file():
        raise ValueError(f"{adapter} holds no adapter, so that there is nothing to merge.")
    target = target_dir(name, models, replace_existing)
    try:
        with making_folder(target, replace_existing) as folder:
            merge_folder(adapter, folder)
            write_card(replace(read_card(folder), name=name), folder)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{target} cannot be written: {error}") from error
    return target


def identity_of(folder: Path) -> BaseIdentity:
    """By what a plain model folder is known to its adapters."""
    card, weights = read_card(folder), folder / WEIGHTS_FILE
    return BaseIdentity(card.name, card.title, card.licence, weights.stat().st_size, _sha256(weights))


def find_base(base: BaseIdentity, beside: Path) -> Path | None:
    """The folder of a base, among the available models and the folders in `beside`; None if it is not there."""
    for folder in dict.fromkeys([*(e.folder for e in available_models().values()), *_folders(beside)]):
        weights = folder / WEIGHTS_FILE
        if weights.is_file() and weights.stat().st_size == base.size and _sha256(weights) == base.sha256:
            return folder
    return None


def _folders(parent: Path) -> Iterator[Path]:
    return (folder for folder in sorted(parent.iterdir()) if folder.is_dir())


def _read_adapter(folder: Path) -> tuple[LoraSettings, BaseIdentity]:
    read_card(folder)
    raw: Mapping[str, Mapping[str, Any]] = json.loads((folder / ADAPTER_FILE).read_text("utf-8"))
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw["settings"].items()}
    return LoraSettings(**settings), BaseIdentity(**raw["base"])


def _sha256(file: Path) -> str:
    status = file.stat()
    return _sha256_of(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of(file: Path, size: int, changed: int) -> str:
    """The hash of a file that stays the same as long as its size and time of change do."""
    return sha256_of(file)
