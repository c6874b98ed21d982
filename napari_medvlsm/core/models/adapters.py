"""Folders of adapted models: written beside their base model, and merged with it into plain model folders.

Such a folder holds `adapter.json` (see `store.adapter`) and `adapter.safetensors`: the matrices of LoRA, and whatever
else differs from the base model, such as a decoder that was trained with them. The base model itself is found by the
hash of its weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.lora import LORA_KEY, add_lora, merge_lora
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import write_adapter
from napari_medvlsm.core.models.store.card import ADAPTER_FILE, ADAPTER_WEIGHTS_FILE, read_card, write_card
from napari_medvlsm.core.models.store.naming import target_dir


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
    kept = {n: v.contiguous() for n, v in after.items() if LORA_KEY in n or not torch.equal(v, before[n])}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, folder / ADAPTER_WEIGHTS_FILE, metadata={"format": "pt"})
    write_adapter(model.adapter, base, folder)


def merge_folder(folder: Path, out: Path) -> None:
    """Write the adapted model of a folder as a plain one into `out`, card included; it needs its base no more.

    Raises
    ------
    ValueError
        As `load_model`; or if `out` holds an adapter.
    """
    if (out / ADAPTER_FILE).is_file():
        raise ValueError(f"{out} holds an adapter; choose another folder for the merged model.")
    card = read_card(folder)
    merge_lora(load_model(folder)).save(out)
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
