"""The process that predicts what is unseen in a project (`core.projects.predicting`). Imports torch.

`python -m napari_medvlsm.core.bulk.project PROJECT` prints a line of JSON with the number of outlines to be predicted,
and then one for each that is done or failed. It changes nothing of the project: masks go into a folder of their own.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from napari_medvlsm.core.bulk.manifest import DONE, Row
from napari_medvlsm.core.bulk.run import PredictionRequest, segment_folder
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.projects.predicting import PREDICTING_FOLDER, Predicted, remembered_request
from napari_medvlsm.core.projects.reading import to_predict
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.prompts import Prompt, free_text, load_vocabulary
from napari_medvlsm.core.prompts.own_words import own_words_path


def main() -> int:
    """Predict what the project remembers."""
    if hasattr(os, "nice"):
        os.nice(5)  # what the person works on comes first
    with ProjectStore(Path(sys.argv[1]), read_only=True) as store:
        request = remembered_request(store)
        if request is None:
            return 0
        entry, vocabulary = find_model(request.model), load_vocabulary(own_words_path())
        weights = weights_hash(entry.folder)
        work: list[tuple[str, Path, Prompt, dict[Path, tuple[str, ...]]]] = []
        for number, (target, text) in enumerate(request.prompts.items()):
            out = store.folder / PREDICTING_FOLDER / str(number)
            ids = to_predict(store.database, target, text, weights)
            names: dict[Path, tuple[str, ...]] = {store.scan_path(case_id): (f"{case_id:06d}.tif",) for case_id in ids}
            work.append((target, out, free_text(text, vocabulary), names))
    _tell(Predicted(of=sum(len(names) for *_, names in work)))
    for target, out, prompt, outputs in work:
        if outputs:
            asked = PredictionRequest(
                entry, (prompt,), device=request.device, precision=request.precision, vocabulary_hash=vocabulary.digest
            )
            segment_folder(outputs, out, asked, report=partial(_report, target, out))
    return 0


def _report(target: str, out: Path, row: Row) -> None:
    file = f"{PREDICTING_FOLDER}/{out.name}/{row.output}" if row.status == DONE else ""
    _tell(Predicted(0, target, int(Path(row.output).stem), file, "" if file else row.message))


def _tell(predicted: Predicted) -> None:
    sys.stdout.write(json.dumps(asdict(predicted)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
