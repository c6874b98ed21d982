"""Weights in whole files whose contents are odd: other shapes, types, names and numbers than any model has."""

import io
import json
import random
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors
from torch import Tensor

from tests.fuzz.models import small_folders

_FAMILIES = ("clipseg", "cris", "biomedclipseg")
_PREFIXES = ("", "", "", "net.", "module.", "model.", "_orig_mod.", "net.module.", "ema.", "x.", "model.model.model.")
_PLACES = ("", "state_dict", "model_state_dict", "model", "ema", "params", "shadow", "x")
_TYPES = (
    *(torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16),
)
_NAMES = (
    "",
    "\n",
    "weight",
    "a" * 3000,
    "../x",
    "\ud83d\ude00",
    "net.",
    "..",
    "clip.vision_model.",
    "decoder.9999.weight",
)
_NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0, 1e-40)


def make(folder: Path, rng: random.Random) -> Path:
    """A folder `like` with a small model's configuration, and weights of this kind beside it in a whole file."""
    family = rng.choice(_FAMILIES)
    (folder / "like").symlink_to(small_folders()[family])
    state = dict(_state(family))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
        _change(state, rng)
    if rng.random() < 0.25 or not state:
        prefix, others = rng.choice(_PREFIXES), {}
    else:
        # As trained and as their moving average, or a loss beside the network.
        prefix = rng.choice(_PREFIXES)
        others = {rng.choice(("ema.", "loss.", "net.", "")) + name: value for name, value in [*state.items()][:3]}
        others = others if rng.random() < 0.2 else {}
    state = {prefix + name: value for name, value in state.items()} | others
    return _written(folder, state, rng)


def _change(state: dict[str, Tensor], rng: random.Random) -> None:
    name = rng.choice([*state])
    value, what = state[name], rng.random()
    if what < 0.2:
        state[name] = value.to(rng.choice(_TYPES))
    elif what < 0.45:
        state[name] = torch.zeros(_shape(tuple(value.shape), rng), dtype=value.dtype)
    elif what < 0.55:
        state[name] = torch.full_like(value, rng.choice(_NUMBERS)) if value.is_floating_point() else value - 10**9
    elif what < 0.65:
        del state[name]
    elif what < 0.75:
        state[rng.choice(_NAMES)] = state.pop(name)
    elif what < 0.85:
        state[rng.choice(_NAMES)] = torch.zeros(_shape((2, 3), rng))
    elif what < 0.92:
        for other in [n for n in state if n.startswith(name.split(".")[0])]:
            del state[other]
    else:
        # One more layer than the configuration has, or one of another number.
        state[name.replace(".0.", f".{rng.choice((1, 7, 99, 10**9))}.")] = value
    if not state:
        state["clip.vision_model.x"] = torch.zeros(1)


def _shape(shape: tuple[int, ...], rng: random.Random) -> tuple[int, ...]:
    at = rng.randrange(max(1, len(shape)))
    return rng.choice(
        (
            shape[::-1],
            (*shape, 1),
            shape[1:],
            (),
            (0,),
            (0, *shape),
            (1,) * 20,
            (*shape[:at], max(0, (shape[at] if shape else 1) - 1), *shape[at + 1 :]),
            (*shape[:at], 2 * (shape[at] if shape else 1), *shape[at + 1 :]),
            (2**16,),
        )
    )


def _written(folder: Path, state: dict[str, Tensor], rng: random.Random) -> Path:
    form = rng.random()
    if form < 0.4:
        path = folder / "a.safetensors"
        path.write_bytes(save_safetensors(_own(state), metadata=rng.choice((None, {"format": "pt"}, {"": "\n" * 99}))))
        return path
    if form < 0.55:
        return _parts(folder, state, rng)
    place = rng.choice(_PLACES)
    content: object = {"epoch": rng.choice((3, -1, None, "x")), place: state, "optimizer": {}} if place else state
    if rng.random() < 0.1:
        content = {"state_dict": content}
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=rng.random() < 0.7)
    path = folder / rng.choice(("a.pt", "a.ckpt", "a.bin"))
    path.write_bytes(out.getvalue())
    return path


def _parts(folder: Path, state: dict[str, Tensor], rng: random.Random) -> Path:
    """Two parts and their index, which may name too much or too little."""
    names = [*state]
    cut = rng.randrange(len(names) + 1)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = {}
    for file, own in zip(files, (names[:cut], names[cut:]), strict=True):
        (folder / file).write_bytes(save_safetensors(_own({name: state[name] for name in own})))
        index |= dict.fromkeys(own, file)
    if rng.random() < 0.3 and index:
        index[rng.choice(names)] = rng.choice((*files, "missing", "../a", ""))
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": rng.choice((0, -1, 10**30))}, "weight_map": index}))
    return path


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with numbers of its own, as safetensors wants them."""
    return {name.encode("utf-8", "replace").decode(): value.clone().contiguous() for name, value in state.items()}


@cache
def _state(family: str) -> dict[str, Tensor]:
    return load_file(small_folders()[family] / "model.safetensors")
