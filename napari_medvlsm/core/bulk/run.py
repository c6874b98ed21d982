"""Segment one target or several in many scans: one process or many, on one computer or several. Imports torch.

Every process loads the model, takes every n-th scan, and writes its masks and its part of the manifest; the first then
makes one manifest of the parts. Model, precision and what happens when memory runs out are the `Segmenter`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from napari_medvlsm.core.bulk.manifest import DONE, Row, read_manifest
from napari_medvlsm.core.bulk.processes import Sharing, find_process, run_here, run_started
from napari_medvlsm.core.bulk.share import Job, PredictionRequest, segment_share
from napari_medvlsm.core.devices import pick_device, pick_precision

__all__ = ["Outcome", "PredictionRequest", "Sharing", "segment_folder"]


@dataclass(frozen=True)
class Outcome:
    """How many masks were made now, were made before, and failed; a scan has one for each prompt."""

    done: int
    skipped: int
    failed: int


def segment_folder(
    names: Mapping[Path, Sequence[str]],
    out: Path,
    request: PredictionRequest,
    sharing: Sharing | None = None,
    *,
    again: bool = False,
    progress: bool = False,
    notify: Callable[[str], None] | None = None,
    report: Callable[[Row], None] | None = None,
) -> Outcome | None:
    """Segment many scans into a folder that holds a manifest (see `manifest.Row`).

    A mask is left if it lies there and the manifest says that it was made of the same pixels and spacing, with
    the same prompt, weights, threshold and tiles or rectangle, and in the same precision where one is asked for.

    Parameters
    ----------
    names : mapping
        From the path of each scan to the names of its masks in `out`, one for each prompt of the request; no two may
        be the same.
    out : Path
        Made if need be.
    request : PredictionRequest
    sharing : Sharing, optional
    again : bool
        Skip nothing. Masks that a person corrected, and files that this program did not make, are never replaced.
    progress : bool
        Show a bar on the error stream, if that is a terminal.
    notify : callable, optional
        Gets messages for the user, also about scans that failed; it is called in every process, so that it must be
        a function of a module where there are several.
    report : callable, optional
        As `notify`; gets the row of each scan that is done or failed now, once it is on disk.

    Returns
    -------
    Outcome or None
        None in the processes that a launcher started, but the first.

    Raises
    ------
    ValueError
        If the device, precision or number of processes cannot be had, the model cannot be loaded, the folder holds
        something else called `manifest.csv`, another run writes into it, or a process ended.
    OSError
        If the folder cannot be written.
    KeyboardInterrupt
        On Ctrl+C, or where the process is asked to end; what is written is complete.
    """
    sharing = sharing or Sharing()
    device = pick_device(request.device)
    pick_precision(device, request.precision)
    process, starts = find_process(sharing, device)
    run = run_started if starts else run_here
    out.mkdir(parents=True, exist_ok=True)
    job = Job(names, out, request, sharing.batch_size, again, progress, notify, report)
    if not process.first:
        run(segment_share, process, job)
        return None
    try:
        with FileLock(out / ".manifest.lock", timeout=0):
            before = read_manifest(out)
            run(segment_share, process, job)
            after = read_manifest(out)
    except Timeout as error:
        raise ValueError(f"Another run is writing to {out}; wait for it, or choose another folder.") from error
    rows = [(before.get(name), after.get(name)) for each in names.values() for name in each]
    done = [(old, new) for old, new in rows if new is not None and new["status"] == DONE]
    skipped = sum(old == new for old, new in done)
    return Outcome(len(done) - skipped, skipped, len(rows) - len(done))
