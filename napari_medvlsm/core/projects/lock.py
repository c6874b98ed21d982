"""One program at a time writes a project.

The lock is one of the operating system on `project.lock`: it goes with the process, however that ends, so that nobody
is locked out by a crash. `project.open` beside it says who has the project open; where it is left over, the program
that wrote it did not close the project.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medvlsm.core.projects.errors import ProjectError, ProjectInUse

LOCK_FILE = "project.lock"
HOLDER_FILE = "project.open"


@dataclass(frozen=True)
class Holder:
    """The program that has, or had, a project open.

    Attributes
    ----------
    process : int
    computer : str
    person : str
        As entered; "" where nothing was.
    since : str
        ISO 8601, in UTC.
    """

    process: int
    computer: str
    person: str
    since: str

    @property
    def words(self) -> str:
        """For people, such as "by Ann on ward-3 since 2026-01-31 10:02 UTC"."""
        who = f"by {self.person} " if self.person else ""
        return f"{who}on {self.computer} since {self.since[:16].replace('T', ' ')} UTC (process {self.process})"


class ProjectLock:
    """The right to write a project, as long as it is held.

    Parameters
    ----------
    folder : Path
    person : str

    Attributes
    ----------
    left_by : Holder or None
        The program before, if it did not close the project.

    Raises
    ------
    ProjectInUse
        If another program holds it.
    ProjectError
        If the drive knows no locks.
    OSError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, person: str = "") -> None:
        self._holder = folder / HOLDER_FILE
        # One lock for the program, whichever of its threads asks; two stores in one program are two programs.
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False, is_singleton=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            holder = read_holder(folder)
            raise ProjectInUse(
                f"The project {folder} is open in another program{f' ({holder.words})' if holder else ''}; close it "
                "there, or open it read-only."
            ) from None
        except NotImplementedError:
            raise ProjectError(
                f"The drive of {folder} cannot keep two programs apart (it knows no locks); copy the project to a disk "
                "of this computer."
            ) from None
        try:
            self.left_by = read_holder(folder)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            own = Holder(os.getpid(), socket.gethostname(), person, now)
            # Written in place: one that is half is as good a sign as a whole one.
            self._holder.write_text(json.dumps(asdict(own)), "utf-8")
        except BaseException:
            self._lock.release(force=True)
            raise

    def release(self, closed: bool = True) -> None:
        """Let others write.

        Parameters
        ----------
        closed : bool
            Whether all is in order; if not, whoever opens the project next looks it over.
        """
        try:
            if closed:
                self._holder.unlink(missing_ok=True)
        except OSError:
            pass  # the drive is gone; it is looked over when it is back
        finally:
            self._lock.release(force=True)


def read_holder(folder: Path) -> Holder | None:
    """Who has, or had, a project open; None where nobody has. A damaged note names nobody."""
    path = folder / HOLDER_FILE
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text("utf-8"))
        return Holder(int(raw["process"]), str(raw["computer"]), str(raw["person"]), str(raw["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder(0, "an unknown computer", "", "")
