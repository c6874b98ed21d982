"""`load_model`: a model folder to a model. The only module that knows both families and adapters; imports torch."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.lora import LORA_KEY, add_lora
from napari_medvlsm.core.models.architectures.weights import load_strict, loading
from napari_medvlsm.core.models.families import FAMILIES
from napari_medvlsm.core.models.store.adapter import find_base, read_adapter
from napari_medvlsm.core.models.store.card import ADAPTER_FILE, ADAPTER_WEIGHTS_FILE, WEIGHTS_FILE, read_card
from napari_medvlsm.core.models.store.registry import user_models_folder


def load_model(folder: Path) -> VLSM:
    """Load a model folder; its card names the family.

    An adapted model needs its base model, which is looked for among the available models and beside the folder.

    Raises
    ------
    ValueError
        If the family is unknown, the folder is broken, or the base model is missing; one sentence that says what to
        do.
    """
    family = read_card(folder).family
    if (folder / ADAPTER_FILE).is_file():
        return _load_adapted(folder)
    if family not in FAMILIES:
        raise ValueError(f"The model in {folder} is of the unknown family {family!r}. Known: {', '.join(FAMILIES)}.")
    model: VLSM = FAMILIES[family].model_class().load(folder)
    return model


def _load_adapted(folder: Path) -> VLSM:
    with loading(folder):
        adapter = read_adapter(folder)
    base = adapter.base
    found = find_base(base, folder.parent)
    if found is None:
        raise ValueError(
            f"The model in {folder} only adapts another one, {base.title!r} ({base.name}, {base.size / 1e6:.0f} MB, "
            f"SHA-256 of {WEIGHTS_FILE} {base.sha256[:16]}…), which is not here; fetch or copy that model's "
            f"folder into {user_models_folder()} and load this one again."
        )
    model = load_model(found)
    with loading(folder):
        model = add_lora(model, adapter.settings)
        from_base = {name: value for name, value in model.state_dict().items() if LORA_KEY not in name}
        load_strict(model, from_base | load_file(folder / ADAPTER_WEIGHTS_FILE))
    return model.eval()
