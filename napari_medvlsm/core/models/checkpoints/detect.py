"""Checkpoints that people have: what is in a file, and which model it is of. No pickle is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from napari_medvlsm.core.models.architectures.base import without_prefix
from napari_medvlsm.core.models.architectures.weights import first_few
from napari_medvlsm.core.models.checkpoints.pickle_reader import StoredTensor
from napari_medvlsm.core.models.checkpoints.torch_files import TorchFile

# Names given when the names of a file are unknown.
_NAMED = 3


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
    """

    path: Path
    state: Mapping[str, Tensor]
    ignored: tuple[str, ...] = ()

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
        """The weights by upstream's own names."""
        return {without_prefix(name): value for name, value in self.state.items()}

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
            if all(any(name.startswith(mark) for name in names) for mark in kind.marks):
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
    """Read the weights of a `.safetensors` file, or of a state dict or checkpoint that torch or Lightning saved.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or holds no state dict; one sentence.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    checkpoint = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    broken = [name for name, value in checkpoint.state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path} holds numbers that are not finite, in {len(broken)} entries ({first_few(broken)}).")
    if checkpoint.lightning:
        beside = [name for name in checkpoint.state if not name.startswith("net.")]
        own = {name: value for name, value in checkpoint.state.items() if name.startswith("net.")}
        checkpoint = replace(checkpoint, state=own, ignored=(*checkpoint.ignored, *beside))
    return checkpoint


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        return Checkpoint(path, load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}; copy it again.") from error


def _read_torch(path: Path) -> Checkpoint:
    with TorchFile(path) as file:
        content = file.content
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
        stored = {
            name: value
            for name, value in (content.items() if isinstance(content, dict) else ())
            if isinstance(name, str) and isinstance(value, StoredTensor)
        }
        if not stored:
            named = f" (it names {first_few(file.unknown)}, which are never made)" if file.unknown else ""
            raise ValueError(
                f"{path} holds no state dict{named}; save one with torch.save(model.state_dict(), ...) where the "
                "model was trained."
            )
        return Checkpoint(path, {name: file.tensor(value) for name, value in stored.items()}, file.unknown)
