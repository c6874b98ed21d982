from contextlib import nullcontext

import pytest
import torch

from napari_medvlsm.core.devices import available_devices, device_name, out_of_memory, pick_device, pick_precision


@pytest.fixture
def card(monkeypatch):
    """Pretend that there is a CUDA card of a compute capability, with or without bfloat16."""

    def plug(capability, bfloat16):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Card")
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: bfloat16)
        monkeypatch.setattr("torch.cuda.device", lambda device: nullcontext())

    return plug


@pytest.mark.parametrize(
    ("capability", "bfloat16", "best"),
    [((9, 0), True, "bfloat16"), ((7, 5), False, "float16"), ((6, 1), False, "float32")],
)
def test_precision_by_what_the_card_does_well(card, capability, bfloat16, best):
    card(capability, bfloat16)
    first, *_, last = available_devices()
    assert first.name == "cuda:0" and first.title == "Card (CUDA)" and first.precisions[0] == best
    assert last.name == "cpu" and last.precisions[0] == "float32"
    assert str(pick_device()) == str(pick_device("cuda")) == "cuda:0"
    assert pick_precision(torch.device("cuda:0")) == best
    if not bfloat16:
        with pytest.raises(ValueError, match=r"'bfloat16' cannot be used on Card"):
            pick_precision(torch.device("cuda:0"), "bfloat16")


def test_the_cpu_is_always_there():
    assert "cpu" in [device.name for device in available_devices()]
    assert pick_precision(pick_device("cpu")) == "float32" and "cores" in device_name(torch.device("cpu"))


def test_lack_of_memory_is_known_by_its_words():
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"))
    assert out_of_memory(MemoryError()) and not out_of_memory(ValueError("out of memory"))
    assert not out_of_memory(RuntimeError("shapes do not match"))
