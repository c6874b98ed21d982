"""Child processes that run a Python module of ours: started, read and ended in one way on every system.

Imports no torch and starts no thread in the parent. `python -m napari_medvlsm.core.process MODULE ...` runs a module
that ends with its stdin; `ChildProcess` uses it for modules that do not watch stdin themselves.
"""

from __future__ import annotations

import _thread
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from platformdirs import user_cache_path

# Seconds in which a process that was asked to end may do so by itself.
GRACE = 5.0
_STDERR_TAIL = 2000
_SELF = "napari_medvlsm.core.process"


class ChildProcess:
    """A running module with pipes to its stdin and stdout; what it writes to stderr is kept in a temporary file.

    The end of its stdin asks the child to end. That also happens when this process dies, however it dies, so no child
    is left behind. The methods that read, write or wait block; `ask_to_end` and `kill` may be called from any thread.

    Parameters
    ----------
    module : str
        Run as ``python -P -m module``.
    arguments : sequence of str
    watches_stdin : bool
        Whether the module ends by itself at the end of its stdin. For another one a watch is started before it in the
        same process, which interrupts it as Ctrl+C does and, `GRACE` seconds later, ends the process.
    output : bool
        Whether stdout is read. Where it is not, nothing of it is kept.
    environment : mapping, optional
        Variables to add.
    folder : Path, optional
        To work in; by default that of this process.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        watches_stdin: bool = True,
        output: bool = True,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        watch = [] if watches_stdin else [_SELF]
        # -P keeps a stray folder in the working directory from being imported instead of ours.
        command = [sys.executable, "-P", "-m", *watch, module, *arguments]
        # A file and not a pipe, which would block the child where nobody reads it.
        self._stderr = _file_for_stderr()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                stderr=self._stderr,
                env=_environment() | dict(environment or {}),
                cwd=folder,
                **_own_group(),
            )
        except BaseException:
            self._stderr.close()
            raise

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe to the child, buffered: flush what is to be read."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from the child."""
        assert self._process.stdout is not None, "The output of this process is not read."
        return self._process.stdout

    def lines(self) -> Iterator[str]:
        """Lines of stdout as they come, without their ends, until the child closes it; the last may be unfinished."""
        for line in self.stdout:
            yield line.decode("utf-8", "replace").rstrip("\r\n")

    def poll(self) -> int | None:
        """The exit code; None while the process runs. On POSIX systems minus the number of a signal that ended it."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises
        ------
        TimeoutError
            If the process runs longer.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"The process {self.pid} still runs after {timeout} seconds.") from error

    def ask_to_end(self) -> None:
        """Ask the child to end and return at once: the end of its stdin and, where the system has it, SIGTERM."""
        if sys.platform != "win32":  # whose `terminate` leaves a process no time
            self._process.terminate()
        with suppress(OSError):  # unsent bytes for a child that is gone
            self.stdin.close()

    def stop(self, grace: float = GRACE) -> int:
        """Ask the child to end, and kill it where it has not after `grace` seconds; returns the exit code.

        Nothing is read meanwhile: a child that has more to say than a pipe holds needs its reader in another thread.
        """
        self.ask_to_end()
        try:
            return self.wait(grace)
        except TimeoutError:
            return self.kill()

    def kill(self) -> int:
        """End the process at once and wait for it; its memory, the GPU's too, is free afterwards."""
        if sys.platform == "win32":
            self._process.kill()
        elif self.poll() is None:
            # With the processes that it started itself, such as those of other GPUs.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self.wait()

    def close(self, grace: float = 2.0) -> None:
        """Close the pipes, which ends the child, and make sure within `grace` seconds that it did."""
        with suppress(OSError):
            self.stdin.close()
        try:
            self.wait(grace)
        except TimeoutError:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def stderr_tail(self) -> str:
        """The end of the child's stderr, complete once it has ended; "" after `close`."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_TAIL))
        return self._stderr.read().decode("utf-8", "replace").strip()


# Kept until they have ended, so that the system can forget them.
_DETACHED: list[subprocess.Popen[bytes]] = []


def start_detached(
    module: str, arguments: Sequence[str], log: Path, folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a module that outlives this process. What it prints is appended to a file.

    Parameters
    ----------
    module : str
        Run as ``python -P -m module``, without stdin.
    arguments : sequence of str
    log : Path
    folder : Path, optional
        To work in.

    Raises
    ------
    OSError
        If it cannot be started, or the file not be written.
    """
    _DETACHED[:] = [process for process in _DETACHED if process.poll() is None]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=_environment(),
            cwd=folder,
            **_own_group(),
        )
    _DETACHED.append(process)
    return process


def watch_parent(on_end: Callable[[], None], seconds: float = 1.0) -> None:
    """Start a thread that calls `on_end` when the parent of this process has died; nothing where that is not told.

    The end of stdin alone does not tell it while another process, such as one that the parent forked, holds the pipe.
    """
    if sys.platform == "win32":  # where no process holds a pipe that it was not given
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        on_end()

    threading.Thread(target=watch, name="end-of-parent", daemon=True).start()


def ensure_temporary_folder() -> None:
    """Where no temporary folder has room, use one among the user's cached files, or else go on without.

    torch asks for its name when it is imported, and would not be imported without one.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = user_cache_path("napari-medvlsm", appauthor=False) / "tmp"
        with suppress(OSError):  # what then has to write there fails, and says so
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def _file_for_stderr() -> IO[bytes]:
    """In the temporary folder or, where there is none with room, in memory; on systems without such, not kept."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        if hasattr(os, "memfd_create"):
            return os.fdopen(os.memfd_create("stderr"), "w+b")
        return Path(os.devnull).open("r+b")


def _environment() -> dict[str, str]:
    """The variables of this process, but for what would keep a child from ending or from writing UTF-8."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONINSPECT"}
    return kept | {"PYTHONIOENCODING": "utf-8", "TOKENIZERS_PARALLELISM": "false"}


def _own_group() -> dict[str, Any]:
    """Ctrl+C in the terminal is for the parent alone, which then ends its children. No console opens on Windows."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _watch_stdin() -> None:
    with suppress(OSError):
        while os.read(0, 65536):
            pass
    _end()


def _end() -> None:
    """As Ctrl+C does and, where that does not help, at once."""
    if hasattr(signal, "pthread_kill"):  # which also ends what the main thread waits for
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
    time.sleep(GRACE)
    os._exit(1)


def main() -> None:
    """Run the module that the command line names, as `python -m` does, until it or stdin ends."""
    # A shell starts background jobs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_watch_stdin, name="end-of-stdin", daemon=True).start()
    watch_parent(_end)
    ensure_temporary_folder()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
