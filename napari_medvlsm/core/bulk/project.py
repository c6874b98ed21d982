"""`python -m napari_medvlsm.core.bulk.project PROJECT`: the process that predicts unseen scans of a project.

What it is to do, the project remembers (`core.projects.predicting`). It prints a line of JSON for each scan.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from napari_medvlsm.core.bulk.manifest import Row
from napari_medvlsm.core.bulk.run import PredictionRequest, segment_folder
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.projects.predicting import PREDICTING_FOLDER, Predicted, remembered_request
from napari_medvlsm.core.projects.reading import to_predict
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.prompts import free_text, load_vocabulary
from napari_medvlsm.core.prompts.own_words import own_words_path


def main() -> int:
    """Predict what the project remembers."""
    if hasattr(os, "nice"):
        os.nice(10)  # what the person works on comes first
    with ProjectStore(Path(sys.argv[1]), read_only=True) as store:
        request = remembered_request(store)
        if request is None:
            return 0
        entry, vocabulary = find_model(request.model), load_vocabulary(own_words_path())
        weights, work = weights_hash(entry.folder), []
        for number, (target, text) in enumerate(request.prompts.items()):
            ids = to_predict(store.database, target, text, weights)
            names = {store.scan_path(case_id): f"{case_id:06d}.tif" for case_id in ids}
            work.append((number, target, free_text(text, vocabulary), names))
        folder = store.folder
    _tell(Predicted(of=sum(len(names) for *_, names in work)))
    for number, target, prompt, names in work:
        if not names:
            continue
        out = folder / PREDICTING_FOLDER / str(number)
        asked = PredictionRequest(
            entry, prompt, device=request.device, precision=request.precision, vocabulary_hash=vocabulary.digest
        )

        def report(row: Row, target: str = target, out: Path = out) -> None:
            case_id, done = int(Path(row.output).stem), row.status == "done"
            file = (out / row.output).relative_to(folder).as_posix() if done else ""
            _tell(Predicted(0, target, case_id, file, "" if done else row.message))

        segment_folder(names, out, asked, report=report)
    return 0


def _tell(predicted: Predicted) -> None:
    sys.stdout.write(json.dumps(asdict(predicted)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
