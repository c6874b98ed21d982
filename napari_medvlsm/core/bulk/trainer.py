"""Lightning's Trainer for predictions: it starts the processes, or finds those that torchrun or SLURM started."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

# Nobody knows how long a process waits for the slowest; torch's half hour would end a long run.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Sharing:
    """Who does it.

    Attributes
    ----------
    batch_size : int or None
        Scans encoded in one forward pass; None for what the device does well. Tiles and rectangles go one by one.
    processes : int or None
        On each computer: on the CPU, or on as many GPUs. None for as many as a launcher started, else one.
    nodes : int or None
        Computers, as `processes`.
    """

    batch_size: int | None = None
    processes: int | None = None
    nodes: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"The {name.replace('_', ' ')} must be at least 1, but is {value}.")


def make_trainer(device: torch.device, sharing: Sharing) -> Trainer:
    """A Trainer that predicts, and writes nothing of its own.

    Raises
    ------
    ValueError
        If there are not as many devices, or a launcher started another number of processes.
    """
    with warnings.catch_warnings():
        # Such as: there is a GPU that is not used; there is `srun`.
        warnings.filterwarnings("ignore", module="lightning")
        try:
            launcher = _launcher()
        except RuntimeError as error:  # SLURM's variables are incomplete
            raise ValueError(str(error)) from error
        processes, nodes = _shares(sharing, launcher)
        if device.type == "mps" and processes * nodes > 1:
            raise ValueError("An Apple GPU takes one process; leave out --processes, or choose --device cpu.")
        if device.type == "cuda" and processes > torch.cuda.device_count():
            raise ValueError(
                f"{processes} processes need as many CUDA cards, but there are {torch.cuda.device_count()}; give fewer "
                "with --processes, or choose --device cpu."
            )
        strategy = DDPStrategy(start_method="popen" if launcher else "spawn", timeout=_PATIENCE)
        return Trainer(
            accelerator=device.type,
            devices=[device.index] if device.type == "cuda" and processes == 1 else processes,
            num_nodes=nodes,
            strategy=strategy if processes * nodes > 1 else "auto",
            plugins=[launcher] if launcher else [],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            # The worker takes its share itself: torch's sampler repeats scans to make the shares equal.
            use_distributed_sampler=False,
        )


def _launcher() -> ClusterEnvironment | None:
    """What started this process among others: torchrun or SLURM, or None."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    # Nothing here is requeued from a checkpoint; the same command goes on by itself.
    return SLURMEnvironment(auto_requeue=False) if SLURMEnvironment.detect() else None


def _shares(sharing: Sharing, launcher: ClusterEnvironment | None) -> tuple[int, int]:
    """(processes on each node, nodes) as asked for, which must be a launcher's."""
    asked, env = (sharing.processes, sharing.nodes), os.environ
    if launcher is None:
        return asked[0] or 1, asked[1] or 1
    if isinstance(launcher, SLURMEnvironment):
        started = int(env.get("SLURM_NTASKS_PER_NODE", 1)), int(env.get("SLURM_NNODES", 1))
    else:
        each = int(env["LOCAL_WORLD_SIZE"])
        started = each, int(env["WORLD_SIZE"]) // each
    if asked[0] not in (None, started[0]) or asked[1] not in (None, started[1]):
        raise ValueError(
            f"The launcher started {started[0]} processes on each of {started[1]} nodes; leave out --processes and "
            "--nodes, or give these numbers."
        )
    return started


def predict(trainer: Trainer, module: LightningModule) -> None:
    """Run it in this process or in those it starts; their failures become sentences."""
    try:
        with _ending_on_request():
            trainer.predict(module, return_predictions=False)
    except SystemExit:
        # What Lightning makes of an interrupt.
        if not trainer.interrupted:
            raise
        _end_started(trainer)
        raise KeyboardInterrupt from None
    except ProcessRaisedException as error:
        # The last line of a traceback is the class and the sentence.
        sentence = str(error).strip().splitlines()[-1]
        raise ValueError(sentence.removeprefix("ValueError: ")) from error
    except ProcessExitedException as error:
        raise ValueError(f"A process ended before its work was done ({error}); the same command goes on.") from error


@contextmanager
def _ending_on_request() -> Iterator[None]:
    """Treat a request to end (SIGTERM) as Ctrl+C, which stops the other processes too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _end_started(trainer: Trainer) -> None:
    """End the processes that were started here, if any."""
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGTERM)
