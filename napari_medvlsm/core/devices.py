"""Available devices and the precisions that they support well. Imports torch."""

from __future__ import annotations

import os

import torch

from napari_medvlsm.core.options import AUTO, PRECISIONS, Device

# From this compute capability (Volta) on, CUDA cards have tensor cores, which is what makes float16 fast.
_TENSOR_CORES = 7


def available_devices() -> list[Device]:
    """All devices, the one chosen by "auto" first."""
    found = [torch.device("cuda", i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return [Device(str(d), device_name(d), precisions_of(d)) for d in [*found, torch.device("cpu")]]


def pick_device(name: str = AUTO) -> torch.device:
    """A device by its name; "auto" is CUDA, else Apple MPS, else the CPU.

    Raises
    ------
    ValueError
        If there is no such device here; the sentence lists those that there are.
    """
    names = [device.name for device in available_devices()]
    wanted = names[0] if name == AUTO else "cuda:0" if name == "cuda" else name
    if wanted not in names:
        raise ValueError(f"The device {name!r} cannot be used here. There are: {', '.join(names)}.")
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA)"
    return "Apple GPU (MPS)" if device.type == "mps" else f"CPU, {os.cpu_count()} cores"


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """The precisions of a device, the best first.

    On CUDA bfloat16 where the card has it (it has float32's range, so nothing overflows), else float16 where tensor
    cores make it fast, else float32. On the CPU and on MPS float32: the others are slower there, or
    less exact without being faster.
    """
    if device.type != "cuda":
        return ("float32", "bfloat16") if device.type == "cpu" else ("float32", "float16")
    with torch.cuda.device(device):
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if bfloat16:
        return "bfloat16", "float16", "float32"
    tensor_cores = torch.cuda.get_device_capability(device)[0] >= _TENSOR_CORES
    return ("float16", "float32") if tensor_cores else ("float32", "float16")


def pick_precision(device: torch.device, name: str = AUTO) -> str:
    """A precision by its name; "auto" is the device's best.

    Raises
    ------
    ValueError
        If the device does not compute in it.
    """
    known = precisions_of(device)
    if name not in (AUTO, *known):
        words = "is unknown" if name not in PRECISIONS else f"cannot be used on {device_name(device)}"
        raise ValueError(f"The precision {name!r} {words}. Possible: {', '.join(known)}.")
    return known[0] if name == AUTO else name


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the computer had too little memory; MPS and the CPU say so in words alone."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
