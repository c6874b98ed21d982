"""One process's part of a run, in the hooks of Lightning's Trainer: read, answer, write down. Imports torch."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lightning.pytorch import LightningModule
from tqdm import tqdm

from napari_medvlsm import __version__
from napari_medvlsm.core.bulk.manifest import DONE, FAILED, ManifestWriter, Row, Texts, is_done, tidy
from napari_medvlsm.core.bulk.prefetch import ahead
from napari_medvlsm.core.images import Scan, content_hash
from napari_medvlsm.core.inference import ModelInput, Prediction, Segmenter
from napari_medvlsm.core.io.images import own_limit, read_scan
from napari_medvlsm.core.io.labels import is_correction, save_mask, story
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.options import AUTO, WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.prompts import Prompt

# Scans encoded at once on a GPU. An idle CPU is no faster with several; a busy one can be, with --batch-size.
_GPU_BATCH = 16
# Threads that read scans. A GPU takes them faster than one thread decodes them.
_GPU_READERS, _CPU_READERS = 4, 1

# Here and not in a function, since processes that are started import this module before Lightning
# tells of itself.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Question:
    """What is asked about every scan.

    Attributes
    ----------
    model : ModelEntry
    prompt : Prompt
    threshold : float or None
        Certainty from 0 to 1; None for the model's own.
    options : SegmentOptions
        Where the model looks.
    device, precision : str
        See `Segmenter`.
    """

    model: ModelEntry
    prompt: Prompt
    threshold: float | None = None
    options: SegmentOptions = WHOLE_SCAN
    device: str = AUTO
    precision: str = AUTO


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A scan to outline: its row so far, and what the model looks at."""

    row: Row
    spacing: tuple[float, float] | None
    look: ModelInput | Scan


class Worker(LightningModule):  # type: ignore[misc]
    """One process's part, in the hooks of the Trainer. It is sent to other processes before it holds a model."""

    def __init__(
        self,
        names: Mapping[Path, str],
        out: Path,
        question: Question,
        batch_size: int | None,
        again: bool,
        progress: bool,
        notify: Callable[[str], None] | None,
    ) -> None:
        super().__init__()
        self.out = out
        self.question = question
        self.batch_size = batch_size
        self.again = again
        self.progress = progress
        self.notify = notify
        self._names = list(names.items())
        self._found: Mapping[str, Texts] = {}
        self._precision = None if question.precision == AUTO else question.precision
        self._manifest: ManifestWriter | None = None

    # What the Trainer calls ----------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Agree on the work, and load the model."""
        # Of Lightning's own code, on newer versions of torch.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        device, question = self.trainer.strategy.root_device, self.question
        # What the first process finds holds for all: they could see a shared folder at different times.
        first = self._plan() if self.trainer.is_global_zero else None
        self._names, self._found, weights = self.trainer.strategy.broadcast(first)
        self._paths = {name: path for path, name in self._names}
        name = str(device) if device.type == "cuda" else device.type
        entry = question.model
        self.segmenter = Segmenter(load_model(entry.folder), entry.card, name, question.precision, notify=self.notify)
        whole = question.options.whole
        self._template = Row(
            output="",
            source="",
            status=FAILED,
            message="",
            prompt=question.prompt.text,
            model=entry.card.name,
            weights=weights,
            threshold=entry.card.threshold if question.threshold is None else question.threshold,
            looked_at="the whole scan" if whole else json.dumps(question.options.to_message()),
            software=__version__,
        )
        self._manifest = ManifestWriter(self.out, self.global_rank)

    def predict_dataloader(self) -> Iterator[Sequence[_Loaded]]:
        """The batches of this process."""
        return self._batches(self._names[self.global_rank :: self.trainer.world_size])

    def on_predict_start(self) -> None:
        """End when asked to: Lightning's own handler would wait for the end of the epoch, which is all of the run."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)

    def transfer_batch_to_device(self, batch: Sequence[_Loaded], *_: object) -> Sequence[_Loaded]:
        """Leave it to the Segmenter."""
        return batch

    def predict_step(self, batch: Sequence[_Loaded]) -> int:
        """Outline the scans of a batch, and write it all down. Returns how many."""
        start = time.perf_counter()
        try:
            predictions = self._answers(batch)
        except Exception as error:  # whatever one scan does, the others go on
            if len(batch) == 1:
                self._fail(batch[0].row, error)
                return 1
            return sum(self.predict_step([loaded]) for loaded in batch)
        each = (time.perf_counter() - start) / len(batch)
        for loaded, prediction in zip(batch, predictions, strict=True):
            try:
                self._write(loaded, prediction, each)
            except Exception as error:
                self._fail(loaded.row, error)
        return len(batch)

    def on_predict_end(self) -> None:
        """One manifest of all parts, when all have written theirs."""
        self.close()
        self.trainer.strategy.barrier()
        if self.trainer.is_global_zero:
            tidy(self.out)

    def close(self) -> None:
        """Close the manifest."""
        if self._manifest is not None:
            self._manifest.close()

    # Reading, in other threads --------------------------------------------------------------------------------------

    def _plan(self) -> tuple[list[tuple[Path, str]], dict[str, Texts], str]:
        """The scans, the manifest, and the hash of the weights.

        What was not done comes first, so that every n-th scan is an equal share of it.
        """
        found = tidy(self.out)
        names = sorted(self._names, key=lambda pair: pair[1] in found and found[pair[1]]["status"] == DONE)
        return names, found, weights_hash(self.question.model.folder)

    def _batches(self, scans: Sequence[tuple[Path, str]]) -> Iterator[Sequence[_Loaded]]:
        gpu, whole = self.segmenter.device.type != "cpu", self.question.options.whole
        size = (self.batch_size or (_GPU_BATCH if gpu else 1)) if whole else 1
        readers = _GPU_READERS if gpu and whole else _CPU_READERS
        hidden = None if self.progress and self.trainer.is_global_zero else True
        batch: list[_Loaded] = []
        # Tiles need the pixels themselves: of one scan beside the present one.
        with own_limit(), tqdm(total=len(scans), unit="scan", disable=hidden) as bar:
            for read in ahead(self._read, scans, readers, size + readers if whole else 1):
                if isinstance(read, _Loaded):
                    batch.append(read)
                elif read is not None:
                    self._fail(*read)
                if len(batch) == size:
                    yield batch
                    batch = []
                bar.update()
            if batch:
                yield batch

    def _read(self, scan: tuple[Path, str]) -> _Loaded | tuple[Row, Exception] | None:
        """A scan, or why it cannot be read, or None for one that is done."""
        path, name = scan
        row = replace(self._template, output=name, source=_relative(path, self.out))
        try:
            image = read_scan(path)
            row = _with_facts(row, image)
            mask_there = (self.out / name).is_file()
            if not self.again and mask_there and is_done(self._found.get(name), row, self._precision):
                return None
            look = self.segmenter.prepare(image) if self.question.options.whole else image
            return _Loaded(row, image.spacing, look)
        except Exception as error:  # whatever one scan does, the others go on
            return row, error

    # Answering and writing ------------------------------------------------------------------------------------------

    def _answers(self, batch: Sequence[_Loaded]) -> list[Prediction]:
        text, options = self.question.prompt.text, self.question.options
        inputs = [loaded.look for loaded in batch if isinstance(loaded.look, ModelInput)]
        if inputs:
            return [prediction for (prediction,) in self.segmenter.segment_batch(inputs, text)]
        answers: list[Prediction] = []
        for loaded in batch:
            assert isinstance(loaded.look, Scan)
            self.segmenter.set_image(loaded.look, encode=False)
            if options.tiling is None:
                answers += self.segmenter.segment(text, region=options.region)
            else:
                tiling = options.tiling
                answers += self.segmenter.segment_tiled(text, tiling.side, tiling.overlap, region=options.region)
        return answers

    def _write(self, loaded: _Loaded, prediction: Prediction, seconds: float) -> None:
        start, row, question = time.perf_counter(), loaded.row, self.question
        path = self.out / row.output
        if is_correction(path):
            raise ValueError(
                f"{path} was corrected by a person and is not replaced; move it away, or choose another folder with "
                "--out."
            )
        mask = prediction.mask(row.threshold)
        made = story(question.prompt, row.model, row.threshold, None, False, row.scan_hash, question.options)
        save_mask(path, mask, made, loaded.spacing)
        area = int(mask.sum())
        self._add(
            replace(
                row,
                status=DONE,
                area_px=area,
                area_mm2=None if loaded.spacing is None else area * loaded.spacing[0] * loaded.spacing[1],
                seconds=round(seconds + time.perf_counter() - start, 4),
            )
        )

    def _fail(self, row: Row, error: Exception) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        self._add(replace(row, status=FAILED, message=message))
        if self.notify is not None:
            self.notify(f"skipped {self._paths[row.output]}: {message}")

    def _add(self, row: Row) -> None:
        assert self._manifest is not None
        device, precision = str(self.segmenter.device), self.segmenter.precision
        finished = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._manifest.add(replace(row, device=device, precision=precision, finished=finished))


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
