"""Weights into modules, with sentences where they do not fit; and the files of a model folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from napari_medvlsm.core.models.architectures.limits import check_files, within_weights
from napari_medvlsm.core.models.store.card import ADAPTER_WEIGHTS_FILE, WEIGHTS_FILE
from napari_medvlsm.core.plain_files import is_there, read_json, shown

CONFIG_FILE = "config.json"
# Names given for each kind of misfit, and letters of each.
_NAMED, _LONGEST = 3, 120
_LONGEST_SENTENCE = 600

Config = TypeVar("Config")


def load_strict(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict that must fit the module entry by entry.

    Raises
    ------
    ValueError
        If entries are missing, unexpected or misshapen; the sentence names the first few of each.
    """
    expected = module.state_dict()
    misfits = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "misshapen": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
            for name, value in expected.items()
            if name in state and state[name].shape != value.shape
        ],
    }
    if any(misfits.values()):
        found = "; ".join(f"{len(names)} {kind} ({first_few(names)})" for kind, names in misfits.items() if names)
        raise ValueError(f"The weights do not fit the model: {found}.")
    module.load_state_dict(state)


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a model folder into one sentence, and keep `transformers` quiet.

    Its files are looked at first, and no model is made that is much larger than the file of its weights (`limits`).
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with in_one_sentence(f"The model in {folder} cannot be loaded"):
        check_files(folder)
        weights = next(folder / name for name in (WEIGHTS_FILE, ADAPTER_WEIGHTS_FILE) if is_there(folder / name))
        with within_weights(weights.stat().st_size):
            yield


@contextmanager
def in_one_sentence(failure: str) -> Iterator[None]:
    """Whatever libraries make of a foreign file, as one ValueError that begins with a sentence.

    Raises
    ------
    ValueError
        Of any error but the end of the program.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # libraries in Rust raise a panic that is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        what = shown(error, _LONGEST_SENTENCE) or type(error).__name__
        if not isinstance(error, ValueError | OSError):  # a library's words about its own code
            what = f"a value in its files does not belong there ({type(error).__name__}: {what})"
        raise ValueError(f"{failure}: {what}") from error


def read_weights(module: nn.Module, folder: Path) -> None:
    """Load the weights of a model folder."""
    load_strict(module, load_file(folder / WEIGHTS_FILE))


def write_weights(module: nn.Module, folder: Path) -> None:
    """Write the weights into a model folder."""
    refuse_adapters(module)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def store_as_float16(folder: Path) -> None:
    """Store the weights of a model folder in 16 bits: half the size, and they load into a model of 32 as before.

    Raises
    ------
    ValueError
        If a weight does not fit into 16 bits.
    """
    state = load_file(folder / WEIGHTS_FILE)
    small = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    if lost := [name for name, value in small.items() if not value.isfinite().equal(state[name].isfinite())]:
        raise ValueError(f"{len(lost)} tensors are too large for 16 bits ({first_few(lost)}); store them in 32.")
    save_file(small, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def refuse_adapters(module: nn.Module) -> None:
    """Raise ValueError if the module is not plain: as a whole, it could not be loaded again."""
    if any(".lora_" in name for name, _ in module.named_parameters()):
        raise ValueError(
            "This model holds adapters: save them with `save_lora`, or merge them first (`medvlsm models merge`)."
        )


def read_config(kind: type[Config], folder: Path) -> Config:
    """Read `config.json` as a dataclass.

    Raises
    ------
    ValueError
        If it is not valid JSON or has unknown keys.
    """
    values = read_json(folder / CONFIG_FILE)
    if not isinstance(values, dict):
        raise ValueError(f"{CONFIG_FILE} holds no keys and values.")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known - {"model_type"}):
        raise ValueError(f"{CONFIG_FILE} has unknown keys: {', '.join(unknown)}.")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


def write_config(config: Any, folder: Path, model_type: str) -> None:
    """Write a configuration dataclass as `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_type": model_type} | asdict(config), indent=1)
    (folder / CONFIG_FILE).write_text(text + "\n", "utf-8")


def first_few(names: Sequence[str]) -> str:
    """The first names, for a sentence."""
    cut = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..." for name in names[:_NAMED]]
    return ", ".join([*cut, *(["..."] if len(names) > _NAMED else [])])
