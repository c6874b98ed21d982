"""Checkpoints: either old or new, never half, and read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from napari_medvlsm.core.io.atomic import replacing

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own writes into the system's temporary folder first, which may be another disk: no rename then."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary name beside `path`, sync, rename."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            torch.save(checkpoint, temporary)


class BestCheckpoint(ModelCheckpoint):
    """One checkpoint of a run, written anew at the end of an epoch: the best by a metric, or the last.

    Parameters
    ----------
    run : Path
    name : str
        Of the file.
    monitor : str, optional
        The metric, the higher the better. Without: the last.
    """

    def __init__(self, run: Path, name: str, monitor: str | None = None) -> None:
        super().__init__(
            dirpath=run,
            filename=name.removesuffix(".ckpt"),
            monitor=monitor,
            mode="max",
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As Lightning's, but the folder of a run may have been moved since."""
        here = str(Path(str(self.dirpath)) / f"{self.filename}.ckpt")
        scores = list(state_dict["best_k_models"].values())
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": here if state_dict["best_model_path"] else "",
            "kth_best_model_path": here if scores else "",
            "best_k_models": {here: scores[0]} if scores else {},
        }
        super().load_state_dict(state_dict | moved)


def weights_of(checkpoint: Path) -> dict[str, Any]:
    """The model's state dict in a run's checkpoint (of the moving average, where there is one).

    Raises
    ------
    ValueError
        If the run has not come to it.
    """
    if not checkpoint.is_file():
        raise ValueError(f"There is no {checkpoint}: the run has completed no epoch; go on with `medvlsm train`.")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
