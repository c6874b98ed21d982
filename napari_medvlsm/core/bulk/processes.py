"""The processes that share a run: launched by torchrun or SLURM, or started here. Imports torch.

Independent files need no Trainer: the processes agree once on the work, and wait once for each other.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

# How long a process waits for the slowest is unknown; torch's half hour would end a long run.
_TIMEOUT = timedelta(days=30)
# Seconds that processes have to end by themselves.
_GRACE = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class Sharing:
    """How many processes share the scans, and how many scans each takes at once.

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


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes
    ----------
    rank, local_rank : int
        Its number, from 0: among all, and on its computer.
    processes, nodes : int
        Processes on each computer, and computers.
    address, port : str, int
        Where the first process listens; unused where there is one alone.
    """

    rank: int = 0
    local_rank: int = 0
    processes: int = 1
    nodes: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def world_size(self) -> int:
        """Processes on all computers."""
        return self.processes * self.nodes

    @property
    def first(self) -> bool:
        """Whether this is the first process, which plans and concludes the run."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """Where it computes: each of several processes on a computer has a GPU of its own."""
        return torch.device("cuda", self.local_rank) if chosen.type == "cuda" and self.processes > 1 else chosen

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Connect it with the others."""
        if self.world_size == 1:
            yield
            return
        if self.processes > 1 and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, torch.get_num_threads() // self.processes))
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = self.address, str(self.port)
        # Only plain values are exchanged, for which gloo does on every device.
        distributed.init_process_group("gloo", rank=self.rank, world_size=self.world_size, timeout=_TIMEOUT)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def broadcast(self, value: T | None) -> T:
        """Broadcast a value of the first process to all of them."""
        values: list[Any] = [value]
        if self.world_size > 1:
            distributed.broadcast_object_list(values)
        received: T = values[0]
        return received

    def barrier(self) -> None:
        """Wait for all processes (a barrier)."""
        if self.world_size > 1:
            distributed.barrier()


def find_launcher() -> Process | None:
    """What torchrun or SLURM say of this process; None where neither started it.

    Raises
    ------
    ValueError
        If SLURM's variables are incomplete.
    """
    env = os.environ
    if distributed.is_torchelastic_launched():
        each = int(env["LOCAL_WORLD_SIZE"])
        nodes = int(env["WORLD_SIZE"]) // each
        return Process(
            int(env["RANK"]), int(env["LOCAL_RANK"]), each, nodes, env["MASTER_ADDR"], int(env["MASTER_PORT"])
        )
    if "SLURM_NTASKS" not in env:
        return None
    # Imported here, since it takes a second. Lightning knows how to find the first node and its port.
    from lightning.fabric.plugins.environments import SLURMEnvironment

    if not SLURMEnvironment.detect():
        return None
    try:
        # Nothing here is requeued from a checkpoint; the same command goes on by itself.
        slurm = SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    each, nodes = int(env.get("SLURM_NTASKS_PER_NODE", 1)), int(env.get("SLURM_NNODES", 1))
    return Process(slurm.global_rank(), slurm.local_rank(), each, nodes, slurm.main_address, slurm.main_port)


def find_process(sharing: Sharing, device: torch.device) -> tuple[Process, bool]:
    """Which process this is, and whether it starts those on this computer: it has `local_rank` 0 then.

    Raises
    ------
    ValueError
        If there are not as many devices, a launcher started another number of processes, or several computers do not
        know of each other.
    """
    launched = find_launcher()
    process = _unlaunched(sharing) if launched is None else launched
    if launched is not None and (
        sharing.processes not in (None, launched.processes) or sharing.nodes not in (None, launched.nodes)
    ):
        raise ValueError(
            f"The launcher started {launched.processes} processes on each of {launched.nodes} nodes; leave out "
            "--processes and --nodes, or give these numbers."
        )
    if device.type == "mps" and process.world_size > 1:
        raise ValueError("An Apple GPU takes one process; leave out --processes, or choose --device cpu.")
    if device.type == "cuda" and process.processes > torch.cuda.device_count():
        raise ValueError(
            f"{process.processes} processes need as many CUDA cards, but there are {torch.cuda.device_count()}; give "
            "fewer with --processes, or choose --device cpu."
        )
    return process, launched is None and process.world_size > 1


def _unlaunched(sharing: Sharing) -> Process:
    processes, nodes, env = sharing.processes or 1, sharing.nodes or 1, os.environ
    if nodes == 1:
        return Process(processes=processes, port=_free_port())
    try:
        node = int(env["NODE_RANK"])
        return Process(node * processes, 0, processes, nodes, env["MASTER_ADDR"], int(env["MASTER_PORT"]))
    except (KeyError, ValueError) as error:
        raise ValueError(
            "Several nodes need torchrun or SLURM, or the variables MASTER_ADDR, MASTER_PORT (of the first) and "
            "NODE_RANK (from 0) on each of them."
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def run_here(work: Callable[..., None], process: Process, *args: Any) -> None:
    """Call `work(process, *args)` in this process; a request to end (SIGTERM) counts as Ctrl+C."""
    with _terminate_as_interrupt(), process.joined():
        work(process, *args)


def run_started(work: Callable[..., None], process: Process, *args: Any) -> None:
    """Call `work(process, *args)` in each of this computer's processes, which are started for it, and wait for them.

    Parameters
    ----------
    work : callable
        A function of a module; its arguments are pickled.
    process : Process
        The first on this computer.

    Raises
    ------
    ValueError
        With the message of what a process raised, or if one ended before its work was done.
    KeyboardInterrupt
        On Ctrl+C, or where this process is asked to end; the others are ended too.
    """
    with _terminate_as_interrupt():
        context = start_processes(_started, (work, process, *args), process.processes, join=False)
        try:
            while not context.join():
                pass
        except ProcessRaisedException as error:
            # The last line of a traceback is the class and the message.
            message = str(error).strip().splitlines()[-1]
            raise ValueError(message.removeprefix("ValueError: ")) from error
        except ProcessExitedException as error:
            raise ValueError(
                f"A process ended before its work was done ({error}); the same command continues the run."
            ) from error
        finally:
            _end(context.processes)


def _started(index: int, work: Callable[..., None], first: Process, *args: Any) -> None:
    process = Process(first.rank + index, index, first.processes, first.nodes, first.address, first.port)
    run_here(work, process, *args)


def _end(processes: list[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(_GRACE)
        if process.is_alive():
            process.kill()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
