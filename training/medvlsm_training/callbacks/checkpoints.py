"""Checkpoints that are written atomically and read without executing code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import shown
from napari_medvlsm.core.runs.folder import BEST_FILE, LAST_FILE

# Beginnings of the keys under which callbacks of earlier versions kept their state, and today's.
_EARLIER_STATE_KEYS = {
    "Kept{'monitor': 'val/dice'": "best_checkpoint",
    "Kept{'monitor': None": "last_checkpoint",
    "Patience{": "early_stopping",
    "Progress": "progress",
    "TrainedAverage": "weight_average",
}
_PATHS = ("best_model_path", "last_model_path", "kth_best_model_path")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own writes into the system's temporary folder first, which may be another disk: no rename then."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary name beside `path`, sync, rename."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Into an open file: its error tells why it failed, and the archive inside is not named after the file.
        with replacing(target) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As Lightning's; the states of callbacks get today's keys."""
        content = read_checkpoint(Path(path))
        if "callbacks" in content:
            content["callbacks"] = {_current_key(key): state for key, state in content["callbacks"].items()}
        return content


class _OneCheckpoint(ModelCheckpoint):
    """One checkpoint of a run, written anew at the end of an epoch."""

    def __init__(self, run: Path, name: str, monitor: str | None = None) -> None:
        super().__init__(
            dirpath=run,
            filename=name.removesuffix(".ckpt"),
            monitor=monitor,
            mode="max",
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )

    def state_dict(self) -> dict[str, Any]:
        """As Lightning's, but without the path of the run, which says whose computer it was trained on."""
        state: dict[str, Any] = super().state_dict()
        named = {name: Path(str(state[name])).name for name in _PATHS if state[name]}
        scores = {Path(str(path)).name: score for path, score in state["best_k_models"].items()}
        return state | named | {"dirpath": "", "best_k_models": scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As Lightning's, with the path of the run as it is now."""
        here = str(Path(str(self.dirpath)) / f"{self.filename}.ckpt")
        scores = list(state_dict["best_k_models"].values())
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": here if state_dict["best_model_path"] else "",
            "last_model_path": here if state_dict.get("last_model_path") else "",
            "kth_best_model_path": here if scores else "",
            "best_k_models": {here: scores[0]} if scores else {},
        }
        super().load_state_dict(state_dict | moved)


class BestCheckpoint(_OneCheckpoint):
    """The checkpoint of the epoch with the best validation Dice."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, BEST_FILE, "val/dice")

    @property
    def state_key(self) -> str:
        """Of its state in a checkpoint."""
        return "best_checkpoint"


class LastCheckpoint(_OneCheckpoint):
    """The checkpoint of the last epoch, from which training resumes."""

    def __init__(self, run: Path) -> None:
        super().__init__(run, LAST_FILE)

    @property
    def state_key(self) -> str:
        """Of its state in a checkpoint."""
        return "last_checkpoint"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a run's checkpoint, on the CPU.

    Raises
    ------
    ValueError
        If it is damaged; the sentence says what else there is to go on from.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or not {"epoch", "state_dict"} <= content.keys():
            raise ValueError("it holds no epoch and no weights")
    except Exception as error:  # whatever torch makes of a damaged file
        why = shown(error, 80) or type(error).__name__
        raise ValueError(f"{path} is damaged ({why}); {_way_on(path)}.") from error
    return content


def _way_on(damaged: Path) -> str:
    """What to do about a damaged checkpoint of a run."""
    other = damaged.with_name(BEST_FILE if damaged.name == LAST_FILE else LAST_FILE)
    try:
        with other.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
        epoch = int(content["epoch"]) + 1
    except Exception:  # there is none, or it is damaged, too
        return "delete it to begin anew"
    if damaged.name == LAST_FILE:
        return f"{other} is whole: copy it to {damaged.name} to go on after epoch {epoch}, or delete both to begin anew"
    return (
        f"{other} is whole: copy it to {damaged.name} to take the model of epoch {epoch}, the last, or delete both to "
        "begin anew"
    )


def model_weights(checkpoint: Path) -> dict[str, Any]:
    """The model's state dict in a run's checkpoint (of the moving average, where there is one).

    Raises
    ------
    ValueError
        If the run has not completed an epoch.
    """
    if not checkpoint.is_file():
        raise ValueError(f"There is no {checkpoint}: the run has completed no epoch; go on with `medvlsm train`.")
    state = read_checkpoint(checkpoint)["state_dict"]
    return {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}


def _current_key(key: str) -> str:
    return next((new for old, new in _EARLIER_STATE_KEYS.items() if key.startswith(old)), key)
