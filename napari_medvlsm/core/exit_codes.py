"""Exit codes of every command, each with one meaning. Imports no torch."""

from __future__ import annotations

import enum
import os
import signal
import sys
import traceback
from collections.abc import Callable

from napari_medvlsm.core.io.disk_errors import sentence
from napari_medvlsm.core.plain_files import shown


class ExitCode(enum.IntEnum):
    """How a command ended; one that was stopped by a signal has 128 plus the signal's number, as in shells.

    Attributes
    ----------
    OK
        Everything is done. A training that stopped early or because its time was up is done, too.
    SOME_FAILED
        Done, but some scans failed, or a check found faults.
    FAILED
        Nothing could be done; one sentence on stderr says why and what to do.
    DIVERGED
        The loss of a training became NaN or infinite; the best checkpoint before that is kept.
    CRASHED
        A bug: the traceback is on stderr (as EX_SOFTWARE of sysexits.h).
    """

    OK = 0
    SOME_FAILED = 1
    FAILED = 2
    DIVERGED = 3
    CRASHED = 70


# Ctrl+C; and nobody reads what a command prints, which ends other programs by SIGPIPE (Windows does not have it).
INTERRUPTED = 128 + signal.SIGINT
UNREAD = 128 + 13
# Letters of a sentence; what a file holds is cut before, a list of names may be long.
_LONGEST = 2000


def carry_out(program: str, work: Callable[[], int]) -> int:
    """Do the work of a command; what ends it becomes one sentence on stderr, and the exit code.

    Parameters
    ----------
    program : str
        Its name, before the sentence.
    work : callable
        Gives the exit code.
    """
    try:
        code = int(work())
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Else Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except (ValueError, OSError) as error:
        print(f"{program}: {shown(sentence(error), _LONGEST)}", file=sys.stderr)
        return ExitCode.FAILED
    except MemoryError:
        print(f"{program}: The memory of this computer does not suffice; close other programs.", file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        print(f"{program}: stopped; what is written so far is complete.", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return ExitCode.CRASHED


def exit_sentence(code: int) -> str:
    """What an exit code says, for people; a negative one names the signal that ended the process, as `Popen` does."""
    if code < 0 or 128 < code < 128 + 65:
        number = -code if code < 0 else code - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if code < 0 and name == "SIGKILL":
            return "It was ended by SIGKILL, which often means that memory ran out."
        if code < 0 and name not in ("SIGINT", "SIGTERM"):
            return f"It crashed ({name})."
        return f"It was stopped ({name})."
    words: dict[int, str] = {
        ExitCode.OK: "It is done.",
        ExitCode.SOME_FAILED: "It is done, but some of it failed.",
        ExitCode.FAILED: "It could not be done.",
        ExitCode.DIVERGED: "The training diverged.",
        ExitCode.CRASHED: "It ended with an error of the program.",
    }
    # Windows has large ones for crashes, which are looked up in hexadecimal digits.
    return words.get(code, f"It ended with code {code if code < 2**31 else hex(code)}.")
