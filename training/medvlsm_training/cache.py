"""Activations of frozen encoders, cached on disk: one file for each view of an image, shared by all runs.

They are made from scans, and parts of a scan can be guessed from them, so they are patients' data: they stay in one
private folder of this computer (`cache_folder`), nothing here sends them anywhere, and deleting that folder, even
during a run, deletes them all.

Values are float16: each is off by at most 2**-11 of itself (above 6e-5). An image that was encoded just now is
rounded in the same way, so a run does not depend on what was cached before it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torchvision
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_medvlsm import __version__
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.disk_errors import reason
from napari_medvlsm.core.models.architectures.base import VLSM, Activations

_log = logging.getLogger(__name__)
# Environment variable that names another folder.
CACHE_VARIABLE = "MEDVLSM_CACHE"
_SUFFIX = ".safetensors"
# Raised when what is cached, or the way an image reaches the encoder, changes between two released versions.
_FORMAT = 1
# Bytes that are always left free on the disk.
_MIN_FREE = 10**9


def cache_folder() -> Path:
    """Where activations are cached: in the user's cache folder, or where `MEDVLSM_CACHE` says."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("napari-medvlsm", appauthor=False) / "activations"


def encoder_key(model: VLSM) -> str:
    """What activations depend on beside the image: encoders, preprocessing and software, as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    # Of torch and torchvision, because a cached image was augmented by theirs, and its masks are by today's.
    versions = (_FORMAT, __version__, torch.__version__, torchvision.__version__)
    facts = (versions, type(model).__name__, model.image_size, model.mean, model.std)
    digest.update(f"{facts}{model.sizes}".encode())
    for name, value in sorted(model.get_submodule(model.ENCODERS).state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """A file's content as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class ActivationCache:
    """Activations by name, for one model's encoders.

    Several processes may read and write the same folder. The limit holds for all models together; each process may
    pass it by a twentieth. What no run has used for longest makes room, never what was used since this object was
    made. What then does not fit is encoded whenever it is shown, with one warning.

    Parameters
    ----------
    model : VLSM
    limit_gb : float
        Gigabytes (1e9 bytes) of disk.
    root : Path, optional
        By default `cache_folder()`.
    """

    def __init__(self, model: VLSM, limit_gb: float, root: Path | None = None) -> None:
        self.root = root or cache_folder()
        self.folder = self.root / encoder_key(model)
        self.limit = int(limit_gb * 1e9)
        self._make_folder()
        self._full = False
        self._started = time.time()
        # Bytes in use at the last count, and those written since.
        self._used = sum(size for _, size, _ in self._files())
        self._written = 0

    def read(self, name: str) -> Activations | None:
        """Float16 activations of one image, without a batch axis, mapped into memory; None if they are not cached."""
        path = self._path(name)
        try:
            os.utime(path)  # in use: others do not remove it
            tensors = load_file(path)
        except OSError:
            return None
        except SafetensorError:
            with suppress(OSError):
                path.unlink()
            return None
        return tuple(tensors[key] for key in sorted(tensors, key=int))

    def count_cached(self, names: Collection[str]) -> int:
        """How many of these are in the cache."""
        return sum(self._path(name).is_file() for name in names)

    def encode(self, model: VLSM, pixels: Tensor, names: Sequence[str]) -> Activations:
        """Encode images (B, 3, S, S) and cache the result; float16 tensors whose first axis is B.

        One at a time and in float32, so that the result does not depend on what else is in a batch or on the precision
        of the training.

        Raises
        ------
        ValueError
            If an activation is too large for float16.
        """
        rows = []
        for image, name in zip(pixels, names, strict=True):
            with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
                found = model.encode_frozen(image[None].contiguous(memory_format=torch.channels_last))
            row = tuple(tensor[0].half().contiguous() for tensor in found)
            if not all(tensor.isfinite().all() for tensor in row):
                raise ValueError(
                    "Activations of this model are too large for a float16 cache (above 65504); set cache.views to 0."
                )
            self._write(name, row)
            rows.append(row)
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _make_folder(self) -> None:
        # Only the user may look into it (as far as the system knows such modes).
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"

    def _write(self, name: str, activations: Activations) -> None:
        path = self._path(name)
        size = sum(tensor.nbytes for tensor in activations)
        if self._full or path.is_file():
            return
        try:
            self._make_folder()
            if not self._make_room(size):
                raise OSError(f"they would take more than cache.limit_gb ({self.limit / 1e9:g} GB)")
            with replacing(path) as temporary:
                save_file({str(i): tensor.cpu() for i, tensor in enumerate(activations)}, temporary)
        except (OSError, SafetensorError) as error:
            if path.is_file():
                return  # another process was faster, and this system does not replace files in use
            self._full = True
            _log.warning(
                "From here on no activations are cached in %s: %s. The images without are encoded in every epoch.",
                self.root,
                reason(error),
            )
            return
        self._written += size

    def _make_room(self, size: int) -> bool:
        if shutil.disk_usage(self.root).free < size + _MIN_FREE:
            raise OSError("the disk is full")
        if self._written < self.limit / 20 and self._used + self._written + size <= self.limit:
            return True
        # Other processes write too: count again.
        files = sorted(self._files())
        self._used, self._written = sum(length for _, length, _ in files), 0
        for changed, length, path in files:
            if self._used + size <= self.limit:
                break
            if changed < self._started:
                try:
                    path.unlink(missing_ok=True)
                except OSError:
                    continue  # in use, on systems that then keep it
                self._used -= length
        return self._used + size <= self.limit

    def _files(self) -> list[tuple[float, int, Path]]:
        """(time of the last use, bytes, path) of everything in the cache, of any model."""
        found = []
        for path in self.root.glob(f"*/*{_SUFFIX}"):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue  # removed by another process
            found.append((facts.st_mtime, facts.st_size, path))
        return found
