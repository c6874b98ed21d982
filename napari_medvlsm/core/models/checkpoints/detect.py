"""Checkpoints that people have: what is in a file, and which model it is of. No pickle is executed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from napari_medvlsm.core.models.architectures.base import without_prefix
from napari_medvlsm.core.models.architectures.weights import first_few
from napari_medvlsm.core.models.checkpoints.pickle_reader import StoredTensor
from napari_medvlsm.core.models.checkpoints.torch_files import TorchFile
from napari_medvlsm.core.plain_files import is_there, read_json, shown

# Names given when the names of a file are unknown.
_NAMED = 3
# Of the file that says which part of a model holds which weights; and such parts.
INDEX_ENDING = ".index.json"
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")
# Where programs put a state dict in a checkpoint, those of a moving average last; and how far inside one another.
_PLACES = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module"),
    *("ema_state_dict", "model_ema", "ema_model", "ema", "shadow"),
)
_DEEPEST = 4
# The first parts of names under which a trainer's module holds the network; the moving average last.
_HOLDERS = ("net", "model", "network", "module", "_orig_mod", "online_model", "ema_model", "model_ema", "ema")


@dataclass(frozen=True)
class CheckpointKind:
    """A kind of checkpoint.

    Attributes
    ----------
    name, title : str
        Identifier, and words for people.
    marks : tuple of str
        Beginnings of names; there is an entry for each.
    families : tuple of str
        The families of `families.FAMILIES` that it can become.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    families: tuple[str, ...]

    def fits(self, names: Iterable[str]) -> bool:
        """Whether there is an entry for each mark."""
        return all(any(name.startswith(mark) for name in names) for mark in self.marks)


_BIOMED = ("biomedclipseg", "biomedclipseg-d")
KINDS = (
    CheckpointKind("cris", "CRIS", ("backbone.visual.",), ("cris",)),
    CheckpointKind("biomedclipseg", "BiomedCLIPSeg or BiomedCLIPSeg-D", ("biomedclip.",), _BIOMED),
    CheckpointKind("clipseg", "CLIPSeg", ("clip.vision_model.",), ("clipseg",)),
    CheckpointKind("biomedclip", "BiomedCLIP", ("visual.trunk.", "text.transformer."), _BIOMED),
    CheckpointKind("clip-rn50", "CLIP RN50", ("visual.layer1.", "transformer.resblocks."), ("cris",)),
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a file.

    Attributes
    ----------
    path : Path
    state : mapping of str to Tensor
        Names as the trainer wrote them.
    ignored : tuple of str
        Entries beside the network's own, and classes that the file names and that were not made.
    parts : tuple of Path
        The files, where `path` is an index of several.
    """

    path: Path
    state: Mapping[str, Tensor]
    ignored: tuple[str, ...] = ()
    parts: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        return self.parts or (self.path,)

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(value.numel() * value.element_size() for value in self.state.values())

    @property
    def lightning(self) -> bool:
        """Whether it comes out of upstream's training, which puts `net.` before each name."""
        return any(name.startswith("net.") for name in self.state)

    @property
    def parallel(self) -> bool:
        """Whether it comes out of distributed training, as the public CRIS checkpoint does."""
        return any(name.startswith("module.") for name in self.state)

    @property
    def origin(self) -> str:
        """The program that wrote it, in words."""
        if self.lightning:
            return "a Lightning checkpoint of upstream medvlsm"
        return "a checkpoint of distributed training" if self.parallel else "a state dict"

    @property
    def named(self) -> dict[str, Tensor]:
        """The weights by upstream's own names.

        Raises
        ------
        ValueError
            If two entries have the same.
        """
        found = {without_prefix(name): value for name, value in self.state.items()}
        if len(found) < len(self.state):
            raise ValueError(
                f"{self.path} holds {len(self.state) - len(found)} entries twice under different names; save the state "
                "dict of the one model that is meant."
            )
        return _without_common_part(found)

    def kind(self, family: str | None = None) -> CheckpointKind:
        """What the weights are, by their names.

        Parameters
        ----------
        family : str, optional
            What they are to become.

        Raises
        ------
        ValueError
            If they are of another family, or of none that is known and none is given.
        """
        names = self.named
        for kind in KINDS:
            if kind.fits(names):
                if family is not None and family not in kind.families:
                    raise ValueError(
                        f"{self.path} holds weights of {kind.title}; they can become {' or '.join(kind.families)}, "
                        f"not {family}."
                    )
                return kind
        if family is None:
            raise ValueError(
                f"The names in {self.path} ({', '.join([*names][:_NAMED])}, ...) tell no model; say which family it is "
                "(--family)."
            )
        return next(kind for kind in KINDS if family in kind.families)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights of a `.safetensors` file, of a state dict or checkpoint that torch or Lightning saved, or of all
    the parts that an index (`....index.json`) names.

    Where a checkpoint holds the weights twice, as trained and as their moving average, those trained are taken.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or holds no state dict; one sentence.
    """
    if not is_there(path):
        raise ValueError(f"There is no file {path}.")
    if path.name.endswith(INDEX_ENDING):
        checkpoint = _read_parts(path)
    else:
        if part := _PART.search(path.name):
            raise ValueError(
                f"{path} is part {int(part[1])} of {int(part[2])} of a model; give the folder that holds all parts and "
                f"their index (*{INDEX_ENDING})."
            )
        checkpoint = _read_file(path)
    broken = [name for name, value in checkpoint.state.items() if not _finite(value)]
    if broken:
        raise ValueError(f"{path} holds numbers that are not finite, in {len(broken)} entries ({first_few(broken)}).")
    own = _without_others(checkpoint.state)
    beside = [name for name in checkpoint.state if name not in own]
    return replace(checkpoint, state=own, ignored=(*checkpoint.ignored, *beside))


def _without_others(state: Mapping[str, Tensor], depth: int = 0) -> dict[str, Tensor]:
    """The network's own entries, where a trainer's module holds others beside it: its loss, a moving average."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        parts = name.split(".", depth + 1)
        groups.setdefault(parts[depth] if len(parts) > depth + 1 else "", {})[name] = value
    found = next((groups[holder] for holder in _HOLDERS if holder in groups), None)
    return dict(state) if found is None or depth >= _DEEPEST else _without_others(found, depth + 1)


def _without_common_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same without what a trainer that is not known puts before all names, if they then tell a model."""
    found = state
    while not any(kind.fits(found) for kind in KINDS):
        first = {name.partition(".")[0] for name in found}
        if len(first) != 1 or not all("." in name for name in found):
            return state
        found = {name.partition(".")[2]: value for name, value in found.items()}
    return found


def _finite(value: Tensor) -> bool:
    try:
        return bool(value.isfinite().all())
    except (RuntimeError, NotImplementedError):  # numbers of 8 bits, for which torch cannot tell
        return bool(value.float().isfinite().all())


def _read_file(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            # The length of the header, then the header, which is JSON.
            safe = file.read(9)[8:] == b"{"
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _read_safetensors(path) if safe or path.suffix == ".safetensors" else _read_torch(path)


def _read_parts(index: Path) -> Checkpoint:
    found = read_json(index)
    parts = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise ValueError(f"{index} is no index of the parts of a model (it holds no `weight_map` of names to files).")
    files = dict.fromkeys(parts.values())
    if missing := [name for name in files if Path(name).name != name or not is_there(index.parent / name)]:
        raise ValueError(
            f"{index} names {len(files)} files, but {len(missing)} of them are not beside it "
            f"({shown(first_few(missing))}); copy them again."
        )
    read = [_read_file(index.parent / name) for name in files]
    state = {name: value for part in read for name, value in part.state.items()}
    if missing := [name for name in parts if name not in state]:
        raise ValueError(f"The parts of {index} lack {len(missing)} entries ({shown(first_few(missing))}).")
    ignored = tuple(dict.fromkeys(name for part in read for name in part.ignored))
    return Checkpoint(index, state, ignored, tuple(index.parent / name for name in files))


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        return Checkpoint(path, load_file(path))
    except Exception as error:  # whatever a foreign file may bring about
        raise ValueError(f"{path} cannot be read as safetensors: {shown(error)}; copy it again.") from error


def _read_torch(path: Path) -> Checkpoint:
    with TorchFile(path) as file:
        stored, beside = _state_dict(file.content, path)
        if not stored:
            named = f" (it names {shown(first_few(file.unknown))}, which are never made)" if file.unknown else ""
            raise ValueError(
                f"{path} holds no state dict{named}; save one with torch.save(model.state_dict(), ...) where the "
                "model was trained."
            )
        return Checkpoint(path, {name: file.tensor(value) for name, value in stored.items()}, (*file.unknown, *beside))


def _state_dict(content: object, path: Path) -> tuple[dict[str, StoredTensor], list[str]]:
    """(the tensors by name, other state dicts beside them), from where programs put them in a checkpoint.

    Where none of the usual places is there, any other one is taken, if it is the only one.
    """
    stored: dict[str, StoredTensor] = {}
    for _ in range(_DEEPEST):
        if isinstance(content, list | tuple):  # with its epoch or optimizer behind it
            content = next((part for part in content if isinstance(part, dict)), None)
        if not isinstance(content, dict):
            break
        inside = {key: found for key in _PLACES if isinstance(found := content.get(key), dict)}
        full = [key for key, found in inside.items() if _tensors(found)]
        if full:
            return _tensors(inside[full[0]]), full[1:]
        stored = stored or _tensors(content)
        if not inside and not stored:
            seen: set[int] = set()
            inside = {key: found for key, found in content.items() if isinstance(key, str) and _holds(found, seen)}
            if len(inside) > 1:
                raise ValueError(
                    f"{path} holds several state dicts ({shown(first_few([*inside]))}); save the one that is meant "
                    "with torch.save(model.state_dict(), ...)."
                )
            if full := [key for key, found in inside.items() if _tensors(found)]:
                return _tensors(inside[full[0]]), []
        content = next(iter(inside.values()), None)
    return stored, []


def _holds(content: object, seen: set[int], depth: int = 1) -> bool:
    """Whether a dict, or one of those inside it, holds tensors by names, as those of optimizers do not.

    `seen` are those that were looked into: of what a file names many times once is enough.
    """
    if not isinstance(content, dict) or id(content) in seen:
        return False
    seen.add(id(content))
    inside = (found for key, found in content.items() if isinstance(key, str))
    return bool(_tensors(content)) or (depth < _DEEPEST and any(_holds(found, seen, depth + 1) for found in inside))


def _tensors(content: Mapping[object, object]) -> dict[str, StoredTensor]:
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, StoredTensor)}
