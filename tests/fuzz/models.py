"""Weights and model folders that are damaged or hostile. Imports torch."""

import io
import json
import pickle
import pickletools
import random
import shutil
import struct
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors

from tests.fuzz.mutate import VALUES, changed, damaged

_WRAPPERS = ("module.", "model.", "net.", "_orig_mod.", "net.clipseg.", "ema.")
_PLACES = ("state_dict", "model_state_dict", "model", "ema", "x")
_OPCODES = [opcode for opcode in pickletools.opcodes if opcode.name != "STOP"]
_GLOBALS = (
    *("torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch FloatStorage", "os system"),
    *("torch._utils _rebuild_parameter", "builtins eval", "functools partial", "x" * 2000 + " y"),
)


def make_file(folder: Path, rng: random.Random) -> Path:
    """A file of weights: damaged, with another pickle in a whole archive, or a soup of opcodes."""
    what = rng.random()
    if what < 0.25:
        path = folder / "a.safetensors"
        path.write_bytes(_safetensors(rng))
        return path
    path = folder / rng.choice(("a.pt", "a.ckpt", "a.pth", "a.bin"))
    data = _archive(rng.choice(_PLACES), rng.choice(_WRAPPERS), legacy=rng.random() < 0.3)
    if what < 0.5:
        path.write_bytes(damaged(rng, data))
        return path
    soup = what > 0.75
    with zipfile.ZipFile(io.BytesIO(_archive("state_dict", "net.", legacy=False))) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    root = next(name for name in entries if name.endswith("data.pkl"))
    entries[root] = _soup(rng) if soup else damaged(rng, entries[root])
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def make_folder(folder: Path, rng: random.Random) -> Path:
    """A model folder of any family, one of whose files is wrong."""
    found = folder / "model"
    shutil.copytree(rng.choice([*small_folders().values()]), found)
    texts = sorted(path for path in found.iterdir() if path.suffix in (".json", ".txt"))
    path = rng.choice(
        [*texts, *[p for p in texts if "config" in p.name or "card" in p.name] * 3, found / "model.safetensors"]
    )
    what = rng.random()
    if what < 0.05:
        path.unlink()
        path.symlink_to(path.name if what < 0.03 else found)
    elif what < 0.08:
        path.unlink()
    elif path.suffix == ".json" and what < 0.8:
        value = changed(rng, json.loads(path.read_text("utf-8")))
        path.write_text(json.dumps(value, ensure_ascii=rng.random() < 0.9), "utf-8", errors="surrogatepass")
    elif path.suffix == ".json" and what < 0.85:
        path.write_bytes(b"[" * 100_000)
    else:
        path.write_bytes(damaged(rng, path.read_bytes()))
    return found


def _state() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    names = ("backbone.visual.conv.weight", "neck.bias", "decoder.layers.0.weight", "proj.vis.0.weight")
    state = {name: torch.rand((3, 4, 2), generator=made) for name in names}
    return state | {"half": torch.ones(3).half(), "whole": torch.arange(5), "tied": state["neck.bias"].transpose(0, 1)}


@cache
def _archive(place: str, wrapper: str, legacy: bool) -> bytes:
    state = {wrapper + name: value for name, value in _state().items()}
    content = {"epoch": 3, place: state, "optimizer": {"state": [torch.ones(2)]}} if place != "x" else state
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def _safetensors(rng: random.Random) -> bytes:
    data = save_safetensors({name: value.contiguous() for name, value in _state().items()})
    if rng.random() < 0.5:
        return damaged(rng, data)
    (length,) = struct.unpack_from("<Q", data)
    head = changed(rng, json.loads(data[8 : 8 + length]))
    text = json.dumps(head).encode("utf-8", "surrogatepass")
    length = len(text) if rng.random() < 0.8 else rng.choice((0, 2**31, 2**62, 2**64 - 1))
    return struct.pack("<Q", length) + text + data[8 + struct.unpack_from("<Q", data)[0] :]


def _soup(rng: random.Random) -> bytes:
    """Opcodes in any order, most of which find something on the stack."""
    out = bytearray(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
    likely = (pickle.EMPTY_TUPLE, pickle.EMPTY_LIST, pickle.MARK, pickle.TUPLE, pickle.TUPLE2, pickle.DUP, pickle.NONE)
    for _ in range(rng.choice((5, 30, 300, 3000))):
        what = rng.random()
        if what < 0.3:
            out += rng.choice(likely)
        elif what < 0.4:
            module, name = rng.choice(_GLOBALS).split(" ")
            out += pickle.GLOBAL + f"{module}\n{name}\n".encode()
        elif what < 0.5:
            out += pickle.BINPUT + bytes([rng.randrange(8)])
        elif what < 0.6:
            out += pickle.BINGET + bytes([rng.randrange(8)])
        elif what < 0.7:
            text = str(rng.choice(VALUES))[:2000].encode("utf-8", "replace")
            out += pickle.BINUNICODE + struct.pack("<I", len(text)) + text
        elif what < 0.8:
            out += rng.choice((pickle.REDUCE, pickle.BINPERSID, pickle.BUILD, pickle.SETITEM, pickle.SETITEMS))
        elif what < 0.9:
            out += pickle.BININT + struct.pack("<i", rng.choice((0, 1, -1, 65, 2**31 - 1)))
        else:
            out += rng.choice(_OPCODES).code.encode("latin-1") + rng.randbytes(rng.randrange(5))
    return bytes(out + pickle.STOP)


@cache
def small_folders() -> dict[str, Path]:
    """Small models of every family, made once a process."""
    from napari_medvlsm.core.models.store.card import write_card
    from tests.core.models.small_models import SMALL, card_of

    root = Path(tempfile.mkdtemp(prefix="fuzz-models-"))
    made = {}
    for family in ("clipseg", "cris", "biomedclipseg", "wordunet", "unet"):
        torch.manual_seed(0)
        SMALL[family].build().save(root / family)
        write_card(card_of(family), root / family)
        made[family] = root / family
    return made
