"""Files and folders that are either old or new, never half."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def _read_umask() -> int:
    # There is no way to read it without setting it, which threads must not do at the same time.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _read_umask()


@contextmanager
def replacing(path: Path, private: bool = False) -> Iterator[Path]:
    """Give a temporary name in the folder of `path`; on success sync it and rename it to `path`.

    Parameters
    ----------
    path : Path
    private : bool
        Whether only this user may read the result; else it gets the old file's mode, or the usual one.

    Raises
    ------
    OSError
        If the folder cannot be written; `path` is then as it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[-40:]}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # Windows syncs only files that are open for writing.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if not private:  # as mkstemp makes them
            temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_UMASK)
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # the first error tells what happened
            temporary.unlink(missing_ok=True)
        raise


def unfinished_files(folder: Path, suffix: str) -> dict[Path, str]:
    """Files that `replacing` writes to or, if it was killed, left, with the ends of the stems of their targets."""
    # The end of the stem, at most 40 characters, and the letters of `tempfile`, which hold no "-".
    own = re.compile(rf"\.(.{{1,40}})-[a-z0-9_]+{re.escape(suffix)}", re.DOTALL)
    inside = folder.iterdir() if folder.is_dir() else ()
    return {path: found[1] for path in inside if (found := own.fullmatch(path.name))}


def sync_folder(folder: Path) -> None:
    """Let names that were made, changed or removed in a folder survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows writes them through
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network drives sync files only
    finally:
        os.close(handle)


@contextmanager
def making_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; on success rename it to `folder`.

    Raises
    ------
    ValueError
        If `folder` exists and is not to be replaced.
    OSError
        If the folder above cannot be written; what was there is then as it was.
    """
    if folder.exists() and not replace:
        raise ValueError(f"{folder} exists already; choose another name, or ask for it to be replaced.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder)))
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("r+b") as file:
                    os.fsync(file.fileno())
                # Some writers make private files.
                path.chmod(0o666 & ~_UMASK)
        temporary.chmod(0o777 & ~_UMASK)
        with _set_aside(folder):
            temporary.replace(folder)
            sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def unfinished(folder: Path) -> set[Path]:
    """The temporary folders that `making_folder` has beside a folder: of one that runs, or that was killed."""
    # After the prefix come the letters of `tempfile`, which hold no "-".
    own = re.compile(re.escape(_prefix(folder)) + "[a-z0-9_]+")
    beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
    return {path for path in beside if own.fullmatch(path.name)}


def require_space(folder: Path, size: int) -> None:
    """Check that a disk has room for `size` bytes in a folder, which need not exist yet.

    Raises
    ------
    ValueError
        If it has not; the sentence names both sizes.
    """
    free = free_space(folder)
    if free < size:
        raise ValueError(
            f"{megabytes(size)} are needed in {folder}, but only {megabytes(free)} are free; make room, or choose "
            "another folder."
        )


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    folder = folder.absolute()
    return shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.{0 if size >= 1e7 else 1}f} MB"


def _prefix(folder: Path) -> str:
    return f".{folder.name[:40]}-"


@contextmanager
def _set_aside(folder: Path) -> Iterator[None]:
    """Move a folder out of the way, if there is one; it comes back on failure and goes on success."""
    if not folder.exists():
        yield
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{_prefix(folder)}old-"))
    folder.replace(aside / folder.name)
    try:
        yield
    except BaseException:
        (aside / folder.name).replace(folder)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
