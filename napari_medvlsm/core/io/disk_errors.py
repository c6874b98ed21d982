"""Errors of disks and folders in words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the space that you are allowed on this disk is used up",
    errno.EFBIG: "the file is larger than this disk, or a limit of this computer, allows",
    errno.EROFS: "this disk can only be read",
    errno.EACCES: "you are not allowed to write there",
    errno.EPERM: "you are not allowed to write there",
    errno.EIO: "the disk reports a fault",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
}
# Of names that are not what they should be.
_NAMES = {
    errno.ENOENT: "There is no file {}.",
    errno.EEXIST: "{} exists already; choose another name.",
    errno.ENOTDIR: "{} cannot be reached: a part of its name is a file and no folder.",
    errno.EISDIR: "{} is a folder; a file is needed.",
    errno.ENOTEMPTY: "The folder {} is not empty.",
    errno.ENAMETOOLONG: "The name {} is too long for this disk.",
    errno.ELOOP: "{} is a link that leads to itself.",
}
# Those after which there is no room for more, whatever is written.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is no room left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        # Libraries in Rust only say so.
        if any(f"(os error {number})" in str(error) for number in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_denied(error: BaseException) -> bool:
    """Whether an error says that one may not write there."""
    return isinstance(error, OSError) and error.errno in _DENIED


def reason(error: BaseException) -> str:
    """Why something could not be written or read, to stand in a sentence, without a path."""
    if is_full(error) and not isinstance(error, OSError):
        return _WORDS[errno.ENOSPC]
    if isinstance(error, OSError) and error.errno is not None:
        return _WORDS.get(error.errno) or (error.strerror or type(error).__name__)
    return str(error) or type(error).__name__


def sentence(error: BaseException) -> str:
    """The error as one sentence of its own, with the file that it is about, if it names one."""
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):
        return (
            "No temporary folder can be written; make room on its disk, or let the variable TMPDIR name a folder that "
            "has room."
        )
    if isinstance(error, OSError) and error.errno in _NAMES and error.filename:
        path = Path(os.fsdecode(error.filename))
        # A temporary file beside the one that is meant, or one below a folder that is not there.
        lacks_folder = error.errno == errno.ENOENT and not path.parent.is_dir()
        return f"There is no folder {path.parent}." if lacks_folder else _NAMES[error.errno].format(path)
    if not isinstance(error, OSError) or error.errno not in _WORDS:
        return str(error) or type(error).__name__
    about = f" ({error.filename})" if error.filename else ""
    why = reason(error)
    todo = "; make room, then give the same command again" if error.errno in _FULL else ""
    return f"{why[0].upper()}{why[1:]}{about}{todo}."
