"""One process's share of a run: read scans, predict, write masks and rows of the manifest. Imports torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

from napari_medvlsm import __version__
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.bulk.manifest import DONE, FAILED, ManifestWriter, Row, Texts, is_done, tidy
from napari_medvlsm.core.bulk.prefetch import prefetch
from napari_medvlsm.core.bulk.processes import Process
from napari_medvlsm.core.devices import pick_device
from napari_medvlsm.core.images import Scan, content_hash
from napari_medvlsm.core.inference import ModelInput, Prediction
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.io.labels import is_correction, is_own_mask, save_mask
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.options import AUTO, WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.presence import probably_absent
from napari_medvlsm.core.prompts import Prompt

# Scans encoded at once on a GPU. An idle CPU is no faster with several; a busy one can be, with --batch-size.
_GPU_BATCH = 16
# Threads that read scans. A GPU takes them faster than one thread decodes them.
_GPU_READERS, _CPU_READERS = 4, 1


@dataclass(frozen=True)
class PredictionRequest:
    """What is predicted for every scan.

    Attributes
    ----------
    model : ModelEntry
    prompts : tuple of Prompt
        Each makes a mask of its own; a scan is encoded once for all of them.
    threshold : float or None
        Probability from 0 to 1; None for the model's own.
    options : SegmentOptions
        Whole scan, tiles or a rectangle.
    device, precision : str
        See `Segmenter`.
    vocabulary_hash : str
        `Vocabulary.digest` of the words that the prompts were read with.
    anyway : bool
        Outline what a scan probably does not show (`core.presence`), too.
    """

    model: ModelEntry
    prompts: tuple[Prompt, ...]
    threshold: float | None = None
    options: SegmentOptions = WHOLE_SCAN
    device: str = AUTO
    precision: str = AUTO
    vocabulary_hash: str = ""
    anyway: bool = False


@dataclass(frozen=True)
class Job:
    """A run, the same in all its processes, to which it is sent.

    Attributes
    ----------
    names : mapping
        Path of each scan to the names of its masks, one for each prompt.
    out : Path
        Folder of the masks and the manifest.
    request : PredictionRequest
    batch_size : int or None
    again : bool
        Skip nothing.
    progress : bool
    notify, report : callable, optional
    """

    names: Mapping[Path, Sequence[str]]
    out: Path
    request: PredictionRequest
    batch_size: int | None = None
    again: bool = False
    progress: bool = False
    notify: Callable[[str], None] | None = None
    report: Callable[[Row], None] | None = None


@dataclass(frozen=True)
class _Plan:
    """What the first process found on disk. All use it, since each could see a shared folder in another state."""

    names: Sequence[tuple[Path, Sequence[str]]]
    found: Mapping[str, Texts]
    weights: str


@dataclass(frozen=True, eq=False)
class _LoadedScan:
    """A scan to segment: its rows so far, one for each prompt, where it lies, its spacing, and what the model gets.

    A row is None where that mask is done.
    """

    rows: tuple[Row | None, ...]
    path: Path
    spacing: tuple[float, float] | None
    model_input: ModelInput | Scan


def segment_share(process: Process, job: Job) -> None:
    """Segment every n-th scan of a run of n processes; the first of them then makes one manifest of all parts."""
    plan = process.broadcast(_plan(job) if process.first else None)
    with closing(ManifestWriter(job.out, process.rank)) as manifest:
        _Share(process, job, plan, manifest).run()
    process.barrier()
    if process.first:
        tidy(job.out)


def _plan(job: Job) -> _Plan:
    """What was not done comes first, so that every n-th scan is an equal share of it."""
    found = tidy(job.out)
    names = sorted(job.names.items(), key=lambda pair: all(n in found and found[n]["status"] == DONE for n in pair[1]))
    return _Plan(names, found, weights_hash(job.request.model.folder))


class _Share:
    def __init__(self, process: Process, job: Job, plan: _Plan, manifest: ManifestWriter) -> None:
        request = job.request
        device, entry = process.device(pick_device(request.device)), request.model
        self._job = job
        self._request = request
        self._found = plan.found
        self._manifest = manifest
        self._scans = plan.names[process.rank :: process.world_size]
        self._progress = job.progress and process.first
        self._precision = None if request.precision == AUTO else request.precision
        self._segmenter = load_segmenter(entry, str(device), request.precision, job.notify)
        self._template = Row(
            output="",
            source="",
            status=FAILED,
            message="",
            prompt="",
            model=entry.card.name,
            weights=plan.weights,
            threshold=entry.card.threshold if request.threshold is None else request.threshold,
            looked_at="the whole scan" if request.options.whole else json.dumps(request.options.to_message()),
            anyway=request.anyway,
            software=__version__,
        )

    def run(self) -> None:
        for batch in self._batches():
            self._segment(batch)

    # Reading, in other threads --------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Sequence[_LoadedScan]]:
        gpu, whole = self._segmenter.device.type != "cpu", self._request.options.whole
        size = (self._job.batch_size or (_GPU_BATCH if gpu else 1)) if whole else 1
        readers = _GPU_READERS if gpu and whole else _CPU_READERS
        hidden = None if self._progress else True
        batch: list[_LoadedScan] = []
        # Tiles need the pixels themselves: of one scan beside the present one.
        with tqdm(total=len(self._scans), unit="scan", disable=hidden) as bar:
            for read in prefetch(self._read, self._scans, readers, size + readers if whole else 1):
                if isinstance(read, _LoadedScan):
                    batch.append(read)
                elif read is not None:
                    self._fail(*read)
                if len(batch) == size:
                    yield batch
                    batch = []
                bar.update()
            if batch:
                yield batch

    def _read(self, scan: tuple[Path, Sequence[str]]) -> _LoadedScan | tuple[list[Row], Path, Exception] | None:
        """A scan, or why it cannot be read, or None for one that is done."""
        path, names = scan
        source = _relative(path, self._job.out)
        rows = [
            replace(self._template, output=name, source=source, prompt=prompt.text)
            for name, prompt in zip(names, self._request.prompts, strict=True)
        ]
        try:
            image = read_scan(path)
            if image.notes and self._job.notify is not None:
                self._job.notify(f"{path}: {' '.join(image.notes)}")
            rows = [_with_facts(row, image) for row in rows]
            wanted = tuple(None if self._is_done(row) else row for row in rows)
            if not any(wanted):
                return None
            whole = self._request.options.whole
            return _LoadedScan(wanted, path, image.spacing, self._segmenter.prepare(image) if whole else image)
        except Exception as error:  # one scan's failure must not stop the others
            return rows, path, error

    def _is_done(self, row: Row) -> bool:
        exists = (self._job.out / row.output).is_file()
        return not self._job.again and exists and is_done(self._found.get(row.output), row, self._precision)

    # Predicting and writing -----------------------------------------------------------------------------------------

    def _segment(self, batch: Sequence[_LoadedScan]) -> None:
        """Segment the scans of a batch, and write it all down."""
        start = time.perf_counter()
        try:
            predictions = self._predict(batch)
        except Exception as error:  # one scan's failure must not stop the others
            if len(batch) == 1:
                self._fail([row for row in batch[0].rows if row], batch[0].path, error)
                return
            for scan in batch:
                self._segment([scan])
            return
        each = (time.perf_counter() - start) / sum(row is not None for scan in batch for row in scan.rows)
        for scan, found in zip(batch, predictions, strict=True):
            for row, prompt, prediction in zip(scan.rows, self._request.prompts, found, strict=True):
                if row is not None:
                    try:
                        self._write(scan, row, prompt, prediction, each)
                    except Exception as error:
                        self._fail([row], scan.path, error)

    def _predict(self, batch: Sequence[_LoadedScan]) -> list[list[Prediction]]:
        """For each scan the answers to all prompts."""
        texts = [prompt.text for prompt in self._request.prompts]
        options, segmenter = self._request.options, self._segmenter
        inputs = [scan.model_input for scan in batch if isinstance(scan.model_input, ModelInput)]
        if inputs:
            return segmenter.segment_batch(inputs, texts)
        predictions: list[list[Prediction]] = []
        for scan in batch:
            assert isinstance(scan.model_input, Scan)
            segmenter.set_image(scan.model_input, encode=False)
            if options.tiling is None:
                predictions.append(segmenter.segment(texts, region=options.region))
            else:
                tiling = options.tiling
                predictions.append(segmenter.segment_tiled(texts, tiling.side, tiling.overlap, region=options.region))
        return predictions

    def _write(self, loaded: _LoadedScan, row: Row, prompt: Prompt, prediction: Prediction, seconds: float) -> None:
        start, request = time.perf_counter(), self._request
        path = self._job.out / row.output
        if is_correction(path):
            raise ValueError(
                f"{path} was corrected by a person and is not replaced; move it away, or choose another folder with "
                "--out."
            )
        # Such as a mask that was drawn elsewhere, or another scan, also where the disk takes "A.TIF" for "A.tif".
        if path.exists() and not is_own_mask(path):
            raise ValueError(
                f"{path} was not made by this program and is not replaced; move it away, or choose another folder with "
                "--out."
            )
        mask = prediction.mask(row.threshold)
        absent = probably_absent(prediction.probability, request.model.card, request.options)
        if absent and not request.anyway:
            mask = np.zeros_like(mask)
        provenance = new_provenance(
            scan_hash=row.scan_hash,
            scan_size=mask.shape,
            spacing=loaded.spacing,
            prompt=prompt,
            vocabulary_version=prompt.vocabulary_version,
            vocabulary_hash=request.vocabulary_hash,
            model=row.model,
            weights_hash=row.weights,
            threshold=row.threshold,
            options=request.options,
        )
        target = prompt.attributes.target or prompt.text
        save_mask(path, Annotation(target, mask, said=prompt.attributes, provenance=provenance))
        area = int(mask.sum())
        if absent and self._job.notify is not None:
            what = f"check {path}" if request.anyway else "nothing is outlined; --anyway outlines it"
            self._job.notify(f"{prompt.text!r} is probably not in {loaded.path}: {what}")
        self._add(
            replace(
                row,
                status=DONE,
                message="probably not in this scan" if absent else "",
                area_px=area,
                area_mm2=None if loaded.spacing is None else area * loaded.spacing[0] * loaded.spacing[1],
                seconds=round(seconds + time.perf_counter() - start, 4),
            )
        )

    def _fail(self, rows: Sequence[Row], path: Path, error: Exception) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        for row in rows:
            self._add(replace(row, status=FAILED, message=message))
        if self._job.notify is not None:
            self._job.notify(f"skipped {path}: {message}")

    def _add(self, row: Row) -> None:
        device, precision = str(self._segmenter.device), self._segmenter.precision
        finished = datetime.now(UTC).isoformat(timespec="milliseconds")
        whole = replace(row, device=device, precision=precision, finished=finished)
        self._manifest.add(whole)
        if self._job.report is not None:
            self._job.report(whole)


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return str(path.absolute())


def _with_facts(row: Row, scan: Scan) -> Row:
    row_mm, column_mm = scan.spacing or (None, None)
    rows, columns = scan.size
    key = content_hash(scan.pixels)
    return replace(row, scan_hash=key, rows=rows, columns=columns, row_mm=row_mm, column_mm=column_mm)
