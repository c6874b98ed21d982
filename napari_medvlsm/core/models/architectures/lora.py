"""LoRA: small trainable matrices beside the attention projections of the encoders, through `peft`.

An adapted model is the same object of the same family, and image, text and decoder stay three calls.
"""

from __future__ import annotations

from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.store.adapter import LoraSettings

#: Part of the name of every entry that LoRA adds to a state dict.
LORA_KEY = ".lora_"


def add_lora(model: VLSM, settings: LoraSettings) -> VLSM:
    """Add adapters to a model, in place; its answers are the same until they are trained.

    Afterwards nothing but the adapters trains; a recipe that trains the decoder too unfreezes it then.

    Raises
    ------
    ValueError
        If the model has adapters already, or one of these encoders no attention.
    """
    from peft import LoraConfig, inject_adapter_in_model  # here, since no other model needs it

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
        parameter.requires_grad_(LORA_KEY in name)
    model.adapter = settings
    return model.train(training)


def merge_lora(model: VLSM) -> VLSM:
    """Turn an adapted model, in place, into a plain one that answers the same up to rounding."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
    if model.adapter is not None:
        del model.peft_config
        model.adapter = None
    return model.requires_grad_(True)
